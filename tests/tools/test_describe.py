import pytest

from rl.types import InterventionEnd
from tools.describe import describe_end


def guide(how: str, *, steps: int = 14, distance_m: float = 0.0082) -> InterventionEnd:
    return InterventionEnd(
        id="0001", kind="guide", how=how, steps=steps, waypoint=1, waypoints=5, distance_m=distance_m
    )


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (guide("blocked"), "blocked after 14 steps, 8 mm short of waypoint 2 of 5"),
        (guide("reached", steps=1, distance_m=0.0004), "reached after 1 step, 0 mm from waypoint 2 of 5"),
        (guide("contact"), "contact after 14 steps, 8 mm short of waypoint 2 of 5"),
        (guide("budget"), "out of its step budget after 14 steps, 8 mm short of waypoint 2 of 5"),
        (InterventionEnd(id="1", kind="prune", how="episode_over", steps=12), "episode over after 12 steps"),
        (InterventionEnd(id="human-1", kind="takeover", how="released", steps=3), "released after 3 steps"),
    ],
)
def test_end_of_an_intervention_is_told_in_words(end: InterventionEnd, words: str) -> None:
    assert describe_end(end) == words
