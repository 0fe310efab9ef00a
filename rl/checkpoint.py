"""Save and resume a whole run: networks, optimizers, replay memory, random states, counters.

A checkpoint is a folder. `algorithm.zip` is the Stable-Baselines3 file, which the algorithm's `load` reads too;
`episodes/` holds one file per episode in the layout of demonstrations. It is written beside its place and then renamed,
so that what is there is always whole. Load only checkpoints that you trust: like any Stable-Baselines3 file they
contain pickles.
"""

import contextlib
import dataclasses
import io
import json
import os
import random
import shutil
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.save_util import load_from_zip_file

from rl.algorithm import GuidedAlgorithm
from rl.episodes import Episode
from rl.errors import AgpsError, ConfigError
from rl.files import UNPICKLING
from rl.replay import given_episodes
from rl.traits import ALGORITHMS

ALGORITHM, STATE, MANIFEST, EPISODES = "algorithm.zip", "state.pt", "manifest.json", "episodes"
LAST = "last"
"""The checkpoint that a run renews; preferred where nothing else says which one is newer."""
DAMAGE = (*UNPICKLING, RuntimeError, zipfile.BadZipFile, zlib.error, ConfigError)
"""What reading a damaged file raises, found by damaging them."""
RESUME_SEED = 8_000_000
"""What seeds of the starts of resumed runs begin from, far from those of evaluations (`rl.evaluation`)."""
OLDEST_ALGORITHM = "drq"
"""Checkpoints that do not name their algorithm are DrQ's."""


def save_checkpoint(
    path: Path, algorithm: GuidedAlgorithm, extra: dict[str, Any], about: Mapping[str, str] | None = None
) -> None:
    """Replace the checkpoint at `path` by the present state; episodes already there are not written again.

    Args:
        path: Folder of the checkpoint.
        algorithm: What to save; a learner thread waits meanwhile.
        extra: State of others, such as `Supervisor.state_dict()`: numbers, strings, lists and arrays.
        about: What it is of, by which `check_about` refuses it elsewhere: the task, for one.

    Raises:
        NotFinite: If the weights are not finite: they must not replace a checkpoint from which training can go on.
        AgpsError: If the disk is full or not writable, or an update hangs; the earlier checkpoint is still there.
    """
    path = Path(path)
    algorithm.check_weights()
    new = _new(path)
    try:
        with algorithm.at_rest(f"Cannot save {path}"):
            shutil.rmtree(new, ignore_errors=True)
            (new / EPISODES).mkdir(parents=True)
            _write_all(new, path, algorithm, extra, about or {})
        _swap(new, path)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        reason = error.strerror or str(error)
        advice = "the earlier checkpoint is kept; make room and resume from it" if path.exists() else "make room there"
        raise AgpsError(f"Cannot save {path}: {reason}; {advice}.") from error


def load_checkpoint(path: Path, algorithm: GuidedAlgorithm) -> dict[str, Any]:
    """Bring `algorithm` to the state saved at `path` and return its `extra`.

    The environment's own state is not part of it: a run goes on with a fresh episode.

    Args:
        path: Folder of the checkpoint.
        algorithm: Built with the same configuration and spaces.

    Raises:
        ConfigError: If there is no checkpoint, it is incomplete, or it is of another configuration.
    """
    folder = find_checkpoint(Path(path))
    manifest = _read_manifest(folder)
    # What an older checkpoint does not name came later, with a default that changes nothing.
    older = {"algorithm": OLDEST_ALGORITHM, **_plain(dataclasses.asdict(algorithm.config_class()))}
    _check_same(folder, older | manifest["setup"], _setup(algorithm))
    try:
        data, parameters, variables = load_from_zip_file(folder / ALGORITHM, device=algorithm.device)
        state = torch.load(folder / STATE, map_location="cpu", weights_only=False)
        assert data is not None and variables is not None
        algorithm.set_parameters(parameters, exact_match=True, device=algorithm.device)
        algorithm.set_learned_tensors(variables)
        for name in algorithm.counters:
            if name in data:
                setattr(algorithm, name, data[name])
            elif hasattr(type(algorithm), name):  # it has not counted anything yet
                setattr(algorithm, name, getattr(type(algorithm), name))
        _restore_memory(folder, algorithm, state)
        randomness, extra = state["random"], state["extra"]
    except DAMAGE as error:
        raise _unreadable(folder, error) from error
    seed_resumed_starts(algorithm)
    _set_random_states(algorithm, randomness)
    known: dict[str, Any] = extra
    return known


def seed_resumed_starts(algorithm: GuidedAlgorithm) -> None:
    """Let a resumed run begin rollouts neither where it began them before, nor where evaluations do.

    One that was interrupted before its first control step begins them where it would have.
    """
    if algorithm.env is not None and algorithm.seed is not None:
        further = RESUME_SEED + algorithm.num_timesteps if algorithm.num_timesteps > 0 else 0
        algorithm.env.seed((algorithm.seed + further) % 2**32)


def load_policy(
    path: Path, kind: type[GuidedAlgorithm] | None = None, *, device: torch.device | str = "auto"
) -> GuidedAlgorithm:
    """Return the policy of a checkpoint, without its replay memory.

    Args:
        path: Folder of the checkpoint.
        kind: The algorithm's class. None: found by the name in the checkpoint, or where its class was imported from.
        device: Where it computes, whatever it was trained on.

    Raises:
        ConfigError: If there is no checkpoint, or it is incomplete or damaged.
    """
    folder = find_checkpoint(Path(path))
    kind = kind or _find_algorithm(folder)
    try:
        policy = kind.load(folder / ALGORITHM, device=device)
    except DAMAGE as error:
        raise _unreadable(folder, error) from error
    return policy


def recorded_episodes(path: Path) -> list[tuple[Path, bool]]:
    """Return the episodes in a checkpoint's replay memory that have steps, oldest first.

    Each is a file in the layout of demonstrations, and whether it was given as a demonstration.

    Raises:
        ConfigError: If there is no checkpoint, or it is incomplete or damaged.
    """
    folder = find_checkpoint(Path(path))
    _read_manifest(folder)
    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=False)
        given = given_episodes(state)
        names = [str(name) for name in state["episodes"]]
        numbers = [tuple(int(part) for part in name.removesuffix(".npz").split("_")) for name in names]
        files = zip(names, numbers, strict=True)
        return [(folder / EPISODES / name, number in given) for name, (number, steps) in files if steps > 0]
    except DAMAGE as error:
        raise _unreadable(folder, error) from error


def _find_algorithm(folder: Path) -> type[GuidedAlgorithm]:
    manifest = _read_manifest(folder)
    name = manifest["setup"].get("algorithm", OLDEST_ALGORITHM)
    if name not in ALGORITHMS and "class" in manifest:
        with contextlib.suppress(ConfigError):
            kind = ALGORITHMS.load(manifest["class"])
            if kind.name == name:
                return kind
    try:
        return ALGORITHMS.load(name)
    except ConfigError as error:
        raise ConfigError(f"Checkpoint {folder} is of another algorithm. {error}") from None


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint in a folder of checkpoints, by what is written in them: copies change file times.

    Raises:
        ConfigError: If there is none, or one cannot be read.
    """
    found = _whole_checkpoints(Path(folder))
    if not found:
        raise ConfigError(
            f"There is no checkpoint in {folder}: the run has not saved one yet, or was copied without them; copy them "
            "too, or start it anew."
        )
    return max(found, key=_order)


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint of which files are missing or cut short, before what takes its time is built.

    Raises:
        ConfigError: Saying which.
    """
    _read_manifest(find_checkpoint(path))


def check_about(path: Path, about: Mapping[str, str]) -> None:
    """Refuse a checkpoint of something else, such as another task whose observations look the same.

    Args:
        path: Folder of the checkpoint.
        about: What it should be of; what a checkpoint of an earlier version does not say is not compared.

    Raises:
        ConfigError: Saying what it is of, or that there is none.
    """
    folder = find_checkpoint(Path(path))
    told = _parse_manifest(folder).get("about")
    saved: Mapping[str, Any] = told if isinstance(told, dict) else {}
    for name, wanted in about.items():
        if saved.get(name, wanted) != wanted:
            raise ConfigError(
                f"Checkpoint {folder} is of {name} {saved[name]}, not {wanted}; use it with the run that it came from."
            )


def find_checkpoint(path: Path) -> Path:
    """Return the folder to read for the checkpoint at `path`.

    Raises:
        ConfigError: If there is none.
    """
    for folder in (path, _new(path), _previous(path)):  # a crash between the two renames of `_swap` leaves the others
        if (folder / MANIFEST).is_file():
            return folder
    others = sorted(folder.name for folder in _whole_checkpoints(path.parent)) if path.parent.is_dir() else []
    hint = f"beside it there are {', '.join(others)}" if others else "train first, or give a run directory that has one"
    raise ConfigError(f"There is no checkpoint at {path}; {hint}.")


def _whole_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder. A manifest is written last: where there is one, the rest is there too."""
    return [manifest.parent for manifest in folder.glob(f"*/{MANIFEST}")]


def _order(folder: Path) -> tuple[int, int, bool]:
    """Return what grows from one checkpoint of a run to the next.

    That is the number of saves so far. Older versions did not count them: there it is the environment steps, and among
    equal ones the name.
    """
    manifest = _parse_manifest(folder)
    is_last = folder.name.lstrip(".").startswith(LAST)  # or what a crash between the renames of `_swap` left of it
    if isinstance(manifest.get("saved"), int):
        return manifest["saved"], 0, is_last
    try:
        with zipfile.ZipFile(folder / ALGORITHM) as archive:
            return 0, int(json.loads(archive.read("data"))["num_timesteps"]), is_last
    except DAMAGE as error:
        raise _unreadable(folder, error) from error


def _saves(folder: Path) -> int:
    """Return how many checkpoints were saved into a folder; one that cannot be read must not stop another's saving."""
    counts = [0]
    for checkpoint in _whole_checkpoints(folder):
        with contextlib.suppress(ConfigError):
            counts.append(_order(checkpoint)[0])
    return max(counts)


def _write_all(
    new: Path, old: Path, algorithm: GuidedAlgorithm, extra: dict[str, Any], about: Mapping[str, str]
) -> None:
    store = algorithm.store
    numbers = {number: len(store.slots_of(number)) - 1 for number in store.episodes}
    names = [f"{number:06d}_{steps}.npz" for number, steps in numbers.items()]
    for number, name in zip(numbers, names, strict=True):
        if not _link(old / EPISODES / name, new / EPISODES / name):
            _write(new / EPISODES / name, partial(_dump_arrays, store.episode(number)))
    state = {
        "random": _random_states(algorithm),
        "episodes": names,
        **algorithm.replay_state(),
        "extra": extra,
    }
    _write(new / STATE, lambda file: torch.save(state, file))
    _write(new / ALGORITHM, algorithm.save)
    files = [ALGORITHM, STATE, *(f"{EPISODES}/{name}" for name in names)]
    sizes = {name: (new / name).stat().st_size for name in files}
    kind = type(algorithm)
    manifest = {
        "setup": _setup(algorithm),
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "files": sizes,
        "saved": 1 + _saves(old.parent),
        "about": dict(about),
    }
    _write(new / MANIFEST, lambda file: file.write(json.dumps(manifest, indent=1).encode()))


def _write(path: Path, dump: Callable[[io.BytesIO], Any]) -> None:
    """Serialise in memory first: some writers turn a full disk into another error."""
    buffer = io.BytesIO()
    dump(buffer)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)  # there is no half a file, after a loss of power either


def _dump_arrays(arrays: Mapping[str, Any], file: io.BytesIO) -> None:
    np.savez_compressed(file, **arrays)  # rendered frames shrink twentyfold in 10 ms an episode


def _link(source: Path, target: Path) -> bool:
    """Let `target` be the same file as `source`, if that is there and the file system can; return whether."""
    with contextlib.suppress(OSError):
        os.link(source, target)
    return target.exists()


def _swap(new: Path, path: Path) -> None:
    previous = _previous(path)
    if path.exists():
        shutil.rmtree(previous, ignore_errors=True)
        path.rename(previous)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _new(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def _parse_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict):
        raise ConfigError(
            f"Checkpoint {folder} is incomplete: {MANIFEST} is not readable; delete it, or name another one."
        )
    return manifest


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = _parse_manifest(folder)
    try:
        for name, size in manifest["files"].items():
            found = (folder / name).stat().st_size if (folder / name).exists() else 0
            if found != size:
                raise ConfigError(
                    f"Checkpoint {folder} is incomplete: {name} has {found} of {size} bytes; resume from another one."
                )
    except (AttributeError, KeyError) as error:
        raise ConfigError(f"Checkpoint {folder} is incomplete: {MANIFEST} names no files.") from error
    if not isinstance(manifest.get("setup"), dict):
        raise ConfigError(f"Checkpoint {folder} is incomplete: {MANIFEST} does not say what was trained.")
    return manifest


def _unreadable(folder: Path, error: Exception) -> ConfigError:
    reason = textwrap.shorten(str(error), 160, placeholder=" ...")  # torch names every parameter that does not fit
    return ConfigError(f"Checkpoint {folder} is damaged, or of another version ({reason}); use another one.")


def _setup(algorithm: GuidedAlgorithm) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to fit, as JSON gives it back."""
    setup = {
        "algorithm": algorithm.name,
        **dataclasses.asdict(algorithm.config),
        **algorithm.identity(),
        "observation_space": str(algorithm.observation_space),
        "action_space": str(algorithm.action_space),
    }
    return _plain(setup)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _check_same(folder: Path, saved: dict[str, Any], present: dict[str, Any]) -> None:
    for key in sorted(saved.keys() | present.keys()):
        if saved.get(key) != present.get(key):
            raise ConfigError(
                f"Checkpoint {folder} was made with {key} = {saved.get(key)}, not {present.get(key)}; "
                "resume with the run's own configuration."
            )


def _restore_memory(folder: Path, algorithm: GuidedAlgorithm, state: dict[str, Any]) -> None:
    def read() -> Iterator[tuple[int, Episode]]:
        for name in state["episodes"]:
            with np.load(folder / EPISODES / name) as episode:
                yield int(name.split("_")[0]), dict(episode)

    algorithm.restore_replay(read(), state)


def _random_states(algorithm: GuidedAlgorithm) -> dict[str, Any]:
    return {
        **algorithm.random_states(),
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002  # the legacy global state, which Stable-Baselines3 seeds
        "torch": torch.get_rng_state(),
    }


def _set_random_states(algorithm: GuidedAlgorithm, states: dict[str, Any]) -> None:
    algorithm.set_random_states(states)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
