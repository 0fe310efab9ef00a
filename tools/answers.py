"""What the model answers: one schema per prompt. Field descriptions are prompt text."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

Mode = Literal["prune", "guide"]


class Answer(BaseModel):
    """A model's answer: unknown keys and values that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class DecideModeAnswer(Answer):
    """Which of the two interventions helps here."""

    mode: Mode = Field(description="prune: confine exploration to a box. guide: give waypoints.")
    failure_mode: str = Field(description="What goes wrong, in a few words, e.g. `drifting away from the port`.")
    reason: str = Field(description="One sentence: why this mode helps here.")

    @field_validator("mode", mode="before")
    @classmethod
    def _in_any_case(cls, mode: Any) -> Any:
        return mode.strip().lower() if isinstance(mode, str) else mode


class KeypointAnswer(Answer):
    """Where one keypoint is in the image."""

    label: str = Field(
        validation_alias=AliasChoices("label", "name"), description="The keypoint's label, exactly as requested."
    )
    point_2d: tuple[float, float] | None = Field(
        None,
        validation_alias=AliasChoices("point_2d", "point"),
        description="The keypoint's image coordinates; null when it is not visible.",
    )
    visible: bool = Field(description="false when the keypoint cannot be seen. Do not guess.")
    confidence: float | None = Field(None, ge=0, le=1, description="From 0 (guess) to 1 (certain).")

    @model_validator(mode="after")
    def _visible_has_a_point(self) -> "KeypointAnswer":
        if self.visible and self.point_2d is None:
            raise ValueError(f"{self.label} is visible but has no point_2d; give the point, or visible false")
        return self


class PerceiveAnswer(Answer):
    """Where the requested keypoints are."""

    keypoints: list[KeypointAnswer] = Field(min_length=1, description="One entry per requested keypoint.")


class ToolCall(Answer):
    """One call of a tool."""

    name: str = Field(description="Name of the tool.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Arguments of the tool by name.")


class PlanAnswer(Answer):
    """Tool calls, in the order in which they are carried out."""

    calls: list[ToolCall] = Field(min_length=1, max_length=8, description="Tool calls, first one first.")
    reason: str = Field(description="One sentence: what the calls achieve.")


ANSWERS: Mapping[str, type[Answer]] = MappingProxyType(
    {answer.__name__: answer for answer in (DecideModeAnswer, PerceiveAnswer, PlanAnswer)}
)
"""Answer models by the name that a prompt's front matter gives as its schema."""
