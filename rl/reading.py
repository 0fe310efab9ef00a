"""How an algorithm reads any environment: observations as a Dict of images and `state`, actions in [-1, 1]."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rl.episodes import STATE, Episode, image_shapes
from rl.errors import ConfigError
from rl.images import Pictures, entries, flat_size, image_layout
from rl.types import FloatArray

Seen = dict[str, npt.NDArray[Any]]


class Reading:
    """Translates between an environment's own spaces and those in which algorithms learn.

    A Dict of equally large uint8 images (H, W, C) with `state` and actions in [-1, 1] stay what they are. Of any other
    space the images are found by their shape, channels first or last; where they differ in size, all become as large
    as the one with most pixels. Everything else is flattened into `state`.
    """

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        """Decide what becomes of each entry.

        Raises:
            ConfigError: If the actions are no Box with limits, or the observations cannot be learned from.
        """
        self._own = observations
        self.is_plain = _is_plain(observations)
        """Whether observations are taken as they are."""
        self._spaces = {key: space for key, space, _ in entries(observations)}
        layouts = {key: image_layout(space) for key, space in self._spaces.items()}
        self._pictures = Pictures({key: layout for key, layout in layouts.items() if layout is not None})
        self._state_keys = tuple(key for key, layout in layouts.items() if layout is None)
        self.seen = observations if isinstance(observations, spaces.Dict) and self.is_plain else self._seen_space()
        """Space of what is learned from."""
        if (
            not isinstance(actions, spaces.Box)
            or actions.dtype is None
            or not np.issubdtype(actions.dtype, np.floating)
        ):
            raise ConfigError(f"Actions must be a Box of floats, not {actions}; wrap the environment in one.")
        if not (np.all(np.isfinite(actions.low)) and np.all(np.isfinite(actions.high))):
            raise ConfigError(f"Actions must have limits, not {actions}; wrap the environment in RescaleAction.")
        self._actions = actions
        self.action_size = int(np.prod(actions.shape))
        """Components of an action."""
        self._low, self._high = (np.ravel(limit).astype(np.float64) for limit in (actions.low, actions.high))
        is_unit = bool(np.all(self._low == -1.0) and np.all(self._high == 1.0))
        self._acts_plainly = is_unit and len(actions.shape) == 1

    def _seen_space(self) -> spaces.Dict:
        size = sum(flat_size(f"Entry {key}", self._spaces[key]) for key in self._state_keys)
        state = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        found: dict[str, spaces.Space[Any]] = {**self._pictures.spaces, STATE: state}
        return spaces.Dict(found)

    def observation(self, own: Any) -> Seen:
        """Return an observation of the environment as it is learned from."""
        if self.is_plain:
            return dict(own)
        observed = {key: value for key, _, value in entries(self._own, own)}
        parts = [spaces.utils.flatten(self._spaces[key], observed[key]) for key in self._state_keys]
        state = np.concatenate([np.zeros(0), *parts]).astype(np.float32)
        return {**self._pictures.of(observed), STATE: state}

    def batch(self, own: Any) -> tuple[Seen, bool]:
        """Return observations as they are learned from, always batched; and whether they were."""
        key, space, value = next(iter(entries(self._own, own)))
        batched = np.ndim(value) > len(space.shape or ())
        if self.is_plain:
            arrays = {name: np.asarray(array) for name, array in own.items()}
            return (arrays if batched else {name: array[None] for name, array in arrays.items()}), batched
        ones = [_part(own, i) for i in range(len(value))] if batched else [own]
        seen = [self.observation(one) for one in ones]
        return {name: np.stack([one[name] for one in seen]) for name in seen[0]}, batched

    def own_action(self, action: FloatArray) -> FloatArray:
        """Return an action in [-1, 1] in the environment's limits and shape."""
        if self._acts_plainly:
            return action
        own = self._low + 0.5 * (np.asarray(action, np.float64) + 1.0) * (self._high - self._low)
        return own.reshape(self._actions.shape).astype(self._actions.dtype)

    def learned_action(self, own: FloatArray) -> npt.NDArray[np.float32]:
        """Return actions of the environment in [-1, 1]. Shape (..., A)."""
        own = np.asarray(own)
        if self._acts_plainly:
            return own.astype(np.float32)
        leading = own.shape[: own.ndim - len(self._actions.shape)]
        flat = own.reshape(*leading, self.action_size).astype(np.float64)
        return (2.0 * (flat - self._low) / (self._high - self._low) - 1.0).astype(np.float32)

    def episode(self, recorded: Episode) -> Episode:
        """Return a demonstration, recorded in the environment's own spaces, as it is learned from.

        Its observations lie under the environment's names, `observation` where it has none, or are what this returns.
        """
        if "action" not in recorded or (self.is_plain and self._acts_plainly):
            return recorded
        changed = {"action": self.learned_action(recorded["action"])}
        if self.is_plain or not set(self._spaces) <= recorded.keys():
            return {**recorded, **changed}
        rest = {key: array for key, array in recorded.items() if key not in self._spaces}
        steps = [
            self._of_flat({key: recorded[key][t] for key in self._spaces}) for t in range(len(changed["action"]) + 1)
        ]
        return {**rest, **{key: np.stack([seen[key] for seen in steps]) for key in steps[0]}, **changed}

    def _of_flat(self, values: Mapping[str, Any]) -> Seen:
        return self.observation(values if isinstance(self._own, spaces.Dict) else values["observation"])


def _is_plain(space: spaces.Space[Any]) -> bool:
    if not isinstance(space, spaces.Dict) or len(space.spaces.get(STATE, space).shape or ()) != 1:
        return False
    try:
        return len(set(image_shapes(space).values())) <= 1
    except ConfigError:
        return False


def _part(batch: Any, index: int) -> Any:
    """Return one observation out of a batch."""
    return {key: value[index] for key, value in batch.items()} if isinstance(batch, Mapping) else batch[index]
