import numpy as np
import pytest

from rl.supervisor import Hand, HumanSupervisor, NullSupervisor
from rl.transforms import pose
from rl.types import EpisodeOutcome, Observation, RobotState, Takeover


def observe(step: int) -> Observation:
    robot = RobotState(T_base_tcp=pose(np.zeros(3)), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=1.0)
    return Observation(images={}, state=np.zeros(1, np.float32), robot=robot, T_base_ref=robot.T_base_tcp, step=step)


def outcome(*, success: bool = True) -> EpisodeOutcome:
    return EpisodeOutcome(
        episode=0,
        success=success,
        terminated=success,
        truncated=not success,
        steps=10,
        guided_steps=0,
        pruned_steps=0,
        final_robot=None,
    )


class Device(Hand):
    """A SpaceMouse that is pushed down on given steps."""

    def __init__(self, pushed: set[int]) -> None:
        self.pushed = pushed

    def read(self, observation: Observation):
        return np.array([0, 0, -1, 0, 0, 0]) if observation.step in self.pushed else None


def watch(supervisor: HumanSupervisor, steps: int = 10) -> list[Takeover | None]:
    supervisor.start_episode(0, observe(0))
    answers = [supervisor.review(observe(step)) for step in range(steps)]
    supervisor.finish_episode(outcome())
    return answers


def test_steps_with_a_hand_on_the_device_are_takeovers_and_the_others_are_not() -> None:
    answers = watch(HumanSupervisor(Device({2, 3, 7})))
    assert [answer is not None for answer in answers] == [step in {2, 3, 7} for step in range(10)]
    np.testing.assert_array_equal(answers[7].action, [0, 0, -1, 0, 0, 0])


def test_each_stretch_has_one_name() -> None:
    answers = watch(HumanSupervisor(Device({2, 3, 7})))
    assert [answers[step].id for step in (2, 3, 7)] == ["human-0001", "human-0001", "human-0002"]


def test_hand_left_on_between_rollouts_is_a_new_stretch() -> None:
    supervisor = HumanSupervisor(Device(set(range(10))))
    watch(supervisor)
    assert watch(supervisor)[0].id == "human-0002"


def test_books_count_stretches_and_seconds() -> None:
    supervisor = HumanSupervisor(Device({2, 3, 7}), period_s=0.1)
    watch(supervisor)
    watch(supervisor)
    assert supervisor.metrics() == {"human_interventions": 4, "human_s": pytest.approx(0.6)}
    assert supervisor.last_episode == {"human_stretches": [[2, 2], [7, 1]]}


def test_books_go_on_after_a_resume() -> None:
    first, second = (HumanSupervisor(Device({2, 3})) for _ in range(2))
    watch(first)
    second.load_state_dict(first.state_dict())
    assert watch(second)[2].id == "human-0002"
    assert second.metrics()["human_interventions"] == 2


def test_nobody_notes_nothing() -> None:
    assert NullSupervisor().last_episode == {}


@pytest.mark.parametrize("supervisor", [NullSupervisor(), HumanSupervisor(Device(set()))])
def test_supervisor_without_a_detector_takes_demonstrations_and_reads_nothing(supervisor):
    supervisor.calibrate([{"action": np.zeros((3, 6))}])
    assert supervisor.reading is None
