from pathlib import Path

import numpy as np
import pytest

from agps_agent.models.parsing import parse_answer
from agps_agent.models.profiles import (
    CoordinateFrame,
    ModelProfile,
    OutsideImage,
    find_profile,
    load_profile,
    profile_names,
)
from rl.errors import ConfigError
from tools.answers import PerceiveAnswer

VGA, PHOTOGRAPH = (640, 480), (4032, 3024)


@pytest.mark.parametrize("size", [VGA, (848, 480), PHOTOGRAPH], ids=str)
@pytest.mark.parametrize("name", profile_names())
def test_pixel_survives_the_way_to_the_model_and_back(name: str, size: tuple[int, int]) -> None:
    profile, (width, height) = load_profile(name), size
    rng = np.random.default_rng(0)
    sent_width, _ = profile.sent_size(width, height)
    unit = 0.6 * max(width / sent_width, width / 848)  # families that write integers lose half a unit
    for u, v in rng.uniform((0, 0), (width - 1, height - 1), size=(50, 2)):
        back = profile.to_pixel(profile.from_pixel((u, v), width=width, height=height), width=width, height=height)
        np.testing.assert_allclose(back, (u, v), atol=unit)


def test_qwen3_writes_thousandths_x_first() -> None:
    assert load_profile("qwen3-vl").to_pixel((500, 250), width=640, height=480) == (320, 120)


def test_gemini_writes_y_first() -> None:
    assert load_profile("gemini").to_pixel((250, 500), width=640, height=480) == (320, 120)
    assert '"point": [810, 510]' in load_profile("gemini").instructions(width=640, height=480)


def test_qwen25_counts_in_the_resized_image() -> None:
    # 640x480 becomes 644x476, multiples of 28.
    np.testing.assert_allclose(load_profile("qwen2.5-vl").to_pixel((322, 238), width=640, height=480), (320, 240))
    assert "644 wide and 476 high" in load_profile("qwen2.5-vl").instructions(width=640, height=480)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((640, 480), (644, 476)),
        ((28, 28), (56, 56)),  # below 3136 pixels: ceil(28 sqrt(3136 / 784) / 28) x 28
        ((8000, 4000), (5068, 2520)),  # above 12 845 056: floor(8000 / sqrt(32e6 / 12 845 056) / 28) x 28
        ((100, 10), (112, 28)),  # round(10 / 28) is 0, but a side is at least 28
    ],
)
def test_processor_resizes_to_multiples_within_its_limits(size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert load_profile("qwen2.5-vl").model_size(*size) == resized


def test_molmo_writes_percent_in_tags() -> None:
    molmo = load_profile("molmo")
    assert molmo.to_pixel((50, 25), width=640, height=480) == (320, 120)
    assert '<point x="51" y="81" alt=' in molmo.instructions(width=640, height=480)


def test_large_image_is_sent_smaller_and_points_count_in_what_is_sent() -> None:
    plain = load_profile("plain")
    assert plain.sent_size(*PHOTOGRAPH) == (2048, 1536)
    assert plain.to_pixel((1024, 768), width=4032, height=3024) == (2016, 1512)
    assert plain.sent_size(*VGA) == VGA
    assert "2048 wide and 1536 high" in plain.instructions(width=4032, height=3024)


@pytest.mark.parametrize("name", profile_names())
def test_example_of_an_answer_is_a_valid_one(name: str) -> None:
    profile = load_profile(name)
    example = profile.instructions(width=640, height=480).partition("numbers")[2]
    first, second = parse_answer(example, PerceiveAnswer).keypoints
    assert first.point_2d is not None and not second.visible
    np.testing.assert_allclose(profile.to_pixel(first.point_2d, width=640, height=480), (326, 389), atol=1.0)


def test_point_slightly_outside_is_clamped_to_the_image() -> None:
    assert load_profile("qwen3-vl").to_pixel((1010, -10), width=640, height=480) == (639, 0)


@pytest.mark.parametrize("point", [(1021, 500), (500, -21), (float("nan"), 500), (500, float("inf"))])
def test_point_far_outside_is_refused(point: tuple[float, float]) -> None:
    with pytest.raises(OutsideImage, match="640x480"):
        load_profile("qwen3-vl").to_pixel(point, width=640, height=480)


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("Qwen/Qwen3-VL-235B-A22B-Instruct", "qwen3-vl"),
        ("Qwen/Qwen2.5-VL-72B-Instruct", "qwen2.5-vl"),
        ("OpenGVLab/InternVL3-8B", "internvl"),
        ("gemini-robotics-er-1.5", "gemini"),
        ("allenai/Molmo-7B-D", "molmo"),
        ("gpt-5", "gpt"),
        ("qwen2.5vl:7b", "qwen2.5-vl"),
        ("qwen/qwen-2.5-vl-7b-instruct", "qwen2.5-vl"),
        ("unsloth/Qwen2-5-VL-7B", "qwen2.5-vl"),
        ("qwen3_vl", "qwen3-vl"),
        ("openai/o3", "gpt"),
        ("o4-mini", "gpt"),
        ("Holo3-35B", "plain"),
        ("llava-next", "plain"),
        ("embedded", "embedded"),
    ],
)
def test_profile_follows_the_name_of_the_model(model: str, profile: str) -> None:
    assert find_profile(model).name == profile


def test_profile_can_be_named() -> None:
    assert find_profile("my-finetune", profile="gemini").frame is CoordinateFrame.REL1000_YX
    with pytest.raises(ConfigError, match="choose one of"):
        find_profile("my-finetune", profile="gpt-9")


MINE = """
name = "mine"
frame = "unit"
decimals = 4
structured_output = "tools"
[sampling]
temperature = 0.1
extra = { top_k = 1 }
"""


def test_profile_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE)
    mine = find_profile("gpt-5", profile=str(tmp_path / "mine.toml"))
    assert mine == ModelProfile(
        name="mine", frame="unit", decimals=4, structured_output="tools",
        sampling={"temperature": 0.1, "extra": {"top_k": 1}},
    )  # fmt: skip
    assert mine.to_pixel((0.5, 0.25), width=640, height=480) == (320, 120)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frames = 1\n" + MINE, "has an unknown field frames; it may have name, models, frame"),
        (MINE + "top_q = 1", "has an unknown field sampling.top_q; it may have temperature, top_p"),
        (MINE.replace("unit", "inches"), "has a wrong frame: "),
        ("frame = ", "is not TOML"),
    ],
)
def test_profile_with_a_mistake_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_profile(str(tmp_path / "mine.toml"))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_profile_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile(str(tmp_path / "none.toml"))


def test_profile_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "model.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"model.toml cannot be read \(it is no text\); name an existing file\."):
        load_profile(str(file))
