"""The only file that builds and wires objects from a configuration. Everybody else is handed what they need."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stable_baselines3.common.vec_env import DummyVecEnv

from agps_agent.ask import Answer, ask
from agps_agent.detectors import Encoder, FailureDetector, make_detector, make_encoder
from agps_agent.graph import Graph, build_graph
from agps_agent.models.library import is_url, open_model
from agps_agent.models.openai_compat import OpenAICompatConfig, open_chat_model
from agps_agent.models.prices import Price, price_of
from agps_agent.run.adviser import Adviser, ChatModel, OwnAdviser
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config
from agps_agent.run.confirm import Confirm
from agps_agent.run.directory import RunDirectory
from agps_agent.run.hardware import check_demonstrations
from agps_agent.run.helpers import AGENT as AGENT  # an editable installation from before looks for them here
from agps_agent.run.helpers import HUMAN as HUMAN
from agps_agent.run.helpers import NOBODY as NOBODY
from agps_agent.run.methods import HELPERS
from agps_agent.run.mirror import WandbWriter, open_mirror
from agps_agent.run.place import Place, place_of
from agps_agent.run.recording import Recorder
from agps_agent.run.site import TrainingEnv
from agps_agent.settings import AgentSettings, check_patience
from agps_agent.state import AgentContext, ModeRequest
from agps_agent.supervisor import AgentSupervisor
from agps_agent.teaching import PlanTeacher
from agps_agent.toolbox import Toolbox
from agps_agent.tracing.client import tracers
from agps_agent.tracing.truth import Truths
from prompts.loader import TaskPrompt, load_prompt, load_task_prompt
from rl import checkpoint
from rl.algorithm import GuidedAlgorithm
from rl.demonstrations import demonstrator, load_demos, record_demos, save_demos
from rl.devices import choose_device
from rl.envs.adapter import AdaptedEnv
from rl.envs.judged import JudgedEnv
from rl.envs.manipulation import ManipulationEnv
from rl.envs.watchable import Watched, missing, unwatchable
from rl.episodes import Episode
from rl.errors import ConfigError
from rl.learner import OverlappedLearner, ThreadedLearner
from rl.process import prepare_process, set_apart
from rl.rewards import Setting, make_reward
from rl.supervisor import HumanSupervisor, Supervisor
from rl.tasks.base import Task
from rl.types import CONTROL_RATE_HZ
from tools.memory import EpisodicMemory
from tools.scene import Scene

BEST = "best"
"""Checkpoint with the best evaluation on the way, in runs that keep it."""
DEMO_SEED, EVAL_SEED, SUPERVISOR_SEED, HUMAN_SEED = 1_000_000, 2_000_000, 3_000_000, 4_000_000
"""Offsets that keep the random numbers of the parts of one run apart."""


@dataclass(kw_only=True)
class Session:
    """Every live object of one training run; a context manager that releases them."""

    config: RunConfig
    run: RunDirectory
    place: Place
    env: TrainingEnv
    eval_env: TrainingEnv | JudgedEnv
    """A second simulator; on a robot the one that training uses, with the reward of training."""
    algorithm: GuidedAlgorithm
    supervisor: Supervisor
    recorder: Recorder
    confirm: Confirm | None = None
    mirror: WandbWriter | None = None
    """What TensorBoard's numbers are sent to as well."""
    rate_hz: float = CONTROL_RATE_HZ
    opened: ExitStack = field(default_factory=ExitStack)
    """What to release at the end, the last first."""

    @property
    def shares_env(self) -> bool:
        """Whether evaluations use the environment of training: the only one, an arm's."""
        return isinstance(self.eval_env, JudgedEnv) or self.eval_env is self.env

    @property
    def model(self) -> str | None:
        """Name of the model that an agent asks, as the server calls it; None where none is asked."""
        return getattr(self.supervisor, "model", None)

    @property
    def price(self) -> Price | None:
        """What that model costs; None where nobody knows."""
        given = self.config.vlm_price_in, self.config.vlm_price_out
        return None if self.model is None else price_of(self.config.vlm, self.model, given=given)

    def hold(self) -> None:
        """Hold a real arm until the next control step: something takes a while."""
        self.env.pause()

    def halt(self) -> None:
        """Stop a real arm."""
        self.env.halt()

    def hardware_metrics(self) -> dict[str, float]:
        """Return counters and figures of a real arm; nothing in simulation."""
        return {**self.env.metrics(), **({} if self.confirm is None else self.confirm.metrics())}

    def demonstrations(self) -> Sequence[Episode]:
        """Return this run's demonstrations: from --demos-dir, or recorded by the scripted expert the first time."""
        config, folder = self.config, self.run.demos
        env = self.env if isinstance(self.eval_env, JudgedEnv) else self.eval_env
        if config.demos == 0:
            return []
        if not folder.exists():
            if config.demos_dir is not None:
                episodes = load_demos(config.demos_dir, env=env)[: config.demos]
                by = demonstrator(config.demos_dir)
            else:
                assert isinstance(env, ManipulationEnv)  # of others the configuration asks for a folder
                episodes, by = record_demos(env, n=config.demos, seed=config.seed + DEMO_SEED), "expert"
            save_demos(folder, episodes, env=env, seed=config.seed + DEMO_SEED, by=by)
        return load_demos(folder, env=env)

    def __enter__(self) -> Self:
        """Return the session; what was made so far is not searched for garbage any more."""
        self.opened.enter_context(set_apart())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release threads, files and simulators; a real arm is stopped before anything else."""
        self.halt()
        self.opened.close()


def build_session(config: RunConfig, run: RunDirectory) -> Session:
    """Return everything that a training run needs, wired; what was opened is released again where a later part fails.

    Raises:
        ConfigError: If it cannot be carried out as it was asked for.
    """
    check_demonstrations(config, run.demos)
    prepare_process(config.threads)
    choose_device(config.device)  # refused before an arm is opened
    with ExitStack() as opened:
        session = _wired(place_of(config.robot), config, run, opened)
        session.opened = opened.pop_all()
    return session


def _wired(place: Place, config: RunConfig, run: RunDirectory, opened: ExitStack) -> Session:
    """Return what a training run needs at a place; what is opened is released when the stack unwinds."""
    site = place.open_site(config, opened)
    supervisor = opened.enter_context(closing(build_supervisor(config, run, site.env, confirm=site.confirm)))
    env = rewarded(config, site.env, opened)
    algorithm = build_algorithm(config, run, env, supervisor)
    algorithm.confirm = site.confirm
    if isinstance(supervisor, AgentSupervisor) and config.is_taught:
        algorithm.teacher = supervisor.teacher
    if config.learner == "threaded":
        algorithm.learner = ThreadedLearner(algorithm, before_stop=site.env.halt)
    elif config.learner == "overlapped":
        algorithm.learner = OverlappedLearner(algorithm)
    mirror = None if config.wandb is None else opened.enter_context(closing(open_mirror(config, run)))
    place.before_moving(algorithm)
    return Session(
        config=config,
        run=run,
        place=place,
        env=site.env,
        eval_env=env if site.eval_env is None else site.eval_env,
        algorithm=algorithm,
        supervisor=supervisor,
        recorder=opened.enter_context(closing(build_recorder(config, run, site.env))),
        confirm=site.confirm,
        mirror=mirror,
    )


def build_recorder(config: RunConfig, run: RunDirectory, env: TrainingEnv) -> Recorder:
    """Return what records the run for the viewer."""
    workspace = None if missing(env) else Watched(env).workspace
    return Recorder(run.recording, workspace=workspace, cameras=env.cameras, every=config.record_every)


def build_algorithm(
    config: RunConfig, run: RunDirectory, env: TrainingEnv | JudgedEnv, supervisor: Supervisor
) -> GuidedAlgorithm:
    """Return what the method learns with."""
    vec_env = DummyVecEnv([lambda: env])
    common: dict[str, Any] = {
        "supervisor": supervisor,
        "guidance": config.guidance,
        "store_guided": config.store_guided,
        "seed": config.seed,
        "rate_hz": config.pace,
        "device": choose_device(config.device),
        "tensorboard_log": str(run.path / "tensorboard"),
    }
    return config.plan.learner("MultiInputPolicy", vec_env, config=config.algorithm_options, **common)


def rewarded(config: RunConfig, env: TrainingEnv, opened: ExitStack) -> TrainingEnv | JudgedEnv:
    """Return the environment with the reward to train on; somebody else's has its own.

    Raises:
        ConfigError: If the reward cannot be made, or does not fit the task, its cameras or the image size.
    """
    if not config.is_judged or isinstance(env, AdaptedEnv):
        return env
    setting = Setting(task=env.task, image_size=env.image_size, file=config.reward_file)
    judged = JudgedEnv(env, make_reward(config.reward, setting, config.reward_settings))
    opened.callback(judged.reward.close)
    return judged


def build_env(config: RunConfig, *, dry: bool = False) -> ManipulationEnv:
    """Return the task's environment on the chosen robot; `dry` only looks at a real one."""
    return place_of(config.robot).open(config, dry=dry)


@contextmanager
def evaluation_env(config: RunConfig) -> Iterator[TrainingEnv | JudgedEnv]:
    """Yield the environment to evaluate a policy in: by the truth, or where nobody knows it, by the run's reward."""
    with ExitStack() as opened:
        env = place_of(config.robot).open_alone(config, opened)
        yield env if env.knows_truth else rewarded(config, env, opened)


def build_encoder(task: Task, name: str = "thumbnail") -> Encoder:
    """Return the encoder that the detectors and the memory share: it sees what the policy sees."""
    return make_encoder(name, [camera.name for camera in task.policy_cameras])


def build_detectors(config: RunConfig, horizon: int) -> list[FailureDetector]:
    """Return what watches rollouts of at most `horizon` control steps for the agent."""
    settings = config.detector_settings
    return [make_detector(name, horizon=horizon, config=settings[name]) for name in config.detectors]


def build_chat_model(
    vlm: str, *, name: str | None, settings: AgentSettings, tasks: tuple[TaskPrompt, ...] = (), seed: int = 0
) -> ChatModel:
    """Return a chat model: the embedded one, somebody's own, or the one behind an OpenAI-compatible URL.

    Args:
        vlm: Name of a model with its settings, or the URL.
        name: Model at the URL.
        settings: Limits of a question.
        tasks: Words of tasks that an embedded model shall know beside the registered ones.
        seed: Of what a model in this process draws.

    Raises:
        ConfigError: If the URL does not answer or does not serve the model, or the settings name what there is not.
    """
    for prompt, version in settings.prompt_versions.items():
        load_prompt(prompt, version)
    if not is_url(vlm):
        model, profile = open_model(vlm, tasks=tasks, profile=settings.profile, seed=seed)
        return ChatModel(model=model, profile=profile, name=vlm)
    reach = OpenAICompatConfig(
        url=vlm,
        model=name,
        profile=settings.profile,
        timeout_s=settings.call_timeout_s,
        reply_tokens=settings.reply_tokens,
    )
    served = open_chat_model(reach)
    return ChatModel(model=served.model, profile=served.profile, name=served.name)


def _chat_model(config: RunConfig, words: TaskPrompt) -> ChatModel:
    settings, name = config.agent, config.vlm_model
    return build_chat_model(config.vlm, name=name, settings=settings, tasks=(words,), seed=config.seed)


def build_supervisor(
    config: RunConfig, run: RunDirectory, env: TrainingEnv, *, confirm: Confirm | None = None
) -> Supervisor:
    """Return who watches the rollouts."""
    return HELPERS.load(config.helper).build(config, run, env, confirm)


def build_agent(
    config: RunConfig,
    run: RunDirectory,
    env: TrainingEnv,
    confirm: Confirm | None,
    *,
    adviser: Adviser | None = None,
    prefix: str = "",
) -> AgentSupervisor:
    """Return the agent.

    Args:
        config: The run's settings.
        run: Its directory.
        env: What is watched.
        confirm: Agrees to waypoints; None: nobody is asked.
        adviser: Who answers and remembers; None: a model asked from this process, with a memory of its own.
        prefix: Begins the id of each question, where several robots ask.

    Raises:
        ConfigError: If the environment lacks something that the agent needs.
    """
    file = _prompt_file(config, env)
    watched = Watched(env)
    check_patience(config.supervisor, config.agent)
    tracers()  # refuses now what the first question would
    _check_camera(config.agent, env)
    encoder = make_encoder(config.encoder, env.cameras)
    detectors = build_detectors(config, env.horizon)
    if adviser is None:  # the last that can fail: its memory owns a folder from here on
        adviser = build_adviser(config, run, load_task_prompt(file or config.task), dim=encoder.dim)
    capture, look, save = _noted(env, watched, adviser)
    actions = (env.action_space.shape or (0,))[0]
    teacher = PlanTeacher(action_scale=watched.action_scale, actions=actions)
    return AgentSupervisor(
        teacher=teacher,
        capture=capture,
        look=look,
        ask=adviser.ask,
        encoder=encoder,
        detectors=detectors,
        memory=adviser.memory,
        config=config.supervisor,
        seed=config.seed + SUPERVISOR_SEED,
        save_answer=save,
        on_trigger=config.on_trigger,
        gate=adviser.gate,
        hold=env.pause,
        approve=None if confirm is None else lambda guide: confirm(guide, 0),
        model=adviser.model,
        prefix=prefix,
    )


def build_adviser(config: RunConfig, run: RunDirectory, words: TaskPrompt, *, dim: int) -> OwnAdviser:
    """Return who answers the questions of a run, and remembers for it.

    Args:
        config: The run's settings.
        run: Its directory.
        words: What the agent is told about the task.
        dim: Length of the embeddings by which memory is searched.

    Raises:
        ConfigError: If a tool cannot be found, or the model does not answer.
        MemoryUnavailable: If the memory is somebody else's, or its server does not answer.
    """
    tools = config.agent.toolbox(words)
    chat = _chat_model(config, words)
    memory = build_memory(config, run, dim=dim)
    return OwnAdviser(config=config, run=run, chat=chat, words=words, tools=tools, memory=memory)


def _noted(
    env: TrainingEnv, watched: Watched, adviser: Adviser
) -> tuple[Callable[[], Scene], Callable[[Collection[str]], Scene], Callable[[str, Answer, Scene], None]]:
    """Return what captures a scene, what captures some cameras of it, and what writes an answer down.

    Beside an answer stands the truth, which no question sees.
    """
    truths = Truths()

    def capture() -> Scene:
        scene = capture_scene(env)
        truths.note(scene, watched.truth())
        return scene

    def look(cameras: Collection[str]) -> Scene:
        try:
            return capture_scene(env, cameras, shadows=False)
        except ConfigError:  # a station without a camera that it had: whoever looks is told by what is missing
            return capture_scene(env)

    def save(answer_id: str, answer: Answer, scene: Scene) -> None:
        adviser.save(answer_id, answer, scene, truths.of(scene))

    return capture, look, save


def _prompt_file(config: RunConfig, env: TrainingEnv) -> Path | None:
    """Return the file that tells the agent about somebody else's environment; None for a task, which has its own.

    Raises:
        ConfigError: If there is none, or the environment cannot be watched.
    """
    if isinstance(env, ManipulationEnv):
        return None
    lacks = missing(env)
    file = config.env_prompt or (None if lacks else Watched(env).prompt)
    wanted = (file, "words about the task (--env-prompt FILE)"), (env.cameras, "an image in its observation")
    lacks += tuple(what for has, what in wanted if not has)
    if lacks:
        raise unwatchable(env, lacks)
    return file


def build_human(config: RunConfig, run: RunDirectory, env: TrainingEnv) -> HumanSupervisor:
    """Return the human beside the arm: on a robot with a device in the hand, else simulated.

    Raises:
        ConfigError: If there is no arm that a human could take, or nobody to imitate one.
    """
    if isinstance(env, AdaptedEnv):
        raise ConfigError(f"{env.task.name} has no scripted expert that a simulated human could imitate.")
    return HumanSupervisor(place_of(config.robot).open_hand(config, env, seed=config.seed + HUMAN_SEED))


def build_memory(config: RunConfig, run: RunDirectory, *, dim: int) -> EpisodicMemory:
    """Return the agent's memory: in the run directory, in a folder of its own, or shared through a Chroma server.

    Raises:
        ConfigError: If it is a file, or the folder of a run and not of its memory.
        MemoryUnavailable: If another process owns the folder, or the server does not answer.
    """
    server = config.memory if config.memory and "://" in config.memory else None
    directory = run.memory if config.memory is None or server else Path(config.memory)
    if directory.is_file():
        raise ConfigError(f"--memory {directory} is a file; name a folder.")
    if (directory / "config.json").is_file():
        raise ConfigError(f"--memory {directory} is a run; its memory is in {directory / 'memory'}.")
    return EpisodicMemory(directory, dim=dim, task=config.task_name, server=server)


def _check_camera(settings: AgentSettings, env: TrainingEnv) -> None:
    if settings.camera is None:
        return
    if isinstance(env, ManipulationEnv):
        names = [camera.name for camera in env.task.agent_cameras]
    else:  # only the pictures themselves say where they come from
        env.reset(seed=0)
        names = [frame.name for frame in Watched(env).capture()]
    if settings.camera not in names:
        raise ConfigError(f"The task has no camera {settings.camera!r} for the agent; it has {', '.join(names)}.")


def capture_scene(env: TrainingEnv, cameras: Collection[str] | None = None, *, shadows: bool = True) -> Scene:
    """Return a snapshot of the named cameras, of all if None, and of the arm, for the agent.

    A simulation draws it faster without shadows: for a look that neither agent nor person sees.
    """
    watched = Watched(env)
    robot = watched.robot
    return Scene(
        task=env.task.name,
        frames={frame.name: frame for frame in watched.capture(cameras, shadows=shadows)},
        T_base_tcp=robot.T_base_tcp,
        gripper_opening=robot.gripper_opening,
        workspace=watched.workspace,
        p_tcp_tool=watched.p_tcp_tool,
    )


@dataclass(kw_only=True)
class Asker:
    """The agent, asked by a person: one pass of the graph at a time, without memory. A context manager."""

    config: RunConfig
    chat: ChatModel
    graph: Graph
    words: TaskPrompt
    tools: Toolbox
    _env: ManipulationEnv | None = None
    _apart: ExitStack = field(default_factory=ExitStack)

    def scene_at(self, seed: int) -> Scene:
        """Return what the agent's cameras see at the start of the episode of a seed; on a robot, as it stands now."""
        if self._env is None:
            self._env = build_env(self.config, dry=True)
        self._env.reset(seed=seed)
        return capture_scene(self._env)

    def ask(self, scene: Scene, *, mode: ModeRequest) -> Answer:
        """Return what the agent advises."""
        context = AgentContext(
            scene=scene,
            model=self.chat.model,
            profile=self.chat.profile,
            model_name=self.chat.name,
            settings=self.config.agent,
            tools=self.tools,
            task_prompt=self.words,
        )
        return asyncio.run(ask(self.graph, context, mode=mode))

    def __enter__(self) -> Self:
        """Return the asker; what was made so far is not searched for garbage any more."""
        self._apart.enter_context(set_apart())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the simulator, if one was opened."""
        with self._apart:
            if self._env is not None:
                self._env.close()


def build_asker(config: RunConfig) -> Asker:
    """Return the agent for questions outside of a run.

    Raises:
        ConfigError: If the task has no prompt, a tool cannot be found, or the URL does not answer.
    """
    prepare_process(config.threads)
    words = load_task_prompt(config.task)
    tools = config.agent.toolbox(words)
    chat = _chat_model(config, words)
    return Asker(config=config, chat=chat, graph=build_graph(words), words=words, tools=tools)


def load_policy(run: RunDirectory, name: str | None = None, *, device: str | None = None) -> GuidedAlgorithm:
    """Return the policy of a checkpoint of a run, without its replay memory.

    If it is not named: the best one where the run kept it, else the newest.

    Args:
        run: The run.
        name: Of the checkpoint.
        device: Where it computes; None for a GPU if there is one.

    Raises:
        ConfigError: If the run has saved none, or it is damaged.
    """
    if name is None and (run.checkpoints / BEST).is_dir():
        name = BEST
    path = checkpoint.latest_checkpoint(run.checkpoints) if name is None else run.checkpoints / name
    config = load_config(run)
    checkpoint.check_about(path, {"task": config.task_name})
    # The machine that evaluates need not have the GPU that trained: only what is asked for now must be there.
    return checkpoint.load_policy(path, config.plan.learner, device=choose_device(device or "auto"))
