"""Learning and acting at control rate. Knows no language model."""
