"""Writes records until it is killed, and says on stdout which of them are durable.

`python -m tests.tools.memory.writer FOLDER` forks one writer per line on stdin, so that fifty of them need one import.
"""

import os
import sys

import numpy as np

from tools.memory import EpisodicMemory, MemoryRecord, Target


def write(folder: str, seed: int) -> None:
    memory = EpisodicMemory(folder, 8, "usb_insertion")
    rng = np.random.default_rng(seed)
    while True:
        record = MemoryRecord(
            task="usb_insertion",
            mode="guide",
            embedding=rng.normal(size=8),
            calibration_hash="cafe",
            targets={"port": Target(xyz=np.ones(3))},
            felt="port",
        )
        record_id = memory.remember(record)
        memory.mark(record_id, success=True)
        say(record_id)


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import chromadb  # noqa: F401 (once, before the forks: no client is opened here)

    for number, _ in enumerate(sys.stdin):
        child = os.fork()
        if child == 0:
            write(sys.argv[1], number)
        say(f"pid {child}")
        os.waitpid(child, 0)
        say("dead")
