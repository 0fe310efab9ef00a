"""A fleet file says who learns, and each robot gets settings of its own."""

from pathlib import Path
from typing import Any

import pytest

from agps_agent.fleet.fleet_file import config_of, read_fleet, robots_of
from agps_agent.fleet.robot import Place
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import fixed_changes
from agps_agent.surroundings import JUDGED_AFTER
from rl.errors import ConfigError


def test_robots_of_a_number_have_names_and_seeds_of_their_own():
    config = RunConfig(task="usb_insertion", robots=3, seed=7)
    robots = robots_of(config)
    assert [robot.name for robot in robots] == ["r0", "r1", "r2"]
    assert [config_of(robot, n, config).seed for n, robot in enumerate(robots)] == [7, 10_000_007, 20_000_007]


def test_station_of_a_fleet_file_becomes_the_robots_own(tmp_path: Path):
    file = tmp_path / "fleet.toml"
    file.write_text(
        '[[robots]]\nname = "left"\n'
        'kind = "station"\nstation = "left.toml"\nspeed = 0.5\nnode = "l"\n[[robots]]\nname = "twin"\n'
    )
    left, twin = read_fleet(file)
    config = RunConfig(task="usb_insertion", fleet=file, pace=10.0)
    own = config_of(left, 0, config)
    assert (own.robot, own.station, own.speed, own.pace) == ("station", Path("left.toml"), 0.5, None)
    assert (config_of(twin, 1, config).robot, config_of(twin, 1, config).pace) == ("sim", 10.0)


@pytest.mark.parametrize("robots", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("demos", [0, 1, 3, 8, 10])
def test_few_robots_show_what_the_agent_is_to_show_and_each_of_them_enough_to_tell_a_moving_scene(
    robots: int, demos: int
):
    shares = [Place(name="", folder=Path(), number=n, fleet_size=robots).shows(demos) for n in range(robots)]
    assert sum(shares) == demos
    assert all(share >= min(demos, JUDGED_AFTER) for share in shares if share > 0)


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"pace": 10.0}, False),
        ({"pace": 10.0, "when_behind": "hold"}, True),
        ({"when_behind": "continue"}, False),
    ],
)
def test_simulated_robots_wait_for_updates_where_nothing_keeps_them_to_a_rate(
    changes: dict[str, Any], holds: bool, tmp_path: Path
):
    file = tmp_path / "fleet.toml"
    arm = '[[robots]]\nname = "arm"\nkind = "station"\nstation = "arm.toml"\nnode = "b"\n'
    file.write_text(arm + '[[robots]]\nname = "twin"')
    config = RunConfig(task="usb_insertion", fleet=file, ray="10.0.0.1:6379", **changes)
    real, twin = (config_of(robot, n, config) for n, robot in enumerate(robots_of(config)))
    assert twin.holds_when_behind is holds
    assert real.holds_when_behind is (changes.get("when_behind") == "hold")


@pytest.mark.parametrize(("when", "holds"), [(None, True), ("hold", True), ("continue", False)])
def test_one_arm_waits_for_updates_unless_it_is_told_not_to(when: str | None, holds: bool):
    arm = RunConfig(task="usb_insertion", robot="station", learner="threaded", when_behind=when)
    assert arm.holds_when_behind is holds


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("robots = 4", "names no robot"),
        ("[[robots]]\nname = 'Left Arm'", "lower-case letters"),
        ("[[robots]]\nname = 'a'\n[[robots]]\nname = 'a'", "names a twice"),
        ("[[robots]]\nname = 'a'\nkind = 'station'", "names its file"),
        ("[[robots]]\nname = 'a'\nwheels = 4", "wheels"),
        ("[[robots]]\nname = 'a'\nkind = 'station'\nstation = 'no.toml'", "no station file no.toml"),
        ("head = 'b'\n[[robots]]\nname = 'a'", "may have"),
        ("[[robots", "no TOML"),
        ("robots = ['a', 'b']", "robot 1 is 'a'; write one"),
        ("[[robots]]\nname = 'learner'", "another part of a fleet"),
        ("[[robots]]\nname = 'a'\nnode = ''", "a name of your own"),
        ("[[robots]]\nname = 'a'\nnode = 'CPU'", "a name of your own"),
        ("[[robots]]\nname = 'a'\nspeed = 0.2", "speed is for a station"),
        ("".join(f"[[robots]]\nname = 'r{n}'\n" for n in range(65)), "65 robots; one learner takes up to 64"),
        (
            "".join(
                f"[[robots]]\nname = '{name}'\nkind = 'station'\nstation = 'fr3.toml'\nnode = 'b'\n" for name in "ab"
            ),
            "a and b are on fr3.toml",
        ),
    ],
)
def test_fleet_file_that_is_wrong_is_refused_in_one_sentence(text: str, complaint: str, tmp_path: Path):
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_fleet(file)


def test_robot_of_another_machine_without_a_cluster_is_refused(tmp_path: Path):
    file = tmp_path / "fleet.toml"
    file.write_text('[[robots]]\nname = "left"\nnode = "left"\n')
    with pytest.raises(ConfigError, match="--ray HOST:PORT"):
        robots_of(RunConfig(task="usb_insertion", fleet=file))
    assert robots_of(RunConfig(task="usb_insertion", fleet=file, ray="10.0.0.1:6379"))[0].node == "left"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"ray": "10.0.0.1:6379"}, "--robots N or --fleet"),
        ({"robots": 2, "ray": "10.0.0.1"}, "HOST:PORT"),
        ({"when_behind": "hold"}, "--learner threaded"),
        ({"robots": 2, "fleet": Path("fleet.toml")}, "two ways"),
        ({"robots": 2, "learner": "lockstep"}, "--robots 1"),
        ({"robots": 2, "learner": "overlapped"}, "threaded"),
        ({"robots": 2, "method": "conrft"}, "--offline"),
    ],
)
def test_settings_that_no_fleet_can_carry_out_are_refused(settings: dict, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        RunConfig(task="usb_insertion", demos=2, **settings)


def test_fleet_learns_freely_where_nothing_else_is_said():
    assert RunConfig(task="usb_insertion", robots=2).learner == "threaded"
    assert RunConfig(task="usb_insertion").learner == "lockstep"


def test_run_of_one_robot_does_not_go_on_as_a_fleet_nor_the_other_way_round():
    one, two, three = (RunConfig(task="usb_insertion", robots=n, learner="threaded") for n in (None, 2, 3))
    assert [*fixed_changes(one, two)] == [("robots", None, 2)] and [*fixed_changes(two, one)] == [("robots", 2, None)]
    assert [*fixed_changes(two, three)] == []
