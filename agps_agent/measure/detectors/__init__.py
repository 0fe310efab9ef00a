"""How well failure detectors tell bad rollouts from good ones, on rollouts whose onset of failure is known."""
