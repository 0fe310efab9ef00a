"""What a run may change about its task: the task's fields in millimetres and degrees."""

import dataclasses
import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rl.errors import ConfigError
from rl.tasks import get_task

_UNITS = {"_mm": ("_m", 1e-3), "_deg": ("_rad", math.pi / 180.0)}
"""Suffix of an option -> suffix of the task's field, and what one unit is there."""

Length = Annotated[float, Field(ge=0)] | None
Angle = Annotated[float, Field(ge=0)] | None


class TaskOptions(BaseModel):
    """What to change about the task; None leaves the task's own value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    horizon: Annotated[int, Field(ge=1)] | None = None
    """Control steps until an episode is truncated."""
    light_jitter: Annotated[float, Field(ge=0)] | None = None
    """Relative change of brightness and of the lights' direction each episode."""
    colour_jitter: Annotated[float, Field(ge=0)] | None = None
    """Relative change of each material's colour each episode."""
    camera_jitter_mm: Length = None
    """Each camera moves by a normal deviate of this size each episode, [mm]."""
    camera_jitter_deg: Angle = None
    """Each camera turns by a normal deviate of this size each episode, [deg]."""

    clearance_mm: Annotated[float, Field(gt=0)] | None = None
    """USB: gap between plug and port on each side, [mm]."""
    lead_in_mm: Length = None
    """USB: bevel at the rim, [mm]; 0: a sharp rim."""
    port_jitter_mm: Length = None
    """USB: the port moves uniformly within this in x and y each episode, [mm]."""
    port_jitter_deg: Angle = None
    """USB: the port turns uniformly within this about z each episode, [deg]."""

    hook_jitter_mm: Length = None
    """Knot: the hook moves uniformly within this in x and y each episode, [mm]."""
    hook_jitter_deg: Angle = None
    """Knot: the hook turns uniformly within this about z each episode, [deg]."""

    towel_jitter_mm: Length = None
    """Towel: it moves uniformly within this in x and y each episode, [mm]."""
    towel_jitter_deg: Angle = None
    """Towel: it turns uniformly within this about z each episode, [deg]."""
    wrist_camera: bool | None = None
    """Towel: the policy also sees the image of a camera on the hand."""

    def overrides(self, task: str) -> dict[str, Any]:
        """Return the fields of a task that change, in m and rad.

        Raises:
            ConfigError: If the task has no such option, or there is no such task.
        """
        known = {field.name for field in dataclasses.fields(get_task(task))}
        fields: dict[str, Any] = {}
        for name, value in self.model_dump(exclude_none=True).items():
            field, factor = _field_of(name)
            if field not in known:
                has = [other for other in type(self).model_fields if _field_of(other)[0] in known]
                options = ", ".join(_flag(other) for other in has)
                raise ConfigError(f"--task-options.{_flag(name)}: {task} has no such option; it has {options}.")
            fields[field] = value if factor is None else value * factor
        return fields


def _field_of(option: str) -> tuple[str, float | None]:
    """Return the task's field behind an option, and the factor between them; None where there is no unit."""
    for suffix, (metric, factor) in _UNITS.items():
        if option.endswith(suffix):
            return option.removesuffix(suffix) + metric, factor
    return option, None


def _flag(name: str) -> str:
    return name.replace("_", "-")
