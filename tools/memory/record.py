"""One remembered intervention, and how it is written down."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from rl.types import Box, Ending, FloatArray
from tools.answers import Mode
from tools.memory.look import Patch
from tools.scene import DEPTH_UNIT_M

FELT_WITHIN_M = 0.03
"""The arm has felt a target only where its tip ended this near to it, seen from above, [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A point that help goes by."""

    xyz: FloatArray
    """As it was perceived, base frame. Shape (3,), [m]."""
    refined: FloatArray | None = None
    """The same with the x and y where the arm measured the tip at success. Shape (3,), [m]."""
    patch: Patch | None = None
    """How it looked; None where nobody can tell: what goes by it is not recalled."""

    @property
    def aim(self) -> FloatArray:
        """The best known place: felt by the arm if it ever succeeded there, else as perceived. Shape (3,), [m]."""
        return self.xyz if self.refined is None else self.refined


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """One intervention: when it was given, what it was, and what came of it."""

    task: str
    mode: Mode
    embedding: FloatArray
    """Feature of what the policy's cameras showed, from the failure detector's encoder. Shape (k,)."""
    calibration_hash: str
    """Of the camera that the targets were measured with: positions hold only under the same calibration."""
    id: str = ""
    """Given by `remember`, unless set."""
    box: Box | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    """Every keypoint that box or plan goes by, by its label, e.g. `port`."""
    felt: str = ""
    """Label of the target that a success of the plan tells something about; empty where it tells nothing of any."""
    plan: str = ""
    """The tool calls, as JSON of a `PlanAnswer`: run again, they start from where the arm then is."""
    is_open: bool | None = None
    """The fingers were open when it was given; None where nobody knows."""
    p_tcp_tool: FloatArray | None = None
    """Tip of the tool in the TCP frame; None for the TCP itself. Shape (3,), [m]."""
    prompt_hash: str = ""
    model: str = ""
    """Name of the model that perceived and planned it; empty where nobody noted it."""
    episode: int = 0
    success: bool | None = None
    """It may be recalled: the last episode that used it succeeded, or was over too soon; None until one has ended."""
    uses: int = 0
    """Episodes that reused it, the one that made it not counted."""
    failures: int = 0
    """Of those, how many failed."""
    ended: Ending | None = None
    """How box or plan ended in the last episode that used it, e.g. `blocked`; None where nobody knows."""

    def after(
        self, *, success: bool, T_base_tcp_final: FloatArray | None = None, ended: Ending | None = None
    ) -> "MemoryRecord":
        """Return the record after an episode that used it.

        Where a success ended is what the arm felt, not what a camera saw: its x and y replace those of the target
        `felt`. The height stays that of the rim, since a success may be declared before the tool is all the way in.
        A success that ended elsewhere says nothing of the target, and no success says anything of the others.

        A failure takes the record's standing away, but for one that came because the episode was over before the plan
        was: help that came too late says nothing against a plan that has worked at least as often as it failed.
        """
        reused = self.success is not None
        uses, failures = self.uses + reused, self.failures + (reused and not success)
        too_late = self.success is True and bool(self.plan) and ended == "episode_over" and 2 * failures <= uses + 1
        targets, felt = dict(self.targets), self.targets.get(self.felt)
        if success and felt is not None and T_base_tcp_final is not None:
            tool = np.zeros(3) if self.p_tcp_tool is None else self.p_tcp_tool
            tip = T_base_tcp_final[:3, 3] + T_base_tcp_final[:3, :3] @ tool
            if np.linalg.norm((tip - felt.xyz)[:2]) <= FELT_WITHIN_M:
                targets[self.felt] = replace(felt, refined=np.array([tip[0], tip[1], felt.xyz[2]]))
        return replace(
            self,
            success=success or too_late,
            uses=uses,
            failures=failures,
            targets=targets,
            ended=ended,
        )

    def with_refined(self, refined: Mapping[str, Any]) -> "MemoryRecord":
        """Return the record with what success refined, by label of the target; nothing else is refined then."""
        return replace(
            self, targets={label: replace(t, refined=_array(refined.get(label))) for label, t in self.targets.items()}
        )


def refined_of(record: MemoryRecord) -> dict[str, list[float]]:
    """Return what success refined as plain values, by label of the target."""
    return {label: _listed(target.refined) for label, target in record.targets.items() if target.refined is not None}


def to_json(record: MemoryRecord) -> dict[str, Any]:
    """Return a record as plain values; embedding and patches exactly, as base64 of little-endian numbers."""
    box = record.box
    return {
        "id": record.id,
        "task": record.task,
        "mode": record.mode,
        "embedding": _packed(record.embedding, "<f4"),
        "calibration_hash": record.calibration_hash,
        "box": None if box is None else {"lower": _listed(box.lower), "upper": _listed(box.upper)},
        "targets": {label: _target_to_json(target) for label, target in record.targets.items()},
        "felt": record.felt,
        "plan": record.plan,
        "is_open": record.is_open,
        "p_tcp_tool": None if record.p_tcp_tool is None else _listed(record.p_tcp_tool),
        "prompt_hash": record.prompt_hash,
        "model": record.model,
        "episode": record.episode,
        "success": record.success,
        "uses": record.uses,
        "failures": record.failures,
        "ended": record.ended,
    }


def from_json(event: Mapping[str, Any]) -> MemoryRecord:
    """Return the record in plain values.

    Raises:
        KeyError, TypeError, ValueError: If they are not those of a record.
    """
    # Earlier versions wrote waypoints too, and there never were any.
    fields = {key: value for key, value in event.items() if key not in ("event", "waypoints")}
    if "target" in fields:
        fields = _with_targets(fields)
    fields["targets"] = {label: _target_from_json(target) for label, target in dict(fields["targets"]).items()}
    fields["p_tcp_tool"] = _array(fields["p_tcp_tool"])
    fields["embedding"] = _unpacked(fields["embedding"], "<f4")
    if fields["box"] is not None:
        lower, upper = (_point(fields["box"][end]) for end in ("lower", "upper"))
        fields["box"] = Box(lower=lower, upper=upper)
    record = MemoryRecord(**fields)
    check_values(record)
    return record


def check_values(record: MemoryRecord) -> None:
    """Refuse what no memory remembers.

    Raises:
        ValueError: With the field at fault.
    """
    for name in ("id", "task", "calibration_hash", "felt", "plan", "prompt_hash", "model"):
        if not isinstance(getattr(record, name), str):
            raise ValueError(f"{name} is {getattr(record, name)!r}")
    for name in ("episode", "uses", "failures"):
        if type(getattr(record, name)) is not int:
            raise ValueError(f"{name} is {getattr(record, name)!r}")
    known = {"mode": get_args(Mode), "success": (None, True, False), "is_open": (None, True, False)}
    for name, values in known.items():
        if getattr(record, name) not in values:
            raise ValueError(f"{name} is {getattr(record, name)!r}")
    if record.ended is not None and not isinstance(record.ended, str):
        raise ValueError(f"ended is {record.ended!r}")
    if not np.all(np.isfinite(record.embedding)) or not np.any(record.embedding):
        raise ValueError("embedding has no direction")


def _with_targets(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what an earlier version wrote, which knew one target without its look, with a target by label."""
    xyz, label, refined = (fields.pop(name) for name in ("target", "target_label", "target_refined"))
    target = {"xyz": xyz, "refined": refined, "patch": None}
    return {**fields, "targets": {} if xyz is None else {label: target}, "felt": label}


def _target_to_json(target: Target) -> dict[str, Any]:
    return {
        "xyz": _listed(target.xyz),
        "refined": None if target.refined is None else _listed(target.refined),
        "patch": None if target.patch is None else _patch_to_json(target.patch),
    }


def _target_from_json(value: Mapping[str, Any]) -> Target:
    patch = None if value["patch"] is None else _patch_from_json(value["patch"])
    return Target(xyz=_point(value["xyz"]), refined=_array(value["refined"]), patch=patch)


def _patch_to_json(patch: Patch) -> dict[str, Any]:
    units = np.clip(np.round(patch.depth_m / DEPTH_UNIT_M), 0, 65_535)
    return {
        "camera": patch.camera,
        "corner": list(patch.corner),
        "side": len(patch.grey),
        "grey": _packed(patch.grey, "u1"),
        "depth": _packed(units, "<u2"),
        "K": patch.K.tolist(),
        "T_base_cam": patch.T_base_cam.tolist(),
    }


def _patch_from_json(value: Mapping[str, Any]) -> Patch:
    shape = (value["side"], value["side"])
    u, v = value["corner"]
    return Patch(
        camera=value["camera"],
        corner=(int(u), int(v)),
        grey=_unpacked(value["grey"], "u1").reshape(shape),
        depth_m=(_unpacked(value["depth"], "<u2").reshape(shape) * DEPTH_UNIT_M).astype(np.float32),
        K=np.array(value["K"], dtype=np.float64).reshape(3, 3),
        T_base_cam=np.array(value["T_base_cam"], dtype=np.float64).reshape(4, 4),
    )


def _packed(array: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode()


def _unpacked(text: str, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def _array(values: Any) -> FloatArray | None:
    return None if values is None else _point(values)


def _point(values: Any) -> FloatArray:
    """Return a point. Shape (3,), [m]."""
    point = np.array(values, dtype=np.float64).reshape(3)
    if not np.all(np.isfinite(point)):
        raise ValueError(f"a point is {values!r}")
    return point


def _listed(array: FloatArray) -> list[float]:
    return [float(value) for value in array]
