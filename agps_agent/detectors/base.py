"""What a failure detector is: it watches a rollout step by step and says when the agent should be asked.

FLOAT and the stall rule are two of them. Others are found by name: as an entry point of the group `agps.detectors`, or
as `package.module:Name` or `./file.py:Name`. `docs/extend/detector.md` shows one.
"""

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast

from rl.errors import AgpsError, ConfigError, words_of
from rl.registry import Registry
from rl.types import FloatArray, Observation

T = TypeVar("T")

USER = "user"
"""What wakes the agent where no detector does: a person asks. No detector may have this name."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a detector says of one control step."""

    name: str
    """The detector's."""
    triggered: bool
    """Ask the agent now. It may stay True at the steps that follow: who asks decides how often."""
    index: float | None = None
    """How far the rollout has drifted; None from a detector that does not measure."""
    threshold: float | None = None
    """Index above which it is no good rollout any more."""
    score: float | None = None
    """How bad it is, 1 where the detector fires; None: index over threshold."""
    reason: str = ""
    """Why it triggers, in a few words: the agent and the report see it."""

    def __post_init__(self) -> None:
        """Refuse numbers that nobody can compare, draw or write down."""
        for name in ("index", "threshold", "score"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"The detector {self.name} says {name} = {value}; give a finite number, or None.")

    @property
    def relative(self) -> float | None:
        """The score; where none is given, the index in thresholds."""
        if self.score is not None or self.index is None or not self.threshold:
            return self.score
        return self.index / self.threshold


class FailureDetector(Protocol):
    """Watches rollouts. Derive from it: a detector gives `name` and `update`, and what else it needs.

    One is made per run, with the horizon of the task in control steps: `MyDetector(horizon)`. A detector that has
    settings names their frozen dataclass as `config_class`, and is made with an instance of it:
    `MyDetector(horizon, config)`.
    """

    name: ClassVar[str]
    """What triggers, logs and reports call it: lower-case letters, digits and _."""

    @property
    def min_references(self) -> int:
        """Fewest good rollouts that it can be fitted on; 0: it needs none, and watches before it is fitted."""
        return 0

    def fit(self, references: Sequence[FloatArray]) -> bool:
        """Learn from good rollouts what one looks like; return whether there were enough.

        It is not asked for readings before it was fitted, unless it needs none. It is fitted anew as good rollouts
        come, between rollouts.

        Args:
            references: Embeddings of each rollout's frames, the newest rollout last. Shapes (n, k). None of them only
                for who needs some.
        """
        return True

    def note_own(self, rollouts: int) -> None:
        """Hear, before `fit`, how many of its references are rollouts of this run, the others being demonstrations."""
        return

    def reset(self) -> None:
        """Begin a new rollout."""
        return

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        """Judge the rollout so far; called once per control step, before the action.

        Args:
            observation: Images, arm and step.
            embedding: Of the images, by the run's encoder. Shape (k,).
        """

    def rearm(self) -> None:
        """Go on after an intervention: do not ask again at once for what it has just been asked for."""
        return

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the references: plain numbers, strings, lists and arrays."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; called after `fit`."""
        return


DETECTORS: Registry[type[FailureDetector]] = Registry("agps.detectors", "detector")
"""Classes of failure detectors, by name."""


def load_detector(name: str) -> type[FailureDetector]:
    """Return a detector's class.

    Raises:
        ConfigError: If there is none of this name, saying which there are; or if it is no detector.
    """
    kind: Any = DETECTORS.load(name)
    if not (inspect.isclass(kind) and callable(getattr(kind, "update", None))):
        raise ConfigError(
            f"{name} is no detector: derive a class from agps_agent.detectors.base.FailureDetector "
            "(docs/extend/detector.md)."
        )
    check_name(cast("type[FailureDetector]", kind))
    config = getattr(kind, "config_class", None)
    if config is not None and not (inspect.isclass(config) and is_dataclass(config)):
        raise ConfigError(
            f"config_class of the detector {name} is {config!r}; name a frozen dataclass, or leave it out."
        )
    return cast("type[FailureDetector]", kind)


def make_detector(name: str, *, horizon: int, config: object | None = None) -> FailureDetector:
    """Return a detector of a run.

    Args:
        name: A registered name, `package.module:Name` or `./file.py:Name`.
        horizon: Control steps of the longest rollout.
        config: Its settings; None: their defaults.

    Raises:
        ConfigError: If there is none, or it cannot be made.
    """
    kind: Any = load_detector(name)
    settings = getattr(kind, "config_class", None)
    given = () if settings is None else (settings() if config is None else config,)
    try:
        made: FailureDetector = kind(horizon, *given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The detector {name} cannot be made: {error}.") from error
    return made


def told(detector: FailureDetector, act: Callable[[], T]) -> T:
    """Return what a detector does; somebody else's mistake becomes a sentence that names it.

    Raises:
        AgpsError: If it fails.
    """
    try:
        return act()
    except AgpsError:
        raise
    except Exception as error:
        raise AgpsError(
            f"The detector {detector.name} failed ({words_of(error)}); mend it, or leave it out."
        ) from error


def check_name(detector: FailureDetector | type[FailureDetector]) -> None:
    """Refuse a name that cannot be a key of the log.

    Raises:
        ConfigError: Saying what would be one.
    """
    name: Any = getattr(detector, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)) or name == USER:
        kind = detector if isinstance(detector, type) else type(detector)
        raise ConfigError(
            f"The detector {kind.__name__} has the name {name!r}; give it one of lower-case letters, digits and _, and "
            f"not {USER!r}."
        )
