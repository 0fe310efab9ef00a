"""Writes records until it is killed, and says on stdout which of them are durable."""

import sys

import numpy as np

from tools.memory import EpisodicMemory, MemoryRecord

if __name__ == "__main__":
    memory = EpisodicMemory(sys.argv[1], 8, "usb_insertion")
    rng = np.random.default_rng(int(sys.argv[2]))
    while True:
        record = MemoryRecord(
            task="usb_insertion", mode="guide", embedding=rng.normal(size=8), calibration_hash="cafe", target=np.ones(3)
        )
        record_id = memory.remember(record)
        memory.mark(record_id, success=True)
        sys.stdout.write(f"{record_id}\n")
        sys.stdout.flush()
