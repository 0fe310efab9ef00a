"""`agps eval RUN_DIR`: how good the policy of a run is alone. `agps eval --agent-alone TASK`: the agent without one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from agps_agent.cli.arm_options import Speed
from agps_agent.cli.options import UsageError, check_vlm, json_only_on_stdout, parse_options
from agps_agent.cli.tasks import TaskOptions, check_task, parse_for_task
from agps_agent.cli.terminal import say
from agps_agent.measure.conditions import Conditions
from agps_agent.run.directory import RunDirectory
from agps_agent.settings import AgentSettings
from rl.bounds import Count, Positive, Seed, Threads
from rl.counting import counted
from rl.errors import ConfigError
from rl.evaluation import FINAL_SEED, Acting, EvaluationResult

if TYPE_CHECKING:
    from agps_agent.run.config import RunConfig

PROG = "agps eval"
AGENT_ALONE = "--agent-alone"
COMMON_ALONE = ("task", "episodes", "seed", "vlm", "vlm_model", "max_questions", "horizon_factor", "out", "json")
"""What `agps eval --agent-alone --help` shows."""


@dataclass(frozen=True)
class EvalOptions:
    """Evaluate the policy of a run alone: no agent, no box, starts that training never saw.

    In simulation under other conditions, too: `agps eval RUN --start-scale 1.5 --push-mm 20 --friction 0.5`.

    `agps eval --agent-alone TASK` evaluates the agent without a policy; `agps eval --agent-alone --help` says how.
    """

    run_dir: tyro.conf.Positional[Path]
    """Run directory."""
    episodes: Count | None = None
    """Episodes. None: 50, or 10 on a robot."""
    seed: Seed = FINAL_SEED
    """Seed of the first start; episode k starts from seed + k. The default repeats the final evaluation of training."""
    station: Path | None = None
    """Run on a robot: its station file. It is asked for again, as the arm will move. A policy that was trained in
    simulation acts on the arm."""
    robot_ip: str | None = None
    """Run on a robot: address of the arm in place of the station's."""
    speed: Speed | None = None
    """Run on a robot: longest control step over the task's. None: as in training."""
    checkpoint: str | None = None
    """Checkpoint of the run, such as `pretrained`: after stage 1. None: the newest."""
    threads: Threads = 1
    """Torch threads; 0: one per physical core."""
    device: str = "auto"
    """Where the policy computes: auto, cpu, cuda or cuda:N, whatever it was trained on."""
    acting: Acting | None = None
    """How the policy acts: its mean; its mean, but what it draws where the arm gets nowhere (unstuck); or what it draws
    (sampled). None: as the run was evaluated; one of a simulated run on an arm as runs there are, unstuck."""
    conditions: Annotated[Conditions, tyro.conf.arg(name="")] = field(default_factory=Conditions)
    """What differs from training."""
    experiment: str | None = None
    """Measure the run as this experiment declares it, such as fig4a or FILE.toml. What is in --out is kept."""
    out: Path | None = None
    """Folder for what --experiment measures. None: measured/NAME in the run directory."""
    json: bool = False
    """Print one JSON object on stdout."""


@dataclass(frozen=True)
class AgentAloneOptions:
    """Evaluate the agent without a learned policy: its waypoints are all that acts; failures are counted by kind."""

    task: tyro.conf.Positional[str]
    """Task."""
    episodes: Count = 50
    """Episodes."""
    seed: Seed = FINAL_SEED
    """Seed of the first start; episode k starts from seed + k."""
    vlm: str = "embedded"
    """Chat model: `embedded` works offline, `embedded,point-error-px=3` errs as a VLM does; else the base URL of an
    OpenAI-compatible server."""
    vlm_model: str | None = None
    """Model name at that server. None: the first that it lists."""
    max_questions: Count = 4
    """Questions per episode: the agent is asked again when its waypoints are over and the task is not done."""
    horizon_factor: Positive = 1.0
    """Time for an episode, over the task's own."""
    json: bool = False
    """Print one JSON object on stdout."""
    out: Path | None = None
    """Write what came of it into this folder, as a run's directory has it: config.json and summary.json."""
    threads: Threads = 1
    """Torch threads; 0: one per physical core."""
    agent: Annotated[AgentSettings, tyro.conf.arg(name="agent")] = field(default_factory=AgentSettings)
    """Limits of a question."""
    task_options: TaskOptions = field(default_factory=dict)
    """What to change about the task."""

    @property
    def config(self) -> "RunConfig":
        """The same as settings of a run that learns nothing."""
        from agps_agent.run.config import RunConfig

        return RunConfig(
            task=self.task,
            seed=self.seed,
            demos=0,
            eval_episodes=self.episodes,
            vlm=self.vlm,
            vlm_model=self.vlm_model,
            agent=self.agent,
            task_options=self.task_options,
        )


def run(argv: Sequence[str]) -> int:
    """Run `agps eval`."""
    if AGENT_ALONE in argv:
        return _evaluate_agent(argv)
    return _evaluate_policy(argv)


def _evaluate_policy(argv: Sequence[str]) -> int:
    options = parse_options(EvalOptions, argv, prog=PROG)
    if options.experiment is not None:
        return _measure(options, options.experiment)
    if options.out is not None:
        raise UsageError(f"--out {options.out} is for --experiment NAME; name one, or leave it out.")
    directory = RunDirectory.open(options.run_dir)
    from agps_agent.measure.evaluating import env_under
    from agps_agent.run.build import load_policy
    from agps_agent.run.config_file import load_config
    from agps_agent.run.place import place_of
    from rl.devices import choose_device, in_words
    from rl.evaluation import evaluate
    from rl.process import prepare_process

    saved = load_config(directory)
    place = place_of(saved.robot)
    config = place.relocated(saved, station=options.station, robot_ip=options.robot_ip, speed=options.speed)
    episodes = options.episodes or place_of(config.robot).eval_episodes
    acting = options.acting or config.eval_acting
    prepare_process(options.threads)
    device = choose_device(options.device)
    with json_only_on_stdout(options.json) as show:
        policy = load_policy(directory, options.checkpoint, device=options.device)
        if not options.json:
            print(f"Device: {in_words(device)}.")
        with env_under(options.conditions, config) as env:
            result = evaluate(policy, env, episodes=episodes, seed=options.seed, acting=acting)
        about = {"run_dir": str(directory.path), "task": config.task_name, "method": config.method}
        numbers = {
            "acting": acting,
            "conditions": options.conditions.values,
            **_numbers(result, options.seed),
        }
        show({**about, "env_steps": policy.num_timesteps, **numbers})
    if not options.json:
        earned = "" if config.env is None else f", mean return {result.mean_return:.4g}"
        steps = f"{policy.num_timesteps} environment steps of training"
        under = options.conditions.in_words()
        what = f"{config.task_name}{'' if acting == 'mean' else f', {acting}'}{f', {under}' if under else ''}"
        print(f"{_in_words(result)}{earned}; {what}, {steps}.")
    return 0


def _measure(options: EvalOptions, name: str) -> int:
    """Measure a run as an experiment declares it."""
    from agps_agent.measure.experiments.library import load_measurement
    from agps_agent.measure.experiments.measuring import measure
    from agps_agent.measure.experiments.planning import is_finished
    from rl.process import prepare_process

    declared = load_measurement(name)
    directory = RunDirectory.open(options.run_dir)
    own = ("episodes", "station", "robot_ip", "speed", "checkpoint", "acting")
    given = [flag for flag in own if getattr(options, flag) is not None]
    given += ["seed"] if options.seed != FINAL_SEED else []
    if given or options.conditions.values:
        flag = (given or list(options.conditions.values))[0].replace("_", "-")
        raise UsageError(f"--{flag} and --experiment {name} both say what is measured; leave one of them out.")
    if not is_finished(directory.path):
        raise ConfigError(f"The run in {directory.path} is not finished; `agps train --resume` goes on with it.")
    prepare_process(options.threads)
    folder = options.out or directory.path / "measured" / declared.name
    with json_only_on_stdout(options.json) as show:
        tell = (
            (lambda file, words: None) if options.json else (lambda file, words: print(f"{file}: {words}", flush=True))
        )
        count = measure(directory, declared, folder, device=options.device, tell=tell)
        show({"run_dir": str(directory.path), "experiment": declared.name, "measured": count, "folder": str(folder)})
    if not options.json:
        print(f"{count} measurements made; all of {declared.name} are in {folder}.")
    return 0


def read_alone(argv: Sequence[str]) -> "RunConfig":
    """Return the settings of an experiment's cell in which the agent acts alone.

    Raises:
        ConfigError: As the command would refuse them, or if they ask for what a run's settings do not hold.
    """
    options = _parse_alone(argv)
    for name in ("max_questions", "horizon_factor"):
        if getattr(options, name) != getattr(AgentAloneOptions, name):
            raise ConfigError(f"--{name.replace('_', '-')} cannot be set in a cell: no result keeps it; leave it out.")
    return options.config


def _parse_alone(argv: Sequence[str]) -> AgentAloneOptions:
    told = [argument for argument in argv if argument != AGENT_ALONE]
    options = parse_for_task(AgentAloneOptions, told, prog=f"{PROG} {AGENT_ALONE}", common=COMMON_ALONE)
    check_task(options.task)
    check_vlm(options.vlm, model=options.vlm_model)
    return options


def _evaluate_agent(argv: Sequence[str]) -> int:
    options = _parse_alone(argv)
    task = check_task(options.task)
    from agps_agent.measure.agent_alone import keeping, run_agent_alone
    from rl.process import prepare_process

    prepare_process(options.threads)
    config = options.config
    with json_only_on_stdout(options.json) as show, keeping(options.out, config) as keep:
        result = run_agent_alone(
            config,
            episodes=options.episodes,
            seed=options.seed,
            max_questions=options.max_questions,
            horizon_factor=options.horizon_factor,
            progress=_Tally(options.episodes),
        )
        keep(result)
        asked = {"questions": result.questions, "model_calls": result.model_calls}
        numbers = {**_numbers(result, options.seed), **asked, "failure_modes": dict(result.failure_modes)}
        show({"task": task.name, "vlm": options.vlm, **numbers})
    if not options.json:
        modes = ", ".join(f"{count} {mode.replace('_', ' ')}" for mode, count in result.failure_modes.items())
        failed = f" Failures: {modes}." if modes else ""
        print(
            f"The agent alone: {_in_words(result)}; {counted(result.questions, 'question')}, "
            f"{counted(result.model_calls, 'model call')}; "
            f"{task.name}, no learned policy.{failed}"
        )
    return 0


class _Tally:
    """Says on stderr how far an evaluation is, every tenth episode."""

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._successes = 0

    def __call__(self, number: int, success: bool) -> None:  # noqa: FBT001  # the caller's signature
        self._successes += success
        if (number + 1) % 10 == 0:
            say(f"{number + 1}/{self._episodes} episodes, {self._successes} succeeded")


def _numbers(result: EvaluationResult, seed: int) -> Mapping[str, Any]:
    return {
        "eval_episodes": result.episodes,
        "seed": seed,
        "successes": result.success_count,
        "success_rate": result.success_rate,
        "interval_95": list(result.interval_95),
        "mean_steps": result.mean_steps,
        **({"mean_return": result.mean_return} if result.returns else {}),
        "failed_seeds": [seed + n for n, success in enumerate(result.successes) if not success],
    }


def _in_words(result: EvaluationResult) -> str:
    low, high = result.interval_95
    return (
        f"{result.success_count} of {result.episodes} episodes succeed ({result.success_rate:.0%}, "
        f"95 % interval {low:.0%} to {high:.0%}), {result.mean_steps:.1f} steps on average"
    )
