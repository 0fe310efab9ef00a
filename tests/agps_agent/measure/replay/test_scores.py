"""Scores of answers, averaged and set side by side by hand."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agps_agent.measure.benchmarks import rate_numbers
from agps_agent.measure.replay.comparison import MOST_SHOWN, comparison_table, write_comparison_page
from agps_agent.measure.replay.replay import Query, Score, load_queries, recorded_task, recorded_tools, score, summarise
from agps_agent.state import USER_TRIGGER
from rl.errors import ConfigError
from rl.types import Box, Cost, Prune
from tests.tools.scenes import TOOL, WORKSPACE, scene
from tools.scene import save_scene


def scored(query: str = "0001", **changes: Any) -> Score:
    values: dict[str, Any] = {
        "query": query,
        "answered": True,
        "reason": "answered",
        "keypoint_px": 2.0,
        "keypoint_mm": 1.0,
        "compared": 2,
        "swapped": 0,
        "box_has_goal": None,
        "pruned": None,
        "plans": 1,
        "valid_plans": 1,
        "model_calls": 3,
        "latency_s": 0.5,
        "tokens": 100,
    }
    return Score(**{**values, **changes})


def test_shares_are_means_and_errors_are_medians() -> None:
    scores = [
        scored(keypoint_px=1.0, box_has_goal=True, pruned=0.9, tokens=100),
        scored(keypoint_px=2.0, box_has_goal=False, pruned=0.7, tokens=200, latency_s=0.1),
        scored(keypoint_px=90.0, plans=2, valid_plans=0, tokens=600, latency_s=9.0),
    ]
    summary = summarise(scores)
    assert (summary["keypoint_px"], summary["latency_s"]) == (2.0, 0.5)
    assert (summary["box_has_goal"], summary["pruned"], summary["tokens"]) == (0.5, pytest.approx(0.8), 300.0)
    assert summary["valid_plans"] == 0.5  # two of four plans, not of three questions


def test_reasons_of_those_that_were_declined_are_counted() -> None:
    declined = [scored(answered=False, reason=reason) for reason in ("not_visible", "not_visible", "timeout")]
    summary = summarise([scored(), *declined])
    assert summary["answered"] == 0.25 and summary["declined"] == {"not_visible": 2, "timeout": 1}


def test_what_no_answer_has_is_unknown_and_not_zero() -> None:
    summary = summarise([scored(keypoint_px=None, keypoint_mm=None, compared=0, plans=0, valid_plans=0)])
    unknown = ("keypoint_px", "keypoint_mm", "swapped", "box_has_goal", "pruned", "valid_plans")
    assert [summary[key] for key in unknown] == [None] * 6


def query(truth: dict[str, np.ndarray]) -> Query:
    return Query(id="0001", scene=scene(), mode="prune", trigger=USER_TRIGGER, truth=truth)


def answer(box: Box | None, *labels: str, moved_m: float = 0.0) -> Any:
    """An answer whose keypoints are `moved_m` beside the middle of the image, which is 2 m below the camera."""
    seen = {"camera": "side", "uv": np.array([320.0, 240.0]), "xyz": np.array([0.5 + moved_m, 0.0, 0.5])}
    return SimpleNamespace(
        intervention=None if box is None else Prune(box=box),
        reason_key="answered" if box is not None else "not_visible",
        state={"keypoints": [{"label": label, **seen} for label in labels]},
        transcript=[SimpleNamespace(node="plan", error=""), SimpleNamespace(node="plan", error="no such tool")],
        cost=Cost(model_calls=2, latency_s=1.5, prompt_tokens=70, completion_tokens=7),
    )


def test_box_is_judged_where_the_tcp_has_to_be() -> None:
    """The tool ends 30 mm below the TCP: with the tip on the port at z = 0.10 the TCP is at 0.13."""
    truth = {"port": np.array([0.5, 0.0, 0.10])}
    goal = truth["port"] + [0.0, 0.0, TOOL[2]]
    around = Box(lower=goal - 0.01, upper=goal + 0.01)
    below = Box(lower=goal - 0.04, upper=goal - 0.005)
    assert score(query(truth), answer(around, "port")).box_has_goal is True
    assert score(query(truth), answer(below, "port")).box_has_goal is False
    assert score(query({}), answer(around, "port")).box_has_goal is None


def test_share_that_a_box_cuts_off_is_of_the_volume() -> None:
    half = Box(
        lower=WORKSPACE.lower, upper=np.append(WORKSPACE.upper[:2], (WORKSPACE.lower[2] + WORKSPACE.upper[2]) / 2)
    )
    assert score(query({}), answer(half)).pruned == pytest.approx(0.5)
    assert score(query({}), answer(WORKSPACE)).pruned == pytest.approx(0.0)
    assert score(query({}), answer(None)).pruned is None


def test_error_of_a_keypoint_is_that_to_the_truth_in_both_measures() -> None:
    """The truth is 20 mm beside the middle of the image, 2 m from a camera of 500 px: 5 px."""
    truth = {"port": np.array([0.5, 0.02, 0.5])}
    found = score(query(truth), answer(None, "port", "plug"))
    assert (found.keypoint_px, found.keypoint_mm) == (pytest.approx(5.0), pytest.approx(20.0))


ENDS = {"port_left": np.array([0.5, 0.02, 0.5]), "port_right": np.array([0.5, -0.02, 0.5])}
"""Their pixels are 315 and 325 of row 240: image right is base -y, and 20 mm are 5 px."""


def pointed(**us: float) -> Any:
    """An answer whose keypoints are at these columns of row 240, [px]."""
    seen = answer(None)
    at = {label: {"uv": [u, 240.0], "xyz": [0.5, (320.0 - u) / 250.0, 0.5]} for label, u in us.items()}
    seen.state["keypoints"] = [{"label": label, "camera": "side", **where} for label, where in at.items()]
    return seen


def test_ends_in_each_others_place_are_swapped_and_no_error_in_pixels() -> None:
    truth = {**ENDS, "plug_tip": np.array([0.5, 0.0, 0.5])}
    found = score(query(truth), pointed(port_left=326.0, port_right=314.0, plug_tip=323.0, unknown=1.0))
    assert (found.compared, found.swapped) == (3, 2)
    assert (found.keypoint_px, found.keypoint_mm) == (pytest.approx(3.0), pytest.approx(12.0))


@pytest.mark.parametrize("us", [{"port_left": 316.0, "port_right": 323.0}, {"port_left": 324.0, "port_right": 323.0}])
def test_ends_that_only_err_are_not_swapped(us: dict[str, float]) -> None:
    found = score(query(ENDS), pointed(**us))
    assert (found.compared, found.swapped) == (2, 0)
    assert found.keypoint_px == pytest.approx((abs(us["port_left"] - 315.0) + abs(us["port_right"] - 325.0)) / 2)


def test_share_of_swaps_is_of_all_keypoints_that_can_be_compared(tmp_path: Path) -> None:
    swapped = [scored(compared=3, swapped=2, keypoint_px=3.0), scored(compared=5), scored(compared=0)]
    assert summarise(swapped)["swapped"] == 0.25
    _, rows = comparison_table({"a": swapped, "b": [scored(compared=0)]})
    assert ["keypoints in each other's place", "25 %", "-"] in rows
    write_comparison_page(tmp_path / "page.html", {"a": swapped}, queries=(), versions={}, source="run")
    page = (tmp_path / "page.html").read_text()
    assert page.count("2 of 3 keypoints in each other&#x27;s place") == 1


def test_plans_calls_and_tokens_are_counted() -> None:
    found = score(query({}), answer(None))
    assert (found.plans, found.valid_plans, found.model_calls, found.tokens) == (2, 1, 2, 77)
    assert not found.answered and found.reason == "not_visible"


def test_table_has_one_column_per_variant_and_a_row_per_reason() -> None:
    head, rows = comparison_table({"v1": [scored()], "v2": [scored(answered=False, reason="timeout", tokens=1234)]})
    table = {row[0]: row[1:] for row in rows}
    assert head == ["", "v1", "v2"] and table["questions"] == ["1", "1"]
    assert table["answered"] == ["100 %", "0 %"] and table["declined: timeout"] == ["0", "1"]
    assert table["boxes that contain the goal"] == ["-", "-"] and table["tokens per question"] == ["100", "1234"]


def test_questions_on_which_variants_differ_come_first(tmp_path: Path) -> None:
    first = [scored("same"), scored("error", keypoint_px=1.0), scored("answer"), scored("little", keypoint_px=2.0)]
    second = [
        scored("same"),
        scored("error", keypoint_px=30.0),
        scored("answer", answered=False, reason="timeout"),
        scored("little", keypoint_px=2.5),
    ]
    results = {"a": first, "b": second}
    write_comparison_page(tmp_path / "page.html", results, queries=(), versions={}, source="<run>")
    page = (tmp_path / "page.html").read_text()
    places = [page.index(f"<b>{name}</b>") for name in ("answer", "error", "little", "same")]
    assert places == sorted(places) and "&lt;run&gt;" in page


def test_page_lists_no_more_questions_than_anybody_reads(tmp_path: Path) -> None:
    many = [scored(f"{n:04d}") for n in range(MOST_SHOWN + 50)]
    write_comparison_page(tmp_path / "page.html", {"a": many}, queries=(), versions={}, source="run")
    page = (tmp_path / "page.html").read_text()
    assert len(re.findall(r"<b>0\d{3}</b>", page)) == MOST_SHOWN and f"{MOST_SHOWN + 50} recorded questions" in page


def record(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True)
    save_scene(scene(), folder / name / "scene")
    (folder / name / "intervention.json").write_text(text)


def test_questions_are_read_oldest_first_from_a_run_or_a_folder(tmp_path: Path) -> None:
    for name, mode in (("0002", "guide"), ("0001", "prune")):
        record(tmp_path / "run" / "interventions", name, json.dumps({"mode": mode}))
    for folder in (tmp_path / "run", tmp_path / "run" / "interventions"):
        assert [(found.id, found.mode) for found in load_queries(folder)] == [("0001", "prune"), ("0002", "guide")]


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"mode": ["x"]}', '{"trigger": "x"}', '{"trigger": {"kind": "float", "index": "x"}}']
)
def test_damaged_question_is_named(text: str, tmp_path: Path) -> None:
    record(tmp_path, "0007", text)
    with pytest.raises(ConfigError, match=r"The question in .*0007 is damaged .*; remove that folder"):
        load_queries(tmp_path)


def test_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There are no recorded questions"):
        load_queries(tmp_path)


def test_task_and_tools_are_those_of_the_run(tmp_path: Path) -> None:
    record(tmp_path / "interventions", "0001", "{}")
    queries = load_queries(tmp_path)
    assert recorded_task(tmp_path, queries).task == "usb_insertion" and recorded_tools(tmp_path) == ()
    saved = {"config": {"task": "usb_insertion", "agent": {"tools": ["measure"]}}}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert recorded_tools(tmp_path) == ("measure",)
    other = SimpleNamespace(scene=SimpleNamespace(task="knot_hanging"))
    with pytest.raises(ConfigError, match="holds questions of knot_hanging, usb_insertion; name one run"):
        recorded_task(tmp_path, [*queries, other])  # type: ignore[list-item]


def test_regular_commands_lose_no_period_at_any_rate(rng: np.random.Generator) -> None:
    for rate_hz in (5.0, 10.0, 100.0):
        jitter_s = rng.uniform(-0.2, 0.2, 200) / rate_hz
        numbers = rate_numbers(list(np.arange(200) / rate_hz + jitter_s), rate_hz)
        assert numbers["lost_ticks"] == 0 and numbers["jitter_p99_ms"] < 400.0 / rate_hz


@pytest.mark.parametrize("lost", [1, 3, 9])
def test_each_period_without_a_command_is_lost(lost: int) -> None:
    stamps = [0.1 * n for n in range(100) if not 40 <= n < 40 + lost]
    numbers = rate_numbers(stamps, 10.0)
    assert (numbers["lost_ticks"], numbers["ticks"]) == (lost, 100 - lost)
    assert numbers["longest_gap_ms"] == pytest.approx(100.0 * (lost + 1))
