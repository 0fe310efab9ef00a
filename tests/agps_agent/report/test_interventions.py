"""What the folders of questions say in words, whatever became of their files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.report.interventions import (
    cost_in_words,
    end_in_words,
    guidance_in_words,
    read_interventions,
    spread,
    trigger_in_words,
)
from agps_agent.run.directory import RunDirectory
from tests.agps_agent.report.synthetic import make_scene
from tools.scene import save_scene


@pytest.mark.parametrize(
    ("count", "most", "kept"),
    [
        (0, 3, []),
        (3, 3, [0, 1, 2]),
        (5, 3, [0, 2, 4]),
        (10, 4, [0, 3, 6, 9]),
        (7, 1, [0]),
        (100, 2, [0, 99]),
    ],
)
def test_most_are_spread_from_the_first_to_the_last(count: int, most: int, kept: list[int]) -> None:
    assert spread(range(count), most) == kept


def test_spread_never_repeats_and_keeps_the_order(rng: np.random.Generator) -> None:
    for _ in range(200):
        count, most = int(rng.integers(2, 400)), int(rng.integers(2, 90))
        kept = spread(range(count), most)
        assert len(kept) == min(count, most) and kept == sorted(set(kept))
        assert (kept[0], kept[-1]) == (0, count - 1)
        assert np.ptp(np.diff(kept)) <= 1


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({}, ""),
        ({"kind": "float", "index": 0.2404, "threshold": 0.21, "step": 22}, "FLOAT at step 22: λ 0.240 over 0.210"),
        ({"kind": "stall", "step": 40}, "stalled at step 40"),
        ({"kind": "user", "step": 0}, "asked at step 0"),
        ({"kind": "slip", "step": 3, "reason": "the plug turned"}, "slip at step 3: the plug turned"),
        ({"kind": "slip", "step": 3}, "slip at step 3"),
        ({"kind": "stall"}, "stalled at step ?"),
    ],
)
def test_trigger_is_told_in_words(trigger: dict[str, Any], words: str) -> None:
    assert trigger_in_words(trigger) == words


def waypoint(x: float, y: float, z: float, **more: str) -> dict[str, Any]:
    T = np.eye(4)
    T[:3, 3] = (x, y, z)
    return {"T_base_tcp": T.tolist(), **more}


def test_box_is_told_by_size_and_centre_in_millimetres() -> None:
    box = {"kind": "prune", "lower": [0.40, -0.02, 0.10], "upper": [0.44, 0.02, 0.16]}
    assert guidance_in_words(box) == "box of 40 x 40 x 60 mm around (420, 0, 130) mm"


def test_waypoints_are_counted_by_motion_and_the_last_one_told() -> None:
    ways = [waypoint(0.4, 0.0, 0.2), waypoint(0.5, 0.0, 0.1, motion="free"), waypoint(0.5, -0.1, 0.05, motion="search")]
    words = guidance_in_words({"kind": "guide", "waypoints": ways})
    assert words == "3 waypoints (2 free, 1 search) to (500, -100, 50) mm"


def test_coordinate_just_below_zero_is_no_negative_zero() -> None:
    assert guidance_in_words({"kind": "guide", "waypoints": [waypoint(0.4, -0.0004, 0.0)]}).endswith("(400, 0, 0) mm")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("none", "the arm rose to look again, ended: reached after 4 steps"),
        ("guide", "ended: reached after 4 steps"),
    ],
)
def test_arm_that_rose_for_a_question_without_an_answer_is_told(tmp_path: Path, kind: str, words: str) -> None:
    run = RunDirectory.create(tmp_path / "run")
    folder = run.intervention("0001")
    folder.mkdir(parents=True)
    guidance = {"kind": kind, "message": "The port is hidden.", "waypoints": [waypoint(0.4, 0.0, 0.2)]}
    (folder / "intervention.json").write_text(json.dumps({"guidance": guidance}))
    end = {"id": "0001", "kind": "guide", "how": "reached", "steps": 4}
    (view,) = read_interventions(run, [{"intervention_ids": ["0001"], "interventions": [end]}], camera=None, limit=9)
    assert (view.kind, view.end) == (kind, words)


def test_refusal_is_told_in_its_own_words() -> None:
    assert guidance_in_words({"kind": "none", "message": "The port is hidden."}) == "The port is hidden."
    assert guidance_in_words({}) == ""


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"how": "reached", "steps": 1}, "ended: reached after 1 step"),
        ({"how": "budget", "steps": 36}, "ended: out of its step budget after 36 steps"),
        (
            {"how": "reached", "steps": 9, "waypoint": 2, "waypoints": 3, "distance_m": 0.0011},
            "ended: reached after 9 steps, 1 mm from waypoint 3 of 3",
        ),
        (
            {"how": "taken_over", "steps": 5, "waypoint": 0, "waypoints": 2, "distance_m": 0.031},
            "ended: taken over by a human after 5 steps, 31 mm short of waypoint 1 of 2",
        ),
    ],
)
def test_end_is_found_by_the_name_of_the_intervention(end: dict[str, Any], words: str) -> None:
    other = {"id": "0001", "kind": "prune", "how": "replaced", "steps": 99}
    row = {"interventions": [other, {"id": "0002", "kind": "guide", **end}]}
    assert end_in_words(row, "0002") == words


@pytest.mark.parametrize("ends", [None, [], [None], ["0002"], [{}], [{"id": "0002", "ending": "of later"}]])
def test_end_that_nobody_noted_or_of_another_version_is_left_out(ends: Any) -> None:
    assert end_in_words({"interventions": ends}, "0002") == ""


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ({}, ""),
        ({"model_calls": 3, "latency_s": 0.354}, "3 model calls, 0.35 s"),
        (
            {"model_calls": 2, "latency_s": 4, "prompt_tokens": 9, "completion_tokens": 1},
            "2 model calls, 4.00 s, 10 tokens",
        ),
    ],
)
def test_cost_is_told_with_tokens_where_there_are_any(cost: dict[str, Any], words: str) -> None:
    assert cost_in_words(cost) == words


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run")


def ask(run: RunDirectory, name: str, record: object) -> Path:
    folder = run.intervention(name)
    folder.mkdir(parents=True)
    (folder / "intervention.json").write_text(json.dumps(record))
    return folder


def test_question_is_read_with_the_episode_that_it_acted_in(run: RunDirectory) -> None:
    guidance = {"kind": "prune", "lower": [0.0, 0.0, 0.0], "upper": [0.1, 0.1, 0.1]}
    record = {"reason": "It drifts.", "guidance": guidance, "cost": {"memory_hit": True}}
    folder = ask(run, "0002", record)
    (folder / "prompt.md").write_text("Where?")
    episodes: list[dict[str, Any]] = [
        {"episode": 0, "intervention_ids": None},
        {"episode": 1, "intervention_ids": ["0001", "0002"], "success": True},
    ]
    (view,) = read_interventions(run, episodes, limit=5)
    assert (view.id, view.kind, view.reason, view.prompt, view.reply) == ("0002", "prune", "It drifts.", "Where?", "")
    assert view.from_memory and view.episode == episodes[1] and view.image is None


def test_question_of_an_unfinished_episode_has_none(run: RunDirectory) -> None:
    ask(run, "0001", {"mode": "guide"})
    (view,) = read_interventions(run, [], limit=5)
    assert (view.kind, view.episode, view.end, view.cost) == ("guide", None, "", "")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"prune"', "{}", '{"guidance": 3, "trigger": [], "cost": 1}'])
def test_record_that_is_damaged_is_a_view_without_it(text: str, run: RunDirectory) -> None:
    (ask(run, "0001", {}) / "intervention.json").write_text(text)
    (view,) = read_interventions(run, [], limit=5)
    assert (view.kind, view.trigger, view.effect, view.reason) == ("none", "", "", "")


@pytest.mark.parametrize(
    "record",
    [
        {"guidance": {"kind": "prune"}},
        {"guidance": {"kind": "prune", "lower": [0.1], "upper": [0.2, 0.2, 0.2]}},
        {"guidance": {"kind": "prune", "lower": [0.1, None, 0.1], "upper": [0.2, 0.2, 0.2]}},
        {"guidance": {"kind": "guide"}},
        {"guidance": {"kind": "guide", "waypoints": []}},
        {"guidance": {"kind": "guide", "waypoints": [{"T_base_tcp": [[1.0, 0.0]]}]}},
        {"guidance": {"kind": "guide", "waypoints": [{"motion": "free"}]}},
        {"guidance": {"kind": "guide", "waypoints": [waypoint(0.4, 0.0, 0.1, motion=[])]}},  # type: ignore[arg-type]
        {"trigger": {"kind": "float", "index": None, "threshold": 0.2, "step": 3}},
        {"cost": {"model_calls": 3, "latency_s": None, "prompt_tokens": None}},
    ],
)
def test_record_that_lacks_what_its_kind_needs_still_leaves_a_page(record: dict[str, Any], run: RunDirectory) -> None:
    folder = ask(run, "0001", {"reason": "It drifts.", **record})
    save_scene(make_scene(np.random.default_rng(0)), folder / "scene")
    (view,) = read_interventions(run, [], limit=5)
    assert view.reason == "It drifts." and "None" not in view.effect + view.trigger + view.cost


def test_reply_that_is_no_text_is_left_out(run: RunDirectory) -> None:
    folder = ask(run, "0001", {})
    (folder / "reply.json").write_bytes(b"\xff\xfe\x00")
    (folder / "reply.txt").write_text("I see it.")
    (view,) = read_interventions(run, [], limit=5)
    assert view.reply == "I see it."


def test_most_questions_are_read_in_the_order_of_their_names(run: RunDirectory) -> None:
    for number in (3, 1, 5, 2, 4):
        ask(run, f"{number:04d}", {})
    assert [view.id for view in read_interventions(run, [], limit=3)] == ["0001", "0003", "0005"]
