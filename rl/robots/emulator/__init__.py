"""An FR3 with its gripper, cameras and a task on the table, behind the real protocols, without hardware."""
