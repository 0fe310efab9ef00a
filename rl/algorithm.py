"""What every algorithm shares that learns beside a supervisor: memory, control loop, learner, random states, saving."""

import threading
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, RolloutReturn, TrainFreq
from stable_baselines3.common.utils import should_collect_more_steps
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, unwrap_vec_wrapper

from rl.buffers import Episode, FrameStore, IndexBuffer, IntArray, demo_count
from rl.errors import ConfigError
from rl.guidance import GuidanceConfig
from rl.learner import Learner, LockstepLearner
from rl.loop import Confirm, RolloutLoop, Step
from rl.ranges import SEED, Range, above, at_least, check_range, check_ranges
from rl.supervisor import NullSupervisor, Supervisor

StoreGuided = Literal["online", "both", "success"]


@dataclass(frozen=True, kw_only=True)
class GuidedConfig:
    """What every algorithm is told: its memory, its batches, and its pace. The defaults are DrQ's preset `tuned`."""

    batch_size: int = 128
    """Transitions per update, demo and online together. HIL-SERL: 256."""
    demo_fraction: float = 0.5
    """Share of a batch from the demo buffer (RLPD)."""
    small_demo_count: int = 60
    """Demo buffers below this many transitions are small: half a batch would repeat each too often. Measured."""
    small_demo_fraction: float = 0.25
    """Share of a batch from a small demo buffer. Measured."""
    buffer_capacity: int = 50_000
    """Observations kept, demonstrations included. HIL-SERL: 200k + 200k."""

    learning_starts: int = 200
    """Environment steps before the first update; demonstrations do not count. HIL-SERL: 100."""
    random_steps: int = 0
    """Environment steps with uniformly random actions at the start. HIL-SERL: 0."""
    train_freq: int = 2
    """Environment steps between calls of the lockstep learner. With `gradient_steps` = 1: half an update per step."""
    gradient_steps: int = 1
    """Critic updates per call of the lockstep learner."""

    gamma: float = 0.92
    """Discount per control step. HIL-SERL: 0.97; the shorter horizon was part of what made the task learnable."""
    tau: float = 0.01
    """Share of the critic mixed into its target at each update (DrQ-v2). HIL-SERL: 0.005."""
    learning_rate: float = 1e-3
    """Adam, for every network. HIL-SERL: 3e-4."""
    shift_pad: int = 4
    """Largest random shift of an image, [px] (DrQ)."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in ("batch_size", "buffer_capacity", "train_freq", "gradient_steps"):
            check_at_least_one(name, getattr(self, name))
        for name in ("demo_fraction", "small_demo_fraction", "gamma", "tau"):
            check_share(name, getattr(self, name))
        check_ranges(
            self,
            batch_size=Range(1, 65_536),
            buffer_capacity=Range(1, 100_000_000),
            small_demo_count=at_least(0),
            learning_starts=at_least(0),
            random_steps=at_least(0),
            learning_rate=above(0),
            shift_pad=Range(0, 64),
        )


def check_at_least_one(name: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        ConfigError: Names the setting.
    """
    if value < 1:
        raise ConfigError(f"{name} is {value}; ask for at least 1.")


def check_share(name: str, value: float) -> None:
    """Refuse a share outside [0, 1].

    Raises:
        ConfigError: Names the setting.
    """
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value}; ask for a value in [0, 1].")


class GuidedAlgorithm(OffPolicyAlgorithm):
    """An off-policy algorithm whose rollouts a supervisor may help, as a Stable-Baselines3 algorithm.

    Observations are a Dict of uint8 images (H, W, C) and `state`; actions are a Box [-1, 1]. `loop` steps the
    environment and asks `supervisor`; `learner` says when updates happen; `store` holds every frame once, and `online`
    and `demo` are index sets over it.

    A subclass names itself, its configuration and its policy (`policy_aliases`), and gives `setup_optimizers`, `act`,
    `train` and `_get_torch_save_params`. What else of it a resumed run needs goes to `counters` (plain attributes),
    `random_states` and `memory_state`; what must not be saved to `_excluded_save_params`.
    """

    name: ClassVar[str]
    """How checkpoints call the algorithm."""
    config_class: ClassVar[type[GuidedConfig]]
    counters: ClassVar[tuple[str, ...]] = (
        "num_timesteps",
        "_n_updates",
        "_episode_num",
        "_total_timesteps",
        "_num_timesteps_at_start",
        "ep_info_buffer",
        "ep_success_buffer",
    )
    """Attributes that a resumed run takes over."""
    config: GuidedConfig

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
            store_guided: Where steps go whose action a waypoint or a human gave. `online`: as any other step (AGPS,
                Algorithm 1). `both`: into the demo buffer too (HIL-SERL). `success`: into the demo buffer too, from
                the first guided step on, if the episode succeeds; needed without demonstrations.
            seed: Fixes networks, exploration, sampling and environment.
            device: Where networks live; `auto` takes a GPU if there is one.
            stats_window_size: Episodes over which rollout/success_rate is averaged.
            tensorboard_log: Folder for TensorBoard files.
            verbose: 0 silent, 1 information, 2 debugging (Stable-Baselines3).

        Raises:
            ConfigError: If the configuration is another algorithm's, or a space does not fit.
        """
        self.config = config or self.config_class()
        if not isinstance(self.config, self.config_class):
            raise ConfigError(
                f"{type(self).__name__} wants a {self.config_class.__name__}, not a {type(config).__name__}."
            )
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is allowed by the base class, not by its annotation
            learning_rate=self.config.learning_rate,
            buffer_size=self.config.buffer_capacity,
            learning_starts=self.config.learning_starts,
            batch_size=self.config.batch_size,
            tau=self.config.tau,
            gamma=self.config.gamma,
            train_freq=self.config.train_freq,
            gradient_steps=self.config.gradient_steps,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Box,),
        )
        self.supervisor: Supervisor = supervisor or NullSupervisor()
        self.guidance = guidance
        self.rate_hz = rate_hz
        self.confirm: Confirm | None = None
        """Who agrees to each waypoint before it is approached; None for nobody."""
        self.store_guided = store_guided
        self.learner: Learner = LockstepLearner(self)
        self.published: BasePolicy | None = None
        """Weights to act with while another thread changes `policy`; None when nobody does."""
        self.loop: RolloutLoop | None = None
        self.update_lock = threading.RLock()
        """Held while networks change."""
        self.train_metrics: dict[str, float] = {}
        """Newest losses and values of the learner; logged by the loop's thread, as the logger is not thread-safe."""
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        space, actions = self.observation_space, self.action_space
        if not isinstance(actions, spaces.Box) or not (np.all(actions.low == -1.0) and np.all(actions.high == 1.0)):
            raise ConfigError(f"Actions must be a Box in [-1, 1], not {actions}; wrap it in RescaleAction.")
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
        space, capacity = self.observation_space, self.config.buffer_capacity
        assert isinstance(space, spaces.Dict) and isinstance(self.action_space, spaces.Box)
        self.store = FrameStore(space, self.action_space.shape[0], capacity=capacity, pad=self.config.shift_pad)
        self.online = IndexBuffer(self.store)
        self.demo = IndexBuffer(self.store, keep=True)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed networks, exploration, sampling and environment."""
        if seed is not None:
            check_range("seed", seed, SEED)
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

    # --- acting ---------------------------------------------------------------------------------------------

    @property
    def acting_policy(self) -> BasePolicy:
        """The weights to act with."""
        return self.policy if self.published is None else self.published

    @abstractmethod
    def act(self, observation: Mapping[str, npt.NDArray[Any]], deterministic: bool = False) -> npt.NDArray[np.float32]:
        """Return the action for one observation. Shape (A,), in [-1, 1]."""

    def explore(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Return the action to collect data with: uniformly random during `random_steps`, then sampled. Shape (A,)."""
        if self.num_timesteps < self.config.random_steps:
            return self.acting_rng.uniform(-1.0, 1.0, self.action_space.shape).astype(np.float32)
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
        """Store episodes in the demo buffer and return the number of transitions.

        Raises:
            ConfigError: If an episode does not fit the observation or action space.
        """
        added = 0
        for episode in episodes:
            slots = self.store.add_episode(episode)
            self.demo.add(slots)
            added += len(slots)
        return added

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Alternate collecting and learning until `total_timesteps` (Stable-Baselines3)."""
        name = tb_log_name or type(self).__name__
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, name, progress_bar
        )
        assert self.env is not None and isinstance(self.train_freq, TrainFreq)
        self.loop = RolloutLoop(
            self.env,
            policy=self.explore,
            supervisor=self.supervisor,
            guidance=self.guidance,
            rate_hz=self.rate_hz,
            confirm=self.confirm,
        )
        self.loop.episode = self._episode_num - 1
        self.loop.reset()
        callback.on_training_start(locals(), globals())
        self.learner.start()
        try:
            while self.num_timesteps < total_timesteps:
                rollout = self.collect_rollouts(self.env, callback, self.train_freq, log_interval=log_interval)
                if not rollout.continue_training:
                    break
                self.learner.advance()
        finally:
            self.learner.stop()
        callback.on_training_end()
        return self

    def collect_rollouts(  # type: ignore[override]  # the replay buffer is `store`
        self,
        env: VecEnv,
        callback: BaseCallback,
        train_freq: TrainFreq,
        replay_buffer: None = None,
        action_noise: ActionNoise | None = None,
        learning_starts: int = 0,
        log_interval: int | None = None,
    ) -> RolloutReturn:
        """Run the control loop for `train_freq` steps or episodes and store what was executed."""
        assert self.loop is not None
        steps = episodes = 0
        callback.on_rollout_start()
        while should_collect_more_steps(train_freq, steps, episodes):
            step = self.loop.step()
            steps += 1
            self.num_timesteps += 1
            self.remember(step)
            self._update_info_buffer([step.info], np.array([step.outcome is not None]))
            self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
            if step.outcome is not None:
                episodes += 1
                self._episode_num += 1
            callback.update_locals(locals())
            if not callback.on_step():
                return RolloutReturn(steps, episodes, continue_training=False)
            if step.outcome is not None and log_interval is not None and self._episode_num % log_interval == 0:
                self.dump_logs()
        callback.on_rollout_end()
        return RolloutReturn(steps, episodes, continue_training=True)

    def remember(self, step: Step) -> None:
        """Store a control step in the online buffer, and in the demo buffer as `store_guided` says."""
        transition = step.transition
        with self.store.lock:
            if not self.store.is_open:
                self.store.start_episode(transition.observation)
            slot = self.store.append(
                transition.action,
                transition.reward,
                transition.next_observation,
                terminated=transition.terminated,
                truncated=transition.truncated,
                guided=transition.guided,
            )
            self.online.add(slot)
            if self.store_guided == "both" and transition.guided:
                self.demo.add(slot)
            elif self.store_guided == "success" and step.outcome is not None and step.outcome.success:
                slots = self.store.slots_of(int(self.store.episode_of(np.array([slot]))[0]))[:-1]
                guided = np.flatnonzero(self.store.guided(slots))
                if len(guided) > 0:
                    self.demo.add(slots[guided[0] :])

    @property
    def n_updates(self) -> int:
        """Critic updates so far."""
        return self._n_updates

    # --- learning -------------------------------------------------------------------------------------------

    @abstractmethod
    def train(self, gradient_steps: int, batch_size: int | None = None) -> None:
        """Update the networks on batches drawn with `draw_slots`; hold `update_lock` while they change."""

    def draw_slots(self, batch_size: int) -> tuple[IntArray, int]:
        """Draw transitions from both buffers, demonstrations first. Shape (B,); and how many are demonstrations.

        Raises:
            ConfigError: If both buffers are empty.
        """
        online, demo, config = self.online, self.demo, self.config
        if len(online) + len(demo) == 0:
            raise ConfigError("There is nothing to learn from: collect steps or add demonstrations first.")
        from_demo = demo_count(
            batch_size,
            len(online),
            len(demo),
            fraction=config.demo_fraction,
            small_count=config.small_demo_count,
            small_fraction=config.small_demo_fraction,
        )
        drawn = [(demo, from_demo), (online, batch_size - from_demo)]
        parts = [buffer.sample(count, self.sampling_rng) for buffer, count in drawn if count > 0]
        return np.concatenate(parts), from_demo

    def dump_logs(self) -> None:
        """Write log data, with the newest figures of the learner."""
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for key, value in self.train_metrics.items():
            self.logger.record(f"train/{key}", value)
        super().dump_logs()

    # --- saving ---------------------------------------------------------------------------------------------

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
        self.noise_rng.set_state(states["noise"])

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to fit, beside configuration and spaces: numbers and strings."""
        return {}

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
        wired = ["supervisor", "guidance", "loop", "learner", "published", "rate_hz", "confirm", "update_lock"]
        memory = ["store", "online", "demo", "acting_rng", "sampling_rng", "noise_rng"]
        return [*super()._excluded_save_params(), *wired, *memory]

    @abstractmethod
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        """Return the names of networks and optimizers, and of tensors learned beside them."""
