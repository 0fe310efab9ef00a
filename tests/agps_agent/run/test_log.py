"""What a run counts, writes and announces, on a session whose every number is known."""

import contextlib
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agps_agent.detectors.base import Reading
from agps_agent.run.build import BEST
from agps_agent.run.config import RunConfig
from agps_agent.run.directory import SUMMARY_KEYS, RunDirectory
from agps_agent.run.log import SUCCESS_WINDOW, TrainingLog
from agps_agent.run.progress import Progress
from rl.evaluation import CONFIRMATION_SEED, CURVE_SEED, FINAL_SEED, EvaluationResult
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
    pretrains: bool = False
    pretrain_updates: int = 0
    reading: Reading | None = None
    counts: dict[str, float] = dataclasses.field(default_factory=dict)
    last_episode: dict[str, Any] = dataclasses.field(default_factory=dict)
    hardware: dict[str, float] = dataclasses.field(default_factory=dict)
    train_metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    published: Any = None

    def metrics(self) -> dict[str, float]:
        return self.counts

    def predict(self, observation: Any, deterministic: bool = False) -> tuple[np.ndarray, None]:
        return np.zeros(6, np.float32), None

    def acting_by(self, acting: Any) -> contextlib.AbstractContextManager[None]:
        assert acting is self.published
        return contextlib.nullcontext()


class Judging(gym.Env[Any, Any]):
    """Each episode is one step, and succeeds unless its seed is among those that fail; keeps the seeds."""

    def __init__(self, failing: frozenset[int]) -> None:
        self.failing = failing
        self.seeds: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Any]:
        assert seed is not None
        self.seeds.append(seed)
        return {}, {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return {}, 0.0, True, False, {"is_success": self.seeds[-1] not in self.failing}


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def log(tmp_path: Path, counted: Counted) -> TrainingLog:
    return make_log(tmp_path / "run", counted)


def make_log(path: Path, counted: Counted, *, failing: frozenset[int] = frozenset(), **changes: Any) -> TrainingLog:
    session: Any = SimpleNamespace(
        algorithm=counted,
        supervisor=counted,
        env=SimpleNamespace(cameras=("wrist_1",)),
        model=None,
        price=None,
        rate_hz=10.0,
        hold=lambda: None,
        hardware_metrics=lambda: counted.hardware,
        eval_env=Judging(failing),
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
    return Step(transition=transition, info=info or {}, outcome=outcome, meant=transition.action)


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


def look(log: TrainingLog, env_steps: int) -> list[int]:
    """Have the log take the point of the curve that is due; return the start states that it used."""
    before = len(log.session.eval_env.seeds)  # type: ignore[union-attr]  # a Judging
    log.session.algorithm.num_timesteps, log.evaluation_due = env_steps, True
    log.look()
    return log.session.eval_env.seeds[before:]  # type: ignore[union-attr]


def states(first: int, count: int) -> list[int]:
    return list(range(first, first + count))


def rows_of(log: TrainingLog, kind: str) -> list[dict[str, Any]]:
    return [row for row in log.run.read_metrics() if row["kind"] == kind]


def test_perfect_evaluation_is_confirmed_on_fresh_start_states(log: TrainingLog) -> None:
    seeds = look(log, 1_000)
    assert seeds == states(CURVE_SEED, 20) + states(CONFIRMATION_SEED, 60)
    assert not set(seeds) & set(states(FINAL_SEED, log.config.eval_episodes))
    assert log.is_solved and log.is_over and log.confirmation == (60, 60) and log.ended_by() == "solved"
    [row] = rows_of(log, "confirmation")
    assert (row["env_steps"], row["passed"], row["success_rate"], row["episodes"]) == (1_000, True, 1.0, 60)
    assert log.curve == [(1_000, 1.0)] and len(rows_of(log, "eval")) == 1


def test_one_failure_is_no_reason_to_go_on(tmp_path: Path, counted: Counted) -> None:
    log = make_log(tmp_path / "run", counted, failing=frozenset({CONFIRMATION_SEED + 3}))
    look(log, 1_000)
    assert log.confirmation == (59, 60) and log.is_solved


def test_confirmation_ends_with_its_second_failure_and_the_next_has_other_start_states(
    tmp_path: Path, counted: Counted
) -> None:
    log = make_log(tmp_path / "run", counted, failing=frozenset({CONFIRMATION_SEED + 3, CONFIRMATION_SEED + 7}))
    assert look(log, 1_000)[20:] == states(CONFIRMATION_SEED, 8)
    assert not log.is_over
    [row] = rows_of(log, "confirmation")
    assert (row["passed"], row["episodes"], row["asked_episodes"], row["success_rate"]) == (False, 8, 60, 0.75)
    assert look(log, 2_000)[20:] == states(CONFIRMATION_SEED + 60, 60)
    assert log.is_solved


def test_luck_on_the_same_20_start_states_ends_no_run(tmp_path: Path, counted: Counted) -> None:
    """What fails on every start state but those of the curve is perfect there again and again."""
    log = make_log(tmp_path / "run", counted, failing=frozenset(states(CONFIRMATION_SEED, 1_000)))
    for n in range(1, 6):
        look(log, 1_000 * n)
    assert log.curve == [(1_000 * n, 1.0) for n in range(1, 6)] and not log.is_over


def test_imperfect_evaluation_is_not_confirmed(tmp_path: Path, counted: Counted) -> None:
    log = make_log(tmp_path / "run", counted, failing=frozenset({CURVE_SEED}))
    assert look(log, 1_000) == states(CURVE_SEED, 20)
    assert not log.is_over and not rows_of(log, "confirmation")


def test_run_that_shall_not_stop_early_does_not(tmp_path: Path, counted: Counted) -> None:
    log = make_log(tmp_path / "run", counted, stop_when_solved=False)
    assert look(log, 1_000) == states(CURVE_SEED, 20)
    assert not log.is_over


@pytest.mark.parametrize("moment", [1, 2, 3, 4])  # before and after the curve's point, then its confirmation
def test_look_that_was_interrupted_is_taken_by_the_resumed_run(moment: int, tmp_path: Path, counted: Counted) -> None:
    log, again = make_log(tmp_path / "run", counted), make_log(tmp_path / "again", counted)
    session: Any = log.session
    moments = iter(range(1, 5))

    def hold() -> None:
        if next(moments) == moment:
            raise KeyboardInterrupt

    session.hold = hold
    with pytest.raises(KeyboardInterrupt):
        look(log, 1_000)
    again.load_state_dict(log.state_dict())
    again.look()
    assert again.is_solved and again.curve == [(1_000, 1.0)]
    assert again.session.eval_env.seeds[-60:] == states(CONFIRMATION_SEED, 60)  # type: ignore[union-attr]


def test_weights_that_a_thread_has_changed_since_give_way_to_the_confirmed_ones(log: TrainingLog) -> None:
    class Weights:
        def __init__(self, value: float) -> None:
            self.value = value

        def predict(self, observation: Any, deterministic: bool = False) -> tuple[np.ndarray, None]:
            return np.zeros(6, np.float32), None

        def state_dict(self) -> float:
            return self.value

        def load_state_dict(self, value: float) -> None:
            self.value = value

    algorithm: Any = log.session.algorithm
    algorithm.published, algorithm.policy = Weights(1.0), Weights(2.0)
    look(log, 1_000)
    algorithm.published = Weights(3.0)
    log.keep_confirmed()
    assert algorithm.policy.value == 1.0


def test_confirmation_does_not_change_which_policy_is_best(tmp_path: Path, counted: Counted) -> None:
    failing = frozenset(states(CONFIRMATION_SEED, 60))
    log = make_log(tmp_path / "run", counted, failing=failing, final_policy="best")
    saved: list[str] = []
    log.checkpoint = lambda name="last": saved.append(name)  # type: ignore[method-assign]
    look(log, 1_000)
    assert (log.best, saved) == (1.0, [BEST])
    look(log, 2_000)  # the later of equals, and this one is confirmed
    assert log.is_solved and saved == [BEST, BEST]


@pytest.mark.parametrize(
    ("env_steps", "error", "reason"),
    [
        (10_000, None, "steps"),
        (3_535, None, "time"),
        (3_535, KeyboardInterrupt(), "interrupted"),
        (10_000, KeyboardInterrupt(), "interrupted"),
        (3_535, RuntimeError("the camera is gone"), "fault"),
    ],
)
def test_summary_says_why_the_run_ended(
    env_steps: int, error: BaseException | None, reason: str, log: TrainingLog, counted: Counted
) -> None:
    counted.num_timesteps = env_steps
    summary = log.summary(None, error)
    assert summary["ended_by"] == reason and "go on with: agps train usb_insertion" in summary["ending"]
    assert ("the camera is gone" in summary["ending"]) is (reason == "fault")


def test_evaluation_carries_the_figures_and_what_is_wrong(log: TrainingLog, counted: Counted) -> None:
    counted.train_metrics = {"q_mean": 0.5, "q_min": -4.0, "q_max": 9.0, "target_mean": 0.5}
    log.finish_episode(last_step(True))
    look(log, 1_000)
    [row] = rows_of(log, "eval")
    assert (row["figures"]["policy_success"], row["figures"]["q_max"], row["figures"]["reward_rate"]) == (1.0, 9.0, 1.0)
    assert row["diagnosis"] == log.summary(None)["diagnosis"] == heard(log).diagnosis
    assert row["diagnosis"].startswith("The critic has diverged")
    assert heard(log).figures is log.figures


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
    log.confirmation, log.confirmation_starts, log.confirmation_due = (59, 60), 120, True
    again = make_log(tmp_path / "again", counted)
    again.load_state_dict(log.state_dict())
    for name in ("unaided", "episodes", "triggered_episodes", "curve", "best", "pretrain_success_rate"):
        assert getattr(again, name) == getattr(log, name)
    for name in ("confirmation", "confirmation_starts", "confirmation_due", "evaluation_due", "measured"):
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
