"""RND and logpZO: new frames score high, and both keep what a failure detector promises."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

from agps_agent.detectors import Reading, make_detector
from agps_agent.detectors.float.transport import EmbeddingMismatch
from agps_agent.detectors.novelty.watch import FrameSpace, NoveltyConfig, NoveltyWatch
from rl.errors import AgpsError, ConfigError
from rl.types import Observation, RobotState

NAMES = ("agps_agent.detectors.novelty.rnd:RND", "agps_agent.detectors.novelty.logpzo:LogpZO")
QUICK = NoveltyConfig(updates=150, width=32)
ROBOT = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)


def observation(step: int) -> Observation:
    return Observation(images={}, state=np.zeros(4, np.float32), robot=ROBOT, T_base_ref=np.eye(4), step=step)


def way(seed: int, *, aside: float = 0.0, steps: int = 15) -> np.ndarray:
    """A rollout's embeddings (steps, 8): along one line, from the middle on `aside` it, with a little noise."""
    rng, t = np.random.default_rng(seed), np.linspace(0.0, 1.0, steps)[:, None]
    line = t * np.array([3.0, 1.0, *[0.0] * 6]) + aside * (t > 0.5) * np.array([0.0, 0.0, 1.0, *[0.0] * 5])
    return np.asarray(line + 0.05 * rng.standard_normal((steps, 8)))


def readings(detector: NoveltyWatch, rollout: np.ndarray) -> list[Reading]:
    detector.reset()
    return [detector.update(observation(step), frame) for step, frame in enumerate(rollout)]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(name: str, config: NoveltyConfig = QUICK) -> NoveltyWatch:
    detector = make_detector(name, horizon=30, config=config)
    assert isinstance(detector, NoveltyWatch) and detector.fit([way(seed) for seed in range(10)])
    return detector


def test_further_points_are_newer_and_near_ones_are_not(name: str) -> None:
    detector = made(name)
    middle = np.array([1.5, 0.5, *[0.0] * 6])
    aside = np.array([0.0, 0.0, 1.0, *[0.0] * 5])
    indices = []
    for distance in (0.0, 1.0, 3.0, 9.0):
        detector.reset()
        indices.append(detector.update(observation(0), middle + distance * aside).index)
    assert all(near < far for near, far in pairwise(indices)) and indices[1] > 3.0 * indices[0]


def test_rollout_that_leaves_the_line_wakes_the_agent_and_one_that_follows_it_does_not(name: str) -> None:
    detector = made(name)
    assert not any(reading.triggered for reading in readings(detector, way(100)))
    first = next(step for step, reading in enumerate(readings(detector, way(101, aside=1.0))) if reading.triggered)
    assert 7 <= first <= 9  # it leaves at step 8


def test_it_is_made_the_same_again_and_leaves_the_random_state_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other = made(name), made(name)
    assert torch.equal(torch.random.get_rng_state(), before)
    one.load_state_dict(json.loads(json.dumps(other.state_dict())))
    assert readings(one, way(102, aside=0.4)) == readings(other, way(102, aside=0.4))


def test_it_waits_for_warm_up_and_after_help(name: str) -> None:
    detector = made(name, NoveltyConfig(updates=20, width=8, warmup_steps=2, cooldown_steps=3))
    far = np.full((8, 8), 50.0)
    assert [reading.triggered for reading in readings(detector, far)] == [False] * 2 + [True] * 6
    detector.rearm()
    assert [detector.update(observation(9), far[0]).triggered for _ in range(4)] == [False] * 3 + [True]


def test_too_few_references_are_no_error_and_no_reading_comes_before_enough(name: str) -> None:
    detector = make_detector(name, horizon=30, config=QUICK)
    assert not detector.fit([way(seed) for seed in range(4)])
    with pytest.raises(AgpsError, match="has no references yet; call fit first"):
        detector.update(observation(0), way(0)[0])


def test_embedding_that_is_not_finite_is_refused(name: str) -> None:
    with pytest.raises(EmbeddingMismatch, match="not finite"):
        made(name).update(observation(0), np.full(8, np.nan))


def test_alpha_that_is_no_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"alpha = 1\.5 is not between 0 and 1"):
        NoveltyConfig(alpha=1.5)


def test_frames_keep_their_distance_from_the_components() -> None:
    frames = np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -0.5, 0.0], [0.0, 0.5, 0.0]])
    space = FrameSpace(frames, components=1)
    assert space.dim == 2
    # Along x the deviation is sqrt(2 / 4), beyond it sqrt(0.5 / 4): (2, 0, 3) lies 2.83 and 8.49 of them away.
    np.testing.assert_allclose(np.abs(space(np.array([[2.0, 0.0, 3.0]]))), [[2.828, 8.485]], atol=1e-3)
