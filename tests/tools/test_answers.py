import pytest
from pydantic import ValidationError

from tools.answers import ANSWERS, DecideModeAnswer, PerceiveAnswer, PlanAnswer


def test_perceive_answer_in_the_words_of_either_convention():
    for keys in (("label", "point_2d"), ("name", "point")):
        answer = PerceiveAnswer.model_validate(
            {"keypoints": [{keys[0]: "port_left", keys[1]: [1, 2], "visible": True}]}
        )
        assert answer.keypoints[0].point_2d == (1.0, 2.0)


def test_absent_keypoint_needs_no_point_but_a_visible_one_does():
    hidden = PerceiveAnswer.model_validate({"keypoints": [{"label": "a", "point_2d": None, "visible": False}]})
    assert not hidden.keypoints[0].visible
    with pytest.raises(ValidationError, match="give the point, or visible false"):
        PerceiveAnswer.model_validate({"keypoints": [{"label": "a", "point_2d": None, "visible": True}]})


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (DecideModeAnswer, {"mode": "wait", "failure_mode": "", "reason": ""}),
        (PerceiveAnswer, {"keypoints": [{"label": "a", "point_2d": [float("nan"), 1], "visible": True}]}),
        (PerceiveAnswer, {"keypoints": []}),
        (PlanAnswer, {"calls": [], "reason": "nothing"}),
        (PlanAnswer, {"calls": [{"name": "lift", "arguments": {}}], "reason": "", "more": 1}),
    ],
)
def test_answers_that_mean_nothing_are_refused(answer, value):
    with pytest.raises(ValidationError):
        answer.model_validate(value)


@pytest.mark.parametrize("mode", ["guide", "Guide", " GUIDE "])
def test_mode_counts_in_any_case(mode: str):
    assert DecideModeAnswer.model_validate({"mode": mode, "failure_mode": "", "reason": ""}).mode == "guide"


def test_answer_models_are_found_by_name():
    assert set(ANSWERS) == {"DecideModeAnswer", "PerceiveAnswer", "PlanAnswer"}
