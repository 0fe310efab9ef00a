"""How each model family writes an image point: data, and the conversion in both directions.

Internally a point is (u, v) in pixels of the image that was sent, u to the right, v down.
"""

from dataclasses import dataclass
from enum import Enum

from rl.errors import AgpsError, ConfigError

OUT_OF_RANGE = 0.02
"""A point further outside the image than this share of its size is refused, a nearer one is clamped."""


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
    CoordinateFrame.PERCENT: "Points are [x, y] in percent of the image, from 0 to 100: x to the right, y down.",
    CoordinateFrame.UNIT: "Points are [x, y], relative to the image, from 0 to 1: x to the right, y down.",
}


class OutsideImage(AgpsError):
    """A model pointed outside of the image."""


@dataclass(frozen=True, kw_only=True)
class ModelProfile:
    """What differs between model families."""

    name: str
    frame: CoordinateFrame
    patch: int = 1
    """Side to whose multiple the model's processor resizes images, [px]; `PIXEL_RESIZED` points count in that size."""
    decimals: int = 0
    """Decimals of a coordinate in prompts; families that were trained on integers get integers."""

    def instructions(self, *, width: int, height: int) -> str:
        """Return the sentence that tells the model how to write points of an image of this size, [px]."""
        width, height = self._model_size(width, height)
        return _INSTRUCTIONS[self.frame].format(width=width, height=height)

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
            raise OutsideImage(
                f"Point [{first:g}, {second:g}] is pixel ({u:.0f}, {v:.0f}), outside of the {width}x{height} image. "
                + self.instructions(width=width, height=height)
            )
        return min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)

    def from_pixel(self, pixel: tuple[float, float], *, width: int, height: int) -> tuple[float, float]:
        """Return the point in the family's frame, rounded as the family writes it, of (u, v), [px]."""
        scale_x, scale_y = self._scale(width, height)
        x, y = round(pixel[0] / scale_x, self.decimals), round(pixel[1] / scale_y, self.decimals)
        return (y, x) if self.frame is CoordinateFrame.REL1000_YX else (x, y)

    def _model_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the image as the model's processor resizes it, [px]."""
        if self.frame is not CoordinateFrame.PIXEL_RESIZED:
            return width, height
        return max(1, round(width / self.patch)) * self.patch, max(1, round(height / self.patch)) * self.patch

    def _scale(self, width: int, height: int) -> tuple[float, float]:
        """Return pixels per unit of the frame along x and y."""
        full = {CoordinateFrame.PERCENT: 100.0, CoordinateFrame.UNIT: 1.0}.get(self.frame, 1000.0)
        if self.frame in (CoordinateFrame.PIXEL, CoordinateFrame.PIXEL_RESIZED):
            model_width, model_height = self._model_size(width, height)
            return width / model_width, height / model_height
        return width / full, height / full


PROFILES = {
    profile.name: profile
    for profile in (
        # 0-1000 since Qwen3; a family's documentation says 0-999, the difference is below a pixel at VGA.
        ModelProfile(name="qwen3-vl", frame=CoordinateFrame.REL1000_XY),
        ModelProfile(name="qwen2.5-vl", frame=CoordinateFrame.PIXEL_RESIZED, patch=28),
        ModelProfile(name="internvl", frame=CoordinateFrame.REL1000_XY),
        ModelProfile(name="gemini", frame=CoordinateFrame.REL1000_YX),
        ModelProfile(name="molmo", frame=CoordinateFrame.PERCENT, decimals=1),
        ModelProfile(name="robopoint", frame=CoordinateFrame.UNIT, decimals=3),
        ModelProfile(name="pixel", frame=CoordinateFrame.PIXEL),
        ModelProfile(name="embedded", frame=CoordinateFrame.REL1000_XY, decimals=3),
    )
}

_FAMILIES = (
    # Substrings of model names, the most specific first.
    ("embedded", "embedded"),
    ("qwen2.5-vl", "qwen2.5-vl"),
    ("qwen2_5_vl", "qwen2.5-vl"),
    ("qwen", "qwen3-vl"),
    ("internvl", "internvl"),
    ("glm", "internvl"),
    ("gemini", "gemini"),
    ("molmo", "molmo"),
    ("robopoint", "robopoint"),
)


def find_profile(model: str, *, profile: str | None = None) -> ModelProfile:
    """Return the profile asked for by name, or else that of the model's family; plain pixels for an unknown model.

    Raises:
        ConfigError: If no profile has the name.
    """
    if profile is not None:
        if profile not in PROFILES:
            raise ConfigError(f"There is no model profile {profile!r}; choose one of {', '.join(PROFILES)}.")
        return PROFILES[profile]
    name = model.lower()
    return PROFILES[next((family for part, family in _FAMILIES if part in name), "pixel")]
