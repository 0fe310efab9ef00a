"""Which settings act in a run: those of a helper, a robot or a reward that it does not have do nothing."""

from collections.abc import Callable, Mapping
from typing import Any

from agps_agent.run.methods import METHODS

Settings = Mapping[str, Any]


def helper_of(config: Settings) -> str:
    """Return who helps; in runs of earlier versions their method says it, and the agent where that is unknown."""
    early = next((plan.helper for name, plan in METHODS.items() if name == config.get("method")), "agent")
    return str(config.get("helper", early))


def idle(config: Settings) -> set[str]:
    """Return the names of settings that do nothing in a run.

    Args:
        config: Its settings, as config.json of any version has them.
    """
    return {name for name, acts in _ACTS.items() if not acts(config)}


def _has_agent(config: Settings) -> bool:
    return helper_of(config) == "agent"


def _has_human(config: Settings) -> bool:
    return helper_of(config) == "human"


def _is_real(config: Settings) -> bool:
    return bool(config.get("robot", "sim") != "sim")


def _is_foreign(config: Settings) -> bool:
    return bool(config.get("env"))


OF_THE_AGENT = (
    *("vlm", "vlm_model", "vlm_price_in", "vlm_price_out", "memory", "agent_demos", "demo_noise"),
    *("agent", "mode", "on_trigger"),
    *("detectors", "detector", "detector_options", "encoder", "stall", "supervisor"),
)
"""Settings of runs that the agent helps."""
OF_A_ROBOT = ("station", "robot_ip", "speed", "confirm")
"""Settings of runs on an arm."""

_ACTS: dict[str, Callable[[Settings], bool]] = {
    **dict.fromkeys(OF_THE_AGENT, _has_agent),
    "demo_noise": lambda config: _has_agent(config) and config.get("agent_demos", 0) > 0,
    "guidance": lambda config: _has_agent(config) or _has_human(config),
    "human": lambda config: _has_human(config) and not _is_real(config),
    "teleop": lambda config: _has_human(config) and _is_real(config),
    **dict.fromkeys(OF_A_ROBOT, _is_real),
    **dict.fromkeys(("env", "env_options", "env_arguments", "env_prompt"), _is_foreign),
    "reward_model": lambda config: config.get("reward") == "classifier",
    "pretrain_steps": lambda config: bool(config.get("demos", 1) or (_has_agent(config) and config.get("agent_demos"))),
    "final_policy": lambda config: config.get("final_policy") != "best" or config.get("eval_every", 1) > 0,
    "curve_episodes": lambda config: config.get("eval_every", 1) > 0,
    "solved_episodes": lambda config: config.get("stop_when_solved", True),
}
"""When a setting acts; one that is not named always does."""
