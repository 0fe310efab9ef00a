"""Keys come at once, and the terminal is left as it was."""

import fcntl
import logging
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from typing import TextIO

import pytest

from rl.robots.teleop.keys import KeyReader
from tests.clocks import until


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "r")
    yield master, stream
    stream.close()
    os.close(master)


def type_keys(master: int, keys: bytes) -> None:
    os.write(master, keys)


def wait_for_keys(stream: TextIO, keys: bytes) -> None:
    """Wait until the line discipline has handed keys on to the terminal."""
    until(lambda: struct.unpack("i", fcntl.ioctl(stream, termios.FIONREAD, b"0000"))[0] >= len(keys))


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        (b"s", "success"),
        (b"F", "fail"),
        (b" ", "stop"),
        (b"\x1b", "stop"),
        (b"x", None),
        (b"sf", "fail"),
        (b"s s", "stop"),
        (b"\x1b[As", "stop"),
    ],
)
def test_key_means(terminal, typed, key):
    master, stream = terminal
    with KeyReader(stream) as keys:
        type_keys(master, typed)
        wait_for_keys(stream, typed)
        assert keys.read() == key
        assert keys.read() is None


def test_reading_never_waits(terminal, monkeypatch):
    waits_s, ask = [], select.select

    def asked(*arguments):
        waits_s.append(arguments[3])
        return ask(*arguments)

    monkeypatch.setattr("rl.robots.teleop.keys.select.select", asked)
    with KeyReader(terminal[1]) as keys:
        assert keys.read() is None
    assert waits_s == [0.0]


def test_terminal_is_restored_after_an_exception(terminal):
    before = termios.tcgetattr(terminal[1])
    with pytest.raises(RuntimeError), KeyReader(terminal[1]) as keys:
        assert keys.available and termios.tcgetattr(terminal[1]) != before
        raise RuntimeError
    assert termios.tcgetattr(terminal[1]) == before


def test_question_to_the_operator_gets_the_terminal_back_for_its_time(terminal):
    master, stream = terminal
    before = termios.tcgetattr(stream)
    with KeyReader(stream) as keys:
        reading = termios.tcgetattr(stream)
        with keys.suspended():
            assert termios.tcgetattr(stream) == before
            type_keys(master, b"yes\n")
            wait_for_keys(stream, b"yes\n")
        assert termios.tcgetattr(stream) == reading
        assert keys.read() is None  # the s of yes was no verdict


def test_without_a_terminal_there_are_no_keys_and_it_is_said_once(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text("s")
    with file.open() as stream, caplog.at_level(logging.WARNING), KeyReader(stream) as keys:
        assert not keys.available
        assert keys.read() is None and keys.read() is None
    assert len(caplog.records) == 1 and "No terminal" in caplog.text


def test_terminal_that_goes_away_ends_the_keys(caplog):
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stream, KeyReader(stream) as keys:
        os.close(master)
        assert keys.read() is None
        assert not keys.available


def test_job_in_the_background_is_not_suspended_for_its_keys():
    child, master = pty.fork()
    if child == 0:  # the leader of a session with a terminal, whose child is in the background
        grandchild = os.fork()
        if grandchild == 0:
            os.setpgid(0, 0)
            with KeyReader(sys.__stdin__) as keys:
                os._exit(0 if not keys.available else 1)
        _, status = os.waitpid(grandchild, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.kill(grandchild, signal.SIGKILL)
            os._exit(2)
        os._exit(os.WEXITSTATUS(status))
    _, status = os.waitpid(child, 0)
    os.close(master)
    assert os.WEXITSTATUS(status) == 0


def test_watched_stop_acts_at_once_while_nobody_reads(terminal):
    master, stream = terminal
    stops = []
    with KeyReader(stream) as keys:
        keys.watch(lambda: stops.append(1))
        type_keys(master, b" ")
        until(lambda: len(stops) == 1)
        assert keys.read() is None


def test_verdict_waits_for_the_reader_while_stops_are_watched(terminal):
    master, stream = terminal
    with KeyReader(stream) as keys:
        keys.watch(lambda: None)
        type_keys(master, b"s")
        until(lambda: keys._pressed is not None)
        assert keys.read() == "success" and keys.read() is None


def test_watcher_leaves_the_answer_to_a_question_alone(terminal):
    master, stream = terminal
    stops = []
    with KeyReader(stream) as keys:
        keys.watch(lambda: stops.append(1))
        with keys.suspended():
            type_keys(master, b"a b\n")
            wait_for_keys(stream, b"a b\n")
            time.sleep(0.1)
            assert os.read(stream.fileno(), 64) == b"a b\n"
        assert keys.read() is None
    assert stops == []


def test_watcher_ends_with_the_reader(terminal):
    with KeyReader(terminal[1]) as keys:
        keys.watch(lambda: None)
        watcher = keys._watcher
    assert watcher is not None and not watcher.is_alive()
