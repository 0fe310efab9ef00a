"""Rewards that a run cannot learn from are warned about, once."""

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

from rl.algorithm import GuidedAlgorithm
from rl.drq import DrQ
from tests.rl.counting import ALGORITHMS, Counting, demonstration, make_model

each_algorithm = pytest.mark.parametrize("kind", ALGORITHMS)


class Paying(Counting):
    """Counting that pays the same for every step."""

    def __init__(self, pay: float) -> None:
        super().__init__(horizon=10)
        self.pay = pay

    def reward(self) -> float:
        return self.pay


@each_algorithm
@pytest.mark.parametrize(
    ("pay", "settings", "words"),
    [
        (-0.5, {}, "returns from -0.5 to -0.5, outside of 0 to 1"),  # a cost per step: seen at once
        (3.0, {}, "returns from 3 to 3, outside of 0 to 1"),
        (0.2, {"gamma": 0.9}, r"returns from 0.2 to 1.303, outside of 0 to 1"),  # 0.2 (1 - 0.9^10) / 0.1, with its end
        (-1.0, {"clip_target": (-0.5, 1.0), "reward_scale": 1.5}, "returns from -1 to -1, outside of -0.75 to 1.5"),
    ],
)
def test_returns_beyond_clip_target_are_warned_about_once(
    kind: type[GuidedAlgorithm],
    pay: float,
    settings: dict[str, object],
    words: str,
    caplog: pytest.LogCaptureFixture,
):
    model = make_model(kind, Paying(pay), **{"clip_target": (0.0, 1.0), **settings})
    with pytest.warns(UserWarning, match=words) as caught:
        model.learn(40)
    assert len(caught) == 1 and "clip_target" in str(caught[0].message)
    assert len(caplog.records) == 1


@each_algorithm
def test_range_that_rewards_showed_to_be_wrong_is_not_back_in_a_loaded_model(
    kind: type[GuidedAlgorithm], tmp_path: Path
):
    model = make_model(kind, Paying(5.0), clip_target=(0.0, 1.0))
    with pytest.warns(UserWarning, match="returns from"):
        model.learn(40)
    model.save(tmp_path / "policy.zip")
    assert model.clip_target is None and kind.load(tmp_path / "policy.zip", device="cpu").clip_target is None


@each_algorithm
@pytest.mark.parametrize(
    ("pay", "settings"),
    [
        (0.0, {}),
        (0.09, {"gamma": 0.92}),  # 0.09 / (1 - 0.92) is above 1, but ten steps give 0.64
        (-0.1, {"clip_target": (-0.71, 1.0), "gamma": 0.92}),  # -0.1 (1 - 0.92^10) / 0.08 = -0.707
        (10.0, {"clip_target": (0.0, 1.0), "reward_scale": 71.0, "gamma": 0.92}),
        (-50.0, {"clip_target": None}),
        (5.0, {"clip_target": (0.0, 1e9)}),
    ],
)
def test_returns_within_clip_target_are_not_warned_about(
    kind: type[GuidedAlgorithm], pay: float, settings: dict[str, object]
):
    model = make_model(kind, Paying(pay), **{"clip_target": (0.0, 1.0), **settings})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(40)


def test_rewards_of_demonstrations_are_looked_at_too(caplog: pytest.LogCaptureFixture):
    model = make_model(DrQ)
    with pytest.warns(UserWarning, match="returns from -2"), caplog.at_level(logging.WARNING):
        model.add_demonstrations([demonstration(reward=np.array([0, 0, 0, 0, 0, -2.0]))])
