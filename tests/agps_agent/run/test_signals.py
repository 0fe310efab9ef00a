import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from agps_agent.run.signals import BrokenOff, interrupt_main_thread, saving, terminated_like_ctrl_c


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.0)  # Python runs the handler before the next line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_to_be_told_to_end_interrupts_once(number: signal.Signals) -> None:
    with terminated_like_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            send(number)
        send(signal.SIGTERM)
        send(signal.SIGHUP)
        send(signal.SIGINT)


def test_second_ctrl_c_is_answered_and_the_third_breaks_off(capfd: pytest.CaptureFixture[str]) -> None:
    with terminated_like_ctrl_c(read_s=0.0):
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        send(signal.SIGINT)
        assert "Press Ctrl-C once more to break that off" in capfd.readouterr().err
        with pytest.raises(BrokenOff):
            send(signal.SIGINT)


def test_ctrl_c_that_is_held_down_breaks_nothing_off() -> None:
    with terminated_like_ctrl_c(read_s=3600.0):
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        for _ in range(30):
            send(signal.SIGINT)


def test_who_interrupts_what_is_being_saved_is_obeyed_after_it() -> None:
    done = []
    with terminated_like_ctrl_c(), pytest.raises(KeyboardInterrupt):
        with saving():
            with saving():
                send(signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("never")
    assert done == ["inner", "outer"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_handlers_are_as_before_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with terminated_like_ctrl_c():
        assert signal.getsignal(number) is not before
        with terminated_like_ctrl_c():
            pass
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


@pytest.fixture
def nohup() -> Callable[[], None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield lambda: send(signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)


def test_hangup_that_nohup_ignores_stays_ignored(nohup: Callable[[], None]) -> None:
    with terminated_like_ctrl_c():
        nohup()


def test_stop_key_interrupts_from_another_thread_and_never_what_is_saved_then() -> None:
    with terminated_like_ctrl_c(read_s=0.0):
        with pytest.raises(KeyboardInterrupt):
            threading.Thread(target=interrupt_main_thread).start()
            time.sleep(20.0)
        for _ in range(3):
            interrupt_main_thread()
        time.sleep(0.0)


def test_without_anybody_who_catches_signals_saving_changes_nothing() -> None:
    with pytest.raises(KeyboardInterrupt), saving():
        send(signal.SIGINT)


def test_stop_key_ends_a_program_whose_shell_has_it_ignore_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), terminated_like_ctrl_c():
            threading.Thread(target=interrupt_main_thread).start()
            time.sleep(200.0)
    finally:
        signal.signal(signal.SIGINT, before)
