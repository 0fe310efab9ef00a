"""How each model family is asked and how it writes an image point: data files, and the conversion in both directions.

Internally a point is (u, v) in pixels of the camera's image, u to the right, v down. The files are in `families/`; a
profile of one's own is a TOML file with the same fields, given by its path.
"""

import math
import re
import tomllib
from enum import Enum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rl.errors import AgpsError, ConfigError

OUT_OF_RANGE = 0.02
"""A point further outside the image than this share of its size is refused, a nearer one is clamped."""
FALLBACK = "plain"
"""Profile of a model of no known family."""


class CoordinateFrame(Enum):
    """Unit and order of a family's points."""

    REL1000_XY = "rel1000_xy"
    REL1000_YX = "rel1000_yx"
    PIXEL = "pixel"
    PIXEL_RESIZED = "pixel_resized"
    PERCENT = "percent"
    UNIT = "unit"


_INSTRUCTIONS = {
    CoordinateFrame.REL1000_XY: "Points are [x, y], relative to the image, from 0 to 1000: x to the right, y down.",
    CoordinateFrame.REL1000_YX: "Points are [y, x], relative to the image, from 0 to 1000: y down, x to the right.",
    CoordinateFrame.PIXEL: "Points are [x, y] in pixels of the image, {width} wide and {height} high.",
    CoordinateFrame.PIXEL_RESIZED: "Points are [x, y] in pixels of the image, {width} wide and {height} high.",
    CoordinateFrame.PERCENT: "Points are x and y in percent of the image, from 0 to 100: x to the right, y down.",
    CoordinateFrame.UNIT: "Points are [x, y], relative to the image, from 0 to 1: x to the right, y down.",
}


class OutsideImage(AgpsError):
    """A model pointed outside of the image."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PointStyle(_Table):
    """The form of a point that the family was trained on. Whatever the form, what other families write is read too."""

    form: Literal["json", "tags"] = "json"
    """json: objects with a label and a point. tags: `<point x="61.5" y="40.2" alt="label">label</point>`."""
    point_key: Literal["point_2d", "point"] = "point_2d"
    """Key of the point in JSON."""


class ImageLimits(_Table):
    """How large an image may be, and what the model's processor makes of it."""

    max_side: int | None = Field(None, ge=64)
    """Longer side of what is sent, [px]; larger images are scaled down before."""
    max_pixels: int | None = Field(None, ge=4096)
    """Pixels of what is sent."""
    multiple: int = Field(1, ge=1)
    """Side to whose multiple the processor resizes, [px]; `pixel_resized` points count in that size."""
    processor_min_pixels: int = Field(1, ge=1)
    processor_max_pixels: int = Field(1_000_000_000, ge=1)


class Sampling(_Table):
    """How replies are drawn."""

    temperature: float | None = Field(None, ge=0)
    """None leaves it to the server."""
    top_p: float | None = Field(None, gt=0, le=1)
    presence_penalty: float | None = None
    max_tokens: int = Field(1024, ge=1)
    """Longest reply, [tokens]."""
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """Field of the request that says it; some servers know the older max_tokens only."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, e.g. `top_k = 20` of vLLM."""


class ModelProfile(_Table):
    """What differs between model families."""

    name: str = Field(min_length=1)
    models: tuple[str, ...] = ()
    """Parts of served model names; the longest that fits a name decides. Case and separators do not count: Ollama's
    qwen2.5vl is Qwen2.5-VL. One of two characters, such as o3, fits where nothing else is written together with it."""
    frame: CoordinateFrame
    decimals: int = Field(0, ge=0, le=6)
    """Decimals of a coordinate in prompts; families that were trained on integers get integers."""
    structured_output: Literal["json_schema", "json_object", "tools", "text"] = "json_schema"
    """How the server is told the form of an answer: by its schema, that it is JSON, as the arguments of a tool that
    must be called, or by the prompt alone."""
    depth: bool = False
    """Send depth and calibration beside each image in which keypoints are looked for."""
    points: PointStyle = PointStyle()
    image: ImageLimits = ImageLimits()
    sampling: Sampling = Sampling()

    def instructions(self, *, width: int, height: int) -> str:
        """Return how to write points of an image of this size, [px], with an example: prompt text."""
        width, height = self.model_size(width, height)
        return _INSTRUCTIONS[self.frame].format(width=width, height=height) + "\n" + self._example(width, height)

    def to_pixel(self, point: tuple[float, float], *, width: int, height: int) -> tuple[float, float]:
        """Return (u, v), [px], of a point in the family's frame, clamped into the image.

        Raises:
            OutsideImage: If the point is not finite or more than 2 % of the image's size outside.
        """
        scale_x, scale_y = self._scale(width, height)
        first, second = point
        x, y = (second, first) if self.frame is CoordinateFrame.REL1000_YX else (first, second)
        u, v = x * scale_x, y * scale_y
        # Written so that NaN fails it.
        inside = abs(u - width / 2) <= width * (0.5 + OUT_OF_RANGE) and abs(v - height / 2) <= height * (
            0.5 + OUT_OF_RANGE
        )
        if not inside:
            model_width, model_height = self.model_size(width, height)
            raise OutsideImage(
                f"Point [{first:g}, {second:g}] is pixel ({u:.0f}, {v:.0f}), outside of the {width}x{height} image. "
                + _INSTRUCTIONS[self.frame].format(width=model_width, height=model_height)
            )
        return min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)

    def from_pixel(self, pixel: tuple[float, float], *, width: int, height: int) -> tuple[float, float]:
        """Return the point in the family's frame, rounded as the family writes it, of (u, v), [px]."""
        scale_x, scale_y = self._scale(width, height)
        x, y = round(pixel[0] / scale_x, self.decimals), round(pixel[1] / scale_y, self.decimals)
        return (y, x) if self.frame is CoordinateFrame.REL1000_YX else (x, y)

    def sent_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size at which an image is sent: scaled down, in proportion, if it exceeds the limits, [px]."""
        limits, scale = self.image, 1.0
        if limits.max_side is not None:
            scale = min(scale, limits.max_side / max(width, height))
        if limits.max_pixels is not None:
            scale = min(scale, math.sqrt(limits.max_pixels / (width * height)))
        return (width, height) if scale >= 1.0 else (max(1, int(width * scale)), max(1, int(height * scale)))

    def model_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the image that the model's points count in, [px]."""
        width, height = self.sent_size(width, height)
        if self.frame is not CoordinateFrame.PIXEL_RESIZED:
            return width, height
        return _resized(width, height, self.image)

    def _scale(self, width: int, height: int) -> tuple[float, float]:
        """Return pixels of the camera's image per unit of the frame along x and y."""
        full = {CoordinateFrame.PERCENT: 100.0, CoordinateFrame.UNIT: 1.0}.get(self.frame, 1000.0)
        if self.frame in (CoordinateFrame.PIXEL, CoordinateFrame.PIXEL_RESIZED):
            model_width, model_height = self.model_size(width, height)
            return width / model_width, height / model_height
        return width / full, height / full

    def _example(self, width: int, height: int) -> str:
        """Return the form of an answer with a point right of and below the middle, and one that is not visible."""
        first, second = self.from_pixel((0.51 * width, 0.81 * height), width=width, height=height)
        if self.points.form == "tags":
            return (
                "Answer in this form, with your own labels and numbers; what is not visible has no x and y:\n"
                f'<point x="{first:g}" y="{second:g}" alt="first_label">first_label</point>\n'
                '<point alt="second_label">not visible</point>'
            )
        key = self.points.point_key
        return (
            "Answer in this form, with your own labels and numbers:\n"
            f'{{"keypoints": [{{"label": "<first label>", "{key}": [{first:g}, {second:g}], "visible": true}},\n'
            f'{{"label": "<second label>", "{key}": null, "visible": false}}]}}'
        )


def _resized(width: int, height: int, limits: ImageLimits) -> tuple[int, int]:
    """Return the size that a processor resizes to: the nearest multiples, within its limits in proportion, [px]."""
    step = limits.multiple
    w, h = max(step, round(width / step) * step), max(step, round(height / step) * step)
    if w * h > limits.processor_max_pixels:
        shrink = math.sqrt(width * height / limits.processor_max_pixels)
        return max(step, int(width / shrink / step) * step), max(step, int(height / shrink / step) * step)
    if w * h < limits.processor_min_pixels:
        grow = math.sqrt(limits.processor_min_pixels / (width * height))
        return math.ceil(width * grow / step) * step, math.ceil(height * grow / step) * step
    return w, h


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that ship."""
    names = (entry.name for entry in files("agps_agent.models").joinpath("families").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@cache
def load_profile(name: str) -> ModelProfile:
    """Return a profile by its name, or from a file by its path, which ends in .toml.

    Raises:
        ConfigError: In one sentence, if there is none, or the file has an unknown field or a value that cannot be.
    """
    if name in profile_names():
        return _parse(files("agps_agent.models").joinpath("families", f"{name}.toml").read_text("utf-8"), name)
    if not name.endswith(".toml"):
        raise ConfigError(
            f"There is no model profile {name!r}; choose one of {', '.join(profile_names())}, or name a .toml file."
        )
    try:
        return _parse(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"The model profile {name} cannot be read ({reason}); name an existing file.") from error


def find_profile(model: str, *, profile: str | None = None) -> ModelProfile:
    """Return the profile asked for by name or path, or else that of the model's family; `plain` for an unknown model.

    Raises:
        ConfigError: As `load_profile`.
    """
    if profile is not None:
        return load_profile(profile)
    fitting = [
        (len(_bare(part)), name) for name in profile_names() for part in load_profile(name).models if _fits(part, model)
    ]
    return load_profile(max(fitting)[1] if fitting else FALLBACK)


def _fits(part: str, served: str) -> bool:
    """Return whether a served model's name has a part."""
    if len(part) <= 2:
        return re.search(rf"(?<![a-z0-9]){re.escape(part.lower())}(?![a-z0-9])", served.lower()) is not None
    return _bare(part) in _bare(served)


def _bare(name: str) -> str:
    return re.sub(r"[-_. ]", "", name.lower())


def _parse(text: str, source: str) -> ModelProfile:
    try:
        return ModelProfile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The model profile {source} is not TOML ({error}); correct that line.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"The model profile {source} has an unknown field {field}; {_known(field)}.") from error
        raise ConfigError(f"The model profile {source} has a wrong {field}: {first['msg']}.") from error


def _known(field: str) -> str:
    tables: dict[str, type[_Table]] = {"points": PointStyle, "image": ImageLimits, "sampling": Sampling}
    table = tables.get(field.partition(".")[0], ModelProfile)
    return f"it may have {', '.join(table.model_fields)}"
