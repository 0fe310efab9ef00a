"""`agps demos` with an arm that obeys at once in place of the real one."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.cli.main import main
from agps_agent.run import demonstrations, hardware
from rl.demonstrations import recorded_count
from rl.supervisor import Hand
from tests.rl.envs.robots import FailingBackend

TABLE = """
[arm]
ip = "127.0.0.1"
[workspace]
lower = [0.30, -0.20, 0.00]
upper = [0.70, 0.20, 0.40]
"""
STEPS = 15
"""Control steps of a demonstration: then the operator presses s."""
OUT = Path("demos/franka-usb_insertion")


class Operator:
    """Presses s at the 15th control step of each episode; something may happen at a step of the whole recording."""

    available = True

    def __init__(self, at: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self.reads, self.at, self.act = -1, at, act

    def read(self) -> str | None:
        self.reads += 1  # once at a reset, then once per control step
        if self.reads == self.at:
            self.act()
        return "success" if self.reads % (STEPS + 1) == STEPS else None

    def watch(self, on_stop: Callable[[], None]) -> None:
        pass


class Pushing(Hand):
    """Pushes the arm slowly aside."""

    def read(self, observation: Any) -> Any:
        return np.full(6, 0.02, np.float32)


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A table and a fake arm; what it shall do wrong goes into the dictionary."""
    monkeypatch.chdir(tmp_path)
    Path("station.toml").write_text(TABLE)
    how: dict[str, Any] = {}

    def open_backend(config: object, task: Any, station: object, **_: object) -> FailingBackend:
        how["backend"] = FailingBackend(task, **{key: how[key] for key in how.keys() - {"backend"}})
        return how["backend"]

    monkeypatch.setattr(hardware, "_open_backend", open_backend)
    monkeypatch.setattr(demonstrations, "open_hand", lambda config, task: Pushing())
    sit_down(monkeypatch, Operator())
    return how


def sit_down(monkeypatch: pytest.MonkeyPatch, operator: Operator) -> None:
    monkeypatch.setattr(demonstrations, "open_keys", lambda opened: operator)


def record(*more: str) -> int:
    return main(["demos", "record", "usb_insertion", "--robot", "franka", "--by", "spacemouse", *more])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_recording_that_is_ended_keeps_what_was_demonstrated_and_goes_on(
    number: signal.Signals, arm: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sit_down(monkeypatch, Operator(at=2 * (STEPS + 1) + 5, act=lambda: os.kill(os.getpid(), number)))
    assert record("--n", "4") == 1
    err = capsys.readouterr().err
    assert f"2 of 4 demonstrations are kept in {OUT}. Record the rest with the same command and --resume." in err
    assert arm["backend"].log[-1] == "stop" and recorded_count(OUT) == 2
    sit_down(monkeypatch, Operator())
    assert record("--n", "4", "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["count"] == 4
    assert json.loads((OUT / "demos.json").read_text())["seeds"] == [0, 1, 2, 3]


def test_ctrl_c_while_a_demonstration_is_written_keeps_it(
    arm: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync, presses = os.fsync, iter([signal.SIGINT])

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        for number in presses:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(os, "fsync", fsync)
    assert record("--n", "3") == 1
    assert "1 of 3 demonstrations are kept" in capsys.readouterr().err and recorded_count(OUT) == 1


def test_arm_that_stays_broken_leaves_what_was_demonstrated(
    arm: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arm |= {"fail_at": [3 * STEPS + 5], "unrecoverable": True}
    assert record("--n", "20") == 1
    err = capsys.readouterr().err
    assert "3 of 20 demonstrations are kept" in err
    assert err.splitlines()[-1].startswith("agps: The arm was recovered 3 times") and recorded_count(OUT) == 3


def test_too_many_failures_leave_what_was_demonstrated(
    arm: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Disappointed(Operator):
        def read(self) -> str | None:
            return super().read() if self.reads < 2 * (STEPS + 1) - 1 else None

    sit_down(monkeypatch, Disappointed())
    assert record("--n", "3", "--horizon", "20") == 2
    err = capsys.readouterr().err
    assert "2 of 3 demonstrations are kept" in err and "succeeded in 2 of 16 episodes" in err
    assert recorded_count(OUT) == 2


def test_arm_is_held_while_a_demonstration_is_written(arm: dict[str, Any]) -> None:
    assert record("--n", "2") == 0
    log = arm["backend"].log
    assert log[log.index("command") + 1] == "pause"


def test_finished_recording_is_not_recorded_again(arm: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert record("--n", "1") == 0
    assert record("--n", "1") == 2
    assert "add --resume to go on with it, or name another --out" in capsys.readouterr().err
    del arm["backend"]
    assert record("--n", "1", "--resume") == 0
    assert "backend" not in arm


def test_folder_tells_who_demonstrated_unless_several_did(arm: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert record("--n", "1") == 0
    assert json.loads((OUT / "demos.json").read_text())["by"] == "spacemouse"
    sit_down(monkeypatch, Operator())
    assert record("--n", "2", "--resume", "--by", "gamepad") == 0
    assert json.loads((OUT / "demos.json").read_text())["by"] == "unknown"


def test_recording_that_ends_before_the_first_demonstration_leaves_nothing(
    arm: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sit_down(monkeypatch, Operator(at=5, act=lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert record() == 1
    assert capsys.readouterr().err == "agps: Interrupted.\n"
    assert not OUT.exists()


def test_strangers_folder_is_not_gone_on_with(arm: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    OUT.mkdir(parents=True)
    (OUT / "thesis.tex").touch()
    assert record("--resume") == 2
    assert f"There are no demonstrations in {OUT}" in capsys.readouterr().err
