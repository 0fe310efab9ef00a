"""How well failure detectors tell bad rollouts from good ones, on rollouts whose onset of failure is known."""

from typing import Literal

FitOn = Literal["demonstrations", "successes"]
"""What detectors are fitted on: demonstrations by the expert at its best, as at the beginning of a run; or good
rollouts of all who act, as many as a run keeps: what it compares with after a while."""
