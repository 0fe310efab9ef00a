"""A port on a plane, 1 mm per pixel, and records of rollouts that began, or went on, with it somewhere."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from agps_agent.surroundings import Surroundings
from rl.errors import HardwareFault
from tests.agps_agent.scenes import scene
from tests.tools.memory.test_look import PORT, view
from tools.memory import MemoryRecord, Target
from tools.memory.look import cut_patch
from tools.scene import Scene


def at(right: int) -> Scene:
    """The scene with the port so many millimetres to the right."""
    return replace(scene(), frames={"side": view(right=right)})


def made(id: str, right: int) -> MemoryRecord:
    """A record of a plan that worked, made when the port was there; image right is base -y."""
    xyz = PORT - [0.0, 0.001 * right, 0.0]
    patch = cut_patch(view(right=right), xyz)
    assert patch is not None
    return MemoryRecord(
        task="usb_insertion",
        mode="guide",
        embedding=np.ones(4),
        calibration_hash="c",
        id=id,
        targets={"port": Target(xyz=xyz, patch=patch)},
        success=True,
    )


class Table:
    """Where the port is when somebody looks."""

    def __init__(self) -> None:
        self.right = 0
        self.surroundings = Surroundings(self.capture, self.look)

    def capture(self) -> Scene:
        return at(self.right)

    def look(self, cameras: Collection[str]) -> Scene:
        assert set(cameras) == {"side"}
        return self.capture()


def test_record_whose_target_is_where_it_was_is_told_and_the_scene_stays() -> None:
    table, records = Table(), [made("a", 0)]
    assert [table.surroundings.begin(records) for _ in range(5)] == [(("a",), False)] * 5
    assert not table.surroundings.moves


def test_scene_in_which_most_rollouts_begin_elsewhere_moves() -> None:
    table, records, used = Table(), [], []
    for number, right in enumerate([0, 20, -20, 40]):
        table.right = right
        assert table.surroundings.begin(records, used) == ((), number > 0)
        assert table.surroundings.moves == (number == 3)
        records, used = [*records, made(f"r{number}", right)], [f"r{number}"]


def test_record_of_what_there_never_is_at_a_start_says_nothing_of_the_scene() -> None:
    """It was made in mid-rollout, when something had moved: the scene itself stays."""
    table, midway = Table(), made("midway", 20)
    assert table.surroundings.begin([]) == ((), False)
    assert [table.surroundings.begin([midway], ["midway"]) for _ in range(5)] == [((), False)] * 5
    assert not table.surroundings.moves
    assert table.surroundings.begin([midway, made("a", 0)]) == (("a",), False)


def test_it_goes_on_so_after_a_resume() -> None:
    table, other, midway = Table(), Table(), made("midway", 20)
    table.surroundings.begin([])
    table.surroundings.begin([midway], ["midway"])
    other.surroundings.load_state_dict(table.surroundings.state_dict())
    assert [other.surroundings.begin([midway]) for _ in range(5)] == [((), False)] * 5
    older = {"looked": {"rollouts": 20, "moved": 11}}
    other.surroundings.load_state_dict(older)
    assert other.surroundings.moves


def test_record_that_is_seen_by_a_camera_that_was_not_looked_through_counts() -> None:
    table = Table()
    table.surroundings.begin([made("a", 0)])
    elsewhere = made("b", 20)
    target = elsewhere.targets["port"]
    assert target.patch is not None
    elsewhere = replace(
        elsewhere, targets={"port": replace(target, patch=replace(target.patch, camera="front"))}, success=False
    )
    table.surroundings.begin([made("a", 0), elsewhere], ["b"])
    assert table.surroundings.state_dict()["midway"] == []


def test_failing_camera_says_nothing() -> None:
    table = Table()

    def fails(cameras: Collection[str]) -> Scene:
        raise HardwareFault("The camera side gives no images.")

    surroundings = Surroundings(table.capture, fails)
    assert surroundings.begin([made("a", 0)], ["a"]) == ((), False)
    assert surroundings.begin([made("a", 0)], ["a"]) == ((), False)


@pytest.mark.parametrize("success", [False, None])
def test_plan_that_has_not_worked_is_not_looked_for(success: bool | None) -> None:
    table = Table()
    assert table.surroundings.begin([replace(made("a", 0), success=success)]) == ((), False)
    assert table.surroundings.state_dict()["looked"]["rollouts"] == 0
