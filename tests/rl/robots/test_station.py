from pathlib import Path

import pytest

from rl.errors import ConfigError
from rl.robots.station import load_station

STATION = """
[arm]
ip = "127.0.0.1"
{arm}
[workspace]
lower = [0.30, -0.20, 0.00]
upper = [0.70, 0.20, 0.40]
[gripper]
{gripper}
[[cameras]]
name = "wrist_1"
device = "1"
mount = "hand"
{camera}
"""


def write(folder: Path, *, arm: str = "", gripper: str = "", camera: str = "") -> Path:
    path = folder / "station.toml"
    path.write_text(STATION.format(arm=arm, gripper=gripper, camera=camera))
    return path


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"arm": "max_contact_force_N = nan"}, "max_contact_force_N is nan: Input should be greater than 0."),
        ({"arm": "max_contact_force_N = -20"}, "max_contact_force_N is -20: Input should be greater than 0."),
        ({"arm": "load_com_m = [0, 0, inf]"}, "arm.load_com_m is inf; give a finite number."),
        ({"gripper": "debounce_s = inf"}, "debounce_s is inf; give a finite number."),
        ({"camera": "fps = 0"}, "fps is 0: Input should be greater than or equal to 1."),
    ],
)
def test_number_that_no_station_can_have_is_refused_with_its_file(wrong: dict[str, str], words: str, tmp_path: Path):
    load_station(write(tmp_path))
    with pytest.raises(ConfigError) as refused:
        load_station(write(tmp_path, **wrong))
    assert str(refused.value).startswith(f"{tmp_path / 'station.toml'}: ") and str(refused.value).endswith(words)


def test_table_that_tells_nobody_where_things_are_says_what_to_do_instead(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^--demos 5: a real table tells nobody where things are; teach it\.$"):
        load_station(write(tmp_path)).require_truth("--demos 5", "teach it")
