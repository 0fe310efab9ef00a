"""The name under which scripts import FLOAT's index (Eq. 1); the code is in `agps_agent.detectors.float.transport`."""

from agps_agent.detectors.float.transport import float_index

__all__ = ["float_index"]
