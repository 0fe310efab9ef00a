"""Loads prompts: Markdown files with YAML front matter, versioned by file name, filled in by name and nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from prompts.plans import BACK_OUT, MAKE_ROOM, Plans
from rl.errors import ConfigError
from rl.tasks.base import Task
from rl.tasks.registry import TASKS, load_task
from tools.answers import ANSWERS, Answer
from tools.schemas import Margins
from tools.spec import Defaults

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SECTION = re.compile(r"^# (\w+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One version of a prompt."""

    name: str
    version: int
    system: str
    """Template of the system message; `{{name}}` stands for a variable."""
    user: str
    """Template of the user message: what never changes first, so that servers can reuse their prefix cache."""
    variables: tuple[str, ...]
    """Names of the variables, all of which `render` needs."""
    answer: type[Answer] | None
    """Model of the answer; None for a prompt that asks for the same answer as the one before it."""
    sha: str
    """First 8 digits of the SHA-256 of template and answer schema: changes with every change of either."""

    @property
    def tag(self) -> str:
        """Name and version, e.g. `perceive@v1`."""
        return f"{self.name}@v{self.version}"

    def render(self, **variables: str) -> tuple[str, str]:
        """Return the system and the user message.

        Raises:
            ConfigError: If a variable is missing or unknown.
        """
        missing, unused = set(self.variables) - set(variables), set(variables) - set(self.variables)
        if missing or unused:
            wrong = [
                f"{word} {', '.join(sorted(names))}"
                for word, names in (("lacks", missing), ("has no", unused))
                if names
            ]
            raise ConfigError(f"Prompt {self.tag} {' and '.join(wrong)}; it takes {', '.join(self.variables)}.")
        fill = {name: str(value) for name, value in variables.items()}
        # One pass: text that looks like a variable inside a value stays as it is.
        system, user = (_VARIABLE.sub(lambda m: fill[m.group(1)], text) for text in (self.system, self.user))
        return system, user


@dataclass(frozen=True, kw_only=True)
class KeypointDistance:
    """How far apart two keypoints can be: a pair outside of it was found wrongly."""

    between: tuple[str, str]
    min_m: float
    max_m: float


@dataclass(frozen=True, kw_only=True)
class TaskPrompt:
    """What the agent is told about one task."""

    task: str
    version: int
    description: str
    keypoints: Mapping[str, str]
    """Description of each keypoint to find, by label."""
    optional: frozenset[str]
    """Labels of keypoints without which help is possible too: some are hidden at some stages of the task."""
    behind_m: Mapping[str, float]
    """How far behind the surface that a camera measures a keypoint is, by label, [m]; 0 for those that are not here."""
    distances: tuple[KeypointDistance, ...]
    tools: Mapping[str, tuple[str, ...]]
    """Names of the tools that are allowed, by mode: prune, guide."""
    heuristics: Mapping[str, str]
    """Advice by mode: prune, guide."""
    margins: Mapping[str, float]
    """Margins of the box where a call gives none: x_neg to z_pos, [m]."""
    guide_steps: int
    """Control steps after which waypoints are given up: enough for the whole task from its start."""
    plan: Plans
    """Plan templates: what the offline model plans. No other model is shown them."""
    sha: str
    """First 8 digits of the SHA-256 of the file."""

    @property
    def tool_defaults(self) -> Defaults:
        """What this task puts in place of the tools' own defaults."""
        return {"exploration_bbox": {"margins": self.margins}}

    @property
    def requested_keypoints(self) -> str:
        """The keypoints as prompt text, one line `- label: description` each."""
        return "\n".join(f"- {label}: {description}" for label, description in self.keypoints.items())


def prompt_names() -> tuple[str, ...]:
    """Return the names of all prompts."""
    return tuple(
        sorted(entry.name for entry in _root().iterdir() if entry.is_dir() and entry.joinpath("v1.md").is_file())
    )


def prompt_versions(name: str) -> tuple[int, ...]:
    """Return the versions of a prompt, oldest first; none for an unknown one."""
    folder = _root().joinpath(name)
    if not folder.is_dir():
        return ()
    found = (re.fullmatch(r"v(\d+)\.md", entry.name) for entry in folder.iterdir())
    return tuple(sorted(int(match.group(1)) for match in found if match))


@cache
def load_prompt(name: str, version: int | None = None) -> Prompt:
    """Return a version of a prompt, the newest by default.

    Raises:
        ConfigError: If there is no such prompt, or its file contradicts itself.
    """
    versions = prompt_versions(name) if re.fullmatch(r"\w+", name) else ()
    if not versions:
        raise ConfigError(f"There is no prompt {name!r}; choose one of {', '.join(prompt_names())}.")
    chosen = versions[-1] if version is None else version
    if chosen not in versions:
        raise ConfigError(f"Prompt {name} has no version {chosen}; it has {', '.join(map(str, versions))}.")
    return parse_prompt(
        _root().joinpath(name, f"v{chosen}.md").read_text(encoding="utf-8"), source=f"{name}/v{chosen}.md"
    )


def parse_prompt(text: str, *, source: str) -> Prompt:
    """Return the prompt in a file's text; `source` names the file in errors.

    Raises:
        ConfigError: If declared and used variables differ, a section is missing, or the schema is unknown.
    """
    head, sections = _split(text, source)
    system, user = (_section(sections, name, source) for name in ("system", "user"))
    declared = tuple(head.get("variables") or ())
    used = set(_VARIABLE.findall(system + user))
    if set(declared) != used:
        raise ConfigError(f"{source} declares {sorted(declared)} but uses {sorted(used)}; make them equal.")
    schema_name = head.get("schema")
    if schema_name is not None and schema_name not in ANSWERS:
        raise ConfigError(f"{source} names schema {schema_name!r}; choose one of {', '.join(ANSWERS)}.")
    answer = None if schema_name is None else ANSWERS[schema_name]
    schema = "" if answer is None else json.dumps(answer.model_json_schema(), sort_keys=True)
    return Prompt(
        name=str(_value(head, "name", source)),
        version=int(_value(head, "version", source)),
        system=system,
        user=user,
        variables=declared,
        answer=answer,
        sha=_sha(system, user, schema),
    )


def task_names() -> tuple[str, ...]:
    """Return the names of the tasks that the agent knows words for."""
    names = (entry.name for entry in _root().joinpath("tasks").iterdir())
    return tuple(sorted(name.removesuffix(".md") for name in names if name.endswith(".md")))


def find_task_prompt(kind: type[Task]) -> Path | None:
    """Return the file of what the agent is told about a task: beside its class, else one of ours, else None."""
    shipped = (_root().joinpath("tasks", f"{vars(base)['name']}.md") for base in kind.__mro__ if "name" in vars(base))
    return kind.prompt_file() or next((file for file in shipped if file.is_file()), None)


def load_task_prompt(task: str | type[Task] | Path) -> TaskPrompt:
    """Return what the agent is told about a task.

    Args:
        task: Its name or reference, its class, or the file itself.

    Raises:
        ConfigError: If there is no such task, it has no such file, or the file lacks a part.
    """
    if isinstance(task, Path):
        return _read_task_prompt(task, task.stem)
    if isinstance(task, str) and task not in TASKS and ":" not in task:
        raise ConfigError(f"The agent has no prompt for task {task!r}; it has {', '.join(TASKS.names)}.")
    kind = load_task(task) if isinstance(task, str) else task
    file = find_task_prompt(kind)
    if file is None:
        raise ConfigError(
            f"The agent has no prompt for task {kind.name}: write {kind.name}.md beside the file of {kind.__name__}, "
            "or do without the agent (--method serl)."
        )
    return _read_task_prompt(file, kind.name)


@cache
def _read_task_prompt(file: Path, task: str) -> TaskPrompt:
    """Return what a file says about a task; `task` names it."""
    try:
        return _parse_task_prompt(file.read_text(encoding="utf-8"), task, source=str(file))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"Cannot read what the agent is told about {task}, {file}: {reason}; prompts/tasks/usb_insertion.md shows "
            "the form."
        ) from error


def _parse_task_prompt(text: str, task: str, *, source: str) -> TaskPrompt:
    head, sections = _split(text, source)
    distances = (
        KeypointDistance(between=(d["between"][0], d["between"][1]), min_m=d["min_m"], max_m=d["max_m"])
        for d in head.get("distances") or ()
    )
    return TaskPrompt(
        task=task,
        version=int(_value(head, "version", source)),
        description=_section(sections, "description", source),
        keypoints=MappingProxyType(dict(_value(head, "keypoints", source))),
        optional=_labels(head, "optional", source),
        behind_m=MappingProxyType(
            {label: float(head["behind_m"][label]) for label in _labels(head, "behind_m", source)}
        ),
        distances=tuple(distances),
        tools=MappingProxyType({mode: tuple(names) for mode, names in dict(_value(head, "tools", source)).items()}),
        heuristics=MappingProxyType({mode: _section(sections, mode, source) for mode in ("prune", "guide")}),
        margins=MappingProxyType(_margins(_value(head, "margins", source), source)),
        guide_steps=int(_value(head, "guide_steps", source)),
        plan=_plans(head, source),
        sha=_sha(text),
    )


def _labels(head: Mapping[str, Any], key: str, source: str) -> frozenset[str]:
    """Return the keypoints that an entry of the front matter lists, none if it is left out."""
    labels = frozenset(head.get(key) or ())
    unknown = labels - set(_value(head, "keypoints", source))
    if unknown:
        raise ConfigError(f"{source} lists {', '.join(sorted(unknown))} as {key}, which are no keypoints of it.")
    return labels


def _plans(head: Mapping[str, Any], source: str) -> Plans:
    """Return the plan templates; none where there are none. `parts` is where YAML anchors may stand."""
    given = {mode: stages for mode, stages in dict(head.get("plan") or {}).items() if mode != "parts"}
    try:
        plans = Plans.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{source}: plan.{place}: {first['msg']}, got {first['input']!r}.") from error
    keypoints, tools = _value(head, "keypoints", source), dict(_value(head, "tools", source))
    halfway = {label.removesuffix("_left") for label in keypoints if label.endswith("_left")}
    for mode, stages in (("prune", plans.prune), ("guide", plans.guide)):
        for call in (call for stage in stages for call in stage.calls):
            if call.name not in (*tools.get(mode, ()), MAKE_ROOM, BACK_OUT):
                raise ConfigError(f"{source}: plan.{mode} calls {call.name}, which is not among its tools.")
            for label in call.points:
                if label not in {*keypoints, *halfway}:
                    raise ConfigError(f"{source}: plan.{mode} names {label!r}, which is no keypoint of it.")
    return plans


def _margins(given: Any, source: str) -> dict[str, float]:
    """Return the margins of a box; a side that is left out has that of the tool, [m]."""
    try:
        return Margins.model_validate(given).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        side = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{source} has wrong margins: {side} = {first['input']!r}: {first['msg']}. It may have "
            f"{', '.join(Margins.model_fields)}, in metres."
        ) from error


def _root() -> Path:
    return Path(__file__).parent


def _split(text: str, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return front matter and sections of a file."""
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise ConfigError(f"{source} has no front matter; begin it with --- lines around YAML.")
    head = yaml.safe_load(parts[1])
    if not isinstance(head, dict):
        raise ConfigError(f"{source} has front matter that is no mapping; write key: value lines.")
    pieces = _SECTION.split(parts[2])
    return head, {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def _section(sections: Mapping[str, str], name: str, source: str) -> str:
    if not sections.get(name):
        raise ConfigError(f"{source} has no section '# {name}'; add it.")
    return sections[name]


def _value(head: Mapping[str, Any], key: str, source: str) -> Any:
    if key not in head:
        raise ConfigError(f"{source} has no {key!r} in its front matter; add it.")
    return head[key]


def _sha(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]
