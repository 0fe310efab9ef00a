"""A round peg in a round hole: a task, what the agent is told about it, its expert and its finder."""
