"""An operator's keys become labels; the arm obeys at once and fails when it is told to."""

import numpy as np
import pytest

from rl.envs.robot import RobotEnv
from rl.errors import ConfigError, HardwareFault
from rl.rewards.classifier.frames import load_frames
from rl.rewards.classifier.labelling import collect_labelled, labels_from_keys, run_labelled
from rl.tasks import get_task
from tests.rl.envs.robots import FailingBackend
from tests.rl.rewards.classifier.folders import keep_frames

HORIZON = 40
STILL = np.zeros(6, np.float32)


class Operator:
    """Presses the same keys at the same control steps, counting from 0, of every episode of full length."""

    def __init__(self, **at):
        self.at, self.reads = {step: key for key, step in at.items()}, -1

    def read(self):
        self.reads += 1
        return self.at.get(self.reads % (HORIZON + 1) - 1)  # a reset reads once


def arm(*, knows_truth=False, keys=None, **backend):
    task = get_task("usb_insertion", horizon=HORIZON)
    return RobotEnv(
        task, FailingBackend(task, **backend), image_size=32, knows_truth=knows_truth, keys=keys, settle_s=0.0
    )


def drift(observation):
    return np.array([0.05, 0.0, 0.0, 0.0, 0.0, 0.0], np.float32)


def collect(env, **asked):
    return collect_labelled(env, drift, source="hand", seed=7, **{"positive": 30, "negative": 60, **asked})


def spelled(keys, doubt):
    named = {"s": "success", "f": "fail", ".": None}
    success, certain = labels_from_keys([named[key] for key in keys], doubt=doubt)
    return "".join("?" if not c else "+" if s else "-" for s, c in zip(success, certain, strict=True))


@pytest.mark.parametrize(
    ("keys", "labels"),
    [
        ("............", "----------??"),
        (".....s......", "---??+++++??"),
        (".....s..f...", "---??+??--??"),
        (".....sf.....", "---???----??"),
        ("s..s..s.....", "++++++++++??"),
        ("f..f........", "----------??"),
        ("", ""),
    ],
)
def test_time_before_a_key_is_left_out_and_repeating_it_changes_nothing(keys, labels):
    assert spelled(keys, doubt=2) == labels


def test_frames_from_s_to_f_are_successes():
    keys = Operator(success=15, fail=28)
    episode = run_labelled(arm(keys=keys), drift, source="hand", seed=0)
    assert list(episode.step[episode.success]) == [16, 17, 18]  # 10 steps before f are left out
    assert list(episode.step[~episode.success]) == [1, 2, 3, 4, 5, 29, 30]
    assert set(episode.source) == {"hand"}


def test_key_neither_ends_the_episode_nor_the_motion():
    env = arm(keys=Operator(success=3, fail=20))
    run_labelled(env, drift, source="hand", seed=0)
    assert env.robot_backend.calls["command"] == HORIZON


def test_asked_numbers_come_from_several_episodes_and_can_be_fitted_to(tmp_path):
    env = arm(keys=Operator(success=15))
    heard, counts = [], []
    episodes = list(collect(env, on_key=heard.append, report=lambda *count: counts.append(count)))
    assert sum(e.success.sum() for e in episodes) == 30 and sum((~e.success).sum() for e in episodes) == 60
    assert sum(bool(e.success.any()) for e in episodes) >= 10
    assert [e.seed for e in episodes] == list(range(7, 7 + len(episodes)))
    assert counts[-1] == (30, 60) and set(heard) == {"success"}
    keep_frames(tmp_path / "frames", episodes, env=env, seed=0, robot="franka")
    frames = load_frames([tmp_path / "frames"], task="usb_insertion")
    assert {str(split) for split in frames.split[frames.success]} == {"train", "validation", "held_out"}


def test_truth_of_an_emulated_scene_labels_what_nobody_judged():
    from rl.tasks.expert import make_expert

    env = arm(knows_truth=True)
    expert = make_expert(env.task)
    episode = run_labelled(env, lambda seen: expert(seen, env.truth()), source="policy", seed=0)
    assert episode.success.any() and not episode.success.all() and len(episode.success) == HORIZON


def test_fault_keeps_what_was_seen_before_it_and_goes_on():
    env = arm(keys=Operator(), fail_at=[25])
    episodes = list(collect(env, positive=0, negative=60))
    assert episodes[0].step.max() <= 14  # the 25th step failed; the second before is not certain
    assert sum(len(e.success) for e in episodes) == 60
    assert env.metrics()["recoveries"] == 1


def test_fault_at_the_first_step_costs_no_frame():
    env = arm(keys=Operator(), fail_at=[1])
    assert sum(len(e.success) for e in collect(env, positive=0, negative=20)) == 20


def test_arm_that_stays_broken_ends_it_after_what_was_finished():
    env = arm(keys=Operator(), fail_at=[60], unrecoverable=True)
    episodes = []
    with pytest.raises(HardwareFault, match="3 times"):
        for episode in collect(env):
            episodes.append(episode)
    assert len(episodes) == 2


def test_operator_who_never_presses_s_is_told_in_the_end():
    with pytest.raises(ConfigError, match="0 of 1 successes and 2 of 2 failures"):
        list(collect(arm(keys=Operator()), positive=1, negative=2))


def test_stop_ends_it_at_once():
    env = arm(keys=Operator(stop=3))
    with pytest.raises(KeyboardInterrupt):
        list(collect(env))
    assert env.robot_backend.log[-1] == "stop"
