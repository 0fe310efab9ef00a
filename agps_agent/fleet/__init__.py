"""Several robots, one learner, one pool of agents, on Ray: `agps train TASK --robots N` or `--fleet fleet.toml`."""
