"""Every detector on the same rollouts: what is fitted on what, and which row wins."""

from itertools import pairwise

import numpy as np
import pytest

from agps_agent.detectors import StallRule
from agps_agent.detectors.novelty.watch import NoveltyConfig
from agps_agent.measure.detectors.bench import (
    CANDIDATES,
    KEPT,
    Candidate,
    bench_detectors,
    is_shipped,
    judge,
    trace_all,
)
from agps_agent.measure.detectors.rollouts import Rollout
from agps_agent.run.config import RunConfig
from agps_agent.settings import SupervisorConfig
from rl.errors import AgpsError, ConfigError
from tests.agps_agent.measure.detectors.synthetic import embedding, rollout

FLOAT, STALL = CANDIDATES[0], CANDIDATES[-1]


def rollouts() -> list[Rollout]:
    made = [rollout("good", split="reference") for _ in range(8)]
    made += [rollout("good", split="calibration") for _ in range(4)]
    for split in ("choosing", "held_out"):
        made += [rollout("good", split=split), rollout("light", split=split)]
        made += [rollout("drift", steps=24, onset=5, split=split) for _ in range(3)]
    return made


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    made = rollouts()
    return list(judge((FLOAT, STALL), made, [embedding(r, seed=n) for n, r in enumerate(made)], horizon=30))


def test_each_detector_has_a_row_per_threshold_and_one_with_the_stall_rule(rows: list[dict[str, object]]) -> None:
    assert [(row["detector"], row["threshold"]) for row in rows] == [
        ("float", "own"),
        ("float + stall", "own"),
        ("float", "calibrated"),
        ("float + stall", "calibrated"),
        ("stall", "own"),
    ]


def test_drift_is_caught_by_float_and_by_the_stall_rule_on_both_splits(rows: list[dict[str, object]]) -> None:
    for split in ("choosing", "held_out"):
        caught = {row["detector"]: row[split]["caught"]["count"] for row in rows if row["threshold"] == "own"}
        assert caught == {"float": 3, "float + stall": 3, "stall": 3}
        assert all(row[split]["auroc"] == 1.0 for row in rows)


def test_demonstrations_are_learned_and_not_judged() -> None:
    made = rollouts()
    traces = trace_all(FLOAT, made, [embedding(r, seed=n) for n, r in enumerate(made)], horizon=30)
    assert [trace is None for trace in traces] == [r.split == "reference" for r in made]
    assert all(len(t.scores) == len(r.observations) for r, t in zip(made, traces, strict=True) if t is not None)


def test_successes_of_all_who_act_are_what_is_learned_if_asked_for() -> None:
    made = rollouts() + [rollout("good", split="calibration") for _ in range(4)]
    embedded = [embedding(r, seed=n) for n, r in enumerate(made)]
    traces = trace_all(FLOAT, made, embedded, horizon=30, fit_on="successes")
    assert [trace is None for trace in traces] == [r.split == "calibration" for r in made]
    rows = list(judge((FLOAT, STALL), made, embedded, horizon=30, fit_on="successes"))
    assert [(row["detector"], row["threshold"]) for row in rows] == [
        ("float", "own"),
        ("float + stall", "own"),
        ("stall", "own"),
    ]
    assert all(row["held_out"]["caught"]["count"] == 3 for row in rows)


def test_too_few_successes_are_refused_before_anything_is_rendered() -> None:
    with pytest.raises(ConfigError, match="The detector float compares with 5 good rollouts, not 3"):
        bench_detectors("usb_insertion", episodes=1, fit_on="successes")


def test_same_seed_gives_the_same_scores_of_a_network() -> None:
    quick = NoveltyConfig(updates=30, width=16)
    made = rollouts()[:14]
    rnd = Candidate(name="rnd", detector="agps_agent.detectors.novelty.rnd:RND", config=quick)
    embedded = [embedding(r, seed=n) for n, r in enumerate(made)]
    one, other = (trace_all(rnd, made, embedded, horizon=30) for _ in range(2))
    for a, b in zip(one[8:], other[8:], strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)


def test_what_is_marked_as_shipped_is_what_a_run_watches_with() -> None:
    config = RunConfig(task="usb_insertion")
    name = " + ".join(config.detectors)
    assert is_shipped({"encoder": config.encoder, "detector": name, "threshold": "own"})
    assert not is_shipped({"encoder": config.encoder, "detector": name, "threshold": "calibrated"})
    assert FLOAT.config is None and FLOAT.with_stall and config.supervisor.stall == "always"


def test_detectors_have_names_of_their_own() -> None:
    assert all(a != b for a, b in pairwise(sorted(each.name for each in CANDIDATES)))


def test_too_few_demonstrations_are_refused_before_anything_is_rendered() -> None:
    with pytest.raises(ConfigError, match="The detector float compares with 5 demonstrations, not 4"):
        bench_detectors("usb_insertion", demos=4)


@pytest.mark.parametrize("part", ["fit", "update"])
def test_mistake_of_a_detector_is_one_sentence_that_names_it(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("torque")

    monkeypatch.setattr(StallRule, part, broken)
    made = rollouts()
    with pytest.raises(AgpsError, match=r"The detector stall failed \(.*torque.*\); mend it, or leave it out\."):
        trace_all(STALL, made, [embedding(r, seed=n) for n, r in enumerate(made)], horizon=30)


@pytest.mark.parametrize(("long_one", "is_late"), [(0, True), (44, False)])
def test_as_many_successes_are_learned_as_a_run_keeps(long_one: int, is_late: bool) -> None:
    """The oldest of 45 is not among the newest 40."""
    assert SupervisorConfig().max_references == KEPT == 40
    made = [rollout("good", steps=25 if n == long_one else 8, split="calibration") for n in range(45)]
    made.append(rollout("good", steps=24, split="held_out"))
    embedded = [embedding(r, seed=n) for n, r in enumerate(made)]
    trace = trace_all(STALL, made, embedded, horizon=30, fit_on="successes")[-1]
    assert trace is not None and trace.fired.any() == is_late
