"""Measuring: benchmarks, grounding, the agent alone, declared experiments, and the replay of recorded questions."""
