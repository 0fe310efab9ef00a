import json
import re
from pathlib import Path

import pytest

from prompts import loader
from prompts.loader import load_prompt, load_task_prompt, parse_prompt, prompt_names, prompt_versions, task_names
from rl.errors import ConfigError
from tests.outside import write_simulated
from tests.prompts.snapshots import FOLDER, POINT_FORMAT, rendered
from tools.answers import DecideModeAnswer, PerceiveAnswer, PlanAnswer
from tools.describe import describe_tools
from tools.schemas import Margins
from tools.spec import load_tools

TEXT = """---
name: greet
version: 1
schema: PlanAnswer
variables: [who]
---
# system
Be kind.

# user
Hello {{who}}.
"""


def test_prompts_and_their_answers():
    answers = {name: load_prompt(name).answer for name in prompt_names()}
    assert answers == {
        "decide_mode": DecideModeAnswer,
        "perceive": PerceiveAnswer,
        "exploration_pruning": PlanAnswer,
        "action_guidance": PlanAnswer,
        "repair": None,
        "tool_answers": None,
    }


@pytest.mark.parametrize("name", ["exploration_pruning", "action_guidance"])
def test_prompts_take_the_papers_inputs(name: str):
    paper = {"task_description", "keypoints", "available_tools", "allowed_primitive", "global_xyz_bounds"}
    assert paper <= set(load_prompt(name).variables)


@pytest.mark.parametrize("name", prompt_names())
def test_file_says_the_name_and_version_that_it_is_filed_under(name: str):
    for version in prompt_versions(name):
        prompt = load_prompt(name, version)
        assert (prompt.name, prompt.version, prompt.tag) == (name, version, f"{name}@v{version}")
    assert load_prompt(name) == load_prompt(name, prompt_versions(name)[-1])


@pytest.mark.parametrize("name", [n for n in prompt_names() if load_prompt(n).answer])
def test_example_answer_in_a_prompt_is_a_valid_answer(name: str):
    prompt = load_prompt(name)
    assert prompt.answer is not None
    user = prompt.user.replace("{{point_format}}", POINT_FORMAT)
    (example,) = (text for text in re.findall(r"^\{\"[\s\S]*?\}$", user, re.MULTILINE))
    prompt.answer.model_validate(json.loads(example.replace("\n", " ")))


@pytest.mark.parametrize("name", prompt_names())
def test_what_changes_from_query_to_query_comes_last(name: str):
    user = load_prompt(name).user
    places = {key: user.find("{{" + key + "}}") for key in ("situation", "keypoints", "requested_keypoints")}
    after = user[min([place for place in places.values() if place >= 0], default=len(user)) :]
    assert after.count("\n") <= 3


def test_rendering_fills_in_every_variable_once():
    assert parse_prompt(TEXT, source="x").render(who="{{who}}") == ("Be kind.", "Hello {{who}}.")


def test_missing_and_unknown_variables_are_refused():
    with pytest.raises(ConfigError, match="greet@v1 lacks who and has no whom; it takes who"):
        parse_prompt(TEXT, source="x").render(whom="you")


def test_hash_changes_with_words_and_with_the_answers_schema():
    shas = {
        parse_prompt(text, source="x").sha
        for text in (TEXT, TEXT.replace("kind", "brief"), TEXT.replace("PlanAnswer", "PerceiveAnswer"))
    }
    assert len(shas) == 3 and all(re.fullmatch("[0-9a-f]{8}", sha) for sha in shas)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (("variables: [who]", "variables: []"), r"declares \[\] but uses \['who'\]"),
        (("# user", "# you"), "has no section '# user'"),
        (("PlanAnswer", "Essay"), "names schema 'Essay'; choose one of DecideModeAnswer"),
        (("name: greet\n", ""), "has no 'name'"),
        (("---\nname", "name"), "has no front matter"),
    ],
)
def test_prompt_file_that_contradicts_itself_is_refused(damage: tuple[str, str], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        parse_prompt(TEXT.replace(*damage), source="greet/v1.md")


def test_unknown_prompt_version_or_task_lists_the_known_ones():
    with pytest.raises(ConfigError, match="choose one of action_guidance"):
        load_prompt("poem")
    with pytest.raises(ConfigError, match="There is no prompt"):
        load_prompt("../tools")
    with pytest.raises(ConfigError, match="perceive has no version 99; it has 1"):
        load_prompt("perceive", 99)
    with pytest.raises(ConfigError, match="has no prompt for task 'juggling'; it has .*usb_insertion"):
        load_task_prompt("juggling")


@pytest.mark.parametrize("task", task_names())
def test_task_names_tools_that_exist_in_their_mode_and_keypoints_one_a_line(task: str):
    words = load_task_prompt(task)
    assert set(words.tools) == set(words.heuristics) == {"prune", "guide"}
    for mode, names in words.tools.items():
        assert all(mode in spec.modes for spec in load_tools(names).values())
    Margins.model_validate(dict(words.margins))
    lines = words.requested_keypoints.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"- {label}" for label in words.keypoints]
    assert words.optional | set(words.behind_m) <= set(words.keypoints)
    assert words.guide_steps >= 1
    for distance in words.distances:
        assert set(distance.between) <= set(words.keypoints) and 0 <= distance.min_m < distance.max_m


@pytest.mark.parametrize("task", task_names())
def test_words_of_a_task_say_the_margins_that_a_box_has(task: str):
    words = load_task_prompt(task)
    shown = describe_tools(load_tools(["exploration_bbox"]), words.tool_defaults)
    assert all(f'"{side}": {margin:g}' in shown for side, margin in words.margins.items())
    assert set(words.margins) == set(Margins.model_fields)


@pytest.mark.parametrize("wrong", [{"x_neg": -0.01}, {"left": 0.01}, [0.01], {"x_neg": "wide"}])
def test_margins_that_cannot_be_are_refused_with_the_file(wrong: object):
    with pytest.raises(ConfigError, match=r"tasks/x\.md has wrong margins.*x_neg, x_pos"):
        loader._margins(wrong, "tasks/x.md")


WORDS = (Path(loader.__file__).parent / "tasks" / "usb_insertion.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (("- translate: {target: port,", "- translate: {target: button,"), "plan.guide names 'button', which is no"),
        (("- search: {target", "- shove: {target"), "plan.guide calls shove, which is not among its tools"),
        (("reason: Above port", "because: Above port"), "plan.guide.0.reason: Field required"),
        (("  guide:\n  - calls", "  guide:\n  - when: {gripper: half}\n    calls"), "plan.guide.0.when.gripper: Input"),
        (("keypoints:\n", "keypoints: [\n"), "Cannot read what the agent is told about mine"),
        (("distances:\n  - between: [port_left, port_right]", "distances:\n  - between: [port_left]"), "Cannot read"),
        (("guide_steps: 36", "guide_steps: many"), "Cannot read what the agent is told about mine"),
        (("# guide", "# help"), "has no section '# guide'"),
    ],
)
def test_words_that_cannot_be_used_are_refused_with_the_file(tmp_path: Path, damage: tuple[str, str], complaint: str):
    assert damage[0] in WORDS
    (tmp_path / "mine.md").write_text(WORDS.replace(*damage, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(complaint)) as refusal:
        load_task_prompt(tmp_path / "mine.md")
    assert "mine.md" in str(refusal.value)


def test_words_that_are_not_there_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="Cannot read what the agent is told about none.*No such file"):
        load_task_prompt(tmp_path / "none.md")


def test_words_of_a_task_in_a_file_are_beside_it(tmp_path: Path):
    reference = write_simulated(tmp_path)
    assert load_task_prompt(reference).description == load_task_prompt("usb_insertion").description
    text = WORDS.replace("Insert the USB plug", "Slowly insert the USB plug", 1)
    (tmp_path / "slow_usb.md").write_text(text, encoding="utf-8")
    words = load_task_prompt(reference)
    assert words.task == "slow_usb" and words.description.startswith("Slowly insert")


def test_rendered_prompts_are_as_last_reviewed():
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")}
    assert rendered() == written, "If the change is meant, run: python -m tests.prompts.snapshots"
