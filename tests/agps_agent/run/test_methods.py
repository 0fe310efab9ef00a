import pytest

from agps_agent.run.methods import HELPERS, METHODS, Plan, combine, plan_of, shown
from rl.drq import DrQ
from rl.errors import ConfigError
from rl.traits import ALGORITHMS


def test_six_short_forms_are_the_papers_methods() -> None:
    pairs = {name: (plan.algorithm, plan.helper, plan.offline) for name, plan in METHODS.items()}
    assert pairs == {
        "agps": ("drq", "agent", False),
        "serl": ("drq", "nobody", False),
        "hil-serl": ("drq", "human", False),
        "conrft": ("conrft", "nobody", True),
        "agps-conrft": ("conrft", "agent", False),
        "hil-conrft": ("conrft", "human", False),
    }


@pytest.mark.parametrize("method", [*METHODS, "conrft+nobody", "my_package.sac:SAC+agent", "./mine.py:Mine+offline"])
def test_name_and_plan_are_two_ways_to_say_one_thing(method: str) -> None:
    assert plan_of(method).method == method


def test_combination_that_has_a_short_form_is_called_by_it() -> None:
    assert plan_of("drq+human").method == "hil-serl"
    assert combine(None, "conrft", "agent", None, default="serl").method == "agps-conrft"


@pytest.mark.parametrize(
    ("said", "default", "method"),
    [
        ((None, None, None, None), "agps-conrft", "agps-conrft"),
        ((None, None, "human", None), "agps", "hil-serl"),
        ((None, "conrft", None, None), "agps", "agps-conrft"),
        ((None, None, "agent", None), "conrft", "agps-conrft"),
        ((None, "conrft", "nobody", None), "agps", "conrft+nobody"),
        ((None, "conrft", "nobody", True), "agps", "conrft"),
        (("serl", "drq", "nobody", False), "agps", "serl"),
        (("serl", None, None, None), "agps-conrft", "serl"),
    ],
)
def test_what_is_not_said_comes_from_the_recipe(said: tuple, default: str, method: str) -> None:
    assert combine(*said, default=default).method == method


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("serl", None, "agent", None), "--method serl is --algorithm drq --helper nobody, not helper agent"),
        (("agps", "conrft", None, None), "--method agps is --algorithm drq --helper agent, not algorithm conrft"),
        (("conrft", None, None, False), "--helper nobody --offline, not offline False"),
        (("ppo", None, None, None), "no method 'ppo'; use agps, serl, .* such as drq\\+human"),
        ((None, "ppo", None, None), "Unknown algorithm 'ppo'; known: conrft, drq"),
        ((None, None, "dog", None), "Unknown helper 'dog'; known: agent, human, nobody"),
        ((None, "drq", "nobody", True), "drq does not learn from demonstrations alone"),
        ((None, "conrft", "human", True), "no rollouts that the human could watch"),
        ((None, "rl.buffers:FrameStore", None, None), "is no algorithm"),
    ],
)
def test_contradiction_is_refused_in_one_sentence(said: tuple, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        combine(*said, default="agps")


class Borrowed(DrQ):
    """Calls itself what another algorithm is called."""


def test_algorithm_with_the_name_of_another_is_refused() -> None:
    with pytest.raises(ConfigError, match="calls itself 'drq'; give the class a `name` that no other algorithm has"):
        Plan(algorithm=f"{__name__}:Borrowed").check()


def test_every_registered_algorithm_and_helper_makes_a_plan() -> None:
    for algorithm in ALGORITHMS.names:
        for helper in HELPERS.names:
            Plan(algorithm=algorithm, helper=helper).check()


def test_human_guidance_goes_to_both_buffers() -> None:
    assert {name: HELPERS.load(name).store_guided for name in HELPERS.names} == {
        "agent": "success",
        "human": "both",
        "nobody": "success",
    }


def test_report_names_others_by_their_class() -> None:
    assert [shown(name) for name in ("hil-serl", "./mine.py:Mine+agent", "conrft+nobody")] == [
        "HIL-SERL",
        "Mine+agent",
        "conrft+nobody",
    ]
