import gc
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from rl.process import LIBRARIES, keep_freed_memory, prepare_process, set_apart


@pytest.fixture
def thawed() -> Iterator[int]:
    """Nothing is set apart, as in a process that has just begun; how much this Python sets apart of itself."""
    gc.unfreeze()
    yield gc.get_freeze_count()
    gc.freeze()


@pytest.mark.parametrize("threads", [2, 1])
def test_process_is_prepared(threads: int):
    before = torch.get_num_threads()
    with threadpool_limits(4, user_api="blas"):  # what was there comes back at the end
        prepare_process(threads)
        assert torch.get_num_threads() == threads
        algebra = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert len(algebra) >= 2  # numpy's, and scipy's own
        assert {pool["num_threads"] for pool in algebra} == {threads}
    assert isinstance(keep_freed_memory(), bool)
    torch.set_num_threads(before)


def test_threads_are_left_alone_where_none_are_asked_for():
    with threadpool_limits(2, user_api="blas"):
        prepare_process(0)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}


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
