"""A replay memory as a value: its episodes, and which of their transitions are in which buffer, to save and restore."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.save_util import load_from_pkl

from rl.buffers import FrameStore, IndexBuffer
from rl.episodes import Episode
from rl.errors import ConfigError
from rl.files import UNPICKLING

EPISODES = "episodes"


def index_state(store: FrameStore, online: IndexBuffer, demo: IndexBuffer) -> dict[str, Any]:
    """Return what there is to know of the stored episodes beside them: by episode and step, not by slot."""
    return {"online": store.locate(online.slots), "demo": store.locate(demo.slots), "given": store.kept}


def restore(
    store: FrameStore,
    online: IndexBuffer,
    demo: IndexBuffer,
    episodes: Iterable[tuple[int, Episode]],
    state: Mapping[str, Any],
) -> None:
    """Fill an empty memory with episodes, under their numbers, and the `index_state` that was saved with them."""
    for number, episode in episodes:
        store.restore_episode(number, episode)
    for name, buffer in (("online", online), ("demo", demo)):
        buffer.add(store.slots_at(*state[name]), give_way=True)
    for number in given_episodes(state):
        store.keep(store.slots_of(number))


def given_episodes(state: Mapping[str, Any]) -> frozenset[int]:
    """Return the numbers of the episodes in an `index_state` that were given as demonstrations, not collected."""
    # Older states do not say it: those of the demo buffer that were never collected.
    given = state.get("given", set(state["demo"][0].tolist()) - set(state["online"][0].tolist()))
    return frozenset(given)


def read_replay(path: str | Path | io.BufferedIOBase, store: FrameStore) -> dict[str, Any]:
    """Return a saved memory: `episodes` by number, and what `index_state` says of them.

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
    return saved
