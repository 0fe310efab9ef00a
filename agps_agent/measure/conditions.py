"""Other conditions than those of training, under which a policy is evaluated: how far what it has learned carries."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # loads NumPy and more; whoever parses options does without
    from agps_agent.run.config import RunConfig


class Conditions(BaseModel):
    """What differs from training; the defaults change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start_scale: float = Field(1.0, gt=0, le=10)
    """In simulation: size of the start region over that of training. It grows to the sides and upwards, within the
    workspace."""
    push_mm: float = Field(0.0, ge=0, le=500)
    """In simulation: the TCP is pushed so far once in each episode, in a horizontal direction that the seed decides,
    and through the guard, [mm]. 0: never."""
    push_step: int = Field(5, ge=0)
    """In simulation: control steps before the push."""
    friction: float = Field(1.0, gt=0, le=100)
    """In simulation: sliding friction over that of training."""
    mass: float = Field(1.0, gt=0, le=100)
    """In simulation: mass of what is held and of what lies there, over that of training."""
    camera_mm: float = Field(0.0, ge=0, le=500)
    """In simulation: each camera is displaced by a normal deviate of this size along each axis, anew in each episode,
    [mm]."""
    camera_deg: float = Field(0.0, ge=0, le=90)
    """In simulation: each camera is turned by a normal deviate of this size about each axis, anew in each episode,
    [deg]."""

    @property
    def values(self) -> dict[str, float]:
        """What differs from training, by name."""
        fields = Conditions.model_fields
        differ = {name: getattr(self, name) for name in fields if getattr(self, name) != fields[name].default}
        if self.push_mm:
            return {**differ, "push_step": self.push_step}
        return {name: value for name, value in differ.items() if name != "push_step"}  # a push of nothing is none

    def applied_to(self, config: "RunConfig") -> "RunConfig":
        """Return the configuration of a run with the task as these conditions make it."""
        named = {
            "start_scale": "start_scale",
            "friction": "friction_scale",
            "mass": "mass_scale",
            "camera_mm": "camera_jitter_mm",
            "camera_deg": "camera_jitter_deg",
        }
        changed: dict[str, Any] = {named[name]: value for name, value in self.values.items() if name in named}
        return config.model_copy(update={"task_options": {**config.task_options, **changed}})

    def in_words(self) -> str:
        """Return what differs from training, for people."""
        said = {
            "start_scale": "start region x {:g}",
            "push_mm": "pushed by {:g} mm",
            "push_step": "after {:g} control steps",
            "friction": "friction x {:g}",
            "mass": "mass x {:g}",
            "camera_mm": "cameras displaced by {:g} mm",
            "camera_deg": "cameras turned by {:g} deg",
        }
        return ", ".join(words.format(self.values[name]) for name, words in said.items() if name in self.values)
