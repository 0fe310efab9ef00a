"""Measuring: benchmarks, grounding, the agent alone, sweeps, and the replay of recorded questions."""
