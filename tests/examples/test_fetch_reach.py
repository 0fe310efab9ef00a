"""FetchReach of gymnasium-robotics, learned from pixels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest

from scripts.draw_curves import draw

pytest.importorskip("gymnasium_robotics", reason="the environment is its")

EXAMPLE = "examples/fetch_reach.py"
IS_OTHER_ARM = int(mujoco.__version__.split(".")[0]) >= 4
"""With MuJoCo 4 gymnasium-robotics 1.4 takes no joint for a joint and no weld for a weld: without its asserts it runs,
but the hand lags behind another mark."""

LOOK = """
import json
from examples.fetch_reach import fetch_reach
from rl.envs import adapt
env = adapt(fetch_reach())
(one, _), (other, _) = env.reset(seed=0), env.reset(seed=1)
states = [[round(float(x), 2) for x in seen["state"]] for seen in (one, other)]
print(json.dumps([states, {key: int((one[key] != other[key]).any(axis=2).sum()) for key in env.cameras}]))
"""


def python(*arguments: str) -> str:
    """Return what Python prints, without the asserts of a package that MuJoCo 4 breaks; nobody has a screen."""
    command = [sys.executable, *(["-O"] if IS_OTHER_ARM else []), *arguments]
    environment = {**os.environ, "MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def learned(out: Path, *flags: str, **options: int) -> list[dict[str, int]]:
    told = [*flags] + [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    python(EXAMPLE, *told, "--out", str(out))
    curve: list[dict[str, int]] = json.loads(out.read_text())["curve"]
    return curve


def test_policy_sees_the_ball_in_both_images_and_is_not_told_where_it_is() -> None:
    states, differing = json.loads(python("-c", LOOK))
    assert states[0] == states[1] == pytest.approx([0.0, 0.0, 0.0])  # the hand starts in one place, in its units
    assert all(5 < pixels < 100 for pixels in differing.values())  # of 4,096: the ball alone


def test_example_learns_for_some_steps_and_writes_its_curve(tmp_path: Path) -> None:
    curve = learned(tmp_path / "curve.json", steps=30, every=15, episodes=1, final_episodes=2)
    assert [(row["steps"], row["episodes"]) for row in curve] == [(15, 1), (30, 2)]
    assert all(row["mean_return"] < 0 for row in curve)


def test_example_takes_the_sparse_reward_and_84_pixels_as_they_are(tmp_path: Path) -> None:
    curve = learned(tmp_path / "curve.json", "--sparse", steps=30, every=30, final_episodes=1)
    assert curve[-1]["mean_return"] == round(curve[-1]["mean_return"]) <= 0  # each step has -1 or 0


@pytest.mark.slow
@pytest.mark.timeout(20_000)
@pytest.mark.skipif(IS_OTHER_ARM, reason="gymnasium-robotics 1.4 needs mujoco<4: docs/extend/environment.md")
def test_example_learns_to_reach_the_ball(tmp_path: Path) -> None:
    curve = learned(tmp_path / "curve.json", seed=3, steps=4_000, every=4_000, final_episodes=20)
    assert curve[-1]["successes"] >= 16


def test_line_of_a_seed_goes_through_its_shares_of_success(tmp_path: Path) -> None:
    rows = [{"steps": 1_000, "episodes": 20, "successes": 7}, {"steps": 2_000, "episodes": 50, "successes": 48}]
    for seed in (0, 1):
        (tmp_path / f"seed_{seed}.json").write_text(json.dumps({"seed": seed, "curve": rows[: 2 - seed]}))
    (axes,) = draw(sorted(tmp_path.glob("*.json"))).axes
    points = [[list(line.get_xdata()), list(line.get_ydata())] for line in axes.lines]
    assert points == [[[1_000, 2_000], [35.0, 96.0]], [[1_000], [35.0]]]
    assert [line.get_label() for line in axes.lines] == ["seed 0", "seed 1"]


def test_line_of_returns_is_drawn_where_no_success_was_counted(tmp_path: Path) -> None:
    rows = [
        {"steps": 1_000, "episodes": 10, "mean_return": 454.3},
        {"steps": 2_000, "episodes": 10, "mean_return": 974.9},
    ]
    (tmp_path / "seed_0.json").write_text(json.dumps({"seed": 0, "curve": rows}))
    (axes,) = draw([tmp_path / "seed_0.json"]).axes
    assert list(axes.lines[0].get_ydata()) == [454.3, 974.9]
    assert axes.get_ylabel() == "mean return of the policy alone"
