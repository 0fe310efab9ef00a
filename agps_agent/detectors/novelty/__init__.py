"""Detectors that learn from the frames of good rollouts how unlike them a frame is: RND and logpZO."""
