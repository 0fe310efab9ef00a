"""What a person sees of a fleet: rows of robots, the status of a run, what to install."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agps_agent.cli.main import main
from agps_agent.cli.progress_bar import robot_line
from agps_agent.fleet.link import RobotReport
from agps_agent.fleet.log import FleetSupervisor
from agps_agent.report.fleet_table import fleet_sections

REPORT = RobotReport(
    robot="r0",
    steps=120,
    episodes=6,
    successes=3,
    recent_success=0.5,
    wall_s=20.0,
    agent_wait_s=1.0,
    learner_wait_s=1.0,
    period_p50_ms=100.0,
    period_p99_ms=104.0,
    weights_version=40,
    weights_env_steps=100,
    counters={"agent_calls": 2.0},
)


def supervisor() -> FleetSupervisor:
    supervisor = FleetSupervisor(["r0", "r1"], model=None)
    supervisor.hear(REPORT, updates=55)
    return supervisor


def test_row_of_a_robot_says_how_old_its_weights_are_and_how_long_it_waited():
    row, silent = supervisor().rows(updates=60, env_steps=150)
    assert (row["weights_age_updates"], row["weights_age_steps"], row["oldest_weights_updates"]) == (20, 50, 15)
    assert row["idle_share"] == pytest.approx(0.1)
    assert silent == {"robot_name": "r1", "is_here": False}


def test_supervisor_of_a_fleet_counts_what_all_robots_count():
    both = supervisor()
    both.hear(RobotReport(robot="r1", counters={"agent_calls": 3.0, "triggers": 1.0}), updates=55)
    assert both.metrics() == {"agent_calls": 5.0, "triggers": 1.0}


class Hearing(dict[str, float]):
    """Counters of a report during whose reading another robot is heard of."""

    def __init__(self, supervisor: FleetSupervisor) -> None:
        super().__init__()
        self._supervisor = supervisor

    def items(self) -> Any:
        self._supervisor.hear(RobotReport(robot="r1"), updates=0)
        return super().items()


def test_robot_that_is_first_heard_of_while_a_checkpoint_is_written_does_not_break_it():
    supervisor = FleetSupervisor(["r0", "r1"], model=None)
    supervisor.reports["r0"] = replace(REPORT, counters=Hearing(supervisor))
    assert [*supervisor.state_dict()["reports"]] == ["r0"]
    assert [*supervisor.reports] == ["r0", "r1"]


def test_line_of_a_robot_is_told_in_words():
    row, silent = supervisor().rows(updates=60, env_steps=150)
    assert robot_line(row) == (
        "r0: 120 steps, success 50%, idle 10%, agent 1 s, period 100 ms, 99 % below 104 ms, weights 20 updates old"
    )
    assert robot_line(silent) == "r1: starting"


def test_report_has_a_row_per_robot_and_none_for_a_run_of_one():
    (section,) = fleet_sections({"robots": supervisor().rows(updates=60, env_steps=150), "pool": {}})
    assert "<td>r0</td><td>120</td>" in section and "<td>r1</td><td>-</td>" in section
    assert fleet_sections({"success_rate": 1.0}) == []


def test_several_robots_without_ray_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == "ray" else find(name, *of))
    assert main(["train", "usb_insertion", "--robots", "4", "--run-dir", str(tmp_path / "run")]) == 2
    assert "pip install 'agps[distributed]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_status_of_a_fleet_is_read_from_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "fleet").mkdir()
    state = {"at": 0.0, "robots": supervisor().rows(updates=60, env_steps=150), "pool": {}}
    (tmp_path / "fleet" / "status.json").write_text(json.dumps(state))
    assert main(["fleet", "status", str(tmp_path), "--json"]) == 0
    assert [row["robot_name"] for row in json.loads(capsys.readouterr().out)["robots"]] == ["r0", "r1"]


def test_status_of_a_run_of_one_robot_says_that_it_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["fleet", "status", str(tmp_path)]) == 2
    assert "There is no fleet in" in capsys.readouterr().err
