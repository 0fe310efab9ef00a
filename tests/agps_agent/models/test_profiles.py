import numpy as np
import pytest

from agps_agent.models.profiles import PROFILES, CoordinateFrame, ModelProfile, OutsideImage, find_profile
from rl.errors import ConfigError


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_pixel_survives_the_way_to_the_model_and_back(profile: ModelProfile) -> None:
    rng = np.random.default_rng(0)
    for u, v in rng.uniform((0, 0), (847, 479), size=(50, 2)):
        back = profile.to_pixel(profile.from_pixel((u, v), width=848, height=480), width=848, height=480)
        np.testing.assert_allclose(back, (u, v), atol=0.6)  # families that write integers lose half a unit


def test_qwen3_writes_thousandths_x_first() -> None:
    assert PROFILES["qwen3-vl"].to_pixel((500, 250), width=640, height=480) == (320, 120)


def test_gemini_writes_y_first() -> None:
    assert PROFILES["gemini"].to_pixel((250, 500), width=640, height=480) == (320, 120)


def test_qwen25_counts_in_the_resized_image() -> None:
    # 640x480 becomes 644x476, multiples of 28.
    np.testing.assert_allclose(PROFILES["qwen2.5-vl"].to_pixel((322, 238), width=640, height=480), (320, 240))
    assert "644 wide and 476 high" in PROFILES["qwen2.5-vl"].instructions(width=640, height=480)


def test_molmo_writes_percent() -> None:
    assert PROFILES["molmo"].to_pixel((50, 25), width=640, height=480) == (320, 120)


def test_point_slightly_outside_is_clamped_to_the_image() -> None:
    assert PROFILES["qwen3-vl"].to_pixel((1010, -10), width=640, height=480) == (639, 0)


@pytest.mark.parametrize("point", [(1021, 500), (500, -21), (float("nan"), 500), (500, float("inf"))])
def test_point_far_outside_is_refused(point: tuple[float, float]) -> None:
    with pytest.raises(OutsideImage, match="640x480"):
        PROFILES["qwen3-vl"].to_pixel(point, width=640, height=480)


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("Qwen/Qwen3-VL-235B-A22B-Instruct", "qwen3-vl"),
        ("Qwen/Qwen2.5-VL-72B-Instruct", "qwen2.5-vl"),
        ("OpenGVLab/InternVL3-8B", "internvl"),
        ("gemini-robotics-er-1.5", "gemini"),
        ("allenai/Molmo-7B-D", "molmo"),
        ("gpt-5", "pixel"),
        ("embedded", "embedded"),
    ],
)
def test_profile_follows_the_name_of_the_model(model: str, profile: str) -> None:
    assert find_profile(model).name == profile


def test_profile_can_be_named() -> None:
    assert find_profile("my-finetune", profile="gemini").frame is CoordinateFrame.REL1000_YX
    with pytest.raises(ConfigError, match="choose one of"):
        find_profile("my-finetune", profile="gpt-9")
