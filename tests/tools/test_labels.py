import pytest

from tools.labels import find_label

KNOWN = ("port_left", "port_right", "hook")


@pytest.mark.parametrize("said", ["port_left", "Port Left", "PORT-LEFT", "portLeft", " port left. "])
def test_same_letters_in_another_case_are_the_same_label(said: str) -> None:
    assert find_label(said, KNOWN) == "port_left"


@pytest.mark.parametrize("said", ["port", "left port", "", "hooks"])
def test_other_letters_are_another_label(said: str) -> None:
    assert find_label(said, KNOWN) is None


def test_exact_label_is_meant_where_others_differ_in_case_alone() -> None:
    assert find_label("A_1", ["a1", "A_1"]) == "A_1"
    assert find_label("A-1", ["a1", "A_1"]) is None
