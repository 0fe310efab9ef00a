"""What every algorithm shares that learns beside a supervisor: memory, control loop, learner, random states, saving."""

import copy
import io
import logging
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch._dynamo  # noqa: F401  # Adam loads it, with Triton, which crashes once a renderer has loaded another LLVM
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import save_to_pkl
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, TrainFreq
from stable_baselines3.common.utils import should_collect_more_steps
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_wrapper

from rl.buffers import FrameStore, IndexBuffer, IntArray, StateScales
from rl.config import GuidedConfig
from rl.episodes import Episode
from rl.errors import AgpsError, ConfigError
from rl.finite import check_weights
from rl.guidance import GuidanceConfig
from rl.learner import Learner, LockstepLearner, NoLearner
from rl.lessons import Notes, disturbed
from rl.loop import Confirm, Disturb, RolloutLoop, Step
from rl.reading import Reading
from rl.replay import EPISODES, ReplayMemory, read_replay
from rl.several import SeveralLoop
from rl.supervisor import NullSupervisor, Supervisor
from rl.teacher import Teacher
from rl.traits import StoreGuided
from rl.types import FloatArray

Stage = Literal["pretrain", "online"]
PretrainCallback = Callable[[int, Mapping[str, float]], bool]
"""Told the number of updates so far and the newest losses; returns whether to go on."""
ROLLOUTS = 10
"""Rollouts without help over which their success is averaged."""
UPDATE_S = 60.0
"""Longest wait for an update under way, [s]; one that has not come back then never will."""
_log = logging.getLogger(__name__)


def warn(message: str) -> None:
    """Tell who runs this, in the log and as a warning of Python: a script shows one, a notebook the other."""
    _log.warning(message)
    warnings.warn(message, stacklevel=3)


def state_scales(env: VecEnv) -> StateScales | None:
    """Return what an environment's metadata says of `state` (`position_scale_m`, `rotation_scale_rad`), if anything."""
    metadata = env.get_attr("metadata")[0]
    position, rotation = metadata.get("position_scale_m"), metadata.get("rotation_scale_rad")
    return None if position is None else StateScales(float(position), None if rotation is None else float(rotation))


def commands_gripper(env: VecEnv) -> bool:
    """Return whether an environment says, by `metadata["gripper"]`, that its last action component is a command."""
    return bool(env.get_attr("metadata")[0].get("gripper", False))


class GuidedAlgorithm(OffPolicyAlgorithm):
    """An off-policy algorithm whose rollouts a supervisor may help, as a Stable-Baselines3 algorithm.

    Observations may hold any images and numbers, and actions are a Box with limits: `reading` brings them to a Dict of
    uint8 images (H, W, C) and `state`, and to [-1, 1], which is what is stored and learned. `loop` steps the
    environment and asks `supervisor`; `learner` says when updates happen; `replay_buffer` holds what was executed
    and demonstrated.

    A subclass names itself, its configuration and its policy (`policy_aliases`), and gives `setup_optimizers`, `act`,
    `train` and `_get_torch_save_params`. One with a first stage on demonstrations alone says so in `pretrains`; `stage`
    tells it which losses the next update takes. What else of it a resumed run needs goes to `counters` (plain
    attributes), `random_states` and `memory_state`; what must not be saved to `_excluded_save_params`.
    """

    name: ClassVar[str]
    """How checkpoints call the algorithm."""
    config_class: ClassVar[type[GuidedConfig]]
    pretrains: ClassVar[bool] = False
    """Whether it has a first stage, on demonstrations alone."""
    keeps_guidance: ClassVar[bool] = False
    """Whether it learns what guidance did in a success as it was meant, rather than what a teacher says of it."""
    needs_demonstrations: ClassVar[bool] = False
    """Whether it cannot begin without demonstrations."""
    counters: ClassVar[tuple[str, ...]] = (
        "num_timesteps",
        "_n_updates",
        "_episode_num",
        "_total_timesteps",
        "_num_timesteps_at_start",
        "ep_info_buffer",
        "ep_success_buffer",
        "stage",
        "success_alone",
        "pretrain_updates",
        "steps_due",
        "updates_owed",
    )
    """Attributes that a resumed run takes over."""
    config: GuidedConfig
    replay_buffer: ReplayMemory  # type: ignore[assignment]  # no flat buffer of Stable-Baselines3
    """What was executed and what was demonstrated."""
    supervisor: Supervisor
    teacher: Teacher | None = None
    """Who labels what the policy has seen with what should have been done there; None for nobody."""
    learner: Learner
    """Says when updates happen: in lockstep with the control loop, unless another is set."""
    stage: Stage = "pretrain"
    """Before the policy acts and learns from that, or since."""
    pretrain_updates = 0
    """Updates of the first stage so far."""
    steps_due = 0
    """Control steps since the learner was last called; a run that was broken off in between is resumed there."""
    updates_owed = 0.0
    """Updates that a learner in a thread had not come to."""
    success_alone = 0.0
    """Success of the newest rollouts that nobody helped, about ten of them, from 0 before the first."""
    confirm: Confirm | None = None
    """Who agrees to each waypoint before it is approached; None for nobody."""
    has_gripper: bool | None = None
    """Whether the last component of the action commands a gripper; None where no environment has said it."""
    state_scales: StateScales | None = None
    """Units of a state that begins with the TCP's way since reset; None where it does not."""
    update_threads = 1
    """Threads of an update; it comes to the same with two, sooner where a core is idle."""
    published: BasePolicy | None = None
    """Weights to act with while another thread changes `policy`; None when nobody does."""
    loop: RolloutLoop | SeveralLoop | None = None
    train_metrics: dict[str, float]
    """Newest losses and values of the learner; logged by the loop's thread, as the logger is not thread-safe."""

    def __init__(
        self,
        policy: str | type[BasePolicy] = "MultiInputPolicy",
        env: GymEnv | str | None = None,
        *,
        config: GuidedConfig | None = None,
        supervisor: Supervisor | None = None,
        guidance: GuidanceConfig | None = None,
        rate_hz: float | None = None,
        store_guided: StoreGuided = "success",
        seed: int | None = None,
        device: torch.device | str = "auto",
        stats_window_size: int = 20,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        _init_setup_model: bool = True,
    ) -> None:
        """Build networks and memory.

        Args:
            policy: `MultiInputPolicy` or a subclass of the algorithm's policy.
            env: Environment to learn in; None for an algorithm that is only loaded to predict.
            config: Hyperparameters, a `config_class`; None for its defaults.
            supervisor: Who watches rollouts; None for nobody.
            guidance: How interventions become actions.
            rate_hz: Control rate to keep; None for as fast as possible.
            store_guided: Where steps go whose action a waypoint or a human gave (`rl.traits.StoreGuided`).
            seed: Fixes networks, exploration, sampling and environment.
            device: Where networks live; `auto` takes a GPU if there is one.
            stats_window_size: Episodes over which rollout/success_rate is averaged.
            tensorboard_log: Folder for TensorBoard files.
            verbose: 0 silent, 1 information, 2 debugging (Stable-Baselines3).

        Raises:
            ConfigError: If the configuration is another algorithm's, or a space or the seed does not fit.
        """
        _check_seed(seed)
        self.config = self._checked(config or self.config_class())
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is allowed by the base class, not by its annotation
            **_base_arguments(self.config),
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
        )
        self.supervisor = supervisor or NullSupervisor()
        self.guidance, self.rate_hz, self.store_guided = guidance, rate_hz, store_guided
        if self.env is not None:
            self.has_gripper, self.state_scales = commands_gripper(self.env), state_scales(self.env)
        self.learner = LockstepLearner(self)
        self._notes = Notes()  # of the running rollout, before each of its steps
        self.update_lock = threading.RLock()  # held while networks change
        self.train_metrics = {}
        if _init_setup_model:
            self._setup_model()

    def _checked(self, config: GuidedConfig) -> GuidedConfig:
        if not isinstance(config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} wants a {self.config_class.__name__}, not a {type(config).__name__}."
            )
        return config

    def _setup_model(self) -> None:
        space, actions = self.observation_space, self.action_space
        self.reading = Reading(space, actions)
        if self.env is not None and unwrap_vec_wrapper(self.env, VecNormalize) is not None:
            raise ConfigError("Observations are stored raw; remove the VecNormalize wrapper.")
        self._setup_lr_schedule()
        self._convert_train_freq()
        self.set_random_seed(self.seed)
        self.policy_kwargs = self.policy_arguments()
        policy = self.policy_class(space, actions, self.lr_schedule, **self.policy_kwargs)
        self.policy = policy.to(self.device)
        self.setup_optimizers()
        self.setup_memory()

    def policy_arguments(self) -> dict[str, Any]:
        """Return what the policy is built from, beside the spaces."""
        return {"config": self.config}

    @abstractmethod
    def setup_optimizers(self) -> None:
        """Make what updates `policy`: optimizers and tensors that are learned beside it."""

    def setup_memory(self) -> None:
        """Start with an empty replay memory."""
        seen, size = self.reading.seen, self.reading.action_size
        self.replay_buffer = ReplayMemory(seen, size, self.config, store_guided=self.store_guided)

    @property
    def store(self) -> FrameStore:
        """The frames of the memory, each once."""
        return self.replay_buffer.store

    @property
    def online(self) -> IndexBuffer:
        """Which transitions were executed."""
        return self.replay_buffer.online

    @property
    def demo(self) -> IndexBuffer:
        """Which transitions are demonstrations, or are learned from as such."""
        return self.replay_buffer.demo

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed networks, exploration, sampling and environment."""
        super().set_random_seed(seed)
        acting, sampling, noise = np.random.SeedSequence(seed).spawn(3)
        self.acting_rng = np.random.default_rng(acting)
        self.sampling_rng = np.random.default_rng(sampling)
        self.noise_rng = torch.Generator(self.device).manual_seed(int(noise.generate_state(1)[0]))

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        """Vectorise an environment and leave its images channels-last, as the store and the encoder want them."""
        if isinstance(env, VecEnv):
            return env
        wrapped = Monitor(env) if monitor_wrapper else env
        return DummyVecEnv([lambda: wrapped])

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:  # noqa: FBT001, FBT002  # as in the base class
        """Learn in another environment (Stable-Baselines3), whose spaces and gripper are those of the one before.

        Raises:
            ConfigError: If one of both commands a gripper: the networks would take its command for something else.
        """
        given = self._wrap_env(env, self.verbose)
        has_one = commands_gripper(given)
        if self.has_gripper is not None and has_one != self.has_gripper:
            now, then = ("commands a gripper", "none") if has_one else ("commands no gripper", "one")
            raise ConfigError(f"The environment {now}, and the model was built for {then}; build one for it.")
        super().set_env(given, force_reset)

    # --- acting ---------------------------------------------------------------------------------------------

    @property
    def acting_policy(self) -> BasePolicy:
        """The weights to act with."""
        return self.policy if self.published is None else self.published

    @contextmanager
    def acting_by(self, acting: BasePolicy | None) -> Iterator[None]:
        """Give `policy` the weights that acted, to be saved as they are; a learner thread waits meanwhile.

        Args:
            acting: `published` when it acted. None: nobody changes `policy`, and it acted itself.

        Raises:
            AgpsError: As `at_rest` does.
        """
        if acting is None:
            yield
            return
        with self.at_rest("Cannot save the weights that acted"):
            newest = copy.deepcopy(self.policy.state_dict())
            self.policy.load_state_dict(acting.state_dict())
            try:
                yield
            finally:
                self.policy.load_state_dict(newest)

    @contextmanager
    def at_rest(self, otherwise: str) -> Iterator[None]:
        """Hold networks and memory still: no update is under way, and none begins.

        Args:
            otherwise: What cannot be done where that does not come about, to begin the error with.

        Raises:
            AgpsError: If an update is under way and does not end within `UPDATE_S`.
        """
        with ExitStack() as held:
            for lock in (self.update_lock, self.store.lock):
                if not lock.acquire(timeout=UPDATE_S):
                    raise AgpsError(
                        f"{otherwise}: an update has been under way for more than {UPDATE_S:.0f} s; an earlier "
                        "checkpoint is kept; is the machine out of memory or overloaded?"
                    )
                held.callback(lock.release)
            yield

    @abstractmethod
    def act(self, observation: Mapping[str, npt.NDArray[Any]], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """Return the action for one observation. Shape (A,), in [-1, 1]."""

    def explore(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Return the action to collect data with: uniformly random during `random_steps`, then sampled. Shape (A,)."""
        if self.num_timesteps < self.config.random_steps:
            return self.acting_rng.uniform(-1.0, 1.0, self.reading.action_size).astype(np.float32)
        return self.act(observation)

    def predict(
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Return actions for one observation or a batch (Stable-Baselines3)."""
        return self.acting_policy.predict(observation, state, episode_start, deterministic)

    # --- collecting -----------------------------------------------------------------------------------------

    def add_demonstrations(self, episodes: Iterable[Episode]) -> int:
        """Store episodes in the demo buffer, for good, and return the number of transitions.

        Args:
            episodes: Each as `rl.episodes.Episode` says; observations under the environment's own names and actions in
                its own limits are translated (`rl.reading.Reading.episode`).

        Raises:
            ConfigError: If an episode does not fit the spaces or the memory, or holds what cannot be learned from.
                None is stored then.
        """
        added = self.replay_buffer.add_demonstrations([self.reading.episode(episode) for episode in episodes])
        for slots in added:
            self.look_at(slots)
        return sum(len(slots) for slots in added)

    @property
    def is_pretrained(self) -> bool:
        """Whether the first stage lies behind: learning from rollouts has begun."""
        return self.stage == "online"

    def pretrain(self, updates: int, callback: PretrainCallback | None = None) -> None:
        """Learn from what is stored before the policy acts, until `updates` have been done in all.

        Args:
            updates: Updates of the first stage, those before a resume included.
            callback: Called after each update; the stage ends early where it returns False.

        Raises:
            ConfigError: If nothing is stored.
        """
        self.stage = "pretrain"
        while self.pretrain_updates < updates:
            self.train(1)
            self.pretrain_updates += 1
            if callback is not None and not callback(self.pretrain_updates, self.train_metrics):
                break
        self.check_weights()

    def collect(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        *,
        reset_num_timesteps: bool = True,
        noise: float = 0.0,
    ) -> None:
        """Run the control loop without learning, until `total_timesteps` or the callback ends it.

        Args:
            total_timesteps: Control steps.
            callback: As that of `learn`.
            reset_num_timesteps: Whether to count from 0.
            noise: Of guided steps, over their length, see `rl.lessons.disturbed`.
        """
        name, seed = type(self).__name__, self.seed or 0

        def disturb(action: FloatArray, episode: int, step: int) -> FloatArray:
            return disturbed(action, noise, seed=(seed, episode, step))

        beside = disturb if noise > 0.0 else None
        self._run(total_timesteps, callback, None, name, reset_num_timesteps, False, NoLearner(), disturb=beside)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Alternate collecting and learning until `total_timesteps` (Stable-Baselines3)."""
        if self._n_updates > 0 and self.store.size() == 0:
            warn(
                f"This {type(self).__name__} has learned before, and its memory is empty: a saved policy has none. Add "
                "demonstrations or load_replay_buffer() before learn(), or it goes on with new experience alone."
            )
        if reset_num_timesteps or self.store.size() == 0:  # what was due was of other steps
            self.steps_due, self.updates_owed = 0, 0.0
        self.stage = "online"
        name = tb_log_name or type(self).__name__
        self._run(total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar, self.learner)
        return self

    def _run(
        self,
        total_timesteps: int,
        callback: MaybeCallback,
        log_interval: int | None,
        name: str,
        reset_num_timesteps: bool,  # noqa: FBT001  # as Stable-Baselines3 has it
        progress_bar: bool,  # noqa: FBT001
        learner: Learner,
        disturb: Disturb | None = None,
    ) -> None:
        """Run the control loop, with a learner beside it."""
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, name, progress_bar
        )
        assert self.env is not None and isinstance(self.train_freq, TrainFreq)
        self.loop = self._make_loop(self.env, disturb)
        self.loop.episode = self._episode_num - 1
        self.loop.reset()
        callback.on_training_start(locals(), globals())
        learner.start()
        try:
            while self.num_timesteps < total_timesteps:
                rollout = self.collect_rollouts(
                    self.env, callback, self.train_freq, log_interval=log_interval, learner=learner
                )
                if not rollout.continue_training:
                    break
                if learner is self.learner:
                    self.call(learner)
        finally:
            learner.stop()
        self.check_weights()  # the last update's, with which nobody has acted or learned yet
        callback.on_training_end()

    def call(self, learner: Learner) -> None:
        """Call the learner for the steps taken; several environments take more at once than there are to a call."""
        assert isinstance(self.train_freq, TrainFreq)
        settled = True
        while self.steps_due >= self.train_freq.frequency:
            if not settled:
                learner.settle()
            learner.advance()
            self.steps_due -= self.train_freq.frequency  # a call that was broken off is still due
            settled = False

    def _make_loop(self, env: VecEnv, disturb: Disturb | None) -> "RolloutLoop | SeveralLoop":
        """Return what steps the environments: several, where nobody supervises."""
        if env.num_envs > 1 and type(self.supervisor) is NullSupervisor and self.teacher is None:
            return SeveralLoop(env, policy=self.explore, reading=self.reading)
        loop = RolloutLoop(
            env,
            policy=self.explore,
            supervisor=self.supervisor,
            guidance=self.guidance,
            rate_hz=self.rate_hz,
            confirm=self.confirm,
            reading=self.reading,
        )
        loop.disturb = disturb
        return loop

    def collect_rollouts(  # type: ignore[override]  # the replay buffer is `store`
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: None = None,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
        learner: Learner | None = None,
    ) -> RolloutReturn:
        """Run the control loop for `train_freq` steps or episodes and store what was executed."""
        assert self.loop is not None
        learner = learner or self.learner
        learns = learner is self.learner
        due = self.steps_due if learns else 0  # of a rollout that was broken off: where it was whole, none is taken
        steps = episodes = 0
        callback.on_rollout_start()
        while should_collect_more_steps(train_freq, due + steps, episodes):
            taken = self.loop.steps() if isinstance(self.loop, SeveralLoop) else [self.loop.step()]
            step = taken[0]  # callbacks read it from here
            learner.settle()
            steps += len(taken)
            self.num_timesteps += len(taken)
            self.steps_due += len(taken) if learns else 0
            logs = False
            for place, step_of_one in enumerate(taken):
                self.remember(step_of_one, place=place)
                if self._note_end(step_of_one):
                    episodes += 1
                    logs = logs or (log_interval is not None and self._episode_num % log_interval == 0)
            self._update_info_buffer([one.info for one in taken], np.array([one.outcome is not None for one in taken]))
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(steps, episodes, continue_training=False)
            if logs:
                self.dump_logs()
        callback.on_rollout_end()
        return RolloutReturn(steps, episodes, continue_training=True)

    def _note_end(self, step: Step) -> bool:
        """Return whether a step ended an episode, and count it."""
        if step.outcome is None:
            return False
        self.note_episode(success=step.outcome.success, helped=bool(step.outcome.intervention_ids))
        return True

    def remember(self, step: Step, *, place: int = 0) -> None:
        """Store a control step in the online buffer, and in the demo buffer as `store_guided` says.

        Args:
            step: What was done and seen.
            place: Number of the environment that it is of.
        """
        with self.store.lock:
            slot = self.replay_buffer.append(step.transition, begins_episode=step.begins_episode, place=place)
            if self.n_envs == 1:  # nobody teaches several
                self._learn_labels(step, slot)
            if step.outcome is None:
                self.look_at(np.array([slot]))
                return
            episode = self.replay_buffer.episode_with(slot)
            self.look_at(episode)
            self.replay_buffer.end_episode(episode, success=step.outcome.success)

    def take_episode(self, episode: Episode, *, success: bool, helped: bool) -> None:
        """Store a whole episode that somebody else has collected, and count it as one of our own.

        The memory is then as `remember` leaves it after the same steps.

        Args:
            episode: What was executed, with what a teacher said of it.
            success: The reward said success.
            helped: There was an intervention.

        Raises:
            ConfigError: If it does not fit; nothing is stored then.
        """
        with self.store.lock:
            slots = self.replay_buffer.add_executed(episode, success=success)
            self.num_timesteps += len(slots)
            self.look_at(slots)
            self.note_episode(success=success, helped=helped)

    def note_episode(self, *, success: bool, helped: bool) -> None:
        """Count an episode that has ended."""
        self._episode_num += 1
        if not helped:
            self.success_alone += (success - self.success_alone) / ROLLOUTS

    def _learn_labels(self, step: Step, slot: int) -> None:
        """Keep what was seen, and when the rollout is over, what it teaches."""
        notes = self._notes
        notes.take(step)
        if self.teacher is None or step.outcome is None or not notes.seen:
            return
        slots = self.replay_buffer.episode_with(slot)
        if len(slots) != len(notes.seen):  # it was not stored from its beginning
            return
        lesson = notes.lesson(self.teacher, step.outcome, keeps_guidance=self.keeps_guidance)
        if lesson is not None:
            self.store.teach(slots, lesson.actions, None if lesson.goal is None else lesson.goal - notes.poses())

    def look_at(self, slots: IntArray) -> None:  # noqa: B027  # most trust what is stored
        """Look at what was just stored: the transitions of a whole episode, or the newest of a running one. (T,)."""

    @property
    def n_updates(self) -> int:
        """Critic updates so far."""
        return self._n_updates

    @property
    def updates_per_step(self) -> float:
        """Updates per environment step of the lockstep learner."""
        return self.config.gradient_steps / self.config.train_freq

    # --- learning -------------------------------------------------------------------------------------------

    @abstractmethod
    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Update the networks on batches that `replay_buffer` draws; hold `update_lock` while they change."""

    def check_weights(self) -> None:
        """Refuse to go on with weights that are no finite numbers.

        Raises:
            NotFinite: Names the first weights.
        """
        learned = {name: getattr(self, name) for name in self._get_torch_save_params()[1]}
        check_weights({**self.policy.state_dict(), **learned}, when=f"after {self._n_updates} updates")

    def dump_logs(self) -> None:
        """Write log data, with the newest figures of the learner."""
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for key, value in self.train_metrics.items():
            self.logger.record(f"train/{key}", value)
        super().dump_logs()

    # --- saving ---------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """Read a Stable-Baselines3 file; a `config` takes the place of the saved one, in every number of it."""
        config = kwargs.get("config")
        if config is None:
            return super().load(*args, **kwargs)
        model = super().load(*args, **{**_base_arguments(config), **kwargs})
        for name in model._get_torch_save_params()[0]:
            for group in getattr(getattr(model, name), "param_groups", []):
                group["lr"] = config.learning_rate
        return model

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write the Stable-Baselines3 file, with what the learner owes at this moment."""
        self.learner.note_owed()
        super().save(*args, **kwargs)

    def random_states(self) -> dict[str, Any]:
        """Return the state of every random generator of this algorithm."""
        return {
            "acting": self.acting_rng.bit_generator.state,
            "sampling": self.sampling_rng.bit_generator.state,
            "noise": self.noise_rng.get_state(),
        }

    def set_random_states(self, states: Mapping[str, Any]) -> None:
        """Continue from `random_states`."""
        self.acting_rng.bit_generator.state = states["acting"]
        self.sampling_rng.bit_generator.state = states["sampling"]
        # A GPU's generator has another state than a processor's: elsewhere its noise cannot be repeated.
        if len(states["noise"]) == len(self.noise_rng.get_state()):
            self.noise_rng.set_state(states["noise"])
        else:
            _log.warning("This checkpoint is of another device; noise in updates goes on from the seed.")

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to fit, beside configuration and spaces: numbers and strings."""
        return {}

    def save_replay_buffer(self, path: str | Path | io.BufferedIOBase) -> None:
        """Write the memory to a file (Stable-Baselines3); `load_replay_buffer` reads it."""
        with self.store.lock:
            episodes = {number: self.store.episode(number) for number in self.store.episodes}
            save_to_pkl(path, {EPISODES: episodes, **self.replay_state()}, self.verbose)

    def load_replay_buffer(self, path: str | Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Replace the memory by one that `save_replay_buffer` wrote (Stable-Baselines3).

        Args:
            path: The file.
            truncate_last_traj: No matter: an episode that was open stays as far as it was recorded.

        Raises:
            ConfigError: If it cannot be read or does not fit; the memory is as it was then.
        """
        saved = read_replay(path, self.store)
        self.restore_replay(saved[EPISODES].items(), saved)

    def replay_state(self) -> dict[str, Any]:
        """Return what there is to know of the stored episodes beside them: numbers, strings, lists and arrays."""
        return {**self.replay_buffer.state(), "memory": self.memory_state()}

    def restore_replay(self, episodes: Iterable[tuple[int, Episode]], state: Mapping[str, Any]) -> None:
        """Replace the memory by saved episodes, with their numbers, and the `replay_state` that was saved with them."""
        self.setup_memory()
        self.replay_buffer.restore(episodes, state)
        self.set_memory_state(state.get("memory", {}))
        for number in self.store.episodes:
            self.look_at(self.store.slots_of(number)[:-1])

    def memory_state(self) -> dict[str, Any]:
        """Return what is remembered about the stored episodes beside them: numbers, strings, lists and arrays."""
        return {}

    def set_memory_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  # most remember nothing
        """Continue from `memory_state`; the store holds its episodes again."""

    def set_learned_tensors(self, values: Mapping[str, torch.Tensor]) -> None:
        """Take over the tensors that are saved beside networks and optimizers."""
        for name in self._get_torch_save_params()[1]:
            getattr(self, name).data = values[name].data.to(self.device)

    def _excluded_save_params(self) -> list[str]:
        wired = [
            "supervisor",
            "teacher",
            "_notes",
            "guidance",
            "loop",
            "learner",
            "published",
            "rate_hz",
            "confirm",
            "update_lock",
        ]
        drawn = ["reading", "acting_rng", "sampling_rng", "noise_rng"]
        return [*super()._excluded_save_params(), *wired, *drawn]

    @abstractmethod
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        """Return the names of networks and optimizers, and of tensors learned beside them."""


def _check_seed(seed: int | None) -> None:
    if seed is not None and not 0 <= seed < 2**32:  # what NumPy's global generator takes
        raise ConfigError(f"seed is {seed}; ask for 0 to {2**32 - 1}.")


def _base_arguments(config: GuidedConfig) -> dict[str, Any]:
    """Return what Stable-Baselines3's base class is told beside who logs."""
    return {
        "learning_rate": config.learning_rate,
        "buffer_size": config.buffer_capacity,
        "learning_starts": config.learning_starts,
        "batch_size": config.batch_size,
        "tau": config.tau,
        "gamma": config.gamma,
        "train_freq": config.train_freq,
        "gradient_steps": config.gradient_steps,
        "sde_support": False,
        "support_multi_env": True,
        "supported_action_spaces": (spaces.Box,),
    }
