"""The file that a lab writes once: what it says is what is used, and each mistake in it is one sentence."""

from pathlib import Path

import numpy as np
import pytest

from rl.errors import ConfigError
from rl.robots.station import StationConfig, load_station

WORKSPACE = """
[workspace]
lower = [0.40, -0.10, 0.07]
upper = [0.60, 0.10, 0.24]
"""
ARM = '[arm]\nip = "172.16.0.2"\n'
CAMERA = '[[cameras]]\nname = "wrist_1"\ndevice = "218622270001"\nmount = "hand"\n'


def load(folder: Path, text: str, *, ip: str | None = None) -> StationConfig:
    (folder / "station.toml").write_text(text, encoding="utf-8")
    return load_station(folder / "station.toml", ip=ip)


def test_shortest_station_has_an_arm_and_a_workspace(tmp_path: Path) -> None:
    station = load(tmp_path, ARM + WORKSPACE)
    np.testing.assert_array_equal(station.workspace.upper - station.workspace.lower, [0.6 - 0.4, 0.2, 0.24 - 0.07])
    assert (station.arm.ip, station.arm.realtime, station.cameras) == ("172.16.0.2", "enforce", ())
    assert station.gripper.enabled and station.task == {} and station.truth is None and station.slowdown == 1.0


def test_every_table_is_read(tmp_path: Path) -> None:
    more = (
        "[gripper]\nmax_width_m = 0.07\n[teleop]\noperator_yaw_deg = 180\n"
        "[task]\nport_position = [0.51, 0.0, 0.05]\n" + CAMERA + "fps = 15\ncrop = [80, 0, 480, 480]\n"
    )
    station = load(tmp_path, ARM + "load_kg = 0.4\n" + WORKSPACE + more)
    assert (station.arm.load_kg, station.gripper.max_width_m, station.teleop.operator_yaw_deg) == (0.4, 0.07, 180.0)
    assert station.task == {"port_position": [0.51, 0.0, 0.05]}
    assert (station.camera("wrist_1").fps, station.camera("wrist_1").crop) == (15, (80, 0, 480, 480))


def test_address_that_is_named_counts_before_that_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, ARM + WORKSPACE, ip="127.0.0.1").arm.ip == "127.0.0.1"
    assert load(tmp_path, WORKSPACE, ip="127.0.0.1").arm.ip == "127.0.0.1"


def test_paths_are_beside_the_file_and_serial_numbers_are_no_paths(tmp_path: Path) -> None:
    more = 'calibration = "calibration/wrist_1.json"\n' + CAMERA.replace("wrist_1", "side").replace(
        "218622270001", "takes/side.db3"
    )
    station = load(tmp_path, ARM + WORKSPACE + CAMERA + more)
    assert station.camera("wrist_1").calibration == tmp_path / "calibration" / "wrist_1.json"
    assert station.camera("wrist_1").device == "218622270001"
    assert station.camera("side").device == str(tmp_path / "takes" / "side.db3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[arm", "Cannot read the station file"),
        (WORKSPACE, "arm lacks 'ip'; add it."),
        ('arm = "172.16.0.2"\n' + WORKSPACE, "arm is '172.16.0.2'; write it as a [arm] table."),
        (ARM, "needs a [workspace] with lower = [x, y, z] and upper = [x, y, z] in m"),
        (ARM + "[workspace]\nlower = [0, 0, 0]\n", "needs a [workspace]"),
        (ARM + '[workspace]\nlower = "low"\nupper = "high"\n', "needs a [workspace]"),
        (ARM + "[workspace]\nlower = [0, 0]\nupper = [1, 1]\n", "lower must be below upper"),
        (ARM + '[workspace]\nlower = "012"\nupper = "345"\n', "needs a [workspace]"),
        (ARM + "[workspace]\nlower = [400, -100, 0]\nupper = [600, 100, 240]\n", "it is in m, and no arm reaches"),
        (ARM + "[workspace]\nlower = [0, 0, 0]\nupper = [1, 1, 1]\nmax_z = 0.1\n", "workspace has no 'max_z'"),
        (ARM + "[workspace]\nlower = [0, 0, 0]\nupper = [1, 0, 1]\n", "lower must be below upper"),
        (ARM + "[workspace]\nlower = [0, 0, nan]\nupper = [1, 1, 1]\n", "lower must be below upper"),
        (ARM + "[workspace]\nlower = [0, 0, 0]\nupper = [1, 1, inf]\n", "lower must be below upper"),
        (ARM + "sped = 0.2\n" + WORKSPACE, "arm has no 'sped'; it has ip, realtime"),
        (ARM + 'realtime = "maybe"\n' + WORKSPACE, "arm: realtime is 'maybe'"),
        (ARM + 'speed = "fast"\n' + WORKSPACE, "arm: speed is 'fast'"),
        (ARM + WORKSPACE + "[griper]\n", "has 'griper', which a station does not have; remove it."),
        (ARM + WORKSPACE + '[cameras]\nname = "side"\n', "write each camera as a [[cameras]] table."),
        (ARM + WORKSPACE + '[[cameras]]\nname = "side"\n', "camera side lacks 'device'; add it."),
        (ARM + WORKSPACE + CAMERA.replace("hand", "wrist"), "camera wrist_1: mount is 'wrist'"),
        (ARM + WORKSPACE + CAMERA + "exposure = 3\n", "camera wrist_1 has no 'exposure'; it has name, device"),
        ('slowdown = "twice"\n' + ARM + WORKSPACE, "slowdown is 'twice'; write a number."),
        ("slowdown = true\n" + ARM + WORKSPACE, "slowdown is True; write a number."),
    ],
)
def test_mistake_is_one_sentence_with_what_to_write(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert words in str(refused.value)


def test_missing_file_names_the_guide(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no station file .*; docs/hardware.md shows what to write"):
        load_station(tmp_path / "station.toml")


def test_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_bytes("# Prüfstand\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="Cannot read the station file"):
        load_station(tmp_path / "station.toml")


def test_unknown_camera_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    station = load(tmp_path, ARM + WORKSPACE + CAMERA)
    with pytest.raises(ConfigError, match=r"no camera 'side'; it has wrist_1\. Add a \[\[cameras\]\] table"):
        station.camera("side")
    with pytest.raises(ConfigError, match="it has none"):
        load(tmp_path, ARM + WORKSPACE).camera("side")


@pytest.mark.parametrize(
    ("ip", "truth", "words"),
    [
        ("172.16.0.2", 'truth = "emulator://127.0.0.1:8000"\n', "no emulator of this computer"),
        ("127.0.0.1", "", "no emulator tells this station's truth"),
    ],
)
def test_slow_clock_is_for_emulators_only(ip: str, truth: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, "slowdown = 3.0\n" + truth + ARM.replace("172.16.0.2", ip) + WORKSPACE)


def test_emulated_station_may_be_slow(tmp_path: Path) -> None:
    text = 'slowdown = 3.0\ntruth = "emulator://127.0.0.1:8000"\n' + ARM.replace("172.16.0.2", "127.0.0.7")
    assert load(tmp_path, text + WORKSPACE).clock.host_s(2.0) == 6.0


def test_real_table_refuses_what_only_a_scene_knows(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="--reward truth: a real table tells nobody where things are; use a classifier"
    ):
        load(tmp_path, ARM + WORKSPACE).require_truth("--reward truth", "use a classifier")
    emulated = 'truth = "emulator://127.0.0.1:1"\n' + ARM.replace("172.16.0.2", "localhost")
    load(tmp_path, emulated + WORKSPACE).require_truth("--reward truth", "nothing")


@pytest.mark.parametrize("ip", ["172.16.0.2", None])
def test_no_arm_but_the_emulators_own_moves_by_its_truth(ip: str | None, tmp_path: Path) -> None:
    """With `--robot-ip` on an emulator's file a real arm would have simulated eyes."""
    arm = ARM if ip is None else ARM.replace("172.16.0.2", "127.0.0.1")
    (tmp_path / "station.toml").write_text('truth = "emulator://127.0.0.1:1"\n' + arm + WORKSPACE)
    with pytest.raises(ConfigError, match="arm is at 172.16.0.2 and an emulator at .* would move by a simulation"):
        load_station(tmp_path / "station.toml", ip=ip)


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
        ({"arm": "max_contact_force_N = nan"}, "max_contact_force_N is nan: Input should be less than or equal to 60."),
        ({"arm": "max_contact_force_N = -20"}, "max_contact_force_N is -20: Input should be greater than 0."),
        ({"arm": "max_contact_force_N = 150"}, "max_contact_force_N is 150: Input should be less than or equal to 60."),
        (
            {"arm": "home_q = [0, 0, 0]"},
            "arm.home_q is [0.0, 0.0, 0.0]; give seven joint angles within the arm's limits, in radians.",
        ),
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
