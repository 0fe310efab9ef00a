"""Each rule on figures made by hand: it speaks on one side of its threshold and is silent on the other."""

import re
from dataclasses import replace
from typing import Any

import pytest

from agps_agent.run.diagnosis import Figures, diagnose, expected_at

FINE = Figures(
    env_steps=4_000,
    max_env_steps=8_000,
    policy_success=0.9,
    policy_steps=4_000,
    unaided_success=0.85,
    expected=0.82,
    expected_earlier=0.25,
    rollouts=150,
    rewarded=80,
    reward_rate=0.9,
    helped=40,
    helped_successes=38,
    help_share=0.05,
    trigger_share=0.3,
    q_mean=0.5,
    q_min=-0.1,
    q_max=1.1,
    target_mean=0.5,
    return_min=0.0,
    return_max=1.0,
    goal_error_mm=3.0,
    first_goal_error_mm=30.0,
    first_goal_error_steps=200,
    darkest_camera="wrist_1",
    darkest=50.0,
    stillest_camera="wrist_2",
    stillest=20.0,
)
"""A run with which nothing is wrong."""


def test_healthy_run_is_left_alone() -> None:
    assert diagnose(FINE) is None
    assert diagnose(Figures(env_steps=0, max_env_steps=100)) is None


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ({"q_mean": float("nan")}, {"q_mean": 0.5}, "The critic has diverged: Q is no finite number; look first at"),
        ({"q_max": 3.1}, {"q_max": 2.9}, "The critic has diverged: Q goes from -0.1 to 3.1, and returns can only lie"),
        ({"q_min": -2.1}, {"q_min": -1.9}, "The critic has diverged: Q goes from -2.1 to 1.1"),
        ({"darkest": 1.5}, {"darkest": 2.5}, "Camera wrist_1 sees nothing: its pixels differ by 1.5 of 255"),
        ({"stillest": 0.0}, {"stillest": 0.01}, "Camera wrist_2 stands still: "),
        (
            {"goal_error_mm": 25.0, "policy_success": 0.7},
            {"goal_error_mm": 23.0, "policy_success": 0.7},
            "The encoder does not find the goal: its localisation error is 25.0 mm, and was 30.0 mm first",
        ),
        (
            {"helped": 8, "helped_successes": 0},
            {"helped": 7, "helped_successes": 0},
            "Help never succeeds: none of the",
        ),
        ({"rewarded": 0}, {"rewarded": 1}, "No reward was ever seen: none of 150 rollouts"),
        (
            {"help_share": 0.25, "policy_success": 0.75},
            {"help_share": 0.15, "policy_success": 0.75},
            "Help does not fade: 25% of the newest steps are guided",
        ),
        (
            {"trigger_share": 0.95},
            {"trigger_share": 0.85},
            "Triggers do not fade: 95% of the rollouts have",
        ),
        (
            {"policy_success": 0.04},
            {"policy_success": 0.06},
            "Slower than expected, with nothing else wrong that is measured: the policy alone succeeds in 4%",
        ),
    ],
)
def test_rule_speaks_beyond_its_threshold_only(wrong: dict[str, Any], right: dict[str, Any], words: str) -> None:
    sentence = diagnose(replace(FINE, **wrong))
    assert sentence is not None and sentence.startswith(words)
    assert "look first at" in sentence and sentence.endswith(".")
    assert not re.search(r"(?<!_)\d", sentence.partition(":")[0])  # a fault is named without its figures
    assert diagnose(replace(FINE, **right)) is None


@pytest.mark.parametrize(
    "early",
    [
        {"rewarded": 0, "rollouts": 19},
        {"rewarded": 0, "env_steps": 1_599},  # a fifth of 8,000
        {"goal_error_mm": 25.0, "policy_success": 0.7, "env_steps": 1_699},  # 1,500 after the first at 200
        {"help_share": 0.5, "policy_success": 0.75, "env_steps": 3_999},  # half of 8,000
        {"help_share": 0.5, "policy_success": 0.75, "expected": 0.4},  # even the recipe's policy needed help
        {"help_share": 0.5, "policy_success": 0.85},  # it has learned its task
        {"trigger_share": 1.0, "unaided_success": 0.75},  # there is reason to
        {"trigger_share": 1.0, "unaided_success": 1.0, "policy_success": 0.1, "expected": 0.2, "expected_earlier": 0.1},
        {"policy_success": 0.0, "expected": None, "expected_earlier": None},
    ],
)
def test_what_is_early_or_unknown_is_no_fault(early: dict[str, Any]) -> None:
    assert diagnose(replace(FINE, **early)) is None


def test_short_run_is_not_blamed_for_being_helped() -> None:
    assert diagnose(replace(FINE, env_steps=600, max_env_steps=600, help_share=0.3)) is None


def test_cause_is_named_before_its_effects() -> None:
    ill = replace(FINE, q_max=50.0, rewarded=0, policy_success=0.0, helped_successes=0)
    assert (diagnose(ill) or "").startswith("The critic")
    assert (diagnose(replace(ill, q_max=1.0)) or "").startswith("Help never")
    assert (diagnose(replace(ill, q_max=1.0, helped=0)) or "").startswith("No reward")


def test_expected_success_is_linear_between_what_was_measured() -> None:
    curve = ((1_000, 0.0), (2_000, 0.25), (4_000, 0.75))
    assert [expected_at(curve, n) for n in (0, 1_000, 1_500, 3_000, 9_000)] == [0.0, 0.0, 0.125, 0.5, 0.75]
    assert expected_at(((500, 0.5),), 250) == 0.25
    assert expected_at((), 500) is None
