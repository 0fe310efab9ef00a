"""`agps prompts`: what is listed can be shown, and is what the loader gives the agent."""

import json
import re
from pathlib import Path

import pytest

from agps_agent.cli.main import main
from prompts.loader import load_prompt, load_task_prompt, prompt_names, prompt_versions, task_names
from tests.agps_agent.report.synthetic import make_run


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["prompts", *argv]) == 0
    return capsys.readouterr().out


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["prompts", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_list_has_every_version_of_every_prompt_and_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    tags = [line.split()[0] for line in said(["list"], capsys).splitlines()]
    assert tags[: -len(task_names())] == [
        f"{name}@v{version}" for name in prompt_names() for version in prompt_versions(name)
    ]
    assert {tag.split("@")[0] for tag in tags[-len(task_names()) :]} == {f"tasks/{name}" for name in task_names()}


def test_hash_in_the_list_is_that_of_the_shown_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    listed = dict(line.split()[:2] for line in said(["list"], capsys).splitlines())
    for name in prompt_names():
        head = said(["show", name], capsys).splitlines()[0]
        _, tag, sha = head.split()
        assert listed[tag] == sha


def test_prompt_is_shown_before_its_variables_are_filled_in(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = load_prompt("action_guidance")
    shown = said(["show", "action_guidance"], capsys)
    assert prompt.system in shown and prompt.user in shown
    assert shown.index("## system") < shown.index("## user")
    assert all(variable in shown for variable in prompt.variables)


@pytest.mark.parametrize("task", task_names())
def test_task_is_shown_with_its_keypoints_and_advice(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, shown = load_task_prompt(task), said(["show", task], capsys)
    assert words.description in shown and all(label in shown for label in words.keypoints)
    assert all(advice in shown for advice in words.heuristics.values())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["show", "decide_mode", "--version", "999"], "999"),
        (["show", "decide"], "There is no prompt 'decide'"),
        (["replay", "nowhere"], "nowhere"),
        (["replay", "run", "--vlm", "gpt"], "There is no model 'gpt'; use embedded"),
        (["replay", "run", "--limit", "0"], "--limit is 0; ask for at least 1."),
        (["replay", "run", "--mode", "both"], "--mode"),
        (["read"], "has no command 'read'; use one of list, show, replay."),
    ],
)
def test_mistake_is_one_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(argv, capsys)


@pytest.mark.parametrize("tag", ["action_guidance", "action_guidance@2", "action_guidance@vx", "@v", "v1"])
def test_prompt_to_compare_is_named_with_its_version(
    tag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    before = sorted(run.path.rglob("*"))
    assert f"--prompt is {tag!r}; write name@vN, e.g. action_guidance@v1." in refused(
        ["replay", str(run.path), "--prompt", tag], capsys
    )
    assert sorted(run.path.rglob("*")) == before


def test_recorded_questions_are_asked_again_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    page = tmp_path / "elsewhere.html"
    argv = ["replay", str(run.path), "--limit", "1", "--out", str(page), "--mode", "prune", "--json"]
    told = json.loads(said(argv, capsys))
    assert told["page"] == str(page) and page.is_file()
    (scores,) = told["scores"].values()
    assert len(scores) == 1 and list(told["summary"]) == ["newest prompts"]
    assert not re.findall(r'(?:src|href)="https?:', page.read_text())
