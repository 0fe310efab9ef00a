from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agps_agent.run.films import LAST_MS, LONGEST, Filmer, animation, films_in, side_by_side
from rl.rollout import Moment


def moment(step: int, *, grey: int = 0, over: bool = False, success: bool = False) -> Moment:
    image = np.full((8, 8, 3), grey, np.uint8)
    return Moment(obs={"wrist": image}, info={"is_success": success}, step=step, terminated=over)


def play(filmer: Filmer, episode: int, *, success: bool, steps: int = 3) -> None:
    for step in range(steps + 1):
        filmer(episode, moment(step, grey=60 * step, over=step == steps, success=success))


def test_first_success_and_first_two_failures_are_kept(tmp_path: Path) -> None:
    filmer = Filmer(tmp_path / "films", ["wrist"], 10.0)
    for episode, success in enumerate([False, True, True, False, False]):
        play(filmer, episode, success=success)
    assert [film.stem for film in films_in(tmp_path / "films")] == ["success_001_3", "failure_000_3", "failure_003_3"]


def test_film_plays_each_moment_in_its_time_and_rests_at_the_end(tmp_path: Path) -> None:
    filmer = Filmer(tmp_path / "films", ["wrist"], 10.0)
    play(filmer, 0, success=True)
    with Image.open(films_in(tmp_path / "films")[0]) as film:
        assert film.n_frames == 4 and film.size == (8, 8)
        greys, durations = [], []
        for frame in range(4):
            film.seek(frame)
            film.load()
            durations.append(film.info["duration"])
            greys.append(np.asarray(film.convert("L")).mean())
    assert durations == [100, 100, 100, LAST_MS]
    assert greys == pytest.approx([0, 60, 120, 180], abs=6)


def test_films_of_an_evaluation_that_is_done_over_are_replaced(tmp_path: Path) -> None:
    play(Filmer(tmp_path / "films", ["wrist"], 10.0), 7, success=True)
    play(Filmer(tmp_path / "films", ["wrist"], 10.0), 0, success=False)
    assert [film.stem for film in films_in(tmp_path / "films")] == ["failure_000_3"]


def test_smaller_camera_stands_on_black() -> None:
    images = {"a": np.full((4, 2, 3), 9, np.uint8), "b": np.full((2, 3, 3), 7, np.uint8)}
    shown = side_by_side(images, ["a", "b"])
    assert shown.shape == (4, 5, 3)
    assert (shown[:, :2] == 9).all() and (shown[:2, 2:] == 7).all() and (shown[2:, 2:] == 0).all()


def test_long_episode_is_shown_in_larger_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)  # equal frames would be joined
    frames = [rng.integers(0, 255, (16, 16, 3), np.uint8) for _ in range(2 * LONGEST)]
    path = tmp_path / "long.webp"
    path.write_bytes(animation(frames, rate_hz=10.0))
    with Image.open(path) as film:
        film.load()
        assert film.n_frames == LONGEST and film.info["duration"] == 200


@pytest.mark.parametrize("name", ["a_b_c.webp", "success_x_3.webp", "success_001_3_4.webp", "holiday_001_3.webp"])
def test_somebody_elses_picture_is_no_film(name: str, tmp_path: Path) -> None:
    (tmp_path / "failure_002_7.webp").mkdir()
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "success_001_3.webp").write_bytes(b"x")
    assert [film.name for film in films_in(tmp_path)] == ["success_001_3.webp"]
