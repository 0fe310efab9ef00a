"""Replay memory: each frame once, whole episodes, and index sets ("online", "demo") over them.

A slot holds one observation and the transition that left it. Slots of an episode are linked by `next`, so a transition
can be in several index sets, an old episode can be freed from the middle, and the next observation of a transition is
always the one that followed it: across an episode end there is no link.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rl.episodes import GUIDED, LABEL, STATE, WAY, WAY_SIZE, Episode, check_episode, check_layout, image_shapes
from rl.errors import ConfigError

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
NOTHING = -1


@dataclass(frozen=True, kw_only=True)
class NStep:
    """n-step returns of a batch of transitions."""

    rewards: Float32Array
    """Discounted sum of up to n rewards. Shape (B,)."""
    discounts: Float32Array
    """Factor of the value at `last`: gamma^k after k <= n steps, 0 where the task terminated. Shape (B,)."""
    last: IntArray
    """Slots of the observation to bootstrap from. Shape (B,)."""


@dataclass(frozen=True)
class StateScales:
    """Units of a `state` that begins with how far the TCP has moved since reset."""

    position_m: float
    """Of its first three components, the translation, [m]."""
    rotation_rad: float | None = None
    """Of the next three, the rotation vector, [rad]; None where they are something else."""


PADDED_BYTES = 4 * 2**30
"""Most memory for frames with their padding, [bytes]. To pad what is read costs a tenth of an update."""


class FrameStore:
    """Append-only memory of episodes; every frame is kept once, as uint8.

    Images are channels-last and padded with their edge pixels, so that a random shift is a slice (see `crop`). Where
    that takes more than `PADDED_BYTES` they are kept as they are, and padded whenever they are read. Memory is reserved
    at once and taken from the machine page by page as frames arrive. When it is full, an old episode makes room (see
    `keep`).
    """

    def __init__(self, observation_space: spaces.Dict, action_size: int, *, capacity: int, pad: int = 4) -> None:
        """Reserve memory.

        Args:
            observation_space: Image keys, uint8 (H, W, C), and `state`, float (P,).
            action_size: Number of action components A.
            capacity: Most observations kept; an episode of T steps takes T + 1.
            pad: Pixels of edge padding, the largest shift.

        Raises:
            ConfigError: If the space has other entries or the memory cannot be reserved.
        """
        self.image_shapes = image_shapes(observation_space)
        self.state_size = int(np.prod(observation_space[STATE].shape or (0,)))
        self.action_size = action_size
        self.capacity = capacity
        self.pad = pad
        self.lock = threading.RLock()
        """Held by whoever appends or samples: a learner thread may read while the loop writes."""
        self._kept_pad = pad
        if self.bytes_reserved > PADDED_BYTES:
            self._kept_pad = 0
        edge = 2 * self._kept_pad
        try:
            self._frames = {
                key: np.empty((capacity, height + edge, width + edge, channels), np.uint8)
                for key, (height, width, channels) in self.image_shapes.items()
            }
        except MemoryError as error:
            raise ConfigError(
                f"{capacity} observations need {self.bytes_reserved / 2**30:.1f} GiB, more than this machine gives; "
                "ask for a smaller buffer_capacity."
            ) from error
        self._state = np.zeros((capacity, self.state_size), np.float32)
        self._action = np.zeros((capacity, action_size), np.float32)
        self._reward = np.zeros(capacity, np.float32)
        self._terminated = np.zeros(capacity, bool)
        self._truncated = np.zeros(capacity, bool)
        self._guided = np.zeros(capacity, bool)
        self._label = np.full((capacity, action_size), np.nan, np.float32)
        self._way = np.full((capacity, WAY_SIZE), np.nan, np.float32)
        self._success = np.full(capacity, NOTHING, np.int64)
        self._next = np.full(capacity, NOTHING, np.int64)
        self._episode = np.full(capacity, NOTHING, np.int64)
        self._free = list(range(capacity - 1, -1, -1))
        self._episodes: dict[int, list[int]] = {}
        self._next_episode = 0
        self._open: dict[int, int] = {}
        """Episodes that are being recorded, by the environment that they are of."""
        self._kept: set[int] = set()
        self._yielding: set[int] = set()
        self._buffers: list[IndexBuffer] = []

    # --- writing --------------------------------------------------------------------------------------------

    def start_episode(self, observation: Mapping[str, npt.NDArray[Any]], *, place: int = 0) -> int:
        """Begin an episode with its first observation and return its number; an open one ends where it is.

        Args:
            observation: The first one.
            place: Number of the environment that it is of, where there are several.
        """
        with self.lock:
            self.close_episode(place=place)
            episode = self._next_episode
            self._next_episode += 1
            self._open[place] = episode
            self._episodes[episode] = []
            self._put(episode, observation)
            return episode

    def append(
        self,
        action: npt.NDArray[Any],
        reward: float,
        next_observation: Mapping[str, npt.NDArray[Any]],
        *,
        terminated: bool,
        truncated: bool,
        guided: bool = False,
        place: int = 0,
    ) -> int:
        """Store one executed transition of the open episode and return its slot.

        Raises:
            ConfigError: If no episode is open.
        """
        with self.lock:
            if place not in self._open:
                raise ConfigError("No episode is open: call start_episode before append.")
            episode = self._open[place]
            slot = self._episodes[episode][-1]
            self._action[slot] = action
            self._reward[slot] = reward
            self._terminated[slot] = terminated
            self._truncated[slot] = truncated
            self._guided[slot] = guided
            self._next[slot] = self._put(episode, next_observation)
            if terminated and reward > 0.0:
                self._success[self._episodes[episode]] = self._next[slot]
            if terminated or truncated:
                self.close_episode(place=place)
            return slot

    def teach(self, slots: IntArray, labels: npt.NDArray[Any], ways: npt.NDArray[Any] | None = None) -> None:
        """Keep what a teacher says of these observations; not numbers where it has nothing to say.

        Args:
            slots: Of the observations. Shape (n,).
            labels: Actions that it would take. Shape (n, A).
            ways: From the TCP to where the task succeeds, [m], [rad]. Shape (n, 4).
        """
        with self.lock:
            self._label[slots] = labels
            if ways is not None:
                self._way[slots] = ways

    def close_episode(self, *, place: int = 0) -> None:
        """End the open episode of a place, if any; its last observation has no transition."""
        self._open.pop(place, None)

    def add_episode(self, episode: Episode) -> IntArray:
        """Store a whole episode and return the slots of its transitions. Shape (T,).

        Raises:
            ConfigError: If `check` refuses it; nothing is stored then.
        """
        self.check(episode)
        return self._add(episode)

    def check(self, episode: Episode, *, where: str = "the episode") -> None:
        """Refuse an episode that this store cannot take: `check_episode` tells why, or there is no room for it."""
        check_episode(episode, self.image_shapes, self.state_size, self.action_size, where=where)
        if (observations := len(episode["action"]) + 1) > self.room:
            raise ConfigError(
                f"{where[0].upper()}{where[1:]} has {observations} observations, more than the {self.room} that the "
                "memory has room for; ask for a larger buffer_capacity."
            )

    def check_layout(self, episode: Episode, *, where: str = "the episode") -> None:
        """Refuse an episode of other observations or actions (see `rl.episodes.check_layout`)."""
        check_layout(episode, self.image_shapes, self.state_size, self.action_size, where=where)

    def _add(self, episode: Episode) -> IntArray:
        steps = len(episode["action"])
        guided = episode.get(GUIDED, np.zeros(steps, bool))
        with self.lock:
            self.start_episode(self._observation(episode, 0))
            slots = [
                self.append(
                    episode["action"][t],
                    float(episode["reward"][t]),
                    self._observation(episode, t + 1),
                    terminated=bool(episode["terminated"][t]),
                    truncated=bool(episode["truncated"][t]),
                    guided=bool(guided[t]),
                )
                for t in range(steps)
            ]
            self.close_episode()
            if LABEL in episode:
                self.teach(np.array(slots, np.int64), episode[LABEL], episode.get(WAY))
        return np.array(slots, np.int64)

    def _observation(self, episode: Episode, t: int) -> dict[str, npt.NDArray[Any]]:
        return {key: episode[key][t] for key in (*self.image_shapes, STATE)}

    def _put(self, episode: int, observation: Mapping[str, npt.NDArray[Any]]) -> int:
        if not self._free:
            self._evict()
        slot = self._free.pop()
        pad = self._kept_pad
        for key, frames in self._frames.items():
            frames[slot] = np.pad(observation[key], ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        self._state[slot] = observation[STATE]
        self._label[slot] = self._way[slot] = np.nan
        self._success[slot] = self._next[slot] = NOTHING
        self._episode[slot] = episode
        self._episodes[episode].append(slot)
        return slot

    def _evict(self) -> None:
        """Free the oldest closed episode of the kind that must make room, as `keep` says."""
        running = set(self._open.values())
        evictable = [episode for episode in self._episodes if episode not in running and episode not in self._kept]
        if not evictable:
            raise ConfigError(
                f"All {self.capacity} observations of the replay memory belong to demonstrations or to the running "
                "episode; ask for a larger buffer_capacity."
            )
        crowded = 2 * self._held_by(self._yielding) > self.room
        # `min` takes the first of equals: the oldest of the kind that makes room, else the oldest of the other.
        episode = min(evictable, key=lambda number: (number in self._yielding) != crowded)
        slots = self._episodes.pop(episode)
        self._yielding.discard(episode)
        for buffer in self._buffers:
            buffer.discard(slots)
        self._episode[slots] = NOTHING
        self._next[slots] = NOTHING
        self._free.extend(slots)

    def _held_by(self, episodes: Iterable[int]) -> int:
        """Return the number of observations of some episodes."""
        return sum(len(self._episodes[episode]) for episode in episodes)

    # --- reading --------------------------------------------------------------------------------------------

    def is_open(self, place: int = 0) -> bool:
        """Return whether an episode of this place is being recorded."""
        return place in self._open

    def size(self) -> int:
        """Return the number of transitions, as Stable-Baselines3's buffers do."""
        return self.observations - len(self._episodes)

    @property
    def observations(self) -> int:
        """Number of observations held."""
        return self.capacity - len(self._free)

    @property
    def bytes_reserved(self) -> int:
        """Memory of all frames when the store is full, [bytes]."""
        edge = 2 * self._kept_pad
        return self.capacity * sum((h + edge) * (w + edge) * c for h, w, c in self.image_shapes.values())

    def crop(self, key: str, slots: IntArray, shifts: IntArray) -> ByteArray:
        """Return images of one camera, shifted.

        Args:
            key: Name of the camera.
            slots: Slots of observations. Shape (B,).
            shifts: Top-left corner of the window in the padded frame, rows and columns in [0, 2 pad]; `pad` means no
                shift. Shape (B, 2), [px].

        Returns:
            Copies, shape (B, H, W, C).
        """
        height, width, channels = self.image_shapes[key]
        frames = self._frames[key]
        if self._kept_pad < self.pad:
            frames, slots = _padded(frames[slots], self.pad), np.arange(len(slots))
        per_frame, per_row, per_pixel, _ = frames.strides
        positions = 2 * self.pad + 1
        # All windows of all frames as one strided view: picking (slot, row, column) copies whole rows of a window.
        windows = np.lib.stride_tricks.as_strided(
            frames,
            (len(frames), positions, positions, height, width * channels),
            (per_frame, per_row, per_pixel, per_row, 1),
            writeable=False,
        )
        crops: ByteArray = windows[slots, shifts[:, 0], shifts[:, 1]]
        return crops.reshape(len(slots), height, width, channels)

    def images(self, key: str, slots: IntArray) -> ByteArray:
        """Return unshifted images of one camera. Shape (B, H, W, C)."""
        return self.crop(key, slots, np.full((len(slots), 2), self.pad))

    def states(self, slots: IntArray) -> Float32Array:
        """Return proprioception. Shape (B, P)."""
        return self._state[slots]

    def actions(self, slots: IntArray) -> Float32Array:
        """Return executed actions. Shape (B, A)."""
        return self._action[slots]

    def guided(self, slots: IntArray) -> npt.NDArray[np.bool_]:
        """Return whether the action followed a waypoint. Shape (B,)."""
        return self._guided[slots]

    def labels(self, slots: IntArray) -> Float32Array:
        """Return the actions that a teacher would have taken, not a number where it had none. Shape (B, A)."""
        return self._label[slots]

    def ways(self, slots: IntArray, scales: StateScales) -> Float32Array:
        """Return the way from the TCP to where the task succeeds: x, y, z [m], turn about the vertical [rad]. (B, 4).

        As a teacher said; else of every frame of a success it is known exactly and for nothing, by hindsight: where it
        ended (as arXiv:1707.01495 relabels goals). Not numbers where nobody knows. A success ends the task with a
        positive reward.

        Args:
            slots: Transitions. Shape (B,).
            scales: Units of the state. Where it has no rotation, nobody knows of a turn but a teacher.
        """
        end = self._success[slots]
        ways = np.full((len(slots), WAY_SIZE), np.nan, np.float32)
        ways[:, :3] = (self._state[end, :3] - self._state[slots, :3]) * np.float32(scales.position_m)
        if scales.rotation_rad is not None:
            ways[:, 3] = (self._state[end, 5] - self._state[slots, 5]) * np.float32(scales.rotation_rad)
        ways[end == NOTHING] = np.nan
        return np.where(np.isnan(self._way[slots]), ways, self._way[slots])

    def rewards(self, slots: IntArray) -> Float32Array:
        """Return recorded rewards. Shape (B,)."""
        return self._reward[slots]

    def n_step(
        self,
        slots: IntArray,
        *,
        n: int,
        gamma: float,
        rewards: Callable[[IntArray], Float32Array] | None = None,
    ) -> NStep:
        """Return n-step returns that stay inside each transition's episode.

        R = sum_{i<k} gamma^i r_{t+i} with k = n, or fewer where the episode (or what is recorded of it) ends. A
        terminated end has no value after it; a truncated one, and one still being recorded, bootstraps from its last
        observation with gamma^k.

        Args:
            slots: Transitions. Shape (B,).
            n: Most rewards summed.
            gamma: Discount per control step.
            rewards: From slots to their rewards; None for the recorded ones.
        """
        reward_of = rewards or self.rewards
        total = np.zeros(len(slots), np.float32)
        discounts = np.ones(len(slots), np.float32)
        last = slots.copy()
        alive = np.ones(len(slots), bool)
        for i in range(n):
            if not alive.any():
                break
            now = last[alive]
            total[alive] += gamma**i * reward_of(now)
            discounts[alive] = np.where(self._terminated[now], 0.0, gamma ** (i + 1))
            last[alive] = self._next[now]
            over = self._terminated[now] | self._truncated[now] | (self._next[last[alive]] == NOTHING)
            alive[alive] = ~over
        return NStep(rewards=total, discounts=discounts, last=last)

    def returns(self, slots: IntArray, gamma: float, *, after_end: float = 0.0) -> Float32Array:
        """Return discounted Monte-Carlo returns to the end of each transition's episode as recorded. Shape (B,).

        R_t = sum_{i<k} gamma^i r_{t+i}, plus gamma^k `after_end` where the record ends after k steps without
        `terminated`: a time limit, a segment, or an episode that is still running. What would have followed there is
        unknown. As the lower bound of Cal-QL (arXiv:2303.05479) R_t needs `after_end` to be one: 0 if no reward is
        negative, else the smallest reward / (1 - gamma).

        Args:
            slots: Transitions. Shape (B,).
            gamma: Discount per control step.
            after_end: Value assumed after an end that is not the task's.
        """
        to_end = self.n_step(slots, n=self.capacity, gamma=gamma)
        return to_end.rewards + to_end.discounts * np.float32(after_end)

    # --- episodes -------------------------------------------------------------------------------------------

    @property
    def episodes(self) -> tuple[int, ...]:
        """Numbers of the episodes held, oldest first."""
        return tuple(self._episodes)

    def episode_of(self, slots: IntArray) -> IntArray:
        """Return the number of the episode of each slot. Shape (B,)."""
        return self._episode[slots]

    def locate(self, slots: IntArray) -> tuple[IntArray, IntArray]:
        """Return the episode and the step of each transition. Shapes (B,)."""
        step = np.zeros(self.capacity, np.int64)
        for held in self._episodes.values():
            step[held] = np.arange(len(held))
        return self._episode[slots], step[slots]

    def slots_at(self, episodes: IntArray, steps: IntArray) -> IntArray:
        """Return the slots of transitions found by `locate`, in this or a restored store. Shape (B,)."""
        pairs = zip(episodes.tolist(), steps.tolist(), strict=True)
        return np.array([self._episodes[episode][step] for episode, step in pairs], np.int64)

    def slots_of(self, episode: int) -> IntArray:
        """Return an episode's slots; the last one is an observation without a transition. Shape (T+1,)."""
        return np.array(self._episodes[episode], np.int64)

    def episode(self, number: int) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of one episode in the layout of demonstrations on disk, with its `guided` flags."""
        slots = self.slots_of(number)
        transitions = slots[:-1]
        return {
            **{key: self.images(key, slots) for key in self.image_shapes},
            STATE: self._state[slots],
            "action": self._action[transitions],
            "reward": self._reward[transitions],
            "terminated": self._terminated[transitions],
            "truncated": self._truncated[transitions],
            GUIDED: self._guided[transitions],
            **({} if np.isnan(labels := self._label[transitions]).all() else {LABEL: labels}),
            **({} if np.isnan(ways := self._way[transitions]).all() else {WAY: ways}),
        }

    def restore_episode(self, number: int, episode: Episode) -> IntArray:
        """Store an episode under its old number, when a run is resumed; numbers must rise.

        Raises:
            ConfigError: If it is of other observations or actions. Its values were taken once, and are taken again.
        """
        self.check_layout(episode)
        self._next_episode = number
        return self._add(episode)

    def register(self, buffer: "IndexBuffer") -> None:
        """Tell an index set when transitions leave."""
        self._buffers.append(buffer)

    def keep(self, slots: IntArray, *, give_way: bool = False) -> None:
        """Hold on to the episodes of these transitions.

        Args:
            slots: Transitions. Shape (n,).
            give_way: False: for good. True: longer than others, until such episodes fill more than half of what is not
                kept for good; then the oldest of them makes room, so that newer experience is not crowded out.
        """
        episodes = set(self._episode[slots].tolist())
        if give_way:
            self._yielding |= episodes - self._kept
        else:
            self._kept |= episodes
            self._yielding -= episodes

    @property
    def room(self) -> int:
        """Number of observations that are not kept for good."""
        return self.capacity - self._held_by(self._kept)

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the episodes that are kept for good, oldest first."""
        return tuple(episode for episode in self._episodes if episode in self._kept)


class IndexBuffer:
    """A set of transitions of a `FrameStore`, uniformly sampled."""

    def __init__(self, store: FrameStore, *, keep: bool = False) -> None:
        """Start empty.

        Args:
            store: Memory that the slots refer to.
            keep: Whether the store must hold on to the episodes of this set's transitions.
        """
        self.store = store
        self._keep = keep
        self._slots = np.empty(store.capacity, np.int64)
        self._position = np.full(store.capacity, NOTHING, np.int64)
        self._size = 0
        store.register(self)

    def __len__(self) -> int:
        """Return the number of transitions."""
        return self._size

    def add(self, slots: int | Iterable[int] | IntArray, *, give_way: bool = False) -> None:
        """Add transitions; those already in the set stay once.

        Args:
            slots: Transitions of the store.
            give_way: Whether a `keep` set may lose them again to newer ones (see `FrameStore.keep`).
        """
        added = np.atleast_1d(np.asarray(slots, np.int64))
        with self.store.lock:
            for slot in added:
                if self._position[slot] == NOTHING:
                    self._slots[self._size] = slot
                    self._position[slot] = self._size
                    self._size += 1
            if self._keep:
                self.store.keep(added, give_way=give_way)

    def discard(self, slots: Iterable[int]) -> None:
        """Remove transitions that are in the set."""
        for slot in slots:
            position = self._position[slot]
            if position == NOTHING:
                continue
            self._size -= 1
            moved = self._slots[self._size]
            self._slots[position] = moved
            self._position[moved] = position
            self._position[slot] = NOTHING

    @property
    def slots(self) -> IntArray:
        """Slots in sampling order. Shape (n,)."""
        return self._slots[: self._size].copy()

    def sample(self, size: int, rng: np.random.Generator) -> IntArray:
        """Draw slots uniformly, with replacement. Shape (size,)."""
        return self._slots[rng.integers(self._size, size=size)]


def demo_count(
    batch_size: int, online: int, demo: int, *, fraction: float, small_count: int, small_fraction: float
) -> int:
    """Return how many transitions of a batch come from the demo buffer.

    RLPD samples half from each buffer (arXiv:2302.02948); a handful of demo transitions in half of every batch would be
    repeated too often, so a small demo buffer gets `small_fraction`.

    Args:
        batch_size: Transitions in the batch.
        online: Transitions in the online buffer.
        demo: Transitions in the demo buffer.
        fraction: Share of a filled demo buffer.
        small_count: Demo buffers below this size are small.
        small_fraction: Share of a small demo buffer.
    """
    if demo == 0:
        return 0
    if online == 0:
        return batch_size
    return round(batch_size * (small_fraction if demo < small_count else fraction))


def _padded(images: ByteArray, pad: int) -> ByteArray:
    """Return images (B, H, W, C) with their edge pixels repeated around them: (B, H + 2 pad, W + 2 pad, C)."""
    count, height, width, channels = images.shape
    padded = np.empty((count, height + 2 * pad, width + 2 * pad, channels), np.uint8)
    inner = padded[:, :, pad : pad + width]
    inner[:, pad : pad + height] = images
    inner[:, :pad], inner[:, pad + height :] = images[:, :1], images[:, -1:]
    padded[:, :, :pad], padded[:, :, pad + width :] = inner[:, :, :1], inner[:, :, -1:]
    return padded
