import gc
from collections.abc import Iterator

import pytest
import torch

from rl.process import LIBRARIES, keep_freed_memory, prepare_process, set_apart


@pytest.fixture
def thawed() -> Iterator[int]:
    """Nothing is set apart, as in a process that has just begun; how much this Python sets apart of itself."""
    gc.unfreeze()
    yield gc.get_freeze_count()
    gc.freeze()


def test_process_is_prepared():
    threads = torch.get_num_threads()
    prepare_process(1)
    assert torch.get_num_threads() == 1
    assert isinstance(keep_freed_memory(), bool)
    torch.set_num_threads(threads)


def test_what_exists_is_set_apart_until_the_end(thawed: int):
    with set_apart():
        assert gc.get_freeze_count() >= LIBRARIES
        with set_apart():  # a second run of the same process
            pass
        assert gc.get_freeze_count() >= LIBRARIES
    assert gc.get_freeze_count() == thawed


def test_what_somebody_has_set_apart_stays_so(thawed: int):
    gc.freeze()
    with set_apart():
        pass
    assert gc.get_freeze_count() >= LIBRARIES
