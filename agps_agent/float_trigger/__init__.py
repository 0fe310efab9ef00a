"""The names of FLOAT that other people's scripts import; the code is in `agps_agent.detectors`."""

from agps_agent.detectors import FloatConfig, FloatDetector, FloatReading, float_index

__all__ = ["FloatConfig", "FloatDetector", "FloatReading", "float_index"]
