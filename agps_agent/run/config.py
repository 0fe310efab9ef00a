"""Everything that a run can be told: documented here, reachable from the command line, saved as config.json."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tyro
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agps_agent.detectors import DETECTORS, ENCODERS, FloatConfig, StallConfig
from agps_agent.detectors.base import load_detector
from agps_agent.models.library import check_model, model_reference
from agps_agent.run.address import EXAMPLE, is_address
from agps_agent.run.directory import default_classifier, folder_name
from agps_agent.run.environment import FOREIGN, arguments_of
from agps_agent.run.field_options import check_options, field_values, made
from agps_agent.run.methods import HELPERS, Plan, combine
from agps_agent.run.place import check_robot, named_at, place_of
from agps_agent.run.simulation import SIMULATION
from agps_agent.settings import AgentSettings, SupervisorConfig
from rl.bounds import Seed, Threads
from rl.changes import changed, differences, preset
from rl.config import GuidedConfig
from rl.demonstrations import recorded_count
from rl.drq.config import DrQConfig
from rl.envs.options import AdapterOptions, env_reference, short_name
from rl.errors import ConfigError
from rl.evaluation import Acting
from rl.guidance import GuidanceConfig
from rl.human import SimulatedHumanConfig
from rl.rewards.base import REWARDS, OwnReward, load_reward
from rl.tasks.base import Recipe, Task
from rl.tasks.expert import has_expert
from rl.tasks.registry import TASKS, get_task, load_task
from rl.traits import ALGORITHMS

Robot = Annotated[str, AfterValidator(check_robot)]
"""Where a run takes place: `agps_agent.run.place`."""


OWN_SETTINGS = ("float", "stall")
"""Detectors whose settings are fields of the run."""


class MayChange:
    """Marks a setting that a resumed run may be given anew: budgets, what is shown and kept, and where things are.

    All others make a run what it is.
    """


class RunConfig(BaseModel):
    """Train a policy on TASK with the agent in place of the human.

    What is not given comes from the task's recipe: method, demonstrations, budgets and learner settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: tyro.conf.Positional[str]
    """Task to learn: a name that `agps tasks` lists, package.module:Name or ./file.py:Name."""
    env: str | None = None
    """Learn in somebody else's Gymnasium environment in place of a TASK. It is named by an id, package.module:id,
    package.module:Name or ./file.py:Name."""
    env_options: AdapterOptions = AdapterOptions()
    """How that environment is read."""
    env_arguments: str = "{}"
    """What that environment is made with: a JSON object."""
    env_prompt: Path | None = None
    """What the agent is told about that environment's task: a file as prompts/tasks/ has them."""
    method: str = "agps"
    """agps, serl, hil-serl, conrft, agps-conrft, hil-conrft or ALGORITHM+HELPER. Short for --algorithm and --helper:
    DrQ with the agent (agps), alone (serl) or with a human (hil-serl); ConRFT on demonstrations alone (conrft), then
    with the agent (agps-conrft) or a human (hil-conrft)."""
    algorithm: str = "drq"
    """What learns: drq, conrft, an installed package's, package.module:Name or ./file.py:Name."""
    helper: str = "agent"
    """Who watches the rollouts: agent, human or nobody."""
    offline: bool = False
    """Only the first stage, on demonstrations alone, for an algorithm that has one: no rollouts, nobody helps."""
    robot: Robot = "sim"
    """Where the task runs: sim is MuJoCo, station is the arm that --station names. That arm may be real or emulated;
    its own name, e.g. franka, says the same."""
    station: Annotated[Path, MayChange] = Path("station.toml")
    """Robot: file that describes arm, workspace and cameras."""
    robot_ip: Annotated[str | None, MayChange] = None
    """Robot: address of the arm in place of the station's."""
    speed: Annotated[float, Field(gt=0, le=1), MayChange] = 1.0
    """Robot: longest control step over the task's; start with 0.2."""
    confirm: Annotated[bool, MayChange] = False
    """Robot: ask in the terminal before each waypoint of the agent. On by default for the first runs of a station."""
    teleop: Annotated[Literal["spacemouse", "gamepad", "simulated"], MayChange] = "spacemouse"
    """Robot: device of the human of hil-serl and hil-conrft. simulated needs an emulator, which knows the truth."""
    robots: Annotated[int | None, Field(ge=1, le=64), MayChange] = None
    """Simulated robots that learn one policy (docs/fleet.md). All are on this machine. None: one, without Ray."""
    fleet: Annotated[Path | None, MayChange] = None
    """File with one entry per robot that learns the policy: simulated ones and stations (docs/fleet.md)."""
    ray: Annotated[str | None, MayChange] = None
    """Fleet: address of a running Ray cluster, HOST:PORT. None: one is started on this machine, and ended with the
    run."""
    pace: Annotated[float | None, Field(gt=0, le=1_000), MayChange] = None
    """Control steps per second that a simulated robot keeps, [Hz], such as 10 for real time. None: as fast as it
    can."""
    when_behind: Annotated[Literal["continue", "hold"] | None, MayChange] = None
    """One arm, or a fleet: what a robot does before a rollout while the learner beside it owes more updates than ten
    steps allow, or does not answer. None: hold, so that each step is learned from; the arms of a fleet, and robots with
    --pace, continue."""
    vlm: Annotated[str, MayChange] = "embedded"
    """Chat model: `embedded` works offline; else the base URL of an OpenAI-compatible server. The model
    `embedded,point-error-px=3,miss-share=0.05` is as wrong as a VLM; package.module:Name or ./file.py:Name is one of
    your own."""
    vlm_model: Annotated[str | None, MayChange] = None
    """Model name at that server. Its coordinate frame is taken from the name. None: the first that the server lists."""
    vlm_price_in: Annotated[float | None, Field(ge=0), MayChange] = None
    """What a million tokens of prompts cost there, [USD]. None: as that server's price list says, where one is known
    (docs/vlm.md)."""
    vlm_price_out: Annotated[float | None, Field(ge=0), MayChange] = None
    """What a million tokens of replies cost there, [USD]. None: as that list says; where none is known, 0 if the
    other is given."""
    memory: str | None = None
    """What the agent remembers. None: in the run directory, for this run. A folder: beyond the run, one run at a time.
    The URL of a Chroma server, e.g. http://127.0.0.1:8001: shared by several robots."""
    agent_demos: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Demonstrations that the agent gives. It guides the first rollouts from their first step until so many have
    succeeded, or twice as many and five were tried; these control steps count. In a scene that is seen to move from
    rollout to rollout it gives three times as many. From the recipe: what --demos leaves missing, and 0 with
    --mode prune; they are waypoints always. `agps demos record --by agent` records some for methods without it."""
    demo_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise of each translation in the agent's demonstrations, over its length: they then show how to come back to the
    way, and what was meant is learned (DART). From the recipe."""
    demos: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Demonstrations, recorded by the scripted expert (paper: 20, towel 40). Robot: 0 by default."""
    demos_dir: Path | None = None
    """Take demonstrations from this folder, which `agps demos record` wrote. All of them if --demos is not given."""
    seed: Seed = 0
    """Seed of everything random; in lockstep it fixes the whole run."""
    max_env_steps: Annotated[int, Field(ge=1), MayChange] = 10_000
    """Budget of control steps."""
    max_minutes: Annotated[float, Field(gt=0), MayChange] = 240.0
    """Limit on wall-clock training time, [min]. Pre-training counts; it is against a machine that hangs, no budget."""
    pretrain_steps: Annotated[int, Field(ge=0), MayChange] = 4_000
    """Updates on demonstrations, the agent's included, before the policy acts: ConRFT's first stage (paper: 48,000), or
    a warm-up, three times as long where the scene is seen to move."""
    run_dir: Annotated[Path | None, MayChange] = None
    """Where everything is written. None: runs/TASK/METHOD-demosN-seedN."""
    preset: str = "tuned"
    """Learner settings to start from: what measures best on two cores (tuned), or DrQ with HIL-SERL's literal ones
    (hil-serl)."""
    image_size: Literal[64, 128, 256] = 64
    """Edge of the policy's images, [px]."""
    mode: Literal["auto", "prune", "guide"] = "auto"
    """Intervention to ask for: what the agent decides, always a box, or always waypoints."""
    on_trigger: Literal["hold", "continue"] = "hold"
    """What the arm does while the agent thinks: hold still (the paper), or continue with the policy and take the answer
    when it comes. It holds in any case where the agent shows how it is done: nothing else acts there."""
    store_guided: Literal["online", "both", "success"] = "success"
    """Buffer of guided steps: online (Algorithm 1), both (HIL-SERL), success (the demo buffer too
    if the episode succeeds). From the helper: both where a human helps, else success."""
    reward: str = "truth"
    """What training is rewarded by: truth, classifier, keys, or one of your own. That is the simulator's truth, what
    --reward-model sees (classifier), a reward of an installed package, package.module:Name or ./file.py:Name.
    Evaluation is by truth. Robot: truth only with an emulator; keys are the operator's s (success) and f (fail), which
    override the others."""
    reward_options: tyro.conf.Suppress[Mapping[str, Any]] = {}
    """What to change about the reward: values by option."""
    reward_model: Path | None = None
    """Reward classifier that `agps reward fit` wrote. None: runs/reward/TASK/classifier.pt, or runs/reward/franka-TASK/
    on a robot."""
    eval_every: Annotated[int, Field(ge=0), MayChange] = 1_000
    """Evaluate the policy alone every so many control steps; 0: only at the end."""
    eval_episodes: Annotated[int, Field(ge=1), MayChange] = 50
    """Episodes of the final evaluation: the policy alone, no agent, no box."""
    eval_acting: Acting = "mean"
    """How the policy acts when it is evaluated: its mean; its mean, but what it draws where the arm gets nowhere, which
    friction can hold while the mean repeats one small movement (unstuck; so on a robot); or what it draws (sampled)."""
    curve_episodes: Annotated[int, Field(ge=1), MayChange] = 20
    """Episodes of each evaluation on the way."""
    learner: Literal["lockstep", "overlapped", "threaded"] = "lockstep"
    """lockstep: a fixed number of updates per control step, reproducible. overlapped: the same on a second core, made
    while the next step is taken; reproducible too. threaded: it runs freely beside the loop."""
    threads: Annotated[Threads, MayChange] = 1
    """Torch's and numpy's threads; 0: one per core. Two: a third faster alone, ten times slower beside other work."""

    device: Annotated[str, MayChange] = "auto"
    """Where networks compute: auto, cpu, cuda or cuda:N. Auto is a CUDA GPU if torch sees one."""

    final_policy: Literal["last", "best"] = "last"
    """Policy that a run ends with: the last, or the one with the best evaluation on the way, the later of equals."""
    stop_when_solved: Annotated[bool, MayChange] = True
    """End the training before its steps are done once it is solved. It is when an evaluation is perfect, and then
    --solved-episodes on fresh start states fail at most once in 60. At each evaluation a policy of 90 % ends it with
    0.2 %, one of 95 % with 7 %, one of 99 % with 72 %. Robot: 1.5 %, 13 %, 67 %."""
    solved_episodes: Annotated[int, Field(ge=1), MayChange] = 60
    """Episodes that confirm a perfect evaluation; broken off once too many have failed. Robot: 35, all of which must
    succeed, since each takes the arm's time."""
    checkpoint_every: Annotated[int, Field(ge=0), MayChange] = 1_000
    """Save a checkpoint every so many control steps; 0: only at the end."""
    keep_at: Annotated[tuple[Annotated[int, Field(ge=1)], ...], MayChange] = ()
    """Keep the checkpoint of each of these control steps for good, as checkpoints/step-N; the others are replaced by
    the next."""

    record_every: Annotated[int, Field(ge=0), MayChange] = 10
    """Rollouts from one that is recorded with images to the next; those with an intervention always are. 0: none."""

    wandb: Annotated[str | None, Field(min_length=1), MayChange] = None
    """Send what TensorBoard gets to this project of Weights & Biases too. Needs `pip install 'agps[wandb]'`;
    WANDB_MODE=offline keeps it on this machine."""

    task_options: tyro.conf.Suppress[Mapping[str, Any]] = {}
    """What to change about the task: values by option, in millimetres and degrees."""
    algorithm_options: SerializeAsAny[GuidedConfig] = DrQConfig()
    """The algorithm's own settings; they start from --preset and the task's recipe. Those of an algorithm with a short
    name may go by it, as in --drq.gamma."""
    detectors: tuple[str, ...] = ("float", "stall")
    """Failure detectors that wake the agent: float, stall, those of installed packages, package.module:Name or
    ./file.py:Name. The first of those that fire at one step counts."""
    detector_options: tyro.conf.Suppress[Mapping[str, Mapping[str, Any]]] = {}
    """What to change about other detectors than float and stall: values by detector and option."""
    encoder: str = "thumbnail"
    """What turns images into what detectors and memory compare: thumbnail, dinov2, or one by its name as a detector."""
    detector: Annotated[FloatConfig, tyro.conf.arg(name="float")] = FloatConfig()
    """The failure detector FLOAT."""
    stall: StallConfig = StallConfig()
    """The rule that sees an arm which gets nowhere, or takes too long."""
    supervisor: SupervisorConfig = SupervisorConfig()
    """When a trigger becomes a question to the agent."""
    agent: Annotated[AgentSettings, MayChange] = AgentSettings()
    """Limits of one question."""
    guidance: GuidanceConfig = GuidanceConfig()
    """When a waypoint is reached."""
    human: SimulatedHumanConfig = SimulatedHumanConfig()
    """The simulated human."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_recipe(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        try:
            start = start_values(
                values.get("task"),
                values.get("method"),
                values.get("preset", "tuned"),
                algorithm=values.get("algorithm"),
                helper=values.get("helper"),
                offline=values.get("offline"),
                robot=values.get("robot") or SIMULATION,
                station=values.get("station"),
                # A finished run is read long after its demonstrations were moved: it knows how many there were.
                demos_dir=values.get("demos_dir") if "demos" not in values else None,
                env=values.get("env"),
                is_fleet=values.get("robots") is not None or values.get("fleet") is not None,
                mode=values.get("mode", "auto"),
            )
        except ConfigError as error:
            raise ValueError(str(error)) from error
        # Settings of an algorithm may stand under its name. Earlier versions saved those of all, of which one counts.
        named = {name: value for name, value in values.items() if name in ALGORITHMS and name not in cls.model_fields}
        given = values.get("algorithm_options", named.get(start["algorithm"]))
        if given is not None:
            start["algorithm_options"] = (
                changed(start["algorithm_options"], given) if isinstance(given, Mapping) else given
            )
        decided = (*named, "algorithm_options", "method", "algorithm", "helper", "offline")
        told = {name: value for name, value in values.items() if name not in decided}
        filled = {**start, **told}
        if "agent_demos" not in told and isinstance(filled["demos"], int):
            filled["agent_demos"] = still_missing(start["agent_demos"], filled["demos"])
        return filled

    @model_validator(mode="after")
    def _suits_its_environment(self) -> Self:
        if self.env is None:
            others = AdapterOptions(), "{}", None
            if (self.env_options, self.env_arguments, self.env_prompt) != others:
                raise ValueError("--env-options, --env-arguments and --env-prompt are about --env; name one.")
            return self
        arguments_of(self.env_arguments)
        if self.task != short_name(self.env):
            raise ValueError(f"TASK {self.task} and --env {self.env} are two; leave one of them out.")
        for option, is_other in (
            ("--robot", self.robot != SIMULATION),
            ("--reward", self.reward != "truth"),
            ("--reward-model", self.reward_model is not None),
            ("--helper human", self.helper == "human"),
        ):
            if is_other:
                raise ValueError(f"{option} is for AGPS's own tasks; leave it out with --env.")
        if self.demos > 0 and self.demos_dir is None:
            raise ValueError(
                f"--demos {self.demos}: {self.task} has no scripted expert; name a folder of demonstrations with "
                "--demos-dir (docs/extend/environment.md)."
            )
        return self

    @model_validator(mode="after")
    def _fits_a_fleet(self) -> Self:
        if self.pace is not None and self.robot != SIMULATION:
            raise ValueError("--pace is for simulated robots; an arm keeps its own rate.")
        if not self.is_fleet:
            if self.ray is not None:
                raise ValueError("--ray is where a fleet runs; say --robots N or --fleet FILE with it.")
            if self.when_behind is not None and self.learner != "threaded":
                raise ValueError(
                    "--when-behind is for robots with a learner beside them; say --learner threaded (an arm's is), "
                    "--robots N or --fleet FILE with it."
                )
            return self
        refused = (
            (self.robots is not None and self.fleet is not None, "--robots and --fleet are two ways to say who learns"),
            (self.robot != SIMULATION, "--robot is for one robot; name the stations of several in --fleet FILE"),
            (self.env is not None, "--env is for one environment; fleets learn AGPS's own tasks"),
            (self.offline, "--offline has no rollouts that several robots could collect"),
            (self.learner == "overlapped", "--learner overlapped is for one robot; a fleet's is threaded"),
            (bool(self.keep_at), "--keep-at is for one robot; those of a fleet are never at one step"),
            (self.learner == "lockstep" and self.robots != 1, "--learner lockstep is for --robots 1"),
        )
        if complaint := next((text for is_so, text in refused if is_so), None):
            raise ValueError(f"{complaint}; leave one of them out.")
        return self

    @field_validator("ray")
    @classmethod
    def _is_an_address(cls, ray: str | None) -> str | None:
        if ray is not None and not is_address(ray):
            raise ValueError(EXAMPLE)
        return ray

    @field_validator("algorithm_options")
    @classmethod
    def _are_the_algorithms(cls, options: GuidedConfig, info: ValidationInfo) -> GuidedConfig:
        plan = Plan(algorithm=info.data["algorithm"])
        if not isinstance(options, plan.traits.config_class):
            raise ValueError(f"{plan.algorithm} wants a {plan.traits.config_class.__name__}")
        return options

    @field_validator("env")
    @classmethod
    def _is_found_anywhere(cls, env: str | None) -> str | None:
        with _refusals_as_complaints():
            return None if env is None else env_reference(env)

    @field_validator("task")
    @classmethod
    def _holds_anywhere(cls, task: str) -> str:
        return TASKS.reference(task)

    @field_validator("task_options")
    @classmethod
    def _belong_to_the_task(cls, options: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        task = info.data.get("task")
        if task is None or not options:
            return {}
        if info.data.get("env") is not None:
            raise ValueError("these are for AGPS's own tasks; leave them out with --env")
        kind = load_task(task)
        return check_options(kind, options, flag="task-options", name=kind.name)

    @field_validator("reward")
    @classmethod
    def _is_reward(cls, name: str) -> str:
        with _refusals_as_complaints():
            load_reward(name)
            return REWARDS.reference(name)

    @field_validator("reward_options")
    @classmethod
    def _belong_to_the_reward(cls, options: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if not options or "reward" not in info.data:
            return {}
        with _refusals_as_complaints():
            return _checked(load_reward(info.data["reward"]), options, flag="reward-options")

    @field_validator("detectors")
    @classmethod
    def _are_detectors(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        with _refusals_as_complaints():
            called = [load_detector(name).name for name in names]
        if not names:
            raise ValueError(f"name at least one; there are {', '.join(DETECTORS.names)}")
        if len(set(called)) < len(called):
            raise ValueError(f"name each detector once; these are called {', '.join(called)}")
        return tuple(DETECTORS.reference(name) for name in names)

    @field_validator("detector_options")
    @classmethod
    def _belong_to_detectors(
        cls, options: Mapping[str, Mapping[str, Any]], info: ValidationInfo
    ) -> Mapping[str, Mapping[str, Any]]:
        known = {load_detector(name).name: load_detector(name) for name in info.data.get("detectors", ())}
        for name in options:
            if name not in known or name in OWN_SETTINGS:
                raise ValueError(f"{name} is none of the run's detectors with options of this kind: {', '.join(known)}")
        with _refusals_as_complaints():
            return {
                name: _checked(known[name], given, flag=f"detector-options.{name}") for name, given in options.items()
            }

    @field_validator("encoder")
    @classmethod
    def _is_encoder(cls, name: str) -> str:
        with _refusals_as_complaints():
            ENCODERS.load(name)
            return ENCODERS.reference(name)

    @field_validator("agent_demos")
    @classmethod
    def _are_the_agents(cls, demos: int, info: ValidationInfo) -> int:
        if demos > 0 and info.data.get("helper", "agent") != "agent":
            raise ValueError(
                "the agent demonstrates in runs that it helps, --helper agent; for others record its demonstrations "
                "with `agps demos record --by agent`, and name their folder with --demos-dir"
            )
        return demos

    @field_validator("demos")
    @classmethod
    def _are_enough(cls, demos: int, info: ValidationInfo) -> int:
        algorithm, shown = info.data.get("algorithm"), info.data.get("agent_demos", 0)
        if algorithm is not None and Plan(algorithm=algorithm).traits.needs_demonstrations and demos == 0 and not shown:
            on_a_robot = " (record them with `agps demos record --robot`, and name their folder with --demos-dir)"
            where = place_of(info.data.get("robot", "sim")).choose("", on_a_robot)
            or_shown = ", or of the agent's with --agent-demos" if info.data.get("helper") == "agent" else ""
            raise ValueError(f"{algorithm} learns from demonstrations first, ask for at least 1{or_shown}{where}")
        return demos

    @field_validator("memory")
    @classmethod
    def _is_folder_or_url(cls, memory: str | None) -> str | None:
        if memory == "":
            raise ValueError("name a folder, or the URL of a Chroma server")
        if memory is not None and is_address(memory):
            raise ValueError(f"for a server write http://{memory}, for a folder of that name ./{memory}")
        if memory is None or "://" in memory:
            return memory
        return str(Path(memory).absolute())  # a run is resumed from any folder

    @field_validator("vlm")
    @classmethod
    def _is_a_model(cls, vlm: str) -> str:
        try:
            check_model(vlm)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return model_reference(vlm)

    @property
    def task_name(self) -> str:
        """Name of the task, which folders and the memory have, however the task was found."""
        return self.task if self.env is not None else load_task(self.task).name

    @property
    def task_overrides(self) -> dict[str, Any]:
        """The fields of the task that change, in metres and radians."""
        return field_values(load_task(self.task), self.task_options)

    @property
    def detector_settings(self) -> dict[str, Any]:
        """The settings of each detector, as `detectors` names it; None for one that has none."""
        own: dict[str, Any] = {"float": self.detector, "stall": self.stall}
        settings: dict[str, Any] = {}
        for name in self.detectors:
            kind: Any = load_detector(name)
            config = getattr(kind, "config_class", None)
            given = self.detector_options.get(kind.name, {})
            settings[name] = own.get(name) or (None if config is None else made(config, given))
        return settings

    @property
    def is_fleet(self) -> bool:
        """Whether the policy is learned by robots in processes of their own."""
        return self.robots is not None or self.fleet is not None

    @property
    def holds_when_behind(self) -> bool:
        """Whether a robot waits for the learner beside it between rollouts."""
        if self.when_behind is None:
            return self.pace is None and (self.robot == SIMULATION or not self.is_fleet)
        return self.when_behind == "hold"

    @property
    def plan(self) -> Plan:
        """What the method does."""
        return Plan(algorithm=self.algorithm, helper=self.helper, offline=self.offline)

    @property
    def is_taught(self) -> bool:
        """Whether the agent's plan labels what the policy sees.

        A first stage that has learned from demonstrations of others does it in their way, and the agent does it in its
        own: a label that says otherwise in every state undoes what they taught.
        """
        return self.agent_demos > 0 or not self.plan.traits.pretrains

    @property
    def is_judged(self) -> bool:
        """Whether training is rewarded by something that sees, not by the truth or a person."""
        return not issubclass(load_reward(self.reward), OwnReward)

    @property
    def reward_settings(self) -> Any:
        """The settings of the reward; None where it has none."""
        kind: Any = getattr(load_reward(self.reward), "config_class", None)
        return None if kind is None else made(kind, self.reward_options)

    @property
    def reward_file(self) -> Path | None:
        """What the reward was fitted to, for one that reads a file; None where it is the truth, or a person."""
        if not self.is_judged:
            return None
        return self.reward_model or default_classifier(named_at(self.robot, self.task_name))

    def default_run_dir(self) -> Path:
        """Return where the run is written when --run-dir is not given."""
        run = f"{folder_name(self.method)}-demos{self.demos}-seed{self.seed}"
        return Path("runs") / self.task_name / named_at(self.robot, run)


def still_missing(wanted: int, demos: int) -> int:
    """Return how many demonstrations the agent gives: those that a recipe wants and nobody gave."""
    return max(0, wanted - demos)


def start_values(
    task: str | None,
    method: str | None,
    preset_name: str,
    *,
    algorithm: str | None = None,
    helper: str | None = None,
    offline: bool | None = None,
    robot: str = "sim",
    station: Path | str | None = None,
    demos_dir: Path | str | None = None,
    env: str | None = None,
    is_fleet: bool = False,
    mode: str = "auto",
) -> dict[str, Any]:
    """Return the fields of `RunConfig` that a few others decide where they are not given.

    What is unknown decides nothing here: validation reports it.
    """
    known = None if env is not None else _known(task)
    recipe = FOREIGN if env is not None else Recipe() if known is None else known.recipe
    plan = combine(method, algorithm, helper, offline, default=recipe.method)
    values: dict[str, Any] = {
        "method": plan.method,
        "algorithm": plan.algorithm,
        "helper": plan.helper,
        "offline": plan.offline,
        "algorithm_options": learner_settings(plan, preset_name, recipe),
        "store_guided": HELPERS.load(plan.helper).store_guided,
        "demos": recipe.demos,
        # Help by boxes alone moves no arm to its goal: who asks for that wants no waypoints, unless they say so.
        "agent_demos": recipe.agent_demos if plan.helper == "agent" and mode != "prune" else 0,
        "demo_noise": recipe.demo_noise,
        "max_env_steps": recipe.max_env_steps,
        "max_minutes": recipe.max_minutes,
        "pretrain_steps": recipe.pretrain_steps if plan.traits.pretrains else recipe.warm_up_updates,
        "eval_every": recipe.eval_every,
        "final_policy": recipe.final_policy,
    }
    if env is not None:
        values["task"] = short_name(env)
    values |= place_of(robot).start_values(known, Path(station or "station.toml"))
    if is_fleet:
        values["learner"] = "threaded"
    if known is not None and not has_expert(known):
        values["demos"] = 0
    if demos_dir is not None:
        values["demos"] = recorded_count(Path(demos_dir))
    return values


def learner_settings(plan: Plan, preset_name: str, recipe: Recipe) -> GuidedConfig:
    """Return what an algorithm starts from: a preset, with what the task's recipe changes about this algorithm.

    Raises:
        ConfigError: If the algorithm has no such preset.
    """
    kind = plan.traits.config_class
    told = next((config for base in kind.__mro__ for config in recipe.learners if type(config) is base), None)
    return preset(kind, preset_name, {} if told is None else differences(told))


def _known(task: str | None) -> Task | None:
    """Return a task; None where there is none: whoever needs it says so."""
    try:
        return None if task is None else get_task(task)
    except ConfigError:
        return None


@contextlib.contextmanager
def _refusals_as_complaints() -> Iterator[None]:
    """Let pydantic name the field of what is refused inside."""
    try:
        yield
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _checked(kind: Any, options: Mapping[str, Any], *, flag: str) -> dict[str, Any]:
    """Return the options of a detector or a reward, checked.

    Raises:
        ConfigError: If it has none of these, or a value is out of bounds.
    """
    config = getattr(kind, "config_class", None)
    if config is None:
        raise ConfigError(f"--{flag}: {kind.__name__} has no options.")
    return check_options(config, options, flag=flag, name=kind.__name__)


def check_fits(config: RunConfig) -> None:
    """Refuse what the task cannot do, before anything is made.

    Raises:
        ConfigError: If it has no scene to simulate, nobody can demonstrate it or help as asked for, or the agent has
            no words for it.
    """
    task = get_task(config.task, **config.task_overrides)
    place_of(config.robot).check_fits(config, task)
    if config.helper == "agent":
        from prompts.loader import load_task_prompt

        load_task_prompt(config.task)
