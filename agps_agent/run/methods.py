"""A training method: an algorithm and a helper, freely combined. Six combinations have a name."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rl.config import GuidedConfig
from rl.errors import ConfigError
from rl.nearest import did_you_mean
from rl.registry import Registry
from rl.supervisor import Supervisor
from rl.traits import ALGORITHMS, TRAITS, StoreGuided, Traits

if TYPE_CHECKING:  # loads torch; a command line is read without
    from rl.algorithm import GuidedAlgorithm

OFFLINE = "offline"
"""In place of a helper's name: nobody helps, as there are no rollouts."""


@dataclass(frozen=True, kw_only=True)
class Helper:
    """Somebody who watches the rollouts."""

    build: Callable[..., Supervisor]
    """Makes it from the run's configuration, its directory, the environment, and who agrees to waypoints (`confirm`);
    refuses an environment that lacks what it needs."""
    store_guided: StoreGuided = "success"
    """Where steps go that it guided, if the run does not say."""


HELPERS: Registry[Helper] = Registry("agps.helpers", "helper")
"""Who may watch, by the name that the command line calls it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training does: which algorithm learns, and who helps it."""

    algorithm: str
    """What learns: a registered name, `package.module:Name` or `./file.py:Name`."""
    helper: str = "nobody"
    """Who watches the rollouts: a registered name, or the like."""
    offline: bool = False
    """Only the first stage, on demonstrations: there are no rollouts."""

    @property
    def method(self) -> str:
        """The name of the combination: a short form if it has one, else ALGORITHM+HELPER."""
        short = next((name for name, plan in METHODS.items() if plan == self), None)
        return short or f"{self.algorithm}+{OFFLINE if self.offline else self.helper}"

    @property
    def learner(self) -> "type[GuidedAlgorithm]":
        """The algorithm's class.

        Raises:
            ConfigError: If there is none of this name, or it is no algorithm.
        """
        from rl.algorithm import GuidedAlgorithm

        learner: Any = ALGORITHMS.load(self.algorithm)
        if not (isinstance(learner, type) and issubclass(learner, GuidedAlgorithm)):
            raise ConfigError(
                f"{self.algorithm} is no algorithm: derive a class from rl.algorithm.GuidedAlgorithm (docs/extend)."
            )
        config: Any = getattr(learner, "config_class", None)
        if not (isinstance(config, type) and issubclass(config, GuidedConfig)):
            raise ConfigError(
                f"{self.algorithm} has no config_class: name a frozen dataclass that derives from "
                "rl.config.GuidedConfig, with a default for every field."
            )
        name = getattr(learner, "name", None)
        if not isinstance(name, str) or (name in ALGORITHMS and ALGORITHMS.load(name) is not learner):
            raise ConfigError(
                f"{self.algorithm} calls itself {name!r}; give the class a `name` that no other algorithm has, as "
                "checkpoints go by it."
            )
        return learner

    @property
    def traits(self) -> Traits:
        """What is known of the algorithm without loading it, if its package says so; else what its class says.

        Raises:
            ConfigError: If there is none of this name, or it is no algorithm.
        """
        if self.algorithm in TRAITS:
            return TRAITS.load(self.algorithm)
        learner = self.learner
        return Traits(
            config_class=learner.config_class,
            pretrains=learner.pretrains,
            needs_demonstrations=learner.needs_demonstrations,
        )

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            ConfigError: Saying what could be.
        """
        helper: Any = HELPERS.load(self.helper)
        if not isinstance(helper, Helper):
            raise ConfigError(f"{self.helper} is no helper: it must be an agps_agent.run.methods.Helper.")
        if not self.traits.pretrains and self.offline:
            raise ConfigError(f"{self.algorithm} does not learn from demonstrations alone; leave out --offline.")
        if self.offline and self.helper != "nobody":
            raise ConfigError(f"--offline has no rollouts that the {self.helper} could watch; use --helper nobody.")


METHODS: dict[str, Plan] = {
    "agps": Plan(algorithm="drq", helper="agent"),
    "serl": Plan(algorithm="drq"),
    "hil-serl": Plan(algorithm="drq", helper="human"),
    "conrft": Plan(algorithm="conrft", offline=True),
    "agps-conrft": Plan(algorithm="conrft", helper="agent"),
    "hil-conrft": Plan(algorithm="conrft", helper="human"),
}
"""Short forms."""


def plan_of(method: str) -> Plan:
    """Return what a method does: a short form, ALGORITHM+HELPER, or ALGORITHM+offline.

    Raises:
        ConfigError: If it is neither.
    """
    if method in METHODS:
        return METHODS[method]
    algorithm, plus, helper = method.rpartition("+")
    if not plus:
        raise ConfigError(
            f"There is no method {method!r}; use {', '.join(METHODS)}, or ALGORITHM+HELPER such as drq+human."
            f"{did_you_mean(method, METHODS)}"
        )
    return Plan(algorithm=algorithm, offline=True) if helper == OFFLINE else Plan(algorithm=algorithm, helper=helper)


ALONE = "agent alone"
"""What stands in place of a method in the summary of a run in which only the agent acted."""


def shown(method: str) -> str:
    """Return a method as a report writes it: short forms are acronyms, of others only the names."""
    if method in METHODS:
        return method.upper()
    algorithm, plus, helper = method.rpartition("+")
    return f"{re.split(r'[:/]', algorithm)[-1]}{plus}{helper}"


def combine(
    method: str | None, algorithm: str | None, helper: str | None, offline: bool | None, *, default: str
) -> Plan:
    """Return the plan that a method, an algorithm and a helper name together; None for what is not said.

    Args:
        method: Short form or ALGORITHM+HELPER.
        algorithm: What learns.
        helper: Who helps.
        offline: Whether there are no rollouts.
        default: Method whose algorithm and helper are meant where none is named.

    Raises:
        ConfigError: If they contradict each other, or cannot be done.
    """
    start = _anywhere(plan_of(default if method is None else method))
    given = _anywhere(Plan(algorithm=algorithm or start.algorithm, helper=helper or start.helper))
    said: dict[str, Any] = {} if algorithm is None else {"algorithm": given.algorithm}
    said |= {} if helper is None else {"helper": given.helper}
    said |= {} if offline is None else {"offline": offline}
    if method is None and said:
        start = replace(start, offline=False)
    plan = replace(start, **said)
    for name, value in said.items():
        if method is not None and value != getattr(start, name):
            raise ConfigError(
                f"--method {method} is --algorithm {start.algorithm} --helper {start.helper}"
                f"{' --offline' if start.offline else ''}, not {name} {value}; name the method, or the other two."
            )
    plan.check()
    return plan


def _anywhere(plan: Plan) -> Plan:
    """Return a plan whose names hold in every working directory."""
    return replace(plan, algorithm=ALGORITHMS.reference(plan.algorithm), helper=HELPERS.reference(plan.helper))
