"""The folders under interventions/, read for people: what was asked, answered, and what came of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from agps_agent.overlay import draw_answer
from agps_agent.run.directory import Row, RunDirectory
from rl.counting import counted
from rl.types import InterventionEnd
from tools.describe import describe_end

T = TypeVar("T")


@dataclass(frozen=True)
class InterventionView:
    """One question to the agent."""

    id: str
    kind: str
    """`prune`, `guide` or `none`."""
    reason: str
    """One sentence: why this answer."""
    failure_mode: str
    """What goes wrong in the rollout, as the agent named it."""
    trigger: str
    """What woke the agent, in words."""
    effect: str
    """The box or the waypoints, in words."""
    end: str
    """How it ended, in words; empty where nobody noted it."""
    cost: str
    """Calls, latency, tokens, in words."""
    from_memory: bool
    image: Image.Image | None
    """What the agent saw with its answer drawn on it."""
    prompt: str
    reply: str
    episode: Row | None
    """Line of the episode that it acted in; None when it cannot be told."""


def read_interventions(
    run: RunDirectory, episodes: Sequence[Row], *, camera: str | None = None, limit: int
) -> list[InterventionView]:
    """Return the questions of a run, oldest first. Files that are missing or damaged are left out of the view.

    Args:
        run: Where they are.
        episodes: Lines of the training episodes, to tell what came of each.
        camera: Camera that the agent was shown; None: the first of each scene.
        limit: Most that are read, spread evenly over the run.
    """
    episode_of = {name: row for row in episodes for name in row.get("intervention_ids") or []}
    names = spread(run.intervention_ids(), limit)
    return [_read(run.intervention(name), episode_of.get(name), camera) for name in names]


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items in their order, evenly spaced, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    last = len(items) - 1
    return [items[round(n * last / max(count - 1, 1))] for n in range(count)]


def _read(folder: Path, episode: Row | None, camera: str | None) -> InterventionView:
    record = _json(folder / "intervention.json")
    guidance = _mapping(record.get("guidance"))
    cost = _mapping(record.get("cost"))
    kind = str(guidance.get("kind", record.get("mode", "none")))
    end = end_in_words(episode or {}, folder.name)
    return InterventionView(
        id=folder.name,
        kind=kind,
        reason=str(record.get("reason") or guidance.get("message") or ""),
        failure_mode=str(record.get("failure_mode") or ""),
        trigger=_told(trigger_in_words, _mapping(record.get("trigger"))),
        effect=_told(guidance_in_words, guidance),
        end=f"the arm rose to look again, {end}" if end and kind == "none" else end,
        cost=_told(cost_in_words, cost),
        from_memory=bool(cost.get("memory_hit") or record.get("recalled")),
        image=draw_answer(folder, guidance, camera),
        prompt=_text(folder, "prompt"),
        reply=_text(folder, "reply"),
        episode=episode,
    )


def trigger_in_words(trigger: Mapping[str, Any]) -> str:
    """Return what woke the agent."""
    if not trigger:
        return ""
    step = f"step {trigger.get('step', '?')}"
    if trigger.get("kind") == "float":
        return f"FLOAT at {step}: λ {trigger.get('index', 0.0):.3f} over {trigger.get('threshold', 0.0):.3f}"
    if trigger.get("kind") in ("stall", "user"):
        return f"{'stalled' if trigger['kind'] == 'stall' else 'asked'} at {step}"
    reason = f": {trigger['reason']}" if trigger.get("reason") else ""
    return f"{trigger.get('kind', 'asked')} at {step}{reason}"


def guidance_in_words(guidance: Mapping[str, Any]) -> str:
    """Return a box by its centre and size, waypoints by their number and where they lead, in base-frame mm."""
    if guidance.get("kind") == "prune":
        lower, upper = guidance["lower"], guidance["upper"]
        centre = _millimetres([(a + b) / 2 for a, b in zip(lower, upper, strict=True)])
        size = " x ".join(f"{1000 * (b - a):.0f}" for a, b in zip(lower, upper, strict=True))
        return f"box of {size} mm around ({centre}) mm"
    if guidance.get("kind") == "guide":
        waypoints = guidance["waypoints"]
        last = _millimetres([row[3] for row in waypoints[-1]["T_base_tcp"][:3]])
        motions: dict[str, int] = {}
        for waypoint in waypoints:
            motions[waypoint.get("motion", "free")] = motions.get(waypoint.get("motion", "free"), 0) + 1
        kinds = ", ".join(f"{count} {motion}" for motion, count in motions.items())
        return f"{len(waypoints)} waypoints ({kinds}) to ({last}) mm"
    return str(guidance.get("message", ""))


def end_in_words(episode: Row, name: str) -> str:
    """Return how an intervention ended by the row of its episode; nothing for a row of before that was noted."""
    for row in episode.get("interventions") or []:
        try:
            end = InterventionEnd(**row)
            if end.id == name:
                return f"ended: {describe_end(end)}"
        except (TypeError, ValueError, AttributeError):  # damaged, or of another version
            continue
    return ""


def cost_in_words(cost: Mapping[str, Any]) -> str:
    """Return calls, latency and tokens."""
    if not cost:
        return ""
    tokens = cost.get("prompt_tokens", 0) + cost.get("completion_tokens", 0)
    text = f"{counted(cost.get('model_calls', 0), 'model call')}, {cost.get('latency_s', 0.0):.2f} s"
    return f"{text}, {tokens} tokens" if tokens else text


def _millimetres(metres: Sequence[float]) -> str:
    return ", ".join(str(round(1000 * value)) for value in metres)  # not ":.0f", which writes -0


def _told(tell: Callable[[Mapping[str, Any]], str], record: Mapping[str, Any]) -> str:
    """Return a part of a record in words; nothing for one that is damaged or of another version."""
    try:
        return tell(record)
    except (AttributeError, LookupError, TypeError, ValueError):
        return ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        return _mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _text(folder: Path, stem: str) -> str:
    """Return the text of the first file that is named so, whatever its suffix."""
    for path in sorted(folder.glob(f"{stem}.*")):
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return ""
