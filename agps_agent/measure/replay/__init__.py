"""Recorded questions asked again with another prompt or model, scored and compared."""
