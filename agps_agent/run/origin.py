"""What made a run: the commit of this program, and the kind of machine."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

_GIT_S = 10.0
"""Longest wait for git, [s]."""


@cache
def origin() -> dict[str, Any]:
    """Return commit and machine as config.json holds them."""
    return {"commit": commit(), "machine": machine()}


def commit(file: Path = Path(__file__)) -> str | None:
    """Return the commit that a file's checkout stands at, with `+` where files differ from it; None elsewhere."""
    folder = file.parent
    # An environment within somebody else's checkout is none of it.
    if _git(folder, "ls-files", "--error-unmatch", file.name) is None:
        return None
    head = _git(folder, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return f"{head}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head


def machine() -> str:
    """Return system, processor, cores and the GPU that this process computes on, if any; no name and no address."""
    import torch  # late: lists and mistakes are answered without it

    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return ", ".join([f"{platform.system()} {platform.machine()}", _processor(), f"{os.cpu_count()} cores", *gpu])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown processor")


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says; None where there is no git, or no checkout."""
    try:
        told = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() if told.returncode == 0 else None
