"""Film strips of demonstrations: which frames, in which order, beside which file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agps_agent.report.strips import FRAMES, write_strips
from rl.errors import ConfigError


def save(folder: Path, name: str, frames: int, cameras: tuple[str, ...] = ("side",)) -> Path:
    """Write an episode whose k-th frame has the brightness k; the n-th camera adds 100 n."""
    images = {
        camera: np.stack([np.full((4, 6, 3), 100 * n + k, np.uint8) for k in range(frames)])
        for n, camera in enumerate(cameras)
    }
    path = folder / f"{name}.npz"
    np.savez(path, state=np.zeros((frames, 3)), reward=np.zeros(frames), **images)
    return path


def brightness(path: Path) -> np.ndarray:
    """Rows of cameras, columns of frames."""
    return np.asarray(Image.open(path))[::4, ::6, 0]


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        (1, [0]),
        (5, [0, 1, 2, 3, 4]),
        (FRAMES, [0, 1, 2, 3, 4, 5, 6, 7]),
        (15, [0, 2, 4, 6, 8, 10, 12, 14]),
        (71, [0, 10, 20, 30, 40, 50, 60, 70]),
    ],
)
def test_frames_are_spread_from_the_first_to_the_last(tmp_path: Path, frames: int, shown: list[int]) -> None:
    save(tmp_path, "episode_000", frames)
    (picture,) = write_strips(tmp_path)
    assert brightness(picture).tolist() == [shown]


def test_each_camera_has_a_row_by_its_name(tmp_path: Path) -> None:
    save(tmp_path, "episode_000", 2, cameras=("wrist_2", "wrist_1"))
    (picture,) = write_strips(tmp_path)
    assert brightness(picture).tolist() == [[100, 101], [0, 1]]  # wrist_1 was written second


def test_picture_stands_beside_its_episode(tmp_path: Path) -> None:
    for name in ("episode_001", "episode_000", "notes"):
        save(tmp_path, name, 2)
    assert [path.name for path in write_strips(tmp_path)] == ["episode_000.png", "episode_001.png"]
    assert not (tmp_path / "notes.png").exists()


def test_damaged_episode_is_named(tmp_path: Path) -> None:
    save(tmp_path, "episode_000", 2)
    (tmp_path / "episode_001.npz").write_bytes(b"PK broken")
    with pytest.raises(ConfigError, match="episode_001"):
        write_strips(tmp_path)
    assert (tmp_path / "episode_000.png").is_file()
