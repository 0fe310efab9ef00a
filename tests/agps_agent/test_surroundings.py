"""A port on a plane, 1 mm per pixel, and records of rollouts that began, or went on, with it somewhere."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from agps_agent.surroundings import Surroundings
from rl.errors import HardwareFault
from tests.agps_agent.scenes import scene
from tests.tools.memory.test_look import PORT, covered, view
from tools.memory import MemoryRecord, Target
from tools.memory.look import cut_patch
from tools.scene import Scene


def at(right: int) -> Scene:
    """The scene with the port so many millimetres to the right."""
    return replace(scene(), frames={"side": view(right=right)})


def made(id: str, right: float, episode: int = 0) -> MemoryRecord:
    """A record of a plan that worked, made when the port was there; image right is base -y."""
    xyz = PORT - [0.0, 0.001 * right, 0.0]
    patch = cut_patch(view(right=round(right)), xyz)
    assert patch is not None
    return MemoryRecord(
        task="usb_insertion",
        mode="guide",
        embedding=np.ones(4),
        calibration_hash="c",
        id=id,
        targets={"port": Target(xyz=xyz, patch=patch)},
        success=True,
        episode=episode,
    )


class Table:
    """Where the port is when somebody looks."""

    def __init__(self) -> None:
        self.right = 0
        self.surroundings = Surroundings(self.look)

    def look(self, cameras: Collection[str]) -> Scene:
        assert set(cameras) == {"side"}
        return at(self.right)


def test_record_whose_target_is_where_it_was_is_told_and_the_scene_stays() -> None:
    table, records = Table(), [made("a", 0)]
    assert [table.surroundings.begin(records) for _ in range(5)] == [(("a",), False)] * 5
    assert not table.surroundings.moves


def test_scene_in_which_most_rollouts_begin_elsewhere_moves() -> None:
    table, records = Table(), list[MemoryRecord]()
    for number, right in enumerate([0, 20, -20, 40, 10]):
        table.right = right
        # Of the first record alone nobody can tell whether the scene moves, or it was made of something in between.
        assert table.surroundings.begin(records) == ((), None if number == 1 else number > 1)
        assert table.surroundings.moves == (number == 4)
        records = [*records, made(f"r{number}", right, number)]


@pytest.mark.parametrize(("apart_mm", "moves"), [(0.0, False), (4.9, False), (5.1, True)])
def test_records_that_fit_no_start_tell_by_their_places_whether_the_scene_moves(apart_mm: float, moves: bool) -> None:
    """They were made in mid-rollout, when something had hidden or turned what is there at a start."""
    table, records = Table(), [made("a", 20.0, episode=3), made("b", 20.0 + apart_mm, episode=4)]
    assert [table.surroundings.begin(records) for _ in range(5)] == [((), moves)] * 5
    assert table.surroundings.moves is moves


def test_two_records_of_one_rollout_tell_nothing() -> None:
    table, records = Table(), [made("a", 20, episode=3), made("b", 30, episode=3)]
    assert [table.surroundings.begin(records) for _ in range(5)] == [((), None)] * 5
    assert table.surroundings.state_dict() == {"looked": {}}


def test_one_record_that_fits_is_enough() -> None:
    table, records = Table(), [made("midway", 20, 1), made("a", 0, 2), made("other", 30, 3)]
    assert table.surroundings.begin(records) == (("a",), False)


def test_place_that_is_hidden_at_one_start_is_found_again_at_the_next() -> None:
    table, records = Table(), [made("a", 0)]
    hidden = replace(at(0), frames={"side": covered(view(), slice(0, 640), 0.1)})
    shown = iter([at(0), hidden, at(0)])
    surroundings = Surroundings(lambda _: next(shown))
    assert [surroundings.begin(records) for _ in range(3)] == [(("a",), False), ((), None), (("a",), False)]
    assert not table.surroundings.moves


def test_what_was_counted_goes_on_after_a_resume() -> None:
    table, other = Table(), Table()
    records = [made("a", 20, 1), made("b", 30, 2)]
    for _ in range(3):
        table.surroundings.begin(records)
    assert table.surroundings.moves
    other.surroundings.load_state_dict(table.surroundings.state_dict())
    assert other.surroundings.moves
    other.surroundings.load_state_dict({})
    assert not other.surroundings.moves


def test_failing_camera_says_nothing() -> None:
    def fails(cameras: Collection[str]) -> Scene:
        raise HardwareFault("The camera side gives no images.")

    surroundings = Surroundings(fails)
    assert [surroundings.begin([made("a", 20, 1), made("b", 30, 2)]) for _ in range(5)] == [((), False)] * 5
    assert not surroundings.moves


@pytest.mark.parametrize("success", [False, None])
def test_plan_that_has_not_worked_is_not_looked_for(success: bool | None) -> None:
    table = Table()
    assert table.surroundings.begin([replace(made("a", 0), success=success)]) == ((), False)
    assert table.surroundings.state_dict()["looked"] == {}
