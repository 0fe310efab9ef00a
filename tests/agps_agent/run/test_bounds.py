"""Every number that a run, a classifier or a station can be told has a range, and says so by name."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from agps_agent.models.openai_compat import OpenAICompatConfig
from agps_agent.run.config import RunConfig
from rl.conrft.config import ConRFTConfig, StageConfig
from rl.drq.config import DrQConfig
from rl.errors import ConfigError
from rl.rewards.classifier.config import FitConfig
from rl.robots.franka.config import ArmConfig, GripperConfig
from rl.robots.station import CameraConfig, TeleopConfig
from rl.tasks import TASKS, get_task

Kind = type[Any]
NEEDED: dict[Kind, dict[str, Any]] = {
    RunConfig: {"task": "usb_insertion"},
    ArmConfig: {"ip": "127.0.0.1"},
    CameraConfig: {"name": "wrist", "device": "1", "mount": "hand"},
    StageConfig: {"bc_weight": 1.0, "q_weight": 1.0, "conservative_weight": 1.0},
    OpenAICompatConfig: {"url": "http://127.0.0.1/v1"},
}
SIGNED = {"target_entropy_per_action", "operator_yaw_deg", "toggle_penalty", "recall_similarity"}
"""Numbers that may be below 0."""
SIGNED |= {
    "demo_reward",
    "clip_target",
    "home_q",
    "load_com_m",
    "success_reward",
    "patch_size",
}  # the last is refused with what fits the image


def fields(kind: Kind) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind, include_extras=False)
    names = kind.model_fields if issubclass(kind, BaseModel) else [field.name for field in dataclasses.fields(kind)]
    yield from ((name, hints[name]) for name in names)


def parts(hint: Any) -> set[Any]:
    """Return the types that a hint is made of."""
    inner = typing.get_args(hint)
    return {hint} if not inner else set().union(*(parts(argument) for argument in inner))


def kinds() -> list[Kind]:
    """Return every class of settings within a run's, and what stands beside it."""
    found: list[Kind] = [RunConfig, DrQConfig, ConRFTConfig, FitConfig, OpenAICompatConfig]
    found += [ArmConfig, GripperConfig, TeleopConfig, CameraConfig]
    for kind in found:
        for _, hint in fields(kind):
            nested = [part for part in parts(hint) if isinstance(part, type) and is_settings(part)]
            found += [part for part in nested if part not in found]
    return found


def is_settings(kind: Kind) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)


def numbers(wanted: Kind) -> list[tuple[Kind, str, Any]]:
    return [(kind, name, hint) for kind in kinds() for name, hint in fields(kind) if wanted in parts(hint)]


def build(kind: Kind, name: str, value: Any) -> None:
    values = {**NEEDED.get(kind, {}), name: value}
    if issubclass(kind, BaseModel):
        kind.model_validate(values)
    else:
        kind(**values)


def complaint(kind: Kind, name: str, hint: Any, value: Any) -> str:
    """Return how a value of one setting is refused; of a tuple its last number is wrong."""
    is_tuple = tuple in {typing.get_origin(part) for part in (hint, *typing.get_args(hint))}
    with pytest.raises((ConfigError, ValidationError)) as refused:
        build(kind, name, (0.0, value) if is_tuple else value)
    return str(refused.value)


def test_settings_are_found_where_they_are_nested():
    names = {kind.__name__ for kind in kinds()}
    assert {"DrQConfig", "StageConfig", "NoiseScales", "FloatConfig", "AgentSettings", "GuidedConfig"} <= names


@pytest.mark.parametrize(("kind", "name", "hint"), numbers(float), ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_float_that_is_not_finite_is_refused_by_name(kind: Kind, name: str, hint: Any, value: float):
    assert name in complaint(kind, name, hint, value)


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [case for case in numbers(float) + numbers(int) if case[1] not in SIGNED],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_number_below_zero_is_refused_by_name(kind: Kind, name: str, hint: Any):
    if name in ("prompt_versions", "image_size"):  # the number is a version, or one of three
        pytest.skip("no range")
    assert name in complaint(kind, name, hint, -1)


@pytest.mark.parametrize("name", TASKS.names)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"horizon": 0}, "horizon is 0; ask for at least 1."),
        ({"leash_m": math.nan}, "leash_m is nan; give a finite number."),
        ({"camera_jitter_m": -0.1}, "camera_jitter_m is -0.1; ask for at least 0."),
        ({"horizon": "long"}, "horizon is 'long'; give a number."),
    ],
)
def test_task_with_a_number_that_cannot_work_is_refused(name: str, change: dict[str, Any], words: str):
    with pytest.raises(ConfigError) as refused:
        get_task(name, **change)
    assert str(refused.value) == words


def test_place_on_the_table_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match=r"^port_position is nan; give a finite number\.$"):
        get_task("usb_insertion", port_position=[0.5, math.nan, 0.05])
