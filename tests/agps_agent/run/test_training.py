import copy
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import BasePolicy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agps_agent.run import log
from agps_agent.run.build import build_session, load_policy
from agps_agent.run.config import RunConfig
from agps_agent.run.config_file import load_config
from agps_agent.run.directory import SUMMARY_KEYS, RunDirectory
from agps_agent.run.log import TrainingLog
from agps_agent.run.progress import Progress
from agps_agent.run.signals import BrokenOff, terminated_like_ctrl_c
from agps_agent.run.simulation import Simulation
from agps_agent.run.training import NOTHING_SHOWN, RunCallback, train
from agps_agent.supervisor import AgentSupervisor
from rl.conrft import ConRFT, ConRFTConfig
from rl.drq import DrQ, DrQConfig
from rl.envs.factory import make_env
from rl.errors import ConfigError
from rl.evaluation import EvaluationResult
from rl.learner import CAUGHT_UP_STEPS, ThreadedLearner
from rl.rewards.classifier import RewardClassifier
from rl.rewards.classifier.classifier import Setup
from rl.rewards.classifier.network import RewardNetwork
from tests.agps_agent.trained import train_with_report
from tools.memory import EpisodicMemory

SMALL = DrQConfig(batch_size=16, learning_starts=20, hidden_size=32, channels=8, feature_size=16, buffer_capacity=2_000)
SMALL_CONRFT = ConRFTConfig.of(
    batch_size=8,
    learning_starts=20,
    hidden_size=16,
    channels=8,
    feature_size=16,
    buffer_capacity=2_000,
    sampled_actions=2,
    conservative_states=4,
)
EAGER = {"explore_s": 0.5, "patience_s": 0.5, "notice": 1.0, "headway": 0.6}
"""A human who takes the arm from an untrained policy soon."""


class Listening:
    """Keeps what it hears; presses Ctrl-C at a control step, or an update of stage 1, when told to."""

    def __init__(self, interrupt_at: int | None = None, *, pretraining: int | None = None) -> None:
        self.heard: list[Progress] = []
        self.interrupt_at = interrupt_at
        self.pretraining = pretraining

    def update(self, progress: Progress) -> None:
        self.heard.append(progress)
        if progress.phase == "train" and progress.env_steps == self.interrupt_at:
            raise KeyboardInterrupt
        if progress.phase == "pretrain" and progress.pretrain_steps == self.pretraining:
            raise KeyboardInterrupt


def configure(path: Path, **changes) -> tuple[RunConfig, RunDirectory]:
    values = {
        "task": "usb_insertion",
        "demos": 0,
        "agent_demos": 0,
        "pretrain_steps": 0,
        "max_env_steps": 120,
        "eval_every": 0,
        "eval_episodes": 1,
        "threads": 1,
    }
    config = RunConfig(**{**values, "drq": SMALL, "record_every": 1, **changes})
    return config, RunDirectory.create(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One short run without demonstrations: the stall rule wakes the embedded agent, its waypoints insert the plug."""
    looks = {"eval_every": 60, "curve_episodes": 1, "stop_when_solved": False}
    config, run = configure(tmp_path_factory.mktemp("runs") / "run", supervisor={"help_share": 1.0}, **looks)
    train_with_report(config, run, Listening())
    return run


def test_agent_without_demonstrations_brings_the_first_success(finished: RunDirectory):
    episodes = [row for row in finished.read_metrics() if row["kind"] == "episode"]
    assert episodes[0]["trigger_kind"] == "stall"
    assert episodes[0]["guided_steps"] > 0
    assert any(episode["success"] for episode in episodes)


@pytest.mark.parametrize(("demos", "first"), [(0, {"train"}), (1, {"demos"})])
def test_run_speaks_of_demonstrations_only_where_there_are_some(demos: int, first: set[str], tmp_path: Path):
    config, run = configure(tmp_path / "run", method="serl", demos=demos, max_env_steps=5)
    begun, resumed = Listening(), Listening()
    train(config, run, begun)
    train(config.model_copy(update={"max_env_steps": 8}), run, resumed, resume=True)
    assert ({begun.heard[0].phase}, resumed.heard[0].phase) == (first, "demos")


def episodes_of(run: RunDirectory) -> list[dict]:
    return [row for row in run.read_metrics() if row["kind"] == "episode"]


def test_robot_waits_between_rollouts_for_a_learner_that_is_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    update, steps, waits = DrQ.train, 75, threading.Event()

    def while_waited_for(algorithm: DrQ, gradient_steps: int, batch_size: int | None = None) -> None:
        waits.wait(50)
        update(algorithm, gradient_steps, batch_size)

    class Opening(Listening):
        """Lets the learner update while the robot waits for it, and once the last step is taken."""

        def update(self, progress: Progress) -> None:
            super().update(progress)
            if progress.phase == "catch_up" or progress.env_steps == steps:
                waits.set()
            else:
                waits.clear()

    monkeypatch.setattr(DrQ, "train", while_waited_for)
    short = {"method": "serl", "task_options": {"horizon": 15}, "learner": "threaded", "max_env_steps": steps}
    config, run = configure(tmp_path / "run", **short)
    listening = Opening()
    train(config, run, listening)
    rows, ratio = episodes_of(run), SMALL.gradient_steps / SMALL.train_freq
    assert len(rows) == 5 and "catch_up" in [heard.phase for heard in listening.heard]
    for before, row in pairwise(rows):
        owed = ratio * (before["env_steps"] - SMALL.learning_starts - CAUGHT_UP_STEPS)
        assert row["learner_steps"] >= owed - 1


def test_run_that_waits_for_its_learner_ends_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wait, waited, is_up, left_behind = ThreadedLearner.catch_up, threading.Event(), threading.Event(), []

    def see_how_it_ends(learner: ThreadedLearner, until: Callable[[], bool]) -> None:
        is_up.set()
        wait(learner, until)
        left_behind.append(learner.is_behind)
        waited.set()

    monkeypatch.setattr(ThreadedLearner, "catch_up", see_how_it_ends)
    monkeypatch.setattr(DrQ, "train", lambda *_: waited.wait(50))  # no update ends before the wait does
    monkeypatch.setattr(TrainingLog, "is_over", property(lambda _: is_up.is_set()))
    short = {"method": "serl", "task_options": {"horizon": 15}, "learner": "threaded", "max_env_steps": 10_000}
    config, run = configure(tmp_path / "run", **short)
    summary = train(config, run, Listening())
    assert summary["ended_by"] == "time" and left_behind == [True]


def test_each_point_of_the_curve_is_of_one_policy_and_the_best_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    acted: list[Any] = []

    def successful(policy: Any, *_: Any, **__: Any) -> EvaluationResult:
        acted.append(policy)
        if isinstance(policy, BasePolicy):
            acted.append(copy.deepcopy(policy.state_dict()))
        return EvaluationResult(successes=(True,), steps=(1,), returns=(1.0,))

    monkeypatch.setattr(log, "evaluate", successful)
    once = {"max_env_steps": 60, "eval_every": 60, "stop_when_solved": False}
    config, run = configure(tmp_path / "run", method="serl", learner="threaded", final_policy="best", **once)
    train(config, run, Listening())
    policy, weights, final = acted
    assert isinstance(policy, BasePolicy) and isinstance(final, DrQ)
    assert all(torch.equal(value, weights[name]) for name, value in final.policy.state_dict().items())


def test_run_that_goes_on_from_its_best_policy_does_not_repeat_that_point_of_the_curve(tmp_path: Path):
    often = {"max_env_steps": 60, "eval_every": 30, "checkpoint_every": 0, "final_policy": "best"}
    config, run = configure(tmp_path / "run", method="serl", **often)
    with pytest.raises(KeyboardInterrupt):
        train(config, run, Listening(interrupt_at=45))
    shutil.rmtree(run.checkpoints / "last")  # as after a kill, which saves nothing
    train(config, run, Listening(), resume=True)
    assert [row["env_steps"] for row in run.read_metrics() if row["kind"] == "eval"] == [30, 60]


def test_agent_shows_first_then_the_learner_warms_up_then_the_policy_acts(tmp_path: Path):
    config, run = configure(tmp_path / "run", agent_demos=2, pretrain_steps=30, max_env_steps=60)
    summary = train(config, run, Listening())
    shown = [row["demonstration"] for row in episodes_of(run)]
    assert shown == [True] * 2 + [False] * (len(shown) - 2)
    assert all(row["success"] and row["guided_steps"] == row["steps"] for row in episodes_of(run)[:2])
    assert summary["pretrain_steps"] == 30 and summary["env_steps"] == 60
    first = episodes_of(run)[1]
    assert first["learner_steps"] == 0 and first["env_steps"] < 40
    assert summary["agent_calls"] <= 4  # memory answers from the second on


def test_what_the_agent_has_shown_is_in_a_checkpoint_before_all_of_it_is_shown(tmp_path: Path):
    config, run = configure(tmp_path / "run", agent_demos=3, pretrain_steps=0, checkpoint_every=10)
    with build_session(config, run) as session:
        log = TrainingLog(config, run, session, Listening())
        session.algorithm.collect(20, RunCallback(log, until=lambda: False))
    assert run.has_checkpoint


def test_agent_that_shows_nothing_that_succeeds_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    hopeless = {"agent_demos": 1, "pretrain_steps": 5, "task_options": {"horizon": 2}, "max_env_steps": 40}
    config, run = configure(tmp_path / "run", **hopeless)
    summary = train(config, run, Listening())
    shown = [row["demonstration"] for row in episodes_of(run)]
    assert shown[0] and not shown[-1] and summary["env_steps"] == 40
    assert [record.message for record in caplog.records if "None of the agent" in record.message] == [NOTHING_SHOWN]


@pytest.mark.parametrize(("budget", "is_told"), [({"max_env_steps": 4}, True), ({"max_minutes": 1e-9}, False)])
def test_agent_that_has_spent_all_steps_in_vain_is_told_and_one_that_time_stopped_is_not(
    budget: dict[str, float], is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    hopeless = {"agent_demos": 1, "pretrain_steps": 5, "task_options": {"horizon": 2}, "max_env_steps": 40, **budget}
    config, run = configure(tmp_path / "run", **hopeless)
    train(config, run, Listening())
    assert (NOTHING_SHOWN in caplog.messages) is is_told


def test_budget_below_what_is_done_is_refused(tmp_path: Path):
    config, run = configure(tmp_path / "run", max_env_steps=30)
    train(config, run, Listening())
    before = run.config.read_bytes()
    less = config.model_copy(update={"max_env_steps": 20})
    with pytest.raises(ConfigError, match="--max-env-steps is 20, and 30 control steps are made already"):
        train(less, run, Listening(), resume=True)
    assert run.config.read_bytes() == before


def test_run_that_ended_while_the_agent_showed_goes_on_showing(tmp_path: Path):
    config, run = configure(tmp_path / "run", agent_demos=3, pretrain_steps=5, max_env_steps=15)
    train(config, run, Listening())
    assert len(episodes_of(run)) < 3
    longer = config.model_copy(update={"max_env_steps": 70})
    train(longer, run, Listening(), resume=True)
    rows = episodes_of(run)
    assert rows[1]["env_steps"] > 15 and rows[1]["demonstration"] and rows[1]["learner_steps"] == 0


def test_demonstrations_of_the_agent_are_learned_from_and_labelled(tmp_path: Path):
    config, run = configure(tmp_path / "run", agent_demos=2, pretrain_steps=5, max_env_steps=50)
    with build_session(config, run) as session:
        algorithm, supervisor = session.algorithm, session.supervisor
        assert isinstance(supervisor, AgentSupervisor)
        supervisor.demonstrate(2)
        algorithm.collect(50)
        labelled = ~np.isnan(algorithm.store.labels(algorithm.demo.slots)[:, 0])
        assert len(algorithm.demo) > 10 and labelled.all()
        ways = algorithm.store.ways(algorithm.demo.slots, algorithm.state_scales)
        assert np.abs(ways).max() < 0.2 and not np.isnan(ways).any()


@pytest.mark.parametrize(("jitter_mm", "moves"), [(0.0, False), (30.0, True)])
def test_supervisor_sees_that_a_port_moves(tmp_path: Path, jitter_mm: float, moves: bool):
    jitter = {"port-jitter-mm": jitter_mm}
    config, run = configure(tmp_path / "run", agent_demos=4, pretrain_steps=50, task_options=jitter)
    with build_session(config, run) as session:
        supervisor, log = session.supervisor, TrainingLog(config, run, session, Listening())
        assert isinstance(supervisor, AgentSupervisor)
        supervisor.demonstrate(4)
        session.algorithm.collect(
            200, RunCallback(log, until=lambda: supervisor.state_dict()["shown"]["successes"] == 4)
        )
        shown = supervisor.state_dict()["shown"]
        assert shown["successes"] == 4 and (shown["moved"] >= 2) == moves
        assert supervisor.is_demonstrating == moves  # 12 where each success tells of another place
        assert log.max_pretrain_steps == (150 if moves else 50)


def test_row_of_an_episode_says_how_each_intervention_ended(finished: RunDirectory):
    episodes = [row for row in finished.read_metrics() if row["kind"] == "episode"]
    for row in episodes:
        assert sorted(end["id"] for end in row["interventions"]) == sorted(row["intervention_ids"])
        assert sum(end["steps"] for end in row["interventions"] if end["kind"] == "guide") == row["guided_steps"]
    helped = [end for row in episodes if row["success"] for end in row["interventions"]]
    assert helped and {end["how"] for end in helped} <= {"reached", "contact", "episode_over"}
    assert "ended: " in finished.report.read_text()


def test_run_directory_holds_everything_that_the_design_lists(finished: RunDirectory):
    for path in (finished.config, finished.metrics, finished.summary, finished.report, finished.recording):
        assert path.is_file() and path.stat().st_size > 0
    assert any((finished.path / "tensorboard").rglob("events.out.*"))
    question = finished.intervention(finished.intervention_ids()[0])
    assert {path.name for path in question.iterdir()} >= {
        "prompt.md",
        "reply.json",
        "annotated.png",
        "intervention.json",
    }


def test_summary_holds_the_headline_numbers(finished: RunDirectory):
    summary = json.loads(finished.summary.read_text())
    assert set(SUMMARY_KEYS) <= set(summary)
    assert summary["env_steps"] == 120
    assert summary["learner_steps"] == (120 - 20) // 2
    pauses = summary["robot_time_s"] - 120 / 10
    assert pauses == pytest.approx(summary["agent_pause_s"], abs=1e-6)


def test_model_is_named_with_what_it_took_wherever_it_answered(finished: RunDirectory):
    summary, last = json.loads(finished.summary.read_text()), episodes_of(finished)[-1]
    assert summary["agent_prompt_tokens"] + summary["agent_completion_tokens"] == summary["agent_tokens"] > 0
    assert 0 < summary["agent_seconds"] <= summary["agent_pause_s"]
    assert last["agent_seconds"] <= summary["agent_seconds"]
    assert (summary["model"], summary["price"]) == ("embedded", None)
    records = [json.loads(line) for line in (finished.memory / "usb_insertion.jsonl").read_text().splitlines()]
    assert {record["model"] for record in records if "prompt_hash" in record} == {"embedded"}


def test_tensorboard_holds_evaluations_triggers_and_calls(finished: RunDirectory):
    (folder,) = {path.parent for path in (finished.path / "tensorboard").rglob("events.out.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    rows = [row for row in finished.read_metrics() if row["kind"] == "eval"]
    assert [point.step for point in events.Scalars("eval/success_rate")] == [row["env_steps"] for row in rows]
    assert [point.value for point in events.Scalars("eval/success_rate")] == [row["success_rate"] for row in rows]
    assert events.Scalars("eval/triggers_per_10_rollouts")[-1].value > 0
    summary = json.loads(finished.summary.read_text())
    for tag in ("agent_calls", "agent_tokens", "triggers_per_10_rollouts"):
        assert events.Scalars(f"final_eval/{tag}")[-1].value == pytest.approx(summary[tag])
    assert 0 < events.Scalars("eval/agent_calls")[-1].value <= summary["agent_calls"]


def test_policy_of_the_checkpoint_acts(finished: RunDirectory):
    config = load_config(finished)
    assert config.algorithm_options == SMALL
    policy = load_policy(finished)
    observation = {key: space.sample() for key, space in policy.observation_space.items()}
    action, _ = policy.predict(observation, deterministic=True)
    assert np.all(np.abs(action) <= 1.0)


def test_same_seed_gives_the_same_run(tmp_path: Path):
    rows = []
    for name in ("a", "b"):
        config, run = configure(tmp_path / name, max_env_steps=80, method="serl", demos=1)
        train(config, run, Listening())
        rows.append(
            [{k: row[k] for k in ("success", "steps")} for row in run.read_metrics() if row["kind"] == "episode"]
        )
        rows[-1].append(load_policy(run).policy.actor.mean.weight.detach().numpy().tolist())
    assert rows[0] == rows[1]


def test_interrupted_run_leaves_checkpoint_and_report_and_goes_on(tmp_path: Path):
    config, run = configure(tmp_path / "run", method="serl", demos=1)
    with pytest.raises(KeyboardInterrupt):
        train_with_report(config, run, Listening(interrupt_at=60))
    assert run.read_summary()["ended_by"] == "interrupted" and "Interrupted after 60 of 120" in run.report.read_text()
    listening = Listening()
    summary = train_with_report(config, run, listening, resume=True)
    steps = [progress.env_steps for progress in listening.heard if progress.phase == "train"]
    assert steps[0] == 61
    assert (summary["env_steps"], summary["ended_by"]) == (120, "steps")


@pytest.fixture
def fake_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm that obeys at once in place of the simulated one."""
    monkeypatch.setattr(Simulation, "open", lambda self, config, **_: make_env(config.task, robot="fake"))


def small_run(path: Path, method: str, **changes) -> tuple[RunConfig, RunDirectory]:
    few = {"demos": 2, "max_env_steps": 110, "pretrain_steps": 6, "record_every": 0, "human": EAGER}
    return configure(path, method=method, conrft=SMALL_CONRFT, **{**few, **changes})


@pytest.mark.usefixtures("fake_robot")
@pytest.mark.parametrize("method", ["agps", "serl", "hil-serl", "agps-conrft", "hil-conrft"])
def test_every_method_trains_to_a_policy_and_a_summary(method: str, tmp_path: Path):
    config, run = small_run(tmp_path / "run", method)
    summary = train_with_report(config, run, Listening())
    has_stage_1 = method.endswith("conrft")
    assert set(SUMMARY_KEYS) <= set(summary)
    assert (summary["method"], summary["env_steps"]) == (method, 110)
    assert summary["learner_steps"] == (110 - 20) // 2 + 6
    assert type(load_policy(run)) is (ConRFT if has_stage_1 else DrQ)
    assert run.report.is_file()
    kinds = [row["kind"] for row in run.read_metrics()]
    assert ("pretrain_eval" in kinds) is has_stage_1 and (summary["pretrain_success_rate"] is not None) is has_stage_1


@pytest.mark.usefixtures("fake_robot")
def test_session_that_cannot_be_built_releases_what_was_opened(tmp_path: Path):
    before = set(threading.enumerate())
    config, run = small_run(tmp_path / "run", "agps", reward="classifier", reward_model=tmp_path / "none.pt")
    with pytest.raises(ConfigError, match="There is no reward classifier"):
        build_session(config, run)
    assert set(threading.enumerate()) <= before
    EpisodicMemory(run.memory, dim=8, task="usb_insertion").close()  # nobody owns it any more


@pytest.mark.usefixtures("fake_robot")
@pytest.mark.parametrize("method", ["hil-serl", "hil-conrft"])
def test_human_takes_the_arm_and_its_seconds_are_counted(method: str, tmp_path: Path):
    config, run = small_run(tmp_path / "run", method)
    summary = train(config, run, Listening())
    episodes = [row for row in run.read_metrics() if row["kind"] == "episode"]
    stretches = [stretch for row in episodes for stretch in row["human_stretches"]]
    assert len(stretches) > 0 and summary["agent_calls"] == 0
    assert [row["guided_steps"] for row in episodes] == [sum(n for _, n in row["human_stretches"]) for row in episodes]
    assert episodes[-1]["human_s"] == pytest.approx(0.1 * sum(n for _, n in stretches))
    assert summary["human_interventions"] >= len(stretches)  # one may be under way at the end


@pytest.mark.usefixtures("fake_robot")
@pytest.mark.parametrize(("method", "store_guided"), [("agps", "success"), ("hil-serl", "both")])
def test_algorithm_is_told_where_guided_steps_go(method: str, store_guided: str, tmp_path: Path):
    with build_session(*small_run(tmp_path / "run", method)) as session:
        assert session.algorithm.store_guided == store_guided


class Pressing(Listening):
    """Sends a signal to this program at a control step."""

    def __init__(self, number: signal.Signals, *, at: int) -> None:
        super().__init__()
        self.number, self.at = number, at

    def update(self, progress: Progress) -> None:
        self.heard.append(progress)
        if progress.phase == "train" and progress.env_steps == self.at:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def press_while_saving(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunDirectory, int], None]:
    """Ctrl-C while the first file of a run's checkpoint reaches the disk, that often."""
    sync = os.fsync

    def arm(run: RunDirectory, times: int) -> None:
        left = iter(range(times))

        def fsync(descriptor: int) -> None:
            sync(descriptor)
            if (run.checkpoints / ".last.new").exists():
                for _ in left:
                    os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(os, "fsync", fsync)

    return arm


def saved_steps(run: RunDirectory) -> int:
    return load_policy(run, "last").num_timesteps


@pytest.mark.usefixtures("fake_robot")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_that_is_told_to_end_is_saved_though_ctrl_c_comes_again(
    number: signal.Signals, tmp_path: Path, press_while_saving: Callable[[RunDirectory, int], None]
) -> None:
    config, run = small_run(tmp_path / "run", "serl")
    press_while_saving(run, 20)
    with pytest.raises(KeyboardInterrupt):
        train_with_report(config, run, Pressing(number, at=30))
    assert saved_steps(run) == run.read_summary()["env_steps"] == 30
    assert run.report.is_file()


@pytest.mark.usefixtures("fake_robot")
def test_ctrl_c_while_a_checkpoint_is_saved_on_the_way_ends_the_run_after_it(
    tmp_path: Path, press_while_saving: Callable[[RunDirectory, int], None]
) -> None:
    config, run = small_run(tmp_path / "run", "serl", demos=0, checkpoint_every=25)
    press_while_saving(run, 1)
    with pytest.raises(KeyboardInterrupt):
        train_with_report(config, run, Listening())
    assert saved_steps(run) == run.read_summary()["env_steps"] == 25
    assert run.report.is_file()


@pytest.mark.usefixtures("fake_robot")
def test_third_ctrl_c_keeps_the_checkpoint_before(
    tmp_path: Path, press_while_saving: Callable[[RunDirectory, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = small_run(tmp_path / "run", "serl", demos=0, checkpoint_every=25)
    train(config, run, Listening())
    press_while_saving(run, 2)
    longer = config.model_copy(update={"max_env_steps": 200})
    with terminated_like_ctrl_c(read_s=0.0), pytest.raises(BrokenOff):
        train(longer, run, Pressing(signal.SIGINT, at=120), resume=True)
    monkeypatch.undo()
    assert saved_steps(run) == 110


@pytest.mark.usefixtures("fake_robot")
def test_ctrl_c_in_the_last_evaluation_leaves_checkpoint_and_report(tmp_path: Path) -> None:
    class Impatient(Listening):
        def update(self, progress: Progress) -> None:
            if progress.phase == "evaluate":
                raise KeyboardInterrupt

    config, run = small_run(tmp_path / "run", "serl", demos=0)
    with pytest.raises(KeyboardInterrupt):
        train_with_report(config, run, Impatient())
    assert saved_steps(run) == 110 and run.report.is_file()


@pytest.mark.usefixtures("fake_robot")
def test_conrft_alone_is_stage_1_with_its_own_checkpoint_and_evaluation(tmp_path: Path):
    config, run = small_run(tmp_path / "run", "conrft")
    listening = Listening()
    summary = train(config, run, listening)
    assert (summary["env_steps"], summary["pretrain_steps"], summary["robot_time_s"]) == (0, 6, 0.0)
    assert summary["ended_by"] == "updates"
    assert summary["pretrain_success_rate"] == summary["success_rate"] is not None
    assert (run.checkpoints / "pretrained" / "manifest.json").is_file()
    assert [p.pretrain_steps for p in listening.heard if p.phase == "pretrain"] == list(range(7))


@pytest.mark.usefixtures("fake_robot")
def test_interrupted_stage_1_goes_on_and_comes_to_the_same(tmp_path: Path):
    straight, broken = small_run(tmp_path / "a", "hil-conrft"), small_run(tmp_path / "b", "hil-conrft")
    train(*straight, Listening())
    with pytest.raises(KeyboardInterrupt):
        train(*broken, Listening(pretraining=4))
    listening = Listening()
    train(*broken, listening, resume=True)
    assert [p.pretrain_steps for p in listening.heard if p.phase == "pretrain"] == [4, 5, 6]
    weights = [load_policy(run).policy.actor.state_dict() for _, run in (straight, broken)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.usefixtures("fake_robot")
def test_stage_1_is_not_done_twice(tmp_path: Path):
    config, run = small_run(tmp_path / "run", "hil-conrft")
    with pytest.raises(KeyboardInterrupt):
        train(config, run, Listening(interrupt_at=60))
    listening = Listening()
    summary = train(config, run, listening, resume=True)
    assert not [p for p in listening.heard if p.phase == "pretrain"]
    assert summary["pretrain_success_rate"] is not None and summary["env_steps"] == 110
    assert sum(row["kind"] == "pretrain_eval" for row in run.read_metrics()) == 1


@pytest.mark.usefixtures("fake_robot")
def test_same_seed_gives_the_same_human(tmp_path: Path):
    rows = []
    for name in ("a", "b"):
        config, run = small_run(tmp_path / name, "hil-serl")
        train(config, run, Listening())
        episodes = [row for row in run.read_metrics() if row["kind"] == "episode"]
        rows.append([(row["steps"], row["success"], row["human_stretches"]) for row in episodes])
        rows[-1].append(load_policy(run).policy.actor.mean.weight.detach().numpy().tolist())
    assert rows[0] == rows[1]


@pytest.mark.usefixtures("fake_robot")
def test_pretraining_ends_when_the_time_is_up(tmp_path: Path):
    config, run = small_run(tmp_path / "run", "conrft", pretrain_steps=10_000, max_minutes=0.02)
    summary = train(config, run, Listening())
    assert 0 < summary["pretrain_steps"] < 10_000 and summary["ended_by"] == "time"
    more = config.model_copy(update={"max_minutes": 240.0, "pretrain_steps": summary["pretrain_steps"] + 2})
    again = train(more, run, Listening(), resume=True)
    assert (again["pretrain_steps"], again["ended_by"]) == (more.pretrain_steps, "updates")


@pytest.mark.usefixtures("fake_robot")
def test_stage_1_that_was_out_of_time_is_finished_before_stage_2_begins(tmp_path: Path):
    config, run = small_run(tmp_path / "run", "hil-conrft", max_minutes=1e-6)
    summary = train(config, run, Listening())
    assert (summary["pretrain_steps"], summary["env_steps"], summary["ended_by"]) == (1, 0, "time")
    summary = train(config.model_copy(update={"max_minutes": 240.0}), run, Listening(), resume=True)
    assert (summary["pretrain_steps"], summary["env_steps"], summary["ended_by"]) == (6, 110, "steps")
    assert sum(row["kind"] == "pretrain_eval" for row in run.read_metrics()) == 1


def classifier_file(path: Path, *, threshold: float) -> Path:
    """Write a classifier that knows nothing; its threshold makes every frame a success, or none."""
    cameras = ("wrist_1", "wrist_2")
    setup = Setup(task="usb_insertion", cameras=cameras, image_size=64, width=8)
    network = RewardNetwork(cameras=len(cameras), image_size=64, width=8)
    RewardClassifier(setup=setup, network=network, threshold=threshold).save(path)
    return path


@pytest.mark.usefixtures("fake_robot")
@pytest.mark.parametrize(("threshold", "wrong"), [(0.0, "false_positive"), (1.5, "false_negative")])
def test_episodes_in_which_reward_and_truth_disagree_are_counted(threshold: float, wrong: str, tmp_path: Path):
    model = classifier_file(tmp_path / "model.pt", threshold=threshold)
    sure = {**EAGER, "rewarded_share": 1.0, "bias_m": 0.0, "explore_s": 0.0}  # the human brings true successes
    config, run = small_run(tmp_path / "run", "hil-serl", reward="classifier", reward_model=model, human=sure)
    summary = train(config, run, Listening())
    episodes = [row for row in run.read_metrics() if row["kind"] == "episode"]
    expected = [row["success"] and not row["true_success"] for row in episodes]
    if wrong == "false_negative":
        expected = [row["was_true"] and not row["success"] for row in episodes]
    assert summary["reward_errors"][wrong] == sum(expected) > 0
    assert all(row["success"] for row in episodes) is (wrong == "false_positive")
