"""Any Gymnasium environment as the learners want it: equal images, one state, actions in [-1, 1], a success."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.wrappers import AddRenderObservation, RepeatAction, TimeLimit

from rl.envs.options import AdapterOptions
from rl.envs.watchable import Watched, missing, name_of
from rl.episodes import STATE
from rl.errors import AgpsError, ConfigError, EnvironmentFailed, words_of
from rl.images import Pictures, entries, flat_size, image_layout
from rl.types import Expert, FloatArray, Observation

Obs = dict[str, npt.NDArray[Any]]

RENDERED = "render"
"""Name of the image that `render()` gives."""
SUCCESS_KEYS = ("is_success", "success", "succeed")
"""How environments call success in their info; the first that is there counts."""
LONGEST_EPISODE = 1000
"""Steps after which an episode is truncated where nothing says how long one is."""


def adapt(
    env: gymnasium.Env[Any, Any],
    options: AdapterOptions | None = None,
    *,
    image_size: int = 64,
    name: str | None = None,
) -> "AdaptedEnv":
    """Return an environment that every learner here takes, over any Gymnasium environment with continuous actions.

    `DrQ("MultiInputPolicy", adapt(gymnasium.make("..."), image_size=64), config=DrQConfig(clip_target=None))`: rewards
    that are not a single 0 or 1 need targets that are not clamped to [0, 1].

    Args:
        env: Environment; its observations and actions as the docstring of `AdaptedEnv` says.
        options: How it is read.
        image_size: Side of the images, [px].
        name: What messages, runs and demonstrations call it. None: the last part of its id, or its class.

    Raises:
        ConfigError: If its actions or observations cannot be adapted.
    """
    options = options or AdapterOptions()
    name = name or name_of(env)
    if options.plain_rendering:
        _draw_plainly(env, name)
    if options.render:
        if env.render_mode != "rgb_array":
            raise ConfigError(f"{name} renders {env.render_mode!r}; make it with render_mode='rgb_array'.")
        try:
            env = AddRenderObservation(env, render_only=False, render_key=RENDERED, obs_key=STATE)
        except Exception as error:  # somebody else's code draws here, on whatever this machine has
            raise ConfigError(
                f"{name} cannot render ({words_of(error)}); without a screen, set MUJOCO_GL=egl."
            ) from error
    if options.action_repeat > 1:
        env = RepeatAction(env, options.action_repeat)
    limit = None if env.spec is None else env.spec.max_episode_steps
    horizon = options.horizon or (LONGEST_EPISODE if limit is None else -(-limit // options.action_repeat))
    return AdaptedEnv(TimeLimit(env, horizon), options, image_size=image_size, name=name, horizon=horizon)


@dataclass(frozen=True, kw_only=True)
class ForeignTask:
    """What demonstrations remember of the environment that they were made in."""

    name: str
    options: AdapterOptions


class AdaptedEnv(gymnasium.Wrapper[Obs, npt.NDArray[np.float32], Any, Any]):
    """Somebody else's environment with the spaces of ours.

    Observation space, a `Dict`:

    | key | shape | content |
    |---|---|---|
    | one per image found or named | (image_size, image_size, C) uint8 | resized; C is 1, 3 or 4, 3 if watchable |
    | `state` | (P,) float32 | all other entries, flattened one after the other, in their own units |

    An entry that holds several frames becomes several images, `key.0`, `key.1` ...: a stack of RGB frames by frames,
    another number of channels by channels. Pictures with fewer channels than others are made alike. Images that are not
    square are squeezed. Floats from 0 to 1, or 255, become uint8. An environment without images has a state alone.

    Action, (A,) in [-1, 1]: all `Box` entries of the action space, flattened; -1 is each component's lower bound, 1 its
    upper one. Integers are rounded. The last component is a gripper command only where the environment's `metadata`
    says so (`rl.pixels.gripper`).

    Reward, `terminated` and `truncated` are the environment's; `truncated` too when `horizon` is over.

    Every info holds `is_success`, `executed_action` (in [-1, 1]; what the environment says it executed, where it says
    that in its own units, else the action; zeros at reset), `episode_step`, and, where the environment is
    `rl.envs.watchable.Watchable`, `observation` (`rl.types.Observation`): then a supervisor can watch it.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], options: AdapterOptions, *, image_size: int, name: str, horizon: int
    ) -> None:
        """See `adapt`, which adds the wrappers that the options ask for."""
        super().__init__(env)
        self.task = ForeignTask(name=name, options=options)
        self.image_size = image_size
        self.horizon = horizon
        """Actions until an episode is truncated."""
        self._options = options
        self._low, self._high, self._whole = _action_bounds(env.action_space, name)
        self.action_space = spaces.Box(-1.0, 1.0, self._low.shape, np.float32)
        self.watched = None if missing(self) else Watched(self)
        """The environment as supervisors see it; None where it is not `Watchable`."""
        self._spaces = {key: space for key, space, _ in entries(env.observation_space)}
        layouts = {key: image_layout(space, options.channels) for key, space in self._spaces.items()}
        images = {key: layout for key, layout in layouts.items() if layout is not None}
        others = tuple(key for key, layout in layouts.items() if layout is None)
        chosen = self._chosen("image_keys", options.image_keys, tuple(images))
        channels = None if self.watched is None else 3  # what watches compares pictures in RGB
        self._pictures = Pictures({key: images[key] for key in chosen}, size=image_size, channels=channels)
        self._state_keys = self._chosen("state_keys", options.state_keys, others)
        size = sum(flat_size(f"{name}'s entry {key}", self._spaces[key]) for key in self._state_keys)
        state = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        seen: dict[str, spaces.Space[Any]] = {**self._pictures.spaces, STATE: state}
        self.observation_space: spaces.Dict = spaces.Dict(seen)  # type: ignore[override]
        self._step = 0

    @property
    def knows_truth(self) -> bool:
        """Whether success is what really happened: the environment says so."""
        return True

    def pause(self) -> None:
        """Do nothing: the environment waits by itself."""

    def halt(self) -> None:
        """Do nothing."""

    def metrics(self) -> dict[str, float]:
        """Return nothing: there is no hardware that we know of."""
        return {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the images."""
        return tuple(self._pictures.spaces)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Start an episode."""
        with self._blamed("reset"):
            observation, info = self.env.reset(seed=seed, options=options)
        self._step = 0
        return self._seen(observation, info, is_success=False, executed=np.zeros(self._low.shape, np.float32))

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Act in the environment's own units."""
        action = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        own = self._low + 0.5 * (action + 1.0) * (self._high - self._low)
        own = np.where(self._whole, np.rint(own), own)
        with self._blamed("step"):
            observation, reward, terminated, truncated, info = self.env.step(_as_action(self.env.action_space, own))
        self._step += 1
        executed = self._executed(info, action)
        is_success = self._is_success(info, float(reward), bool(terminated))
        seen, info = self._seen(observation, info, is_success=is_success, executed=executed)
        return seen, float(reward), bool(terminated), bool(truncated), info

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points that only a simulator knows; none where the environment does not tell."""
        return {} if missing(self) else Watched(self.env).truth()

    def expert(self) -> Expert:
        """Refuse: nobody here can demonstrate it.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self.task.name} has no scripted expert; name a folder of demonstrations (--demos-dir).")

    def _chosen(self, option: str, keys: tuple[str, ...] | None, found: tuple[str, ...]) -> tuple[str, ...]:
        """Return the entries that are named, else those that were found."""
        unknown = [key for key in keys or () if key not in self._spaces]
        if unknown:
            raise ConfigError(
                f"{option}: {self.task.name} observes no {unknown[0]!r}; it observes {', '.join(self._spaces)}."
            )
        if option == "image_keys" and (others := [key for key in keys or () if key not in found]):
            raise ConfigError(
                f"image_keys: {others[0]} of {self.task.name} is {self._spaces[others[0]]}, no image: that is uint8, "
                "or floats from 0 to 1 or 255, of shape (H, W), (H, W, C) or (C, H, W)."
            )
        return found if keys is None else keys

    def _seen(
        self, observation: Any, info: Mapping[str, Any], *, is_success: bool, executed: npt.NDArray[np.float32]
    ) -> tuple[Obs, dict[str, Any]]:
        """Return what a policy sees of an observation, and the info with what the loop wants to know."""
        with self._blamed("observation"):
            observed = {key: value for key, _, value in entries(self.env.observation_space, observation)}
            images = self._pictures.of(observed)
            parts = [spaces.utils.flatten(self._spaces[key], observed[key]) for key in self._state_keys]
            state = np.concatenate([np.zeros(0), *parts]).astype(np.float32)
        added: dict[str, Any] = {"is_success": is_success, "executed_action": executed, "episode_step": self._step}
        if self.watched is not None:
            added["observation"] = Observation(
                images=images,
                state=state,
                robot=self.watched.robot,
                T_base_ref=self.watched.T_base_ref,
                step=self._step,
            )
        return {**images, STATE: state}, {**info, **added}

    @contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        """Turn whatever somebody else's code raises into one sentence that says whose it is."""
        try:
            yield
        except AgpsError:
            raise
        except Exception as error:
            raise EnvironmentFailed(f"{self.task.name} failed in its {what} ({words_of(error)}).") from error

    def _executed(self, info: Mapping[str, Any], action: FloatArray) -> npt.NDArray[np.float32]:
        if "executed_action" not in info:
            return action.astype(np.float32)
        own = np.asarray(spaces.utils.flatten(self.env.action_space, info["executed_action"]), np.float64)
        return np.clip(2.0 * (own - self._low) / (self._high - self._low) - 1.0, -1.0, 1.0).astype(np.float32)

    def _is_success(self, info: Mapping[str, Any], reward: float, terminated: bool) -> bool:
        options = self._options
        if options.success_reward is not None:
            return reward >= options.success_reward
        if options.success_key is not None and options.success_key not in info:
            raise ConfigError(
                f"success_key: the info of {self.task.name} has no {options.success_key!r}; it has {', '.join(info)}."
            )
        names = SUCCESS_KEYS if options.success_key is None else (options.success_key,)
        said = next((info[name] for name in names if name in info), terminated and reward > 0.0)
        return bool(np.any(said))


def _draw_plainly(env: gymnasium.Env[Any, Any], name: str) -> None:
    """Switch off what costs most of the time of a software renderer; it counts for renderers that are made later."""
    try:
        quality = env.unwrapped.get_wrapper_attr("model").vis.quality
    except AttributeError as error:
        raise ConfigError(f"plain_rendering: {name} has no MuJoCo `model`; leave it out.") from error
    quality.shadowsize = quality.offsamples = 0


def _action_bounds(space: spaces.Space[Any], name: str) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return lower and upper bound of each component of an action, and which are whole numbers. Shapes (A,)."""
    boxes: list[spaces.Box] = []
    for _, part, _ in entries(space):
        if not isinstance(part, spaces.Box):
            raise ConfigError(f"{name} wants actions in {part}; the learners here act in a Box: wrap it in one.")
        if not (np.all(np.isfinite(part.low)) and np.all(np.isfinite(part.high)) and np.all(part.low < part.high)):
            raise ConfigError(
                f"{name} has actions without bounds ({part}); wrap it in gymnasium.wrappers.TransformAction with some."
            )
        boxes.append(part)
    low = np.concatenate([np.ravel(part.low).astype(np.float64) for part in boxes])
    high = np.concatenate([np.ravel(part.high).astype(np.float64) for part in boxes])
    whole = [np.full(part.low.size, np.issubdtype(part.dtype, np.integer)) for part in boxes]
    return low, high, np.concatenate(whole)


def _as_action(space: spaces.Space[Any], flat: FloatArray) -> Any:
    if isinstance(space, spaces.Box):
        return flat.reshape(space.shape).astype(space.dtype)
    return spaces.utils.unflatten(space, flat.astype(np.float32))
