"""The supervisor: decides when to interrupt a rollout and what to ask for."""
