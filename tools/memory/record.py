"""One remembered intervention, and how it is written down."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rl.types import Box, Ending, FloatArray
from tools.answers import Mode


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """One intervention: when it was given, what it was, and what came of it."""

    task: str
    mode: Mode
    embedding: FloatArray
    """Feature of what the policy's cameras showed, from the failure detector's encoder. Shape (k,)."""
    calibration_hash: str
    """Of the camera that the target was measured with: positions hold only under the same calibration."""
    id: str = ""
    """Given by `remember`, unless set."""
    box: Box | None = None
    target: FloatArray | None = None
    """Where the tool's tip was to go, base frame. Shape (3,), [m]."""
    target_label: str = ""
    """Keypoint that the plan calls the target, e.g. `port`."""
    plan: str = ""
    """The tool calls, as JSON of a `PlanAnswer`: run again, they start from where the arm then is."""
    p_tcp_tool: FloatArray | None = None
    """Tip of the tool in the TCP frame; None for the TCP itself. Shape (3,), [m]."""
    prompt_hash: str = ""
    episode: int = 0
    success: bool | None = None
    """How the last episode that used it ended; None until its first one has."""
    uses: int = 0
    """Episodes that reused it, the one that made it not counted."""
    failures: int = 0
    """Of those, how many failed."""
    target_refined: FloatArray | None = None
    """The target with the x and y where the arm measured the tip at success. Shape (3,), [m]."""
    ended: Ending | None = None
    """How box or plan ended in the last episode that used it, e.g. `blocked`; None where nobody knows."""

    @property
    def aim(self) -> FloatArray | None:
        """The best known target: measured by the arm if it ever succeeded there, else as perceived. Shape (3,), [m]."""
        return self.target if self.target_refined is None else self.target_refined

    def after(
        self, *, success: bool, T_base_tcp_final: FloatArray | None = None, ended: Ending | None = None
    ) -> "MemoryRecord":
        """Return the record after an episode that used it.

        Where a success ended is what the arm felt, not what a camera saw: its x and y replace the target's. The height
        stays that of the rim, since a success may be declared before the tool is all the way in.
        """
        reused = self.success is not None
        refined = self.target_refined
        if success and self.target is not None and T_base_tcp_final is not None:
            tool = np.zeros(3) if self.p_tcp_tool is None else self.p_tcp_tool
            tip = T_base_tcp_final[:3, 3] + T_base_tcp_final[:3, :3] @ tool
            refined = np.array([tip[0], tip[1], self.target[2]])
        return replace(
            self,
            success=success,
            uses=self.uses + reused,
            failures=self.failures + (reused and not success),
            target_refined=refined,
            ended=ended,
        )


def to_json(record: MemoryRecord) -> dict[str, Any]:
    """Return a record as plain values; the embedding exactly, as base64 of little-endian float32."""
    embedding = np.ascontiguousarray(record.embedding, dtype="<f4")
    box = record.box
    return {
        "id": record.id,
        "task": record.task,
        "mode": record.mode,
        "embedding": base64.b64encode(embedding.tobytes()).decode(),
        "calibration_hash": record.calibration_hash,
        "box": None if box is None else {"lower": listed(box.lower), "upper": listed(box.upper)},
        "target": listed(record.target),
        "target_label": record.target_label,
        "plan": record.plan,
        "p_tcp_tool": listed(record.p_tcp_tool),
        "prompt_hash": record.prompt_hash,
        "episode": record.episode,
        "success": record.success,
        "uses": record.uses,
        "failures": record.failures,
        "target_refined": listed(record.target_refined),
        "ended": record.ended,
    }


def from_json(event: Mapping[str, Any]) -> MemoryRecord:
    """Return the record in plain values.

    Raises:
        KeyError, TypeError, ValueError: If they are not those of a record.
    """
    # Earlier versions wrote waypoints too, and there never were any.
    fields = {key: value for key, value in event.items() if key not in ("event", "waypoints")}
    for name in ("target", "p_tcp_tool", "target_refined"):
        fields[name] = None if fields[name] is None else np.array(fields[name], dtype=np.float64)
    fields["embedding"] = np.frombuffer(base64.b64decode(fields["embedding"]), dtype="<f4")
    if fields["box"] is not None:
        fields["box"] = Box(lower=np.array(fields["box"]["lower"]), upper=np.array(fields["box"]["upper"]))
    return MemoryRecord(**fields)


def listed(array: FloatArray | None) -> list[float] | None:
    """Return an array as JSON knows it; None stays None."""
    return None if array is None else [float(value) for value in array]
