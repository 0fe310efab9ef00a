"""The tool and the algorithm of the package in examples/outside_task."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from agps_agent.cli import main
from rl.errors import ConfigError
from rl.traits import ALGORITHMS
from rl.transforms import matrix_to_rotvec
from tests.tools.scenes import scene
from tools.contract import check_tool
from tools.plan import run_plan
from tools.spec import TOOLS

PACKAGE = Path("examples/outside_task").resolve()
SMALL = (
    ("batch-size", "16"),
    ("learning-starts", "20"),
    ("hidden-size", "32"),
    ("channels", "8"),
    ("feature-size", "16"),
)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package on the search path."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    yield
    for name in [name for name in sys.modules if name.startswith("agps_peg_in_hole")]:
        del sys.modules[name]


def test_tool_keeps_the_contract_of_tools() -> None:
    check_tool(TOOLS.load("agps_peg_in_hole.tool:TWIST"), {"angle_rad": 0.2, "push_m": 0.003})


def test_peg_is_turned_to_both_sides_and_ends_straight_and_deeper() -> None:
    from tools.answers import ToolCall

    at = scene()
    call = ToolCall(name="twist", arguments={"angle_rad": 0.1, "push_m": 0.002})
    plan = run_plan([call], at, {}, tools={"twist": TOOLS.load("agps_peg_in_hole.tool:TWIST")})
    turns = [matrix_to_rotvec(w.T_base_tcp[:3, :3] @ at.T_base_tcp[:3, :3].T)[2] for w in plan.waypoints]
    np.testing.assert_allclose(turns, [0.1, -0.1, 0.0], atol=1e-9)
    depths = [at.T_base_tcp[2, 3] - w.T_base_tcp[2, 3] for w in plan.waypoints]
    np.testing.assert_allclose(depths, [0.002, 0.004, 0.006], atol=1e-9)


def test_step_costs_lower_the_target_by_as_much() -> None:
    from rl.drq import DrQ
    from tests.rl.drq.reach import Reach, record

    kind = ALGORITHMS.load("agps_peg_in_hole.algorithm:HastyDrQ")
    small = {"batch_size": 8, "hidden_size": 16, "channels": 8, "feature_size": 8, "buffer_capacity": 200}
    targets = []
    for algorithm, more in ((DrQ, {"clip_target": None}), (kind, {"clip_target": None, "step_cost": 0.25})):
        model = algorithm("MultiInputPolicy", Reach(), config=algorithm.config_class(**small, **more), seed=0)
        model.add_demonstrations(record(2))
        batch = model.sample(8)
        targets.append(model.target(batch, model.next_features(batch)))
    torch.testing.assert_close(targets[0] - targets[1], torch.full((8,), 0.25))


def test_cost_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="step_cost is -1.0; ask for at least 0"):
        ALGORITHMS.load("agps_peg_in_hole.algorithm:HastyDrQ").config_class(step_cost=-1.0)


def test_short_run_learns_with_the_packages_algorithm(tmp_path: Path) -> None:
    small = [word for name, value in SMALL for word in (f"--algorithm-options.{name}", value)]
    budget = ["--demos", "1", "--pretrain-steps", "5", "--max-env-steps", "50", "--eval-every", "0"]
    budget += ["--eval-episodes", "1"]
    task = [
        "agps_peg_in_hole.task:PegInHole",
        "--algorithm",
        "agps_peg_in_hole.algorithm:HastyDrQ",
        "--helper",
        "nobody",
    ]
    run = tmp_path / "run"
    assert main(["train", *task, *budget, *small, "--algorithm-options.step-cost", "0.02", "--run-dir", str(run)]) == 0
    saved = json.loads((run / "config.json").read_text())["config"]
    assert saved["algorithm_options"]["step_cost"] == 0.02
    assert json.loads((run / "summary.json").read_text())["env_steps"] == 50
