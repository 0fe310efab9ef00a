"""Set up a process for learning: threads, freed memory, and what the garbage collector need not search."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401  # loads its own linear algebra, which can be limited only then
import torch
from threadpoolctl import threadpool_limits

LIBRARIES = 100_000
"""Objects set apart from which on the libraries are among them; some Pythons begin with a few hundred."""


def prepare_process(threads: int = 0) -> None:
    """Set up this process for learning.

    Args:
        threads: Of torch, and of numpy's linear algebra, which would take the core that an update could have had; 0 for
            their own choice, one per physical core.
    """
    if threads > 0:
        torch.set_num_threads(threads)
        threadpool_limits(threads, user_api="blas")
    keep_freed_memory()


@contextmanager
def set_apart() -> Iterator[None]:
    """Keep Python's garbage collector away from what exists: half a million objects of libraries, all of them lasting.

    Searching them takes a quarter of a second, more than two control steps, whenever it comes. Where somebody has set
    them apart before (for several runs in one process), nothing is done.
    """
    if gc.get_freeze_count() >= LIBRARIES:
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks of up to 1 GiB instead of giving them back; return whether it did.

    Each update allocates and frees the same large arrays; otherwise every page of them faults anew. Elsewhere than on
    Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    trim_threshold, mmap_threshold = -1, -3  # <malloc.h>
    return bool(mallopt(mmap_threshold, 1 << 30)) and bool(mallopt(trim_threshold, (1 << 31) - 1))
