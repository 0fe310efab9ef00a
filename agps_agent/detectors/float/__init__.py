"""FLOAT: encoders, exact optimal transport, thresholds, evaluation (AGPS, arXiv:2602.11978, section III)."""
