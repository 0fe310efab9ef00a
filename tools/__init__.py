"""What the agent may call: pure functions of a scene and arguments. Nothing here sends anything to a robot."""
