import json
from dataclasses import replace

import numpy as np
import pytest

from rl.transforms import pose
from rl.types import Ending, FloatArray
from tests.tools.memory.test_look import PORT, view
from tools.memory import EpisodicMemory, MemoryRecord, Target
from tools.memory.look import Patch, cut_patch, look_at
from tools.memory.record import from_json, to_json

DOWN = np.diag([1.0, -1.0, -1.0])
BASE, TIP = np.array([0.50, 0.05, 0.22]), np.array([0.50, -0.01, 0.26])


def record(felt: str = "", **fields: object) -> MemoryRecord:
    """A plan by way of two points, with a tool whose tip is 3 cm below the TCP."""
    targets = {"hook_base": Target(xyz=BASE), "hook_tip": Target(xyz=TIP)}
    given = {"targets": targets, "felt": felt, "plan": "{}", "p_tcp_tool": np.array([0.0, 0.0, 0.03]), **fields}
    return MemoryRecord(task="t", mode="guide", embedding=np.ones(4, np.float32), calibration_hash="cafe", **given)


def ended_at(x: float, y: float, z: float) -> FloatArray:
    return pose(np.array([x, y, z]), DOWN)


def patch() -> Patch:
    cut = cut_patch(view(), PORT)
    assert cut is not None
    return cut


def test_success_in_free_space_refines_no_target() -> None:
    """As when a knot is hung on a hook: the arm has felt neither end of the rod."""
    after = record().after(success=True, T_base_tcp_final=ended_at(0.501, 0.049, 0.30))
    assert (after.success, [target.refined for target in after.targets.values()]) == (True, [None, None])


def test_success_refines_the_target_that_was_felt_and_no_other() -> None:
    after = record("hook_tip").after(success=True, T_base_tcp_final=ended_at(0.504, -0.012, 0.28))
    np.testing.assert_allclose(after.targets["hook_tip"].aim, [0.504, -0.012, 0.26], atol=1e-12)
    np.testing.assert_allclose(after.targets["hook_base"].aim, BASE)
    assert after.targets["hook_base"].refined is None


@pytest.mark.parametrize(("y", "is_refined"), [(-0.01 - 0.029, True), (-0.01 - 0.031, False)])
def test_success_that_ended_elsewhere_says_nothing_of_the_target(y: float, is_refined: bool) -> None:
    after = record("hook_tip").after(success=True, T_base_tcp_final=ended_at(0.50, y, 0.29))
    assert (after.targets["hook_tip"].refined is not None) is is_refined


def test_failure_refines_nothing_and_keeps_what_success_did() -> None:
    good = record("hook_tip").after(success=True, T_base_tcp_final=ended_at(0.504, -0.012, 0.28))
    after = good.after(success=False, T_base_tcp_final=ended_at(0.50, -0.01, 0.29))
    np.testing.assert_allclose(after.targets["hook_tip"].aim, [0.504, -0.012, 0.26], atol=1e-12)


def test_plan_that_came_too_late_keeps_its_standing_while_it_worked_as_often_as_it_failed() -> None:
    stands = []
    good = record().after(success=True).after(success=True)  # two successes, one of them when it was reused
    for _ in range(3):
        good = good.after(success=False, ended="episode_over")
        stands.append(good.success)
    assert (stands, good.uses, good.failures) == ([True, True, False], 4, 3)


@pytest.mark.parametrize(("ended", "plan"), [("blocked", "{}"), ("reached", "{}"), (None, "{}"), ("episode_over", "")])
def test_plan_that_failed_with_time_to_spare_and_a_box_lose_their_standing(ended: Ending | None, plan: str) -> None:
    assert record(plan=plan).after(success=True).after(success=False, ended=ended).success is False


def test_first_failure_gives_no_standing() -> None:
    assert record().after(success=False, ended="episode_over").success is False


def test_box_is_not_refined() -> None:
    after = record("", plan="").after(success=True, T_base_tcp_final=ended_at(*TIP))
    assert all(target.refined is None for target in after.targets.values())


def test_record_with_several_targets_is_written_and_read_as_it_is() -> None:
    targets = {
        "port": Target(xyz=PORT, refined=PORT + [0.001, 0.002, 0.0], patch=patch()),
        "hook_tip": Target(xyz=TIP),
    }
    given = record("port", targets=targets, is_open=True)
    back = from_json(json.loads(json.dumps(to_json(given))))
    assert (list(back.targets), back.felt, back.is_open) == (["port", "hook_tip"], "port", True)
    np.testing.assert_array_equal(back.targets["port"].aim, PORT + [0.001, 0.002, 0.0])
    before, after = targets["port"].patch, back.targets["port"].patch
    assert before is not None and after is not None and back.targets["hook_tip"].patch is None
    assert (after.camera, after.corner) == (before.camera, before.corner)
    for name in ("grey", "K", "T_base_cam"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_allclose(after.depth_m, before.depth_m, atol=5e-5)
    assert look_at(after, view()).verdict == "unmoved" and look_at(after, view(right=3)).verdict == "moved"
    assert to_json(back) == to_json(given)


def test_patch_of_the_largest_size_takes_ten_kilobytes() -> None:
    largest = replace(patch(), grey=np.zeros((48, 48), np.uint8), depth_m=np.ones((48, 48), np.float32))
    text = json.dumps(to_json(record(targets={"port": Target(xyz=PORT, patch=largest)})))
    assert len(text) < 11_000


def test_what_each_success_refined_is_known_after_reopening(tmp_path) -> None:
    with EpisodicMemory(tmp_path, 4, "t") as memory:
        name = memory.remember(record("hook_tip"))
        memory.mark(name, success=True, T_base_tcp_final=ended_at(0.504, -0.012, 0.28))
        memory.mark(name, success=True, T_base_tcp_final=ended_at(0.502, -0.011, 0.28))
    with EpisodicMemory(tmp_path, 4, "t") as memory:
        targets = memory.get(name).targets
        np.testing.assert_allclose(targets["hook_tip"].aim, [0.502, -0.011, 0.26], atol=1e-12)
        assert targets["hook_base"].refined is None


OLD = {
    "event": "remember", "id": "t-000000", "task": "t", "mode": "guide", "embedding": "AACAPwAAAAAAAAAAAAAAAA==",
    "calibration_hash": "cafe", "box": None, "target": [0.5, 0.0, 0.05], "target_label": "port", "plan": "{}",
    "p_tcp_tool": None, "prompt_hash": "", "episode": 0, "success": None, "uses": 0, "failures": 0,
    "target_refined": None, "ended": None,
}  # fmt: skip
OLD_MARK = {
    "event": "mark", "id": "t-000000", "success": True, "uses": 0, "failures": 0, "ended": "contact",
    "target_refined": [0.502, 0.001, 0.05],
}  # fmt: skip


def test_log_of_a_version_that_knew_one_target_is_read(tmp_path) -> None:
    box = {**OLD, "id": "t-000001", "box": {"lower": [0, 0, 0], "upper": [1, 1, 1]}, "target": None, "target_label": ""}
    log = "".join(json.dumps(event) + "\n" for event in (OLD, OLD_MARK, box))
    (tmp_path / "t.jsonl").write_text(log)
    with EpisodicMemory(tmp_path, 4, "t") as memory:
        old = memory.get("t-000000")
        assert (old.felt, old.success, old.ended, old.is_open) == ("port", True, "contact", None)
        np.testing.assert_array_equal(old.targets["port"].aim, [0.502, 0.001, 0.05])
        np.testing.assert_array_equal(old.targets["port"].xyz, [0.5, 0.0, 0.05])
        assert old.targets["port"].patch is None
        assert not memory.get("t-000001").targets and memory.get("t-000001").box is not None


DAMAGE: dict[str, object] = {
    "embedding": "!!",
    "mode": "shout",
    "id": 3,
    "calibration_hash": None,
    "plan": ["x"],
    "uses": "many",
    "failures": None,
    "success": "rubbish",
    "is_open": 7,
    "ended": 3,
    "targets": ["x"],
    "box": {"lower": [0.0, 0.0], "upper": [1.0, 1.0, 1.0]},
    "p_tcp_tool": [0.0, float("nan"), 0.0],
}
"""Field of a record -> what no record holds there."""


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_record_is_refused_where_it_is_read(name: str) -> None:
    sound = json.loads(json.dumps(to_json(record(id="t-000000"))))
    assert from_json(sound).id == "t-000000"
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json({**sound, name: DAMAGE[name]})
