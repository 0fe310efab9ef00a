import pytest

from rl.counting import counted


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1200, "1,200 runs")],
    ids=["none", "one", "two", "many"],
)
def test_only_one_goes_without_the_s(count, said):
    assert counted(count, "run") == said


def test_the_verb_follows_the_number():
    assert [counted(n, "run is", "runs are") for n in (1, 2)] == ["1 run is", "2 runs are"]
