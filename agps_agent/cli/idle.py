"""Options that a run does not listen to: of a helper, a robot, a reward or a model that it does not have."""

from collections.abc import Sequence

from agps_agent.cli.options import UsageError, check_served
from agps_agent.run.acting import OF_A_ROBOT, OF_THE_AGENT, idle
from agps_agent.run.config import RunConfig
from agps_agent.run.methods import Plan


def refuse_without_effect(argv: Sequence[str], config: RunConfig) -> None:
    """Refuse an option for a helper, a robot, a reward or a model that the run does not have: it would do nothing.

    Raises:
        UsageError: With the first one.
    """
    without_effect = idle(config.model_dump())
    for flag in (argument.partition("=")[0] for argument in argv if argument.startswith("--")):
        name = flag.partition(".")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        name = {"float": "detector"}.get(name, name)
        wanted = _wanted_by(name, config) if name in without_effect else None
        if wanted is not None:
            raise UsageError(f"{flag} is for {wanted}, or leave it out.")
        if name == "vlm_model":
            check_served(config.vlm_model, [config.vlm])


_WHATEVER_HELPS = {
    "pretrain_steps": "runs with demonstrations, and this one has none; give --demos or --agent-demos a number",
    "final_policy": "runs that are evaluated on the way, and this one is not; give --eval-every a number",
    "curve_episodes": "runs that are evaluated on the way, and this one is not; give --eval-every a number",
    "solved_episodes": "runs that end when they are solved, and this one does not; take --stop-when-solved",
}
"""What settings are for that have nothing to do with who helps."""


def _wanted_by(name: str, config: RunConfig) -> str | None:
    """Return what an option that does nothing in a run is for; None where it may stand all the same."""
    if config.env is not None and name in (*OF_A_ROBOT, "human", "teleop"):
        return "AGPS's own tasks, and --env names somebody else's environment; name a TASK in its place"
    if name in OF_A_ROBOT:
        return "a run on a robot, and this one is simulated; add --robot station"
    if name == "reward_model" and not config.is_judged:
        return f"--reward classifier, not --reward {config.reward}; name that"
    if name in OF_THE_AGENT and name != "agent_demos" and config.helper in ("nobody", "human"):
        return _for_runs_with("agent", config)
    if name == "demo_noise" and config.helper == "agent":
        return "the agent's demonstrations, and this run has none; give --agent-demos a number"
    if name == "guidance" and config.helper == "nobody":
        return _for_runs_with("agent", config)
    if name in ("human", "teleop") and config.helper in ("nobody", "agent"):
        return _for_runs_with("human", config)
    return _WHATEVER_HELPS.get(name)


def _for_runs_with(helper: str, config: RunConfig) -> str:
    """Return that an option is for runs with another helper than this one has, and how such a run is called."""
    has = "nobody helps" if config.helper == "nobody" else f"the {config.helper} helps"
    other = Plan(algorithm=config.algorithm, helper=helper).method
    return f"runs that the {helper} helps, and with --method {config.method} {has}; take --method {other}"
