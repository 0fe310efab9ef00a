import fcntl
import io
import os
import pty
import struct
import sys
import termios

import numpy as np
import pytest

from agps_agent.run.confirm import (
    FIRST_RUNS,
    Confirm,
    count_finished_run,
    describe,
    finished_runs,
    is_first_run,
    wait_for_enter,
)
from rl.transforms import pose
from rl.types import Guide, Waypoint
from tests.clocks import until


@pytest.fixture
def terminal():
    """Yield (a stdin that is a terminal, a function that types a line into it and waits until it can be read)."""
    keyboard, screen = pty.openpty()
    stdin = os.fdopen(screen, "r", closefd=False)

    def type_line(line):
        os.write(keyboard, f"{line}\n".encode())
        until(lambda: struct.unpack("i", fcntl.ioctl(screen, termios.FIONREAD, b"0000"))[0] > len(line))

    yield stdin, type_line
    stdin.close()
    os.close(screen)
    os.close(keyboard)


def guide(n=3):
    points = [pose(np.array([0.5, 0.0, 0.1 + 0.01 * k])) for k in range(n)]
    return Guide(waypoints=tuple(Waypoint(T_base_tcp=T, gripper_opening=0.0) for T in points), max_steps=30)


@pytest.mark.parametrize(("typed", "agreed"), [("y", True), ("YES", True), ("n", False), ("", False), ("what?", False)])
def test_only_a_yes_lets_the_arm_go(terminal, typed, agreed):
    stdin, type_line = terminal
    held, out = [], io.StringIO()
    confirm = Confirm(hold=lambda: held.append(True), stdin=stdin, out=out, timeout_s=60.0)
    type_line(typed)
    assert confirm(guide(), 0) is agreed
    assert held == [True]
    assert "Waypoint 1 of 3: TCP to (500, 0, 100) mm" in out.getvalue()
    assert confirm.counts["agreed" if agreed else "refused"] == 1


def test_all_is_asked_once_per_intervention(terminal):
    stdin, type_line = terminal
    confirm = Confirm(hold=lambda: None, stdin=stdin, out=io.StringIO(), timeout_s=1.0)
    first = guide()
    type_line("a")
    assert all(confirm(first, k) for k in range(3))
    assert not confirm(guide(), 0)
    assert dict(confirm.counts) == {"asked": 2, "agreed": 1, "unanswered": 1}


def test_without_a_terminal_the_answer_is_no():
    confirm = Confirm(hold=lambda: None, stdin=io.StringIO("y\n"), out=io.StringIO())
    assert not confirm(guide(), 0)
    assert confirm.metrics() == {"confirm/asked": 1.0, "confirm/no_terminal": 1.0}


def test_no_answer_in_time_is_a_no(terminal):
    confirm = Confirm(hold=lambda: None, stdin=terminal[0], out=io.StringIO(), timeout_s=0.1)
    assert not confirm(guide(), 0)
    assert confirm.counts["unanswered"] == 1


def test_waypoint_says_how_it_is_approached():
    waypoint = Waypoint(T_base_tcp=pose(np.array([0.5, 0.0, 0.1])), gripper_opening=1.0, motion="guarded")
    assert describe(waypoint, 1, 2) == (
        "Waypoint 2 of 2: TCP to (500, 0, 100) mm, turned 0 degrees, down to contact, gripper open."
    )


def test_first_runs_of_a_station_are_counted_beside_its_file(tmp_path):
    station = tmp_path / "lab.toml"
    for number in range(FIRST_RUNS):
        assert is_first_run(station)
        assert finished_runs(station) == number
        count_finished_run(station)
    assert not is_first_run(station)


def test_only_enter_alone_says_that_it_is_done(terminal, monkeypatch, capsys):
    stdin, type_line = terminal
    monkeypatch.setattr(sys, "stdin", stdin)
    type_line("no")
    type_line("")
    wait_for_enter("Lay the towel.")
    assert "Not understood: 'no'. Lay the towel. Then press Enter alone." in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["\x1b", " ", "yes go"])
def test_stop_key_at_the_question_ends_the_run(typed, terminal, monkeypatch):
    stdin, type_line = terminal
    monkeypatch.setattr(sys, "stdin", stdin)
    type_line(typed)
    with pytest.raises(KeyboardInterrupt):
        wait_for_enter("Lay the towel.")


def test_nobody_at_the_keyboard_has_done_nothing(terminal, monkeypatch, tmp_path):
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open() as ended:
        monkeypatch.setattr(sys, "stdin", ended)
        with pytest.raises(KeyboardInterrupt):
            wait_for_enter("Lay the towel.")
