"""An episode is delivered whole, once, whatever is killed on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.fleet.ledger import Ledger
from agps_agent.fleet.message import Key, from_bytes, to_bytes
from agps_agent.fleet.spool import Spool
from agps_agent.fleet.uploader import EpisodeUploader
from rl.errors import AgpsError
from rl.ownership import InUse
from tests.agps_agent.fleet.messages import message


def test_message_comes_back_from_its_bytes_as_it_was():
    sent = message(steps=4)
    got = from_bytes(to_bytes(sent))
    assert (got.key, got.outcome, got.steps) == (sent.key, sent.outcome, 4)
    assert got.noted == {"triggered": True, "float_trace": [0.5]}
    for name, array in sent.episode.items():
        np.testing.assert_array_equal(got.episode[name], array)
        assert got.episode[name].dtype == array.dtype


def test_damaged_message_is_refused_in_one_sentence():
    with pytest.raises(AgpsError, match="damaged"):
        from_bytes(to_bytes(message())[:-200])


def test_spool_gives_episodes_oldest_first_until_they_are_let_go(tmp_path: Path):
    spool = Spool(tmp_path)
    keys = [Key("r0", "b", 0), Key("r0", "a", 10), Key("r0", "a", 9)]
    for key in keys:
        spool.keep(key, b"content of " + key.file.encode())
    assert spool.waiting() == [keys[2], keys[1], keys[0]]
    assert spool.read(keys[1]) == b"content of r0__a__00000010.npz"
    spool.let_go(keys[2])
    spool.let_go(keys[2])
    assert spool.waiting() == [keys[1], keys[0]]


def test_spool_of_a_process_that_was_given_up_is_there_for_the_next(tmp_path: Path):
    first = Spool(tmp_path)
    first.keep(Key("r0", "a", 0), b"episode")
    with pytest.raises(InUse):
        Spool(tmp_path)
    first.close()
    assert Spool(tmp_path).waiting() == [Key("r0", "a", 0)]


def test_spool_of_a_process_that_was_just_killed_is_waited_for(tmp_path: Path):
    first = Spool(tmp_path)
    first.keep(Key("r0", "a", 0), b"episode")
    ends = threading.Timer(0.5, first.close)
    ends.start()
    second = Spool(tmp_path, patience_s=60.0)
    assert second.waiting() == [Key("r0", "a", 0)]
    ends.join()


def test_spool_whose_folder_is_gone_refuses_in_one_sentence(tmp_path: Path):
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    with pytest.raises(AgpsError, match="Cannot write"):
        spool.keep(Key("r0", "a", 0), b"episode")


class BrokenLink:
    """The learner's process raises what nobody thought of."""

    def deliver(self, content: bytes) -> None:
        raise IndexError("pop from an empty deque")


def test_robot_hears_of_an_error_in_the_thread_that_sends_its_episodes(tmp_path: Path):
    link: Any = BrokenLink()
    uploader = EpisodeUploader(Spool(tmp_path), link)
    uploader.post(Key("r0", "a", 0), b"episode")
    assert not uploader.flush(60.0)
    with pytest.raises(IndexError, match="empty deque"):
        uploader.raise_error()
    assert Spool(tmp_path / "other").waiting() == [] and len(list(tmp_path.glob("r0__*.npz"))) == 1
    uploader.close()


WRITES_FOR_EVER = """
import sys
from pathlib import Path
from agps_agent.fleet.message import Key
from agps_agent.fleet.spool import Spool
from agps_agent.fleet.uploader import EpisodeUploader
spool = Spool(Path(sys.argv[1]))
number = 0
while True:
    spool.keep(Key("r0", "a", number), bytes([number % 256]) * 200_000)
    print(number, flush=True)
    number += 1
"""


def test_every_episode_that_was_kept_before_a_kill_is_whole_after_it(tmp_path: Path):
    rng = np.random.default_rng(0)
    for life in range(3):
        folder = tmp_path / str(life)
        process = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(rng.uniform(0.0, 0.1)))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        told = int(rest[-1]) if rest else 0
        spool = Spool(folder)
        kept = [key.number for key in spool.waiting()]
        assert kept[: told + 1] == list(range(told + 1))
        assert all(spool.read(key) == bytes([key.number % 256]) * 200_000 for key in spool.waiting())
        assert not [name for name in os.listdir(folder) if name.startswith(".")]
        spool.close()


def test_ledger_takes_each_key_once_in_any_order():
    ledger = Ledger()
    arrivals = [Key("r0", "a", n) for n in (0, 2, 1, 2, 0)] + [Key("r1", "a", 0), Key("r0", "b", 0)]
    assert [ledger.enter(key) for key in arrivals] == [True, True, True, False, False, True, True]
    assert len(ledger) == 5


def test_ledger_goes_on_from_its_state_which_stays_small():
    ledger = Ledger()
    for number in [*range(1_000), 1_005]:
        ledger.enter(Key("r0", "a", number))
    state = ledger.state_dict()
    assert state == {"taken": [["r0", "a", [[0, 999], [1_005, 1_005]]]]}
    restored = Ledger()
    restored.load_state_dict(state)
    assert Key("r0", "a", 999) in restored and Key("r0", "a", 1_000) not in restored
    assert not restored.enter(Key("r0", "a", 1_005)) and restored.enter(Key("r0", "a", 1_001))
