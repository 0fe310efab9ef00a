"""What every registered failure detector must do, ours and those of installed packages."""

import json
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from agps_agent.detectors import DETECTORS, FailureDetector, Reading, Watch, make_detector
from agps_agent.detectors.base import load_detector
from rl.errors import AgpsError, ConfigError
from rl.types import Observation, RobotState

HORIZON = 40
RNG = np.random.default_rng(0)
REFERENCES = [np.cumsum(RNG.normal(size=(12, 6)), axis=0).astype(np.float32) for _ in range(8)]
"""Embeddings of eight good rollouts."""


def observation(step: int, *, x_m: float = 0.0, force_N: float = 0.0) -> Observation:
    T_base_tcp = np.eye(4)
    T_base_tcp[0, 3] = x_m
    wrench = np.array([0.0, 0.0, force_N, 0.0, 0.0, 0.0])
    robot = RobotState(T_base_tcp=T_base_tcp, twist=np.zeros(6), wrench=wrench, gripper_opening=0.0)
    images = {"wrist_1": np.zeros((8, 8, 3), np.uint8)}
    return Observation(images=images, state=np.zeros(4, np.float32), robot=robot, T_base_ref=T_base_tcp, step=step)


def rollout(detector: FailureDetector, *, seed: int = 1, steps: int = HORIZON) -> list[Reading]:
    """What it says of an arm that stands still, presses and sees noise."""
    rng = np.random.default_rng(seed)
    detector.reset()
    return [
        detector.update(observation(step, force_N=50.0), rng.normal(size=6).astype(np.float32)) for step in range(steps)
    ]


@pytest.fixture(params=DETECTORS.names)
def detector(request: pytest.FixtureRequest) -> FailureDetector:
    made = make_detector(request.param, horizon=HORIZON)
    assert made.fit(REFERENCES)
    return made


def test_it_says_its_own_name_and_numbers_that_can_be_compared(detector: FailureDetector) -> None:
    for reading in rollout(detector):
        assert reading.name == detector.name
        assert (reading.index is None) == (reading.threshold is None)
        assert all(
            value is None or np.isfinite(value) for value in (reading.index, reading.threshold, reading.relative)
        )


def test_it_is_registered_under_the_name_that_it_says(detector: FailureDetector) -> None:
    assert detector.name in DETECTORS


def test_rollout_that_stands_still_and_presses_wakes_the_agent(detector: FailureDetector) -> None:
    assert any(reading.triggered for reading in rollout(detector))


def test_same_rollout_is_judged_alike_after_reset(detector: FailureDetector) -> None:
    assert rollout(detector) == rollout(detector)


def test_it_waits_after_help(detector: FailureDetector) -> None:
    rollout(detector)
    detector.rearm()
    assert not detector.update(observation(HORIZON, force_N=50.0), np.zeros(6, np.float32)).triggered


def test_readings_are_frozen(detector: FailureDetector) -> None:
    with pytest.raises(FrozenInstanceError):
        rollout(detector, steps=1)[0].triggered = True  # type: ignore[misc]


def test_resumed_detector_judges_as_the_uninterrupted_one(detector: FailureDetector) -> None:
    rollout(detector, seed=2)
    resumed = make_detector(detector.name, horizon=HORIZON)
    resumed.fit(REFERENCES)
    resumed.load_state_dict(json.loads(json.dumps(detector.state_dict())))
    assert rollout(resumed) == rollout(detector)


def test_too_few_references_are_no_error(detector: FailureDetector) -> None:
    fresh = make_detector(detector.name, horizon=HORIZON)
    assert fresh.fit(REFERENCES[:1]) is (fresh.min_references <= 1)


class Counting(FailureDetector):
    """Fires at given steps."""

    name = "counting"

    def __init__(self, horizon: int = HORIZON, *, at: tuple[int, ...] = (), name: str = "counting") -> None:
        self.at, self.name = at, name  # type: ignore[misc]

    def update(self, observation: Observation, embedding: np.ndarray) -> Reading:
        index = float(observation.step)
        return Reading(name=self.name, triggered=observation.step in self.at, index=index, threshold=4.0)


def watched(*detectors: FailureDetector, steps: int = 6, **options: object) -> tuple[Watch, list[str | None]]:
    watch = Watch(detectors, max_references=20, **options)
    watch.reset()
    woken = [watch.update(observation(step), np.zeros(6)) for step in range(steps)]
    return watch, [None if reading is None else reading.name for reading in woken]


def test_first_of_several_that_fire_at_one_step_wakes_the_agent() -> None:
    first, second = Counting(at=(2, 3), name="first"), Counting(at=(1, 2), name="second")
    assert watched(first, second)[1] == [None, "second", "first", "first", None, None]


def test_log_has_a_trace_of_each_detector_that_measures() -> None:
    watch, _ = watched(Counting(), make_detector("stall", horizon=HORIZON), steps=3)
    row = watch.log()
    assert row["detectors"] == ["counting", "stall"] and not any(key.startswith("stall_") for key in row)
    assert row["counting_trace"] == [0.0, 1.0, 2.0] and row["counting_scores"] == [0.0, 0.25, 0.5]
    assert (row["counting_max"], row["counting_threshold"]) == (2.0, 4.0)


def test_stand_in_watches_only_until_the_others_are_fitted() -> None:
    watch, woken = watched(make_detector("float", horizon=HORIZON), Counting(at=(0,)), stand_ins=("counting",))
    assert woken[0] == "counting"
    watch.calibrate(REFERENCES)
    watch.reset()
    watch.update(observation(0), np.zeros(6))
    assert "counting_trace" in watch.log() and watch.log()["counting_trace"] == []


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="called counting, counting; each needs a name of its own"):
        watched(Counting(), Counting())


def test_mistake_of_a_detector_is_one_sentence_that_names_it() -> None:
    class Broken(Counting):
        def update(self, observation: Observation, embedding: np.ndarray) -> Reading:
            raise KeyError("torque")

    with pytest.raises(AgpsError, match=r"The detector counting failed \(KeyError: 'torque'\)"):
        watched(Broken())


def test_answer_that_is_no_reading_is_refused() -> None:
    class Silent(FailureDetector):
        name = "silent"

    with pytest.raises(ConfigError, match="update of the detector silent returned None"):
        watched(Silent())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_number_that_cannot_be_compared_is_refused(value: float) -> None:
    good = Reading(name="force", triggered=False, index=1.0, threshold=2.0)
    with pytest.raises(ConfigError, match="The detector force says index = (nan|inf); give a finite number"):
        replace(good, index=value)


@pytest.mark.parametrize("name", ["user", "two words", "", "Float"])
def test_name_that_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="give it one of lower-case letters"):
        watched(Counting(name=name))


def test_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match="Unknown detector 'flaot'; known: float, stall"):
        load_detector("flaot")


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no detector: derive a class from"):
        load_detector("rl.types:Box")
