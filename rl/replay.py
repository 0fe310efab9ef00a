"""The replay memory: what was executed and demonstrated, which of it is drawn for a batch, and how it is saved."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.save_util import load_from_pkl

from rl.buffers import FrameStore, IndexBuffer, IntArray, demo_count
from rl.config import GuidedConfig
from rl.episodes import Episode
from rl.errors import ConfigError
from rl.files import UNPICKLING
from rl.traits import StoreGuided
from rl.types import Transition

EPISODES = "episodes"


class ReplayMemory:
    """What was executed and what was demonstrated: `store` holds every frame once, `online` and `demo` are index sets.

    Every executed step is in `online`. In `demo` are the episodes that were given, for good, and those of the executed
    that `store_guided` and `demo_reward` send there, the oldest of which give way.
    """

    def __init__(
        self, space: spaces.Dict, action_size: int, config: GuidedConfig, *, store_guided: StoreGuided = "success"
    ) -> None:
        """Reserve an empty memory.

        Args:
            space: Observations as they are stored: uint8 images (H, W, C) and `state`.
            action_size: Components of an action.
            config: Capacity, padding of images, and how batches are drawn.
            store_guided: Where steps go whose action a waypoint or a human gave.
        """
        self.config, self.store_guided = config, store_guided
        self.store = FrameStore(space, action_size, capacity=config.buffer_capacity, pad=config.shift_pad)
        self.online = IndexBuffer(self.store)
        self.demo = IndexBuffer(self.store, keep=True)

    def size(self) -> int:
        """Return the number of transitions (Stable-Baselines3)."""
        return self.store.size()

    # --- filling --------------------------------------------------------------------------------------------

    def add_demonstrations(self, episodes: Sequence[Episode]) -> list[IntArray]:
        """Store episodes in the demo buffer, for good, and return the transitions of each. Shapes (T,).

        Raises:
            ConfigError: If an episode does not fit the spaces or the memory, or holds what cannot be learned from.
                None is stored then.
        """
        for number, episode in enumerate(episodes):
            self.store.check(episode, where=f"demonstration {number}")
        if (observations := sum(len(episode["action"]) + 1 for episode in episodes)) > self.store.room:
            raise ConfigError(
                f"{len(episodes)} demonstrations have {observations} observations, more than the {self.store.room} "
                "that the memory has room for; ask for a larger buffer_capacity."
            )
        added = []
        for episode in episodes:
            slots = self.store.add_episode(episode)
            self.demo.add(slots)
            added.append(slots)
        return added

    def append(self, transition: Transition, *, begins_episode: bool, place: int = 0) -> int:
        """Store an executed step, and return its slot.

        Args:
            transition: What was done and seen.
            begins_episode: It follows a reset.
            place: Number of the environment that it is of.
        """
        # An episode may have been left open by an earlier `learn`: what follows a reset never continues it.
        if begins_episode or not self.store.is_open(place):
            self.store.start_episode(transition.observation, place=place)
        slot = self.store.append(
            transition.action,
            transition.reward,
            transition.next_observation,
            terminated=transition.terminated,
            truncated=transition.truncated,
            guided=transition.guided,
            place=place,
        )
        self.online.add(slot)
        if self.store_guided == "both" and transition.guided:
            self.demo.add(slot, give_way=True)
        return slot

    def add_executed(self, episode: Episode, *, success: bool) -> IntArray:
        """Store a whole episode as `append` and `end_episode` leave it, and return its transitions. Shape (T,).

        Raises:
            ConfigError: If it does not fit; nothing is stored then.
        """
        slots = self.store.add_episode(episode)
        self.online.add(slots)
        if self.store_guided == "both":
            self.demo.add(slots[self.store.guided(slots)], give_way=True)
        self.end_episode(slots, success=success)
        return slots

    def end_episode(self, slots: IntArray, *, success: bool) -> None:
        """Put an executed episode into `demo` too: a success from where it was guided on, one rewarded enough whole."""
        if self.store_guided == "success" and success:
            guided = np.flatnonzero(self.store.guided(slots))
            if len(guided) > 0:
                self.demo.add(slots[guided[0] :], give_way=True)
        least = self.config.demo_reward
        if least is not None and self.store.rewards(slots).max() >= least:
            self.demo.add(slots, give_way=True)

    def episode_with(self, slot: int) -> IntArray:
        """Return the transitions of the episode that one of them belongs to. Shape (T,)."""
        return self.store.slots_of(int(self.store.episode_of(np.array([slot]))[0]))[:-1]

    # --- drawing --------------------------------------------------------------------------------------------

    def draw(self, batch_size: int, rng: np.random.Generator) -> tuple[IntArray, int]:
        """Draw transitions from both buffers, demonstrations first. Shape (B,); and how many are demonstrations.

        Raises:
            ConfigError: If both buffers are empty, or nothing is asked for.
        """
        if batch_size < 1:
            raise ConfigError(f"A batch has at least one transition, not {batch_size}.")
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
        parts = [buffer.sample(count, rng) for buffer, count in drawn if count > 0]
        return np.concatenate(parts), from_demo

    # --- saving ---------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what there is to know of the stored episodes beside them: by episode and step, not by slot."""
        store = self.store
        return {"online": store.locate(self.online.slots), "demo": store.locate(self.demo.slots), "given": store.kept}

    def restore(self, episodes: Iterable[tuple[int, Episode]], state: Mapping[str, Any]) -> None:
        """Fill an empty memory with episodes, under their numbers, and the `state` that was saved with them."""
        for number, episode in episodes:
            self.store.restore_episode(number, episode)
        for name, buffer in (("online", self.online), ("demo", self.demo)):
            buffer.add(self.store.slots_at(*state[name]), give_way=True)
        for number in given_episodes(state):
            self.store.keep(self.store.slots_of(number))


def given_episodes(state: Mapping[str, Any]) -> frozenset[int]:
    """Return the numbers of the episodes in a `state` that were given as demonstrations, not collected."""
    # Older states do not say it: those of the demo buffer that were never collected.
    given = state.get("given", set(state["demo"][0].tolist()) - set(state["online"][0].tolist()))
    return frozenset(given)


def read_replay(path: str | Path | io.BufferedIOBase, store: FrameStore) -> dict[str, Any]:
    """Return a saved memory: `episodes` by number, and what `ReplayMemory.state` says of them.

    Args:
        path: File that `save_replay_buffer` wrote.
        store: Memory that it must fit.

    Raises:
        ConfigError: If there is none, or it is damaged, another library's, of other spaces, or too large.
    """
    try:
        saved = load_from_pkl(path)
    except FileNotFoundError:
        raise ConfigError(f"There is no replay buffer {path}; write one with save_replay_buffer().") from None
    except UNPICKLING as error:
        raise ConfigError(f"Replay buffer {path} is damaged ({error}); use another one.") from error
    if not isinstance(saved, dict) or not {EPISODES, "online", "demo"} <= saved.keys():
        raise ConfigError(f"{path} holds a {type(saved).__name__}, not what save_replay_buffer() of this class writes.")
    for number, episode in saved[EPISODES].items():
        store.check_layout(episode, where=f"episode {number} of {path}")
    observations = sum(len(episode["action"]) + 1 for episode in saved[EPISODES].values())
    if observations > store.capacity:
        raise ConfigError(
            f"{path} holds {observations} observations, more than the memory's {store.capacity}; "
            "ask for a larger buffer_capacity."
        )
    lengths = {number: len(episode["action"]) for number, episode in saved[EPISODES].items()}
    for name in ("online", "demo"):
        for number, step in zip(*(part.tolist() for part in saved[name]), strict=True):
            if not 0 <= step < lengths.get(number, 0):
                raise ConfigError(
                    f"Replay buffer {path} is damaged (step {step} of episode {number} is in {name}, and not in the "
                    "file); use another one."
                )
    return saved
