"""Demonstrations: recorded by an expert, kept as a folder of episodes."""

import dataclasses
import json
import logging
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import numpy.typing as npt

from rl.episodes import STATE, Episode, check_episode, image_shapes, layout_of
from rl.errors import ConfigError
from rl.files import new_folder, write_atomically
from rl.growing_folder import is_in_use, keep_episode
from rl.rollout import Moment, Steps, run_episode
from rl.types import Expert, FloatArray, Observation

logger = logging.getLogger(__name__)

MANIFEST = "demos.json"
BY = "by"
"""What the manifest calls who demonstrated: expert, agent, or a person's device."""


class DemonstratedTask(Protocol):
    """A task as a folder of demonstrations knows it: a dataclass with a name."""

    @property
    def name(self) -> str:
        """What the folder is of."""


class DemonstratedEnv(Steps, Protocol):
    """An environment that can be demonstrated in."""

    @property
    def task(self) -> DemonstratedTask:
        """What is done in it."""

    @property
    def image_size(self) -> int:
        """Side of the images, [px]."""

    @property
    def observation_space(self) -> gymnasium.spaces.Dict:
        """What an observation holds. Infos hold what the expert sees as `observation`, and `executed_action`."""

    @property
    def action_space(self) -> gymnasium.spaces.Space[Any]:
        """Shape (A,), in [-1, 1]."""

    def truth(self) -> Mapping[str, FloatArray]:
        """Return named points that only a simulator knows, base frame, (3,), [m]."""

    def expert(self) -> Expert:
        """Return the scripted expert.

        Raises:
            ConfigError: If there is none.
        """


def record_demos(env: DemonstratedEnv, expert: Expert | None = None, *, n: int, seed: int) -> list[Episode]:
    """Return `n` successful episodes of an expert, see `demonstrate`."""
    return list(demonstrate(env, expert, n=n, seed=seed))


def demonstrate(env: DemonstratedEnv, expert: Expert | None = None, *, n: int, seed: int) -> Iterator[Episode]:
    """Yield `n` successful episodes of an expert as they end; failed ones are counted in the log and left out.

    Episode k starts from the seed `seed + k`, which it carries under `seed`.

    Args:
        env: Environment to act in.
        expert: The environment's scripted expert if None.
        n: Episodes to keep.
        seed: Seed of the first attempt.

    Raises:
        ConfigError: If the expert fails more often than it succeeds.
    """
    expert = expert or env.expert()
    kept = attempts = 0
    while kept < n:
        if attempts >= 2 * n + 10:
            raise ConfigError(f"The expert succeeded in {kept} of {attempts} episodes; make the task easier.")
        episode = _rollout(env, expert, seed=seed + attempts)
        attempts += 1
        if episode["reward"][-1] > 0:
            kept += 1
            yield episode
    logger.info("Recorded %d demonstrations; %d attempts failed.", n, attempts - n)


def _rollout(env: DemonstratedEnv, expert: Expert, *, seed: int) -> Episode:
    return episode_of(list(run_episode(env, lambda now: expert(now.observation, env.truth()), seed=seed)), seed=seed)


def episode_of(moments: Sequence[Moment], *, seed: int) -> Episode:
    """Return an episode as it is recorded.

    Args:
        moments: All of it, as `run_episode` yields them.
        seed: That it started from.
    """
    steps = moments[1:]
    return {
        **{key: np.stack([moment.obs[key] for moment in moments]) for key in moments[0].obs},
        "action": np.stack([step.info["executed_action"] for step in steps]).astype(np.float32),
        "reward": np.array([step.reward for step in steps], np.float32),
        "terminated": np.array([step.terminated for step in steps], np.bool_),
        "truncated": np.array([step.truncated for step in steps], np.bool_),
        "seed": np.array(seed, np.int64),
    }


def record_miss(env: DemonstratedEnv, landmarks: Collection[str], *, seed: int) -> Episode:
    """Return an episode whose expert takes the points of the scene to lie 1 to 4 cm beside where they are.

    Args:
        env: Environment to act in.
        landmarks: Names of the points.
        seed: Seed of the start and of the mistake.
    """
    rng = np.random.default_rng(seed)
    angle_rad, distance_m = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.01, 0.04)
    return _rollout(env, mistaken(env.expert(), landmarks, angle_rad=angle_rad, distance_m=distance_m), seed=seed)


def mistaken(expert: Expert, landmarks: Collection[str], *, angle_rad: float, distance_m: float) -> Expert:
    """Return an expert that takes some points of the scene to lie beside where they are.

    Args:
        expert: Who acts.
        landmarks: Names of the points.
        angle_rad: Direction in which they are taken to lie, about the vertical, from the base's x axis, [rad].
        distance_m: How far, [m].
    """
    offset = distance_m * np.array([np.cos(angle_rad), np.sin(angle_rad), 0.0])

    def act(observation: Observation, truth: Mapping[str, FloatArray]) -> npt.NDArray[np.float32]:
        believed = {name: point + offset if name in landmarks else point for name, point in truth.items()}
        return expert(observation, believed)

    return act


def save_demos(
    folder: Path, episodes: Sequence[Episode], *, env: DemonstratedEnv, seed: int, by: str | None = None
) -> None:
    """Write `demos.json` and one `episode_NNN.npz` each; the folder appears complete or not at all.

    Args:
        folder: Folder to make.
        episodes: As `record_demos` returns them.
        env: Environment they were recorded in.
        seed: Seed they were recorded with.
        by: Who demonstrated; None: nobody knows.

    Raises:
        ConfigError: If the folder is in use.
        AgpsError: If the disk refuses.
    """
    seeds = [int(episode["seed"]) for episode in episodes if "seed" in episode]
    about = {**_made_in(env), "seed": seed, "seeds": seeds, "count": len(episodes)}
    write_episodes(folder, MANIFEST, about if by is None else {**about, BY: by}, episodes)


def _made_in(env: DemonstratedEnv) -> dict[str, Any]:
    return made_for(env.task, image_size=env.image_size)


def made_for(task: DemonstratedTask, *, image_size: int) -> dict[str, Any]:
    """Return what a manifest says of a task and its images, as JSON gives it back."""
    config = dataclasses.asdict(task)  # type: ignore[call-overload]  # no protocol says dataclass
    plain: dict[str, Any] = json.loads(json.dumps({"task": task.name, "config": config, "image_size": image_size}))
    return plain


class DemoFolder:
    """Demonstrations that are kept as they are made: whatever ends a recording, those before it are on disk."""

    def __init__(
        self, folder: Path, *, env: DemonstratedEnv, seed: int, robot: str = "sim", resume: bool = False
    ) -> None:
        """Begin a folder, which appears with the first demonstration, or go on with one.

        Args:
            folder: Where they are kept.
            env: Environment they are made in.
            seed: Seed of the first attempt.
            robot: Where they are made, as `--robot` says it.
            resume: Keep what is there already, if anything is.

        Raises:
            ConfigError: If the folder is in use, or what is there was made under other conditions.
        """
        self.folder = Path(folder)
        self._about = {**_made_in(env), "robot": robot, "seed": seed}
        self._seeds: list[int] = []
        if is_in_use(self.folder):
            if not resume:
                raise ConfigError(f"{folder} already exists; name another folder for the episodes.")
            self._take_over()

    @property
    def count(self) -> int:
        """Demonstrations on disk."""
        return len(self._seeds)

    @property
    def next_seed(self) -> int:
        """Seed of the next attempt: after that of the last demonstration."""
        return self._seeds[-1] + 1 if self._seeds else int(self._about["seed"])

    def keep(self, episode: Episode) -> None:
        """Put one more demonstration on disk.

        Raises:
            AgpsError: If the disk refuses; the others are still there.
        """
        seeds = [*self._seeds, int(episode["seed"])]
        manifests = {"before": self._manifest(self._seeds), "after": self._manifest(seeds)}
        keep_episode(self.folder / MANIFEST, episode, number=self.count, **manifests)
        self._seeds = seeds

    def tell(self, name: str, value: Any) -> None:
        """Say something more in the manifest: about the demonstrations on disk, or with the first to come.

        Raises:
            AgpsError: If the disk refuses.
        """
        self._about[name] = value
        if self._seeds:
            content = json.dumps(self._manifest(self._seeds), indent=2) + "\n"
            write_atomically(self.folder / MANIFEST, content)

    def told(self, name: str) -> Any:
        """Return what the manifest says under a name; None if nothing."""
        return self._about.get(name)

    def _manifest(self, seeds: Sequence[int]) -> dict[str, Any]:
        return {**self._about, "seeds": list(seeds), "count": len(seeds)}

    def _take_over(self) -> None:
        folder, manifest = self.folder, _read_manifest(self.folder)
        for what, found in _differences(manifest, self._about):
            raise ConfigError(f"The demonstrations in {folder} were made with {what} {found}; go on with the same.")
        files = demos_in(folder, may_be_empty=True)
        self._about = {**manifest, **self._about, "seed": manifest.get("seed", self._about["seed"])}
        self._seeds = [int(episode.get("seed", self._about["seed"])) for _, episode in sound_episodes(files)]


def _differences(saved: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what differs between demonstrations on disk and those to come, and both values; time limits may differ."""
    config = saved.get("config")
    was = {**saved, **(config if isinstance(config, dict) else {})}
    now = {name: present[name] for name in ("task", "image_size", "robot")} | present["config"]
    for name in now:
        if name != "horizon" and name in was and was[name] != now[name]:
            yield name, f"{was[name]!r}, not {now[name]!r}"


def write_episodes(folder: Path, name: str, manifest: Mapping[str, Any], episodes: Sequence[Episode]) -> None:
    """Write a manifest called `name` and one `episode_NNN.npz` each; the folder appears complete or not at all.

    Raises:
        ConfigError: If the folder is in use.
        AgpsError: If the disk refuses.
    """
    with new_folder(folder, purpose="the episodes") as unfinished:
        for number, episode in enumerate(episodes):
            write_episode(unfinished, number, episode)
        write_manifest(unfinished / name, manifest)


def write_episode(folder: Path, number: int, episode: Episode) -> None:
    """Write one episode into a folder that is being made."""
    np.savez_compressed(folder / f"episode_{number:03d}.npz", **dict[str, Any](episode))


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write what a folder that is being made holds."""
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def load_demos(folder: Path, *, env: DemonstratedEnv) -> list[Episode]:
    """Return the demonstrations in a folder, for the task and image size of an environment.

    Raises:
        ConfigError: If there are none, or they are of another task, image size or camera, or a file is damaged.
    """
    check_demos(folder, task=env.task.name, image_size=env.image_size)
    return [_read_fitting(path, env) for path in demos_in(Path(folder))]


def check_demos(folder: Path, *, task: str, image_size: int) -> None:
    """Refuse demonstrations of another task or image size, or that a copy cut short, before anything is opened.

    Raises:
        ConfigError: Saying what they are.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    for what, wanted in (("task", task), ("image_size", image_size)):
        if manifest.get(what) != wanted:
            raise ConfigError(
                f"The demonstrations in {folder} are of {what} {manifest.get(what)!r}, not {wanted!r}; "
                "record them with `agps demos record`."
            )
    for path in demos_in(folder):
        if not zipfile.is_zipfile(path):
            raise ConfigError(f"{path} is damaged (it is no whole .npz file); record the demonstrations anew.")


def demos_in(folder: Path, *, may_be_empty: bool = False) -> list[Path]:
    """Return the files of the demonstrations in a folder.

    They are those that its manifest counts, and one that a crash left uncounted.

    Raises:
        ConfigError: If there are none, or others than the manifest says.
    """
    count, files = _read_manifest(folder).get("count"), sorted(folder.glob("episode_*.npz"))
    if not isinstance(count, int) or not count <= len(files) <= count + 1:
        raise ConfigError(f"{folder} has {len(files)} episodes, its {MANIFEST} says {count}; record anew.")
    if not files and not may_be_empty:
        raise ConfigError(f"There are no demonstrations in {folder}; record some with `agps demos record`.")
    return files


def demonstrator(folder: Path) -> str | None:
    """Return who demonstrated what is in a folder; None where its manifest does not say.

    Raises:
        ConfigError: If there are no demonstrations.
    """
    by = _read_manifest(Path(folder)).get(BY)
    return by if isinstance(by, str) else None


def recorded_count(folder: Path) -> int:
    """Return the number of demonstrations in a folder.

    Raises:
        ConfigError: If there are none, or they cannot be read.
    """
    return len(demos_in(Path(folder)))


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There are no demonstrations in {folder}; record some with `agps demos record`.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read {folder / MANIFEST}: {error}; record the demonstrations anew.") from error
    if not isinstance(manifest, dict):
        raise ConfigError(f"{folder / MANIFEST} is not a JSON object; record the demonstrations anew.")
    if not isinstance(manifest.get("task", ""), str):
        raise ConfigError(f"{folder / MANIFEST} says task is {manifest['task']!r}; record the demonstrations anew.")
    return manifest


def read_episode(path: Path) -> Episode:
    """Return the arrays of one recorded episode, by name.

    Raises:
        ConfigError: If the file is damaged.
    """
    if not zipfile.is_zipfile(path):  # NumPy would speak of pickles
        raise ConfigError(f"{path} is damaged (it is no whole .npz file); record the demonstrations anew.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            episode: dict[str, npt.NDArray[Any]] = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise ConfigError(f"{path} is damaged ({error}); record the demonstrations anew.") from error
    return episode


def sound_episodes(paths: Iterable[Path]) -> Iterator[tuple[Path, Episode]]:
    """Yield recorded episodes with their files, each checked: like the first one in layout, and fit to learn from.

    Raises:
        ConfigError: Names the first file and key at fault.
    """
    layout = None
    for path in paths:
        episode = read_episode(path)
        layout = layout or layout_of(episode, where=str(path))
        check_episode(episode, layout.images, layout.state, layout.action, where=str(path))
        yield path, episode


def _read_fitting(path: Path, env: DemonstratedEnv) -> Episode:
    """Return a recorded episode that has this environment's cameras, state and actions, and sound values."""
    episode, space = read_episode(path), env.observation_space
    state, action = space[STATE].shape, env.action_space.shape
    assert state is not None and action is not None
    check_episode(episode, image_shapes(space), state[0], action[0], where=str(path))
    return episode
