"""The detectors of a run as one: they compare with the same good rollouts and see the same steps."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from agps_agent.detectors.base import FailureDetector, Reading, check_name, told
from rl.errors import ConfigError
from rl.types import FloatArray, Observation


@dataclass(frozen=True)
class Reference:
    """A good rollout."""

    frames: FloatArray
    """Embeddings. Shape (n, k)."""
    is_own: bool = False
    """Of this run, and no demonstration."""


class Watch:
    """Shows each step to every detector that is fitted, and keeps what they say of a rollout.

    Demonstrations are the yardstick. Where they are too few for a detector, or where it shall follow the policy, the
    newest good rollouts of the run join them and take their place: they get better.
    """

    def __init__(
        self,
        detectors: Sequence[FailureDetector],
        *,
        max_references: int,
        stand_ins: Collection[str] = (),
        follows: bool = False,
    ) -> None:
        """Watch with some detectors.

        Args:
            detectors: Which; where several trigger at one step, the first of them woke the agent.
            max_references: Newest good rollouts that they are fitted on.
            stand_ins: Names of those that watch only until all others are fitted.
            follows: Whether good rollouts of the run become references though demonstrations are enough.

        Raises:
            ConfigError: If two have one name, or a name cannot be used.
        """
        for detector in detectors:
            check_name(detector)
        self.names = tuple(detector.name for detector in detectors)
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"The detectors are called {', '.join(self.names)}; each needs a name of its own.")
        self._detectors = tuple(detectors)
        self._stand_ins = frozenset(stand_ins)
        self._fitted = {detector.name for detector in detectors if detector.min_references == 0}
        self._references: deque[Reference] = deque(maxlen=max_references)
        self._fitted_on: list[Reference] = []
        """The references that the detectors were fitted on last, or would have been if they were enough."""
        self._learns = any(detector.min_references > 0 for detector in detectors)
        """Whether good rollouts of the run become references."""
        self._follows = follows and self._learns
        self._since_fit = 0
        self._readings: dict[str, list[Reading]] = {}
        self._measured: dict[str, Reading] = {}

    @property
    def reading(self) -> Reading | None:
        """The newest reading of the first detector that measures; None before there is one."""
        return next((self._measured[name] for name in self.names if name in self._measured), None)

    def calibrate(self, demonstrations: Iterable[FloatArray]) -> None:
        """Fit the detectors on the embeddings of demonstrations, each (n, k)."""
        self._references.extend(Reference(frames) for frames in demonstrations)
        self._fit(self._references)
        self._learns = self._follows or len(self._fitted) < len(self._detectors)

    def learn(self, reference: FloatArray) -> None:
        """Take the embeddings of a good rollout, (n, k), for a reference, unless demonstrations alone shall be some."""
        if not self._learns:
            return
        self._references.append(Reference(reference, is_own=True))
        self._since_fit += 1
        least = max(detector.min_references for detector in self._detectors)
        if self._since_fit >= max(least, len(self._references) // 2):
            self._fit(self._references)

    def reset(self) -> None:
        """Begin a new rollout."""
        self._readings = {}
        for detector in self._watching():
            told(detector, detector.reset)

    def update(self, observation: Observation, embedding: FloatArray) -> Reading | None:
        """Show a step to every detector; return the reading of the first that triggers."""
        first = None
        for detector in self._watching():
            reading = told(detector, partial(detector.update, observation, embedding))
            if not isinstance(reading, Reading) or reading.name != detector.name:
                raise ConfigError(
                    f"update of the detector {detector.name} returned {reading!r}; return a Reading with its own name."
                )
            self._readings.setdefault(detector.name, []).append(reading)
            if reading.index is not None and reading.threshold is not None:
                self._measured[detector.name] = reading
            if reading.triggered and first is None:
                first = reading
        return first

    def rearm(self) -> None:
        """Let no detector ask again before its cooldown is over."""
        for detector in self._detectors:
            if detector.name in self._fitted:
                told(detector, detector.rearm)

    def log(self) -> dict[str, Any]:
        """Return what each detector that measures said in the rollout: `NAME_trace` and so on, one value per step."""
        row: dict[str, Any] = {"detectors": list(self.names)}
        for name in self.names:
            said = self._readings.get(name, [])
            measured = [r for r in said if r.index is not None and r.threshold is not None]
            if said and not measured:
                continue
            newest = self._measured.get(name)
            row |= {
                f"{name}_trace": [round(float(r.index or 0.0), 5) for r in measured],
                f"{name}_thresholds": [round(float(r.threshold or 0.0), 5) for r in measured],
                f"{name}_scores": [round(float(r.relative), 4) for r in measured if r.relative is not None],
                f"{name}_max": max((float(r.index or 0.0) for r in measured), default=None),
                f"{name}_threshold": None if newest is None else newest.threshold,
            }
        return row

    def state_dict(self) -> dict[str, Any]:
        """Return the references, and what else each detector needs."""
        return {
            "learns_references": self._learns,
            "references": [np.asarray(reference.frames) for reference in self._references],
            "own": [reference.is_own for reference in self._references],
            "fitted_on": [np.asarray(reference.frames) for reference in self._fitted_on],
            "fitted_on_own": [reference.is_own for reference in self._fitted_on],
            "since_fit": self._since_fit,
            "detectors": {detector.name: detector.state_dict() for detector in self._detectors},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; earlier versions saved less."""
        self._references.clear()
        self._references.extend(_joined(state["references"], state.get("own")))
        self._learns = self._follows or state["learns_references"]
        # Not on the newest references: the run would not have looked at them yet. Older checkpoints do not tell.
        if "fitted_on" in state:
            self._fit(_joined(state["fitted_on"], state.get("fitted_on_own")))
        else:
            self._fit(self._references)
        self._since_fit = state.get("since_fit", 0)
        saved = state.get("detectors", {})
        for detector in self._detectors:
            if detector.name in saved:
                detector.load_state_dict(saved[detector.name])

    def _watching(self) -> list[FailureDetector]:
        """Return the detectors that may say something now."""
        others = [detector.name for detector in self._detectors if detector.name not in self._stand_ins]
        silent = self._stand_ins if others and self._fitted.issuperset(others) else frozenset()
        return [d for d in self._detectors if d.name in self._fitted and d.name not in silent]

    def _fit(self, references: Iterable[Reference]) -> None:
        """Fit every detector on good rollouts; one that needs none watches whatever it says."""
        self._since_fit, self._fitted_on = 0, list(references)
        frames, own = [each.frames for each in self._fitted_on], sum(each.is_own for each in self._fitted_on)
        for detector in self._detectors:
            if detector.min_references == 0 and not frames:
                continue
            told(detector, partial(detector.note_own, own))
            enough = told(detector, partial(detector.fit, frames)) or detector.min_references == 0
            (self._fitted.add if enough else self._fitted.discard)(detector.name)


def _joined(frames: Sequence[FloatArray], own: Sequence[bool] | None) -> list[Reference]:
    """Return references of a checkpoint; older ones do not tell which are the run's own."""
    return [Reference(each, is_own) for each, is_own in zip(frames, own or [False] * len(frames), strict=True)]
