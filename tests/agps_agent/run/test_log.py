"""What a run counts, writes and announces, on a session whose every number is known."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agps_agent.detectors.base import Reading
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import SUMMARY_KEYS, RunDirectory
from agps_agent.run.log import SUCCESS_WINDOW, TrainingLog
from agps_agent.run.progress import Progress
from rl.evaluation import EvaluationResult
from rl.loop import Step
from rl.types import EpisodeOutcome, InterventionEnd, Transition


class Heard:
    """Keeps what was announced."""

    def __init__(self) -> None:
        self.snapshots: list[Progress] = []

    def update(self, progress: Progress) -> None:
        self.snapshots.append(progress)


@dataclasses.dataclass
class Counted:
    """The counters of a session: what learned, and who watched."""

    num_timesteps: int = 0
    n_updates: int = 0
    pretrain_updates: int = 0
    reading: Reading | None = None
    counts: dict[str, float] = dataclasses.field(default_factory=dict)
    last_episode: dict[str, Any] = dataclasses.field(default_factory=dict)
    hardware: dict[str, float] = dataclasses.field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        return self.counts


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def log(tmp_path: Path, counted: Counted) -> TrainingLog:
    return make_log(tmp_path / "run", counted)


def make_log(path: Path, counted: Counted, **changes: Any) -> TrainingLog:
    session: Any = SimpleNamespace(
        algorithm=counted,
        supervisor=counted,
        rate_hz=10.0,
        hold=lambda: None,
        hardware_metrics=lambda: counted.hardware,
    )
    config = RunConfig(task="usb_insertion", method="serl", demos=0, seed=3, **changes)
    return TrainingLog(config=config, run=RunDirectory.create(path), session=session, progress=Heard())


def last_step(
    success: bool, *, episode: int = 0, ids: tuple[str, ...] = (), info: dict[str, Any] | None = None, **more: Any
) -> Step:
    outcome = EpisodeOutcome(
        episode=episode,
        success=success,
        terminated=success,
        truncated=not success,
        steps=12,
        guided_steps=4 * len(ids),
        pruned_steps=0,
        final_robot=None,
        intervention_ids=ids,
        **more,
    )
    transition = Transition(
        observation={},
        action=np.zeros(6, np.float32),
        reward=1.0,
        next_observation={},
        terminated=success,
        truncated=not success,
        guided=False,
    )
    return Step(transition=transition, info=info or {}, outcome=outcome)


def heard(log: TrainingLog) -> Progress:
    log.announce("train")
    return log.progress.snapshots[-1]  # type: ignore[attr-defined]


def test_row_of_an_episode_says_what_happened(log: TrainingLog, counted: Counted) -> None:
    counted.num_timesteps, counted.n_updates = 120, 60
    counted.counts = {"agent_calls": 3, "memory_hits": 1, "agent_pause_s": 2.5}
    counted.last_episode = {"triggered": True}
    end = InterventionEnd(id="0001", kind="guide", how="reached", steps=4)
    log.finish_episode(last_step(True, episode=7, ids=("0001",), interventions=(end,)))
    (row,) = log.run.read_metrics()
    assert (row["kind"], row["episode"], row["success"], row["steps"], row["guided_steps"]) == (
        "episode",
        7,
        True,
        12,
        4,
    )
    assert (row["env_steps"], row["learner_steps"], row["robot_time_s"]) == (120, 60, 14.5)  # 120 / 10 Hz and the pause
    assert (row["agent_calls"], row["memory_hits"], row["triggered"]) == (3, 1, True)
    assert row["interventions"][0]["how"] == "reached" and row["intervention_ids"] == ["0001"]
    assert "true_success" not in row and "robot" not in row


def test_live_success_is_of_the_last_unaided_episodes(log: TrainingLog) -> None:
    assert heard(log).success_rate == 0.0
    for success in [False] * 10 + [True] * 15:
        log.finish_episode(last_step(success))
    log.finish_episode(last_step(False, ids=("0001",)))  # helped: it says nothing of the policy
    assert heard(log).success_rate == pytest.approx(15 / SUCCESS_WINDOW)
    assert heard(log).episodes == 26


def test_arm_is_counted_under_its_own_name(log: TrainingLog, counted: Counted) -> None:
    counted.hardware = {"ticks": 300.0, "tick_p99_ms": 101.23456}
    log.finish_episode(last_step(True, info={"fault": "reflex", "operator": "success"}))
    (row,) = log.run.read_metrics()
    assert row["robot"] == {"ticks": 300.0, "tick_p99_ms": 101.2346}
    assert (row["fault"], row["operator"]) == ("reflex", "success")


@pytest.mark.parametrize(
    ("success", "true_success", "was_true", "error"),
    [
        (True, True, True, None),
        (False, False, False, None),
        (True, False, False, "false_positive"),
        (False, False, True, "false_negative"),
    ],
)
def test_learned_reward_is_compared_with_the_truth(
    success: bool, true_success: bool, was_true: bool, error: str | None, log: TrainingLog
) -> None:
    log.was_true = was_true
    log.finish_episode(last_step(success, info={"true_success": true_success}))
    log.finish_episode(last_step(False, info={"true_success": False}))  # nothing of the episode before is left
    assert {name for name, count in log.reward_errors.items() if count} == ({error} if error else set())
    assert log.run.read_metrics()[0]["was_true"] is was_true


def test_snapshot_shows_the_detector_that_measures(log: TrainingLog, counted: Counted) -> None:
    assert (heard(log).float_index, heard(log).detector) == (None, "float")
    counted.reading = Reading(name="slip", triggered=False, index=0.3, threshold=0.5)
    shown = heard(log)
    assert (shown.detector, shown.float_index, shown.float_threshold) == ("slip", 0.3, 0.5)


@pytest.mark.parametrize(
    ("curve", "over"),
    [([], False), ([1.0], False), ([0.9, 1.0], False), ([1.0, 1.0], True), ([1.0, 1.0, 0.95], False)],
)
def test_run_is_over_when_the_last_two_evaluations_are_perfect(
    curve: list[float], over: bool, log: TrainingLog
) -> None:
    log.curve = [(1000 * n, rate) for n, rate in enumerate(curve)]
    assert log.is_over is over


def test_run_that_shall_not_stop_early_does_not(tmp_path: Path, counted: Counted) -> None:
    log = make_log(tmp_path / "run", counted, stop_when_solved=False)
    log.curve = [(1000, 1.0), (2000, 1.0)]
    assert not log.is_over


def test_run_is_over_when_its_time_is_up(tmp_path: Path, counted: Counted) -> None:
    log = make_log(tmp_path / "run", counted, max_minutes=10.0)
    log.train_s = 590.0
    assert not log.is_over
    log.train_s = 601.0
    assert log.is_over


def test_time_of_evaluations_is_no_training_time(log: TrainingLog) -> None:
    log.start_clock()
    before = log.wall_clock_s
    log.evaluation_s += 1000.0
    assert log.wall_clock_s < before - 900.0


def test_counters_survive_a_checkpoint(log: TrainingLog, tmp_path: Path, counted: Counted) -> None:
    for success in (True, False, True):
        log.finish_episode(last_step(success, info={"true_success": False}))
    log.curve, log.best, log.pretrain_success_rate = [(1000, 0.5), (2000, 0.9)], 0.9, 0.3
    again = make_log(tmp_path / "again", counted)
    again.load_state_dict(log.state_dict())
    for name in ("unaided", "episodes", "triggered_episodes", "curve", "best", "pretrain_success_rate"):
        assert getattr(again, name) == getattr(log, name)
    assert again.reward_errors == {"false_positive": 2, "false_negative": 0}
    assert again.wall_clock_s == pytest.approx(log.wall_clock_s, abs=60.0)


def test_summary_holds_what_reports_and_tables_read(log: TrainingLog, counted: Counted) -> None:
    counted.num_timesteps = 5000
    log.curve = [(1000, 0.5), (2000, 0.85), (3000, 0.7), (4000, 1.0)]
    log.episodes, log.triggered_episodes = 40, 10
    summary = log.summary(EvaluationResult(successes=(True,) * 49 + (False,), steps=(10,) * 50, returns=(1.0,) * 50))
    assert set(SUMMARY_KEYS) <= summary.keys()
    assert (summary["success_rate"], summary["eval_episodes"], summary["seed"]) == (0.98, 50, 3)
    assert (summary["steps_to_80"], summary["steps_to_100"]) == (2000, 4000)
    assert (summary["triggers_per_10_rollouts"], summary["robot_time_s"]) == (2.5, 500.0)


def test_summary_without_an_evaluation_and_without_an_episode(log: TrainingLog) -> None:
    summary = log.summary(None)
    assert (summary["success_rate"], summary["interval_95"], summary["eval_episodes"]) == (None, None, 0)
    assert (summary["steps_to_80"], summary["triggers_per_10_rollouts"]) == (None, 0.0)


def test_losses_of_stage_1_are_a_row_of_their_own(log: TrainingLog) -> None:
    log.write_pretraining(300, {"td_loss": 0.25})
    (row,) = log.run.read_metrics()
    assert (row["kind"], row["env_steps"], row["updates"], row["td_loss"]) == ("pretrain", 0, 300, 0.25)
