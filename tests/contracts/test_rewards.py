"""What every registered reward must do, ours and those of installed packages; and what is made of their answers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rl.envs import JudgedEnv, make_env
from rl.envs.manipulation import ManipulationEnv
from rl.envs.robot import RobotEnv
from rl.errors import AgpsError, ConfigError
from rl.rewards import REWARDS, Reward, Setting, Verdict, View, make_reward
from rl.rewards.base import load_reward
from rl.rewards.classifier import RewardClassifier
from rl.rewards.classifier.classifier import Setup, make_network
from rl.rollout import run_episode
from rl.tasks import get_task
from tests.rl.envs.robots import FailingBackend, Typed

HOLD = np.zeros(6, np.float32)
CAMERAS = ("wrist_1", "wrist_2")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that has learned nothing."""
    torch.manual_seed(0)
    setup = Setup(task="usb_insertion", cameras=CAMERAS, image_size=64, width=8)
    path = tmp_path_factory.mktemp("reward") / "classifier.pt"
    RewardClassifier(setup=setup, network=make_network(setup), threshold=0.5).save(path)
    return path


@pytest.fixture
def env() -> ManipulationEnv:
    return make_env("usb_insertion", robot="fake", horizon=6)


def setting_of(env: ManipulationEnv, file: Path | None = None) -> Setting:
    return Setting(task=env.task, image_size=env.image_size, file=file)


@pytest.fixture(params=REWARDS.names)
def reward(request: pytest.FixtureRequest, env: ManipulationEnv, file: Path) -> Reward:
    try:
        return make_reward(request.param, setting_of(env, file))
    except ConfigError as error:
        if request.param in ("truth", "classifier", "keys"):
            raise
        pytest.skip(f"It is for another task: {error}")


def test_it_answers_at_each_step_and_the_episode_ends(env: ManipulationEnv, reward: Reward) -> None:
    moments = list(run_episode(JudgedEnv(env, reward), lambda now: HOLD, seed=0))[1:]
    assert [moment.is_over for moment in moments] == [False] * (len(moments) - 1) + [True]
    for moment in moments:
        assert np.isfinite(moment.reward) and moment.terminated == moment.info["is_success"]


def test_same_episode_is_judged_alike_after_reset(env: ManipulationEnv, reward: Reward) -> None:
    judged = JudgedEnv(env, reward)
    twice = [[(m.reward, m.terminated) for m in run_episode(judged, lambda now: HOLD, seed=0)] for _ in range(2)]
    assert twice[0] == twice[1]


def test_moment_that_is_restored_is_judged_alike(env: ManipulationEnv, reward: Reward) -> None:
    judged = JudgedEnv(env, reward)
    judged.reset(seed=0)
    moment = judged.snapshot()
    first = judged.step(HOLD)[1:4]
    judged.restore(moment)
    assert judged.step(HOLD)[1:4] == first


def test_it_is_closed_twice(reward: Reward) -> None:
    reward.close()
    reward.close()


def test_it_says_what_it_needs(reward: Reward) -> None:
    assert reward.needs in ("nothing", "truth", "keys")


@pytest.mark.parametrize("name", ["truth", "keys"])
def test_reward_that_is_the_environments_own_changes_nothing(name: str) -> None:
    plain, inner = (make_env("usb_insertion", robot="fake") for _ in range(2))
    judged = JudgedEnv(inner, make_reward(name, setting_of(inner)))
    ends = [
        [(m.reward, m.terminated, m.truncated, m.info.get("is_success")) for m in run_episode(env, expert, seed=3)]
        for env, expert in ((plain, acting(plain)), (judged, acting(inner)))
    ]
    assert ends[0] == ends[1] and ends[0][-1][1]


def acting(env: ManipulationEnv):
    expert = env.expert()
    return lambda now: expert(now.observation, env.truth())


class Scripted(Reward):
    """Says what it is told to say, step by step; keeps what it was shown."""

    def __init__(self, *says: Verdict | None) -> None:
        self.says, self.seen = list(says), []

    def reset(self, view: View) -> None:
        self.seen = []

    def judge(self, view: View) -> Verdict | None:
        self.seen.append(view)
        return self.says[len(self.seen) - 1] if len(self.seen) <= len(self.says) else None


def ends(env: ManipulationEnv, reward: Reward) -> list[tuple[float, bool, bool]]:
    moments = list(run_episode(JudgedEnv(env, reward), lambda now: HOLD, seed=0))[1:]
    return [(moment.reward, moment.terminated, moment.truncated) for moment in moments]


def test_answer_that_is_not_known_yet_lets_the_episode_go_on(env: ManipulationEnv) -> None:
    assert ends(env, Scripted(None, None, None)) == [(0.0, False, False)] * 5 + [(0.0, False, True)]


def test_late_success_ends_the_episode_where_it_is_said_and_pays_that_step(env: ManipulationEnv) -> None:
    assert ends(env, Scripted(None, None, Verdict(success=True))) == [(0.0, False, False)] * 2 + [(1.0, True, False)]


def test_success_at_the_horizon_is_terminal_and_not_truncated(env: ManipulationEnv) -> None:
    reward = Scripted(*[None] * 5, Verdict(success=True))
    assert ends(env, reward)[-1] == (1.0, True, False)
    assert [view.is_last for view in reward.seen] == [False] * 5 + [True]


def test_steps_may_be_paid_on_the_way(env: ManipulationEnv) -> None:
    reward = Scripted(Verdict(success=False, reward=0.25), Verdict(success=True, reward=2.0))
    assert ends(env, reward) == [(0.25, False, False), (2.0, True, False)]


def test_payment_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="A reward of nan cannot be learned from"):
        Verdict(success=False, reward=float("nan"))


def test_full_resolution_frames_are_taken_only_when_they_are_asked_for(env: ManipulationEnv) -> None:
    reward = Scripted()
    ends(env, reward)
    frames = {frame.name: frame for frame in reward.seen[0].capture()}
    assert frames.keys() == {camera.name for camera in env.task.agent_cameras}
    assert min(frame.rgb.shape[0] for frame in frames.values()) >= 480


class Looking(Scripted):
    """Holds the arm and takes a picture at each step."""

    def judge(self, view: View) -> Verdict | None:
        view.hold()
        view.capture()
        return super().judge(view)


def robot(**changes) -> RobotEnv:
    keys = changes.pop("keys", None)
    task = get_task("usb_insertion", horizon=5)
    return RobotEnv(task, FailingBackend(task, **changes), keys=keys, settle_s=0.0)


def test_arm_is_held_while_a_slow_reward_looks() -> None:
    env = robot()
    ends(env, Looking())
    assert env.robot_backend.log[-1] == "pause"


def test_camera_that_fails_while_the_reward_looks_ends_the_episode_not_the_run() -> None:
    assert ends(robot(blind=True), Looking()) == [(0.0, False, False), (0.0, False, True)]


def test_key_of_the_operator_overrides_the_verdict_and_its_payment() -> None:
    env = robot(keys=Typed(fail=1))
    assert ends(env, Scripted(Verdict(success=True, reward=7.0))) == [(0.0, False, True)]


def test_mistake_of_a_reward_is_one_sentence_that_names_it(env: ManipulationEnv) -> None:
    class Broken(Scripted):
        def judge(self, view: View) -> Verdict | None:
            raise KeyError("depth")

    with pytest.raises(AgpsError, match=r"The reward Broken failed at step 1 \(KeyError: 'depth'\)"):
        ends(env, Broken())


def test_answer_that_is_no_verdict_is_refused(env: ManipulationEnv) -> None:
    with pytest.raises(AgpsError, match="The reward Scripted said True at step 1; return a Verdict, or None"):
        ends(env, Scripted(True))  # type: ignore[arg-type]


def test_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match="Unknown reward 'trut'; known: classifier, keys, truth"):
        load_reward("trut")


def test_what_is_no_reward_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no reward: derive a class from"):
        load_reward("rl.types:Box")
