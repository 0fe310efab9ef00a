from pathlib import Path
from typing import Any

import pytest

from agps_agent.run.rows import check_reportable, check_types, config_of
from rl.errors import AgpsError

EPISODE: dict[str, Any] = {"kind": "episode", "episode": 0, "success": True, "env_steps": 12, "steps": 12}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("env_steps", -1, "env_steps is -1, no number from 0 up"),
        ("env_steps", None, "env_steps is None, no number from 0 up"),
        ("env_steps", True, "env_steps is True, no number from 0 up"),
        ("success_rate", 1.5, "success_rate is 1.5, no number from 0 to 1"),
        ("success", 1, "success is 1, no true or false"),
        ("mean_return", "much", "mean_return is 'much', no number"),
        ("float_trace", [0.1, None], "float_trace is [0.1, None], no list of numbers"),
        ("counters", [1], "counters is [1], no object of numbers"),
        ("human_stretches", [[1, 2, 3]], "human_stretches is [[1, 2, 3]], no list of pairs of numbers"),
        ("figures", {"help_share": 2}, "figures: help_share is 2, no number from 0 to 1"),
    ],
)
def test_value_of_another_type_is_named_with_its_place(name: str, value: object, words: str) -> None:
    with pytest.raises(AgpsError) as caught:
        check_types({**EPISODE, name: value}, where="metrics.jsonl, line 3")
    assert str(caught.value).startswith("metrics.jsonl, line 3") and words in str(caught.value)


def test_what_a_run_writes_is_taken_and_what_nobody_knows_may_be_null() -> None:
    check_types({**EPISODE, "success_rate": None, "agent_usd": None, "float_trace": [0.1], "mine": object()}, where="x")
    check_types({"kind": "pretrain", "updates": 5, "critic_loss": 0.1}, where="x")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({key: value for key, value in EPISODE.items() if key != "success"}, "a line of episode lacks success"),
        ({**EPISODE, "float_scores": [1.0], "float_trace": [1.0]}, "float_scores stands without float_thresholds"),
        ({**EPISODE, "agent_prompt_tokens": 3}, "agent_prompt_tokens stands without agent_completion_tokens"),
        ({"kind": "eval", "env_steps": 3}, "a line of eval lacks success_rate"),
    ],
)
def test_line_that_a_report_cannot_do_without_is_named(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    check_reportable([EPISODE], {}, tmp_path)
    with pytest.raises(AgpsError, match=words):
        check_reportable([EPISODE, row], {}, tmp_path)


def test_summary_with_a_rate_of_no_episodes_is_refused(tmp_path: Path) -> None:
    check_reportable([], {"success_rate": 0.5, "eval_episodes": 10}, tmp_path)
    with pytest.raises(AgpsError, match="success_rate stands without eval_episodes"):
        check_reportable([], {"success_rate": 0.5}, tmp_path)
    for none in (0, -3):
        with pytest.raises(AgpsError, match=rf"summary\.json: eval_episodes is {none}; "):
            check_reportable([], {"success_rate": 0.5, "eval_episodes": none}, tmp_path)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"config": []}, "has no `config` object"),
        ({"config": {"seed": "three"}}, "seed is 'three', no whole number"),
        ({"config": {"agent": {"tools": [1]}}}, "agent.tools is [1]"),
        ({"config": {}, "versions": {"torch": 2}}, "versions is {'torch': 2}"),
    ],
)
def test_settings_that_are_none_are_refused(saved: dict[str, Any], words: str) -> None:
    with pytest.raises(AgpsError) as caught:
        config_of(saved, Path("config.json"))
    assert words in str(caught.value)
