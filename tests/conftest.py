"""One thread per test process: two threads beside another busy process are ten times slower."""

import gc
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from agps_agent.fleet.cluster import prepare_environment

prepare_environment(is_ours=True)  # a test imports every module, and so Ray, before another one starts it
torch.set_num_threads(1)
# A shell's background job ignores Ctrl-C, and so do the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from what the tests import: each search of it takes a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
