"""The detectors of a run as one, with detectors whose every answer is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agps_agent.detectors.base import FailureDetector, Reading
from agps_agent.detectors.watch import Watch
from rl.errors import AgpsError, ConfigError
from rl.types import FloatArray, Observation, RobotState

ROBOT = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.zeros(6), gripper_opening=0.0)
SEEN = Observation(images={}, state=np.zeros(2, np.float32), robot=ROBOT, T_base_ref=np.eye(4), step=0)


class Distance(FailureDetector):
    """Fires when the first number of the embedding exceeds the largest of its references."""

    name = "distance"
    least = 2

    def __init__(self) -> None:
        self.limit, self.fits, self.told = 0.0, 0, list[str]()

    @property
    def min_references(self) -> int:
        return self.least

    def fit(self, references: Sequence[FloatArray]) -> bool:
        self.fits += 1
        if len(references) < self.least:
            return False
        self.limit = max(float(reference.max()) for reference in references)
        return True

    def reset(self) -> None:
        self.told.append("reset")

    def rearm(self) -> None:
        self.told.append("rearm")

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        index = float(embedding[0])
        return Reading(name=self.name, triggered=index > self.limit, index=index, threshold=self.limit)

    def state_dict(self) -> dict[str, Any]:
        return {"limit": self.limit}


class Timer(FailureDetector):
    """Fires from its third step on; measures nothing."""

    name = "timer"

    def __init__(self) -> None:
        self.steps = 0

    def reset(self) -> None:
        self.steps = 0

    def update(self, observation: Observation, embedding: FloatArray) -> Reading:
        self.steps += 1
        return Reading(name=self.name, triggered=self.steps >= 3)


def reference(top: float) -> FloatArray:
    return np.array([[0.0], [top]])


def watching(*detectors: FailureDetector, most: int = 5, stand_ins: tuple[str, ...] = ()) -> Watch:
    return Watch(detectors, max_references=most, stand_ins=stand_ins)


def see(watch: Watch, *values: float) -> list[str]:
    """Who triggered at each step of a rollout; a dash for nobody."""
    watch.reset()
    readings = [watch.update(SEEN, np.array([value])) for value in values]
    return ["-" if reading is None else reading.name for reading in readings]


def test_detector_says_nothing_before_it_is_fitted() -> None:
    watch = watching(Distance())
    assert see(watch, 9.0) == ["-"] and watch.reading is None
    watch.calibrate([reference(1.0), reference(2.0)])
    assert see(watch, 1.5, 2.0, 2.5) == ["-", "-", "distance"]


def test_detector_without_references_watches_from_the_first_step() -> None:
    assert see(watching(Timer()), 0.0, 0.0, 0.0, 0.0) == ["-", "-", "timer", "timer"]


def test_first_of_those_that_trigger_woke_the_agent() -> None:
    for detectors, first in (((Distance(), Timer()), "distance"), ((Timer(), Distance()), "timer")):
        watch = watching(*detectors)
        watch.calibrate([reference(1.0)] * 2)
        assert see(watch, 0.0, 9.0, 9.0) == ["-", "distance", first]


def test_stand_in_is_silent_once_the_others_are_fitted() -> None:
    watch = watching(Distance(), Timer(), stand_ins=("timer",))
    assert see(watch, 0.0, 0.0, 0.0) == ["-", "-", "timer"]
    watch.calibrate([reference(1.0)] * 2)
    assert see(watch, 0.0, 0.0, 0.0) == ["-", "-", "-"]


def test_stand_in_alone_watches() -> None:
    assert see(watching(Timer(), stand_ins=("timer",)), 0.0, 0.0, 0.0)[-1] == "timer"


def test_enough_demonstrations_stay_the_yardstick() -> None:
    watch = watching(Distance())
    watch.calibrate([reference(1.0), reference(2.0)])
    for _ in range(10):
        watch.learn(reference(50.0))
    assert see(watch, 3.0) == ["distance"]


def test_good_rollouts_take_the_place_of_demonstrations_for_who_follows_the_policy() -> None:
    watch = Watch([Distance()], max_references=3, follows=True)
    watch.calibrate([reference(9.0)] * 3)
    watch.learn(reference(1.0))
    assert see(watch, 5.0) == ["-"]  # it is fitted after as many new ones as it needs
    watch.learn(reference(2.0))
    assert see(watch, 5.0) == ["-"]  # one demonstration is left
    for top in (3.0, 4.0):
        watch.learn(reference(top))
    assert see(watch, 3.9, 4.1) == ["-", "distance"]


def test_who_follows_the_policy_does_so_after_a_resume_of_a_run_that_did_not() -> None:
    before = watching(Distance())
    before.calibrate([reference(9.0)] * 2)
    watch = Watch([Distance()], max_references=2, follows=True)
    watch.load_state_dict(before.state_dict())
    for _ in range(2):
        watch.learn(reference(1.0))
    assert see(watch, 1.5) == ["distance"]


class Listening(Distance):
    """Keeps of how many references it heard, and how many of them were the run's own, at each fit."""

    def __init__(self) -> None:
        super().__init__()
        self.heard, self.own = list[tuple[int, int]](), 0

    def note_own(self, rollouts: int) -> None:
        self.own = rollouts

    def fit(self, references: Sequence[FloatArray]) -> bool:
        self.heard.append((len(references), self.own))
        return super().fit(references)


def test_detectors_hear_how_many_references_are_the_run_s_own_before_and_after_a_resume() -> None:
    detector, again = Listening(), Listening()
    watch, resumed = (Watch([each], max_references=4, follows=True) for each in (detector, again))
    watch.calibrate([reference(9.0)] * 3)
    for _ in range(4):
        watch.learn(reference(1.0))
    assert detector.heard == [(3, 0), (4, 2), (4, 4)]
    watch.learn(reference(1.0))
    resumed.load_state_dict(watch.state_dict())
    resumed.learn(reference(1.0))
    assert again.heard == [(4, 4), (4, 4)]


def test_detector_that_needs_no_reference_learns_from_those_that_there_are() -> None:
    class Patient(Timer):
        longest = 0

        def fit(self, references: Sequence[FloatArray]) -> bool:
            self.longest = max((len(reference) for reference in references), default=0)
            return False  # it watches all the same

    timer = Patient()
    watch = watching(Distance(), timer)
    watch.calibrate([np.zeros((7, 1))] * 2)
    assert timer.longest == 7 and see(watch, 0.0, 0.0, 0.0) == ["-", "-", "timer"]


def test_detector_that_needs_no_reference_is_not_asked_to_learn_from_none() -> None:
    class Averaging(Timer):
        def fit(self, references: Sequence[FloatArray]) -> bool:
            self.mean = np.concatenate(references).mean()
            return True

    watch = watching(Averaging(), Distance())
    watch.calibrate([])
    assert see(watch, 0.0, 0.0, 0.0) == ["-", "-", "timer"]


def test_good_rollouts_become_the_yardstick_where_demonstrations_are_too_few() -> None:
    watch = watching(Distance())
    watch.calibrate([reference(1.0)])
    assert see(watch, 9.0) == ["-"]
    watch.learn(reference(2.0))
    assert see(watch, 9.0) == ["-"]  # it is fitted after as many new ones as it needs
    watch.learn(reference(3.0))
    assert see(watch, 2.9, 3.1) == ["-", "distance"]


def test_oldest_references_are_forgotten() -> None:
    watch = watching(Distance(), most=2)
    watch.calibrate([])
    for top in (9.0, 9.0, 1.0, 1.0):
        watch.learn(reference(top))
    assert see(watch, 1.5) == ["distance"]


def test_newest_reading_that_measures_is_shown() -> None:
    watch = watching(Timer(), Distance())
    watch.calibrate([reference(2.0)] * 2)
    see(watch, 0.5, 1.5)
    assert watch.reading is not None
    assert (watch.reading.name, watch.reading.index, watch.reading.threshold) == ("distance", 1.5, 2.0)


def test_log_of_a_rollout_has_one_value_per_step_of_those_that_measure() -> None:
    watch = watching(Distance(), Timer())
    watch.calibrate([reference(2.0)] * 2)
    see(watch, 0.5, 3.0, 1.0)
    row = watch.log()
    assert row["detectors"] == ["distance", "timer"]
    assert (row["distance_trace"], row["distance_scores"]) == ([0.5, 3.0, 1.0], [0.25, 1.5, 0.5])
    assert (row["distance_max"], row["distance_threshold"], row["distance_thresholds"]) == (3.0, 2.0, [2.0] * 3)
    assert not [key for key in row if key.startswith("timer")]


def test_log_begins_anew_with_each_rollout() -> None:
    watch = watching(Distance())
    watch.calibrate([reference(2.0)] * 2)
    see(watch, 3.0)
    see(watch, 0.1)
    assert watch.log()["distance_trace"] == [0.1]


def test_only_detectors_that_watch_are_told_of_rollouts() -> None:
    distance = Distance()
    watch = watching(distance, Timer())
    watch.reset()
    watch.rearm()
    assert distance.told == []
    watch.calibrate([reference(1.0)] * 2)
    watch.reset()
    watch.rearm()
    assert distance.told == ["reset", "rearm"]


def test_resumed_watch_says_what_the_first_would_have_said(rng: np.random.Generator) -> None:
    first, again = watching(Distance(), Timer()), watching(Distance(), Timer())
    first.calibrate([reference(1.0)])
    for top in rng.uniform(1.0, 3.0, 7):
        first.learn(reference(float(top)))
    again.load_state_dict(first.state_dict())
    for top in rng.uniform(1.0, 5.0, 9):
        for watch in (first, again):
            watch.learn(reference(float(top)))
        values = rng.uniform(0.0, 6.0, 4)
        assert see(first, *values) == see(again, *values)
        assert first.log() == again.log()


def test_checkpoint_of_an_earlier_version_is_read() -> None:
    detector = Listening()
    watch = watching(detector)
    watch.load_state_dict({"references": [reference(1.0)] * 2, "learns_references": False})
    assert see(watch, 1.5) == ["distance"]
    assert detector.heard == [(2, 0)]  # it did not say which are the run's own


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("user", "not 'user'"),
        ("Two Words", "lower-case letters, digits and _"),
        ("", "lower-case letters"),
        (None, "has the name None"),
    ],
)
def test_name_that_cannot_be_a_key_of_the_log_is_refused(name: Any, words: str) -> None:
    kind = type("Mine", (Timer,), {"name": name})
    with pytest.raises(ConfigError, match=words):
        watching(kind())


def test_two_detectors_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="called timer, timer; each needs a name of its own"):
        watching(Timer(), Timer())


@pytest.mark.parametrize("answer", [None, 0.7, Reading(name="other", triggered=False)])
def test_answer_that_is_no_reading_of_its_own_is_refused(answer: Any) -> None:
    watch = watching(type("Mine", (Timer,), {"update": lambda *_: answer})())
    with pytest.raises(ConfigError, match="detector timer returned .*; return a Reading with its own name"):
        see(watch, 0.0)


@pytest.mark.parametrize("at", ["reset", "update", "rearm"])
def test_mistake_in_a_detector_is_one_sentence_that_names_it(at: str) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("division by zero")

    watch = watching(type("Mine", (Timer,), {at: fail})())
    with pytest.raises(AgpsError, match=r"The detector timer failed \(ZeroDivisionError: division by zero\); mend it"):
        see(watch, 0.0)
        watch.rearm()


@pytest.mark.parametrize("field", ["index", "threshold", "score"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_reading_that_nobody_can_compare_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"The detector mine says {field} = {value}; give a finite number, or None"):
        Reading(name="mine", triggered=False, **{field: value})


@pytest.mark.parametrize(
    ("numbers", "relative"),
    [
        ({}, None),
        ({"index": 3.0}, None),
        ({"index": 3.0, "threshold": 2.0}, 1.5),
        ({"index": 3.0, "threshold": 0.0}, None),
        ({"index": 3.0, "threshold": 2.0, "score": 0.2}, 0.2),
    ],
)
def test_score_is_the_index_in_thresholds_unless_one_is_given(numbers: dict, relative: float | None) -> None:
    assert Reading(name="mine", triggered=False, **numbers).relative == relative
