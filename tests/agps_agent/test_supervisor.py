import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest

from agps_agent.ask import Answer
from agps_agent.detectors import FloatConfig, FloatWatch, StallConfig, StallRule
from agps_agent.retreat import retreat
from agps_agent.settings import AgentSettings, SupervisorConfig, check_patience
from agps_agent.supervisor import AgentSupervisor
from rl.errors import ConfigError
from rl.transforms import pose
from rl.types import (
    Box,
    Cost,
    EpisodeOutcome,
    Guide,
    Intervention,
    InterventionEnd,
    Observation,
    Prune,
    RobotState,
    Waypoint,
)
from tests.agps_agent.test_surroundings import Table, made
from tools.memory import EpisodicMemory, MemoryRecord
from tools.scene import Scene

BLOCKED = InterventionEnd(id="0001", kind="guide", how="blocked", steps=14, waypoint=1, waypoints=5, distance_m=0.0082)
DOWN = np.diag([1.0, -1.0, -1.0])
HERE = pose(np.array([0.5, 0.0, 0.1]), DOWN)
BOX = Box(lower=np.array([0.4, -0.1, 0.0]), upper=np.array([0.6, 0.1, 0.2]))
GUIDE = Guide(waypoints=(Waypoint(T_base_tcp=HERE, gripper_opening=0.0),), max_steps=5)
STALL = StallConfig(window_steps=3, min_motion_m=0.001, horizon_fraction=2.0)


class OneHot:
    """An encoder whose embedding is the first pixel of its one camera."""

    name, cameras, dim = "one-hot", ("wrist",), 4

    def encode(self, images) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[int(images["wrist"][0, 0, 0])]

    def encode_batch(self, steps) -> np.ndarray:
        return np.stack([self.encode(images) for images in steps])


def seen(step: int, look: int = 0) -> Observation:
    robot = RobotState(T_base_tcp=HERE, twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
    image = np.full((2, 2, 3), look, np.uint8)
    return Observation(images={"wrist": image}, state=np.zeros(19, np.float32), robot=robot, T_base_ref=HERE, step=step)


def ended(success: bool, *, helped: bool = False, episode: int = 0) -> EpisodeOutcome:
    return EpisodeOutcome(
        episode=episode,
        success=success,
        terminated=success,
        truncated=not success,
        steps=4,
        guided_steps=0,
        pruned_steps=0,
        final_robot=seen(0).robot,
        intervention_ids=("0001",) if helped else (),
    )


def says(intervention: Intervention | None, reason: str = "answered") -> Answer:
    return Answer(
        intervention=intervention,
        reason_key=reason,
        reason="because",
        cost=Cost(model_calls=3, latency_s=0.0),
        state={},
        transcript=(),
        annotated=None,
        record_id=None,
        trace_id=uuid4(),
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., AgentSupervisor]:
    made: list[AgentSupervisor] = []

    def build(
        answer: Answer,
        save_answer=None,
        ask=None,
        on_trigger="hold",
        stall_config=STALL,
        float_cooldown_steps=10,
        detectors=None,
        **config,
    ) -> AgentSupervisor:
        async def answers_at_once(scene, embedding, trigger) -> Answer:
            return answer

        scene = Scene(
            task="usb_insertion", frames={}, T_base_tcp=HERE, gripper_opening=0.0, workspace=BOX, p_tcp_tool=np.zeros(3)
        )
        supervisor = AgentSupervisor(
            capture=lambda: scene,
            ask=ask or answers_at_once,
            encoder=OneHot(),
            detectors=detectors
            or [
                FloatWatch(45, FloatConfig(min_demos=5, alpha=0.3, cooldown_steps=float_cooldown_steps)),
                StallRule(45, stall_config),
            ],
            memory=EpisodicMemory(tmp_path / f"memory{len(made)}", dim=4, task="usb_insertion"),
            config=SupervisorConfig(**{"help_share": 1.0, **config}),
            seed=0,
            save_answer=save_answer,
            on_trigger=on_trigger,
        )
        made.append(supervisor)
        return supervisor

    yield build
    for supervisor in made:
        supervisor.close()


def run_rollout(supervisor: AgentSupervisor, steps: int = 8, episode: int = 0) -> list[Intervention]:
    supervisor.start_episode(episode, seen(0))
    answers = [supervisor.review(seen(step)) for step in range(steps)]
    return [answer for answer in answers if answer is not None]


def test_stalled_rollout_without_references_asks_the_agent_once(make):
    supervisor = make(says(GUIDE))
    answers = run_rollout(supervisor)
    assert answers == [replace(GUIDE, id="0001")]
    counts = supervisor.metrics()
    assert (counts["triggers"], counts["questions"], counts["agent_calls"]) == (1, 1, 3)


def test_nothing_is_asked_while_waypoints_are_followed(make):
    supervisor = make(says(GUIDE))
    supervisor.start_episode(0, seen(0))
    assert [supervisor.review(seen(step), active=GUIDE) for step in range(8)] == [None] * 8
    assert supervisor.metrics().get("questions", 0) == 0


def test_trigger_that_comes_while_waypoints_are_followed_is_not_spent(make):
    supervisor = make(says(GUIDE))
    supervisor.start_episode(0, seen(0))
    assert [supervisor.review(seen(step), active=GUIDE) for step in range(8)] == [None] * 8
    assert supervisor.review(seen(8)) == replace(GUIDE, id="0001")


def test_float_trigger_that_comes_while_waypoints_are_followed_is_not_spent(make):
    supervisor = make(says(GUIDE), stall="until_float")
    calibrated(supervisor)
    supervisor.start_episode(5, seen(0))
    answers = [supervisor.review(seen(step, look=3), active=GUIDE) for step in range(8)]
    assert answers == [None] * 8 and supervisor.metrics().get("triggers", 0) == 0
    assert supervisor.review(seen(8, look=3)) == replace(GUIDE, id="0001")


@pytest.mark.parametrize("answer", [says(GUIDE), says(None, "not_json")])
@pytest.mark.parametrize("asks", ["stall", "float"])
def test_as_many_questions_as_allowed_are_asked_each_after_a_cooldown(make, answer, asks):
    rule = replace(STALL, cooldown_steps=4, **({} if asks == "stall" else {"min_motion_m": 0.0}))
    supervisor = make(answer, max_queries=3, stall_config=rule, float_cooldown_steps=4)
    if asks == "float":
        calibrated(supervisor)
    supervisor.start_episode(5, seen(0))
    questions = []
    for step in range(40):
        supervisor.review(seen(step, look=3))
        questions.append(supervisor.metrics().get("questions", 0))
    asked_at = [step for step in range(1, 40) if questions[step] > questions[step - 1]]
    assert len(asked_at) == 3 and supervisor.metrics()["triggers"] == 1
    assert min(np.diff(asked_at)) >= 4


def test_box_does_not_keep_the_agent_from_being_asked_again(make):
    box = Prune(box=BOX)
    supervisor = make(says(box), max_queries=2)
    supervisor.start_episode(0, seen(0))
    answers = [supervisor.review(seen(step), active=box) for step in range(40)]
    assert [answer.id for answer in answers if answer is not None] == ["0001", "0002"]


def test_answer_without_intervention_lets_the_policy_go_on_and_is_counted(make):
    supervisor = make(says(None, "not_json"))
    assert run_rollout(supervisor) == []
    assert supervisor.metrics()["declined/not_json"] == 1


def test_words_of_a_server_that_refuses_are_said_once(make, caplog):
    supervisor = make(says(None, "refused"), max_queries=1)
    for episode in range(2):
        run_rollout(supervisor, episode=episode)
    assert supervisor.metrics()["declined/refused"] == 2
    assert [record.message for record in caplog.records if "declined/refused" in record.message] == [
        "No answer from the model: because The policy goes on; more of this kind are counted as declined/refused."
    ]


def test_question_that_cannot_be_saved_is_counted_and_its_answer_used(make):
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    supervisor = make(says(GUIDE), save_answer=full_disk)
    assert len(run_rollout(supervisor)) == 1
    supervisor.settle()
    assert supervisor.metrics()["unsaved_questions"] == 1


def test_outcome_that_cannot_be_remembered_is_counted_and_the_run_goes_on(make):
    supervisor = make(replace(says(GUIDE), record_id="no such record"))
    run_rollout(supervisor)
    supervisor.finish_episode(ended(success=True, helped=True))
    supervisor.settle()
    assert supervisor.metrics()["unmarked_records"] == 1


def test_help_stops_when_the_policy_succeeds_alone(make):
    supervisor = make(says(Prune(box=BOX)), fade_window=4)
    for episode in range(4):
        supervisor.start_episode(episode, seen(0))
        supervisor.finish_episode(ended(success=True, episode=episode))
    assert all(run_rollout(supervisor, episode=episode) == [] for episode in range(4, 14))


def test_help_comes_always_while_the_policy_never_succeeds_alone(make):
    supervisor = make(says(Prune(box=BOX)), fade_window=4, stall="always")
    for episode in range(10):
        assert len(run_rollout(supervisor, episode=episode)) == 1
        supervisor.finish_episode(ended(success=True, helped=True, episode=episode))


def test_a_share_of_rollouts_is_left_alone_so_that_the_policy_can_show_what_it_can(make):
    supervisor = make(says(Prune(box=BOX)), help_share=0.5, stall="always")
    helped = sum(len(run_rollout(supervisor, episode=episode)) for episode in range(100))
    assert 35 <= helped <= 65


def calibrated(supervisor: AgentSupervisor) -> None:
    """Show it five successes of two steps, of which none was without help."""
    for episode in range(5):
        supervisor.start_episode(episode, seen(0))
        for step in range(2):
            supervisor.review(seen(step, look=step))
        assert supervisor.reading is None
        supervisor.finish_episode(ended(success=True, helped=True, episode=episode))


def test_float_takes_over_once_there_are_enough_successes(make):
    supervisor = make(says(GUIDE))
    calibrated(supervisor)
    supervisor.start_episode(5, seen(0))
    supervisor.review(seen(0))
    assert supervisor.reading is not None


def test_resumed_supervisor_continues_with_counts_references_and_random_state(make):
    first, second = make(says(GUIDE), fade_window=10), make(says(GUIDE), fade_window=10)
    for episode in range(6):
        run_rollout(first, steps=2, episode=episode)
        first.finish_episode(ended(success=True, episode=episode))
    second.load_state_dict(first.state_dict())
    follow_ups = []
    for supervisor in (first, second):
        follow_ups.append([len(run_rollout(supervisor, episode=episode)) for episode in range(6, 30)])
    assert follow_ups[0] == follow_ups[1]
    untimed = {"agent_pause_s": 0, "agent_thinking_s": 0}
    assert first.metrics() | untimed == second.metrics() | untimed


def test_resumed_supervisor_judges_as_the_uninterrupted_one_although_newer_successes_came(make):
    """FLOAT is calibrated anew only now and then; a resume must not be such a time."""
    first, second = make(says(GUIDE), max_references=6), make(says(GUIDE), max_references=6)
    calibrated(first)
    for episode in range(5, 8):  # of another kind, and so many that the oldest reference goes
        first.start_episode(episode, seen(0))
        for step in range(3):
            first.review(seen(step, look=(episode + step) % 4))
        first.finish_episode(ended(success=True, episode=episode))
    second.load_state_dict(first.state_dict())
    thresholds = []
    for supervisor in (first, second):
        rows = []
        for episode in range(8, 16):
            run_rollout(supervisor, steps=4, episode=episode)
            supervisor.finish_episode(ended(success=True, episode=episode))
            rows.append(supervisor.last_episode["float_thresholds"])
        thresholds.append(rows)
    assert thresholds[0] == thresholds[1]
    assert len({tuple(row) for row in thresholds[0]}) > 1  # it was calibrated anew on the way


def test_checkpoint_of_a_version_that_did_not_save_what_float_was_fitted_on_is_read(make):
    first, second = make(says(GUIDE)), make(says(GUIDE))
    calibrated(first)
    older = {key: value for key, value in first.state_dict().items() if key not in ("fitted_on", "since_fit")}
    second.load_state_dict(older)
    second.start_episode(5, seen(0))
    second.review(seen(0))
    assert second.reading is not None


def gone(millimetres: float, step: int = 0) -> Observation:
    """What is seen when the arm has moved along x."""
    here = seen(step)
    T = HERE.copy()
    T[0, 3] += millimetres / 1000
    return replace(here, robot=replace(here.robot, T_base_tcp=T))


class Slow:
    """An agent whose answers come when a test says so."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.may_answer, self.cancelled = answer, threading.Event(), threading.Event()

    async def __call__(self, scene, embedding, trigger) -> Answer:
        try:
            while not self.may_answer.is_set():
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return self.answer

    def answers(self, supervisor: AgentSupervisor) -> None:
        self.may_answer.set()
        assert supervisor._pending is not None
        supervisor._pending.answer.result(timeout=60)


def ask_and_go_on(make, answer: Answer, **config) -> tuple[AgentSupervisor, Slow]:
    """A supervisor whose question is under way while the policy goes on."""
    agent = Slow(answer)
    supervisor = make(answer, ask=agent, on_trigger="continue", **config)
    assert run_rollout(supervisor) == []
    assert supervisor.metrics()["questions"] == 1
    return supervisor, agent


def test_policy_goes_on_while_the_agent_thinks_and_the_answer_comes_later(make):
    supervisor, agent = ask_and_go_on(make, says(GUIDE))
    agent.answers(supervisor)
    assert supervisor.review(seen(8)) == replace(GUIDE, id="0001")
    assert supervisor.metrics()["agent_pause_s"] == 0.0


def test_arm_holds_for_the_agent_that_shows_even_where_the_policy_goes_on_otherwise(make):
    async def ask(scene, embedding, trigger) -> Answer:
        await asyncio.sleep(0.05)
        return says(GUIDE)

    supervisor = make(says(GUIDE), ask=ask, on_trigger="continue")
    supervisor.demonstrate(1)
    supervisor.start_episode(0, seen(0))
    assert supervisor.review(seen(0)) == replace(GUIDE, id="0001")
    assert supervisor.metrics()["agent_pause_s"] >= 0.05


@pytest.mark.parametrize(("moved_mm", "used"), [(9.0, True), (11.0, False)])
def test_waypoints_for_where_the_arm_no_longer_is_are_not_followed(make, moved_mm, used):
    supervisor, agent = ask_and_go_on(make, says(GUIDE), stale_after_m=0.01)
    agent.answers(supervisor)
    assert (supervisor.review(gone(moved_mm)) is not None) is used
    assert supervisor.metrics().get("stale/moved", 0) == (not used)


def test_waypoints_that_come_too_late_are_not_followed(make):
    supervisor, agent = ask_and_go_on(make, says(GUIDE), stale_after_s=1e-9)
    agent.answers(supervisor)
    assert supervisor.review(seen(8)) is None
    assert supervisor.metrics()["stale/late"] == 1


def test_box_holds_wherever_the_arm_is_by_then(make):
    box = Prune(box=BOX)
    supervisor, agent = ask_and_go_on(make, says(box), stale_after_m=0.01, stale_after_s=1e-9)
    agent.answers(supervisor)
    assert supervisor.review(gone(50.0)) == replace(box, id="0001")


def test_question_of_an_episode_that_is_over_is_cancelled(make):
    supervisor, agent = ask_and_go_on(make, says(GUIDE))
    supervisor.finish_episode(ended(success=False))
    assert agent.cancelled.wait(60)
    supervisor.start_episode(1, seen(0))
    assert supervisor.review(seen(0)) is None
    assert supervisor.metrics()["stale/episode_over"] == 1


@pytest.mark.parametrize("on_trigger", ["hold", "continue"])
def test_agent_that_never_answers_is_given_up(make, on_trigger):
    agent = Slow(says(GUIDE))
    supervisor = make(says(GUIDE), ask=agent, on_trigger=on_trigger, patience_s=0.05)
    assert run_rollout(supervisor) == []
    time.sleep(0.06)
    assert supervisor.review(seen(8)) is None
    assert agent.cancelled.wait(60)
    assert supervisor.metrics()["declined/timeout"] == 1
    assert supervisor.metrics()["agent_thinking_s"] >= 0.05
    assert (supervisor.metrics()["agent_pause_s"] >= 0.05) is (on_trigger == "hold")


def test_patience_shorter_than_a_questions_own_limit_is_refused():
    check_patience(SupervisorConfig(patience_s=60.0), AgentSettings(wall_budget_s=60.0))
    with pytest.raises(ConfigError, match="--agent.wall-budget-s is 61 and --supervisor.patience-s 60: .* least 61"):
        check_patience(SupervisorConfig(patience_s=60.0), AgentSettings(wall_budget_s=61.0))


def test_outcome_is_on_disk_before_the_next_question_is_asked(make):
    remembered: list[bool] = []

    async def ask(scene, embedding, trigger) -> Answer:
        remembered.append(supervisor._memory.get(record_id).success is True)
        return replace(says(GUIDE), record_id=record_id)

    supervisor = make(says(GUIDE), ask=ask)
    record = MemoryRecord(task="usb_insertion", mode="guide", embedding=np.ones(4), calibration_hash="c")
    record_id = supervisor._memory.remember(record)
    for episode in range(2):
        run_rollout(supervisor, episode=episode)
        supervisor.finish_episode(ended(success=True, helped=True, episode=episode))
    assert remembered == [False, True]


def test_memory_hears_how_the_plan_of_a_record_ended(make):
    supervisor = make(says(GUIDE))
    record = MemoryRecord(task="usb_insertion", mode="guide", embedding=np.ones(4), calibration_hash="c")
    record_id = supervisor._memory.remember(record)
    supervisor = make(replace(says(GUIDE), record_id=record_id))
    supervisor._memory.remember(record)
    run_rollout(supervisor)
    supervisor.note_end(BLOCKED)
    supervisor.finish_episode(replace(ended(success=False, helped=True), interventions=(BLOCKED,)))
    supervisor.settle()
    assert supervisor._memory.get(record_id).ended == "blocked"


def test_next_question_of_a_rollout_says_how_the_last_plan_ended(make):
    asked: list[str | None] = []

    async def ask(scene, embedding, trigger) -> Answer:
        asked.append(trigger.get("last_plan"))
        return says(GUIDE)

    supervisor = make(says(GUIDE), ask=ask, max_queries=2)
    run_rollout(supervisor)
    supervisor.note_end(BLOCKED)
    for step in range(8, 40):
        supervisor.review(seen(step))
    run_rollout(supervisor, episode=1)
    assert asked == [None, "blocked after 14 steps, 8 mm short of waypoint 2 of 5", None]


def test_counters_are_in_the_row_of_an_episode(make):
    supervisor = make(says(None, "rate_limited"))
    run_rollout(supervisor)
    supervisor.finish_episode(ended(success=False))
    assert supervisor.last_episode["counters"]["declined/rate_limited"] == 1


# --- the agent shows how ------------------------------------------------------------------------------------


def show(supervisor: AgentSupervisor, success: bool, *, guided_steps: int = 4) -> list[Intervention]:
    answers = run_rollout(supervisor, steps=1)
    supervisor.finish_episode(replace(ended(success, helped=True), guided_steps=guided_steps))
    return answers


def test_agent_that_shows_how_guides_from_the_first_step(make):
    supervisor = make(says(GUIDE), help_share=0.0)
    supervisor.demonstrate(2)
    assert show(supervisor, True) == [replace(GUIDE, id="0001")]
    assert supervisor.is_demonstrating and supervisor.last_episode["demonstration"]
    show(supervisor, True)
    assert not supervisor.is_demonstrating
    assert run_rollout(supervisor, steps=1) == []


def test_failure_is_no_demonstration_and_after_too_many_the_agent_gives_up(make):
    supervisor = make(says(GUIDE))
    supervisor.demonstrate(1)
    for _ in range(7):  # twice as many tries, and five
        assert supervisor.is_demonstrating
        show(supervisor, False)
    assert not supervisor.is_demonstrating


@pytest.mark.parametrize(
    ("successes", "rollouts", "moved", "goes_on"),
    [
        (10, 11, 3, False),  # the scene stays
        (10, 12, 10, True),  # it moves: 30 are wanted
        (29, 35, 34, True),
        (30, 35, 34, False),
        (20, 65, 64, False),  # twice 30 and five were tried
        (3, 3, 2, True),
    ],
)
@pytest.mark.parametrize("untold", [0, 3])
def test_in_a_scene_that_moves_more_is_shown(make, untold, successes, rollouts, moved, goes_on):
    supervisor = make(says(GUIDE))
    shown = {"successes": successes, "rollouts": rollouts + untold, "moved": moved, "untold": untold}
    supervisor.load_state_dict({**supervisor.state_dict(), "shown": shown})
    supervisor.demonstrate(10)
    assert supervisor.is_demonstrating == goes_on


def test_success_without_a_guided_step_is_not_the_agents(make):
    supervisor = make(says(None, reason="not_visible"))
    supervisor.demonstrate(1)
    show(supervisor, True, guided_steps=0)
    assert supervisor.is_demonstrating


def test_plan_that_ended_without_success_is_followed_by_another_up_to_three(make):
    supervisor = make(says(GUIDE))
    supervisor.demonstrate(1)
    assert len(run_rollout(supervisor, steps=6)) == 3


def test_demonstrations_do_not_count_as_what_the_policy_can_alone_nor_as_triggers(make):
    supervisor = make(says(GUIDE))
    supervisor.demonstrate(3)
    show(supervisor, True)
    assert supervisor.state_dict()["unaided"] == [] and "triggers" not in supervisor.metrics()


def test_resumed_supervisor_goes_on_showing_where_it_was(make):
    first, second = make(says(GUIDE)), make(says(GUIDE))
    first.demonstrate(2)
    show(first, True)
    second.load_state_dict(first.state_dict())
    second.demonstrate(2)
    show(second, True)
    assert not second.is_demonstrating


def test_agent_that_cannot_show_how_is_asked_again_a_while_later(make):
    supervisor = make(says(None, reason="rate_limited"))
    supervisor.demonstrate(1)
    run_rollout(supervisor, steps=12)
    assert supervisor.metrics()["questions"] == 2


# --- the arm rises where it hides what the question is about -------------------------------------------------


class Sees:
    """An agent that does not see the keypoints the first so many times."""

    def __init__(self, hidden: int, reason: str = "not_visible") -> None:
        self.asked: list[dict] = []
        self._hidden, self._reason = hidden, reason

    async def __call__(self, scene, embedding, trigger) -> Answer:
        self.asked.append(trigger)
        return says(None, self._reason) if len(self.asked) <= self._hidden else says(GUIDE)


def answered(supervisor: AgentSupervisor, steps: int = 20) -> list[tuple[int, str, float]]:
    """Return step, id and first height, [m], of the waypoints that a rollout got; each takes two steps to follow."""
    supervisor.start_episode(0, seen(0))
    got, active = [], 0
    for step in range(steps):
        active = max(0, active - 1)
        answer = supervisor.review(seen(step), active=GUIDE if active else None)
        if answer is not None:
            got.append((step, answer.id, round(float(answer.waypoints[0].T_base_tcp[2, 3]), 6)))
            active = 3
            supervisor.note_end(replace(BLOCKED, id=answer.id, how="reached"))
    return got


@pytest.mark.parametrize("reason", ["not_visible", "no_depth", "implausible_keypoints", "cameras_disagree"])
def test_arm_that_hides_a_keypoint_rises_and_the_agent_looks_again(make, reason):
    agent = Sees(1, reason)
    supervisor = make(says(GUIDE), ask=agent)
    # The stall rule fires at step 3; the arm rises by 4 cm from 0.1 m, and the agent looks when that is over.
    assert answered(supervisor) == [(3, "0001", 0.14), (6, "0002", 0.1)]
    first, second = agent.asked
    assert second == {**first, "step": 6} and "last_plan" not in second  # it is the same question
    assert supervisor.metrics()["triggers"] == 1 and supervisor.metrics()[f"declined/{reason}"] == 1


def test_arm_rises_once_in_a_rollout(make):
    supervisor = make(says(GUIDE), ask=Sees(9))
    assert answered(supervisor) == [(3, "0001", 0.14)]
    assert supervisor.metrics()["questions"] == 2


def test_arm_rises_again_in_the_next_rollout(make):
    supervisor = make(says(GUIDE), ask=Sees(9))
    assert len(answered(supervisor)) == len(answered(supervisor)) == 1


@pytest.mark.parametrize("reason", ["not_json", "rate_limited", "outside_workspace", "timeout"])
def test_arm_stays_where_something_else_was_wrong(make, reason):
    supervisor = make(says(GUIDE), ask=Sees(1, reason))
    assert answered(supervisor) == [] and supervisor.metrics()["questions"] == 1


def test_questions_of_a_rollout_are_as_many_as_allowed_beside_the_one_that_was_asked_twice(make):
    supervisor = make(says(GUIDE), ask=Sees(1), max_queries=2)
    assert [id for _, id, _ in answered(supervisor, steps=60)] == ["0001", "0002", "0003"]


def test_no_one_agrees_no_arm_rises(make):
    supervisor = make(says(GUIDE), ask=Sees(1))
    supervisor._approve = lambda guide: False
    assert answered(supervisor) == [] and supervisor.metrics()["declined/not_confirmed"] == 1


def test_agent_that_shows_rises_too(make):
    supervisor = make(says(GUIDE), ask=Sees(1))
    supervisor.demonstrate(1)
    assert answered(supervisor)[:2] == [(0, "0001", 0.14), (3, "0002", 0.1)]


@pytest.mark.parametrize(
    ("x", "z", "top"),
    [(0.5, 0.1, 0.14), (0.5, 0.17, 0.2), (0.5, 0.1901, None), (0.5, 0.2, None), (0.5, 0.25, None), (0.601, 0.1, 0.14)],
)
def test_retreat_is_straight_up_and_stays_in_the_workspace(x, z, top):
    way = retreat(pose(np.array([x, 0.02, z]), DOWN), 0.3, BOX)
    if top is None:
        assert way is None
        return
    (waypoint,) = way.waypoints
    assert waypoint.T_base_tcp == pytest.approx(pose(np.array([min(x, 0.6), 0.02, top]), DOWN))
    assert (waypoint.gripper_opening, waypoint.motion, waypoint.blend_m) == (0.3, "free", 0.0)


def test_arm_does_not_rise_for_a_box(make):
    supervisor = make(replace(says(None, "not_visible"), state={"mode": "prune"}))
    assert answered(supervisor) == [] and supervisor.metrics()["questions"] == 1


def test_arm_rises_from_where_it_is_when_the_answer_comes(make):
    supervisor, agent = ask_and_go_on(make, says(None, "not_visible"))
    agent.answers(supervisor)
    rise = supervisor.review(gone(9.0))
    assert rise.waypoints[0].T_base_tcp[:3, 3] == pytest.approx([0.509, 0.0, 0.14])


def test_question_of_a_rise_that_a_human_ends_is_not_asked_again(make):
    supervisor = make(says(GUIDE), ask=Sees(1))
    supervisor.start_episode(0, seen(0))
    rise = next(answer for step in range(5) if (answer := supervisor.review(seen(step))) is not None)
    supervisor.note_end(replace(BLOCKED, id=rise.id, how="taken_over"))
    supervisor.review(seen(6))
    assert supervisor.metrics()["questions"] == 1


def test_rollout_that_only_rose_is_no_demonstration_and_not_what_led_up_to_it_an_example(make):
    supervisor = make(says(GUIDE), ask=Sees(9))
    supervisor.demonstrate(1)
    answered(supervisor, steps=3)
    supervisor.finish_episode(replace(ended(success=True, helped=True), guided_steps=3))
    assert supervisor.is_demonstrating


@pytest.mark.parametrize(
    ("help_share", "moved", "at_first", "later"),
    [
        (None, 10, (40, 80), (0, 0)),  # 10 of 20 rollouts began in another scene
        (None, 11, (100, 100), (100, 100)),
        (0.5, 20, (35, 65), (0, 0)),
        (0.0, 20, (0, 0), (0, 0)),
    ],
)
def test_in_a_scene_that_moves_every_rollout_may_get_help_unless_a_share_is_given(
    make, help_share, moved, at_first, later
):
    """Whoever showed the task: a supervisor that showed nothing sees that the scene moves, too."""
    supervisor = make(says(Prune(box=BOX)), help_share=help_share, stall="always")
    looked = {"rollouts": 20, "moved": moved}
    supervisor.load_state_dict({**supervisor.state_dict(), "looked": looked})
    assert at_first[0] <= sum(len(run_rollout(supervisor, episode=episode)) for episode in range(100)) <= at_first[1]
    for episode in range(100, 120):  # the policy succeeds alone
        supervisor.start_episode(episode, seen(0))
        supervisor.finish_episode(ended(success=True, episode=episode))
    assert later[0] <= sum(len(run_rollout(supervisor, episode=episode)) for episode in range(100)) <= later[1]


@pytest.mark.parametrize(("references", "lengths"), [("newest", {4}), ("demonstrations", {9})])
def test_detectors_follow_the_policy_unless_demonstrations_alone_shall_count(make, references, lengths):
    supervisor = make(says(GUIDE), max_references=5, references=references)
    demo = {name: np.zeros((10, 8, 8, 3), np.uint8) for name in supervisor._encoder.cameras} | {"action": np.zeros(9)}
    supervisor.calibrate([demo] * 5)
    for episode in range(5):
        supervisor.start_episode(episode, seen(0))
        for step in range(4):
            supervisor.review(seen(step, look=step))
        supervisor.finish_episode(ended(success=True, episode=episode))
    assert {len(reference) for reference in supervisor.state_dict()["fitted_on"]} == lengths


def test_teacher_hears_which_plans_are_for_the_scene_that_a_rollout_begins_with(make):
    supervisor, heard = make(says(GUIDE)), []
    supervisor.teacher = SimpleNamespace(
        start_episode=heard.append, finish_episode=lambda outcome: None, state_dict=dict, note=lambda *_: None
    )
    table = Table()
    supervisor._surroundings = table.surroundings
    supervisor._memory = SimpleNamespace(records=lambda: [made("a", 0, 1), made("b", 20, 2)], close=lambda: None)
    for episode, right in enumerate([0, 20, 40, 60]):
        table.right = right
        supervisor.start_episode(episode, seen(0))
    assert heard == [("a",), ("b",), (), ()]
    assert supervisor.state_dict()["looked"] == {"rollouts": 4, "moved": 2}
