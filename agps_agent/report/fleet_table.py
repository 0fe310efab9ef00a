"""What a report says of the robots of a fleet, and of the agents that they share."""

from collections.abc import Mapping, Sequence
from typing import Any

from agps_agent.report import html

HEAD = (
    "robot",
    "steps",
    "rollouts",
    "success, newest 20",
    "idle",
    "waited for the agent",
    "period, median",
    "period, 99 % below",
    "weights' age",
    "oldest",
    "faults",
    "processes",
)


def fleet_sections(summary: Mapping[str, Any]) -> list[str]:
    """Return the section about the robots; none for a run of one robot, or one that has no summary yet."""
    robots = summary.get("robots")
    if not isinstance(robots, list) or not robots:
        return []
    note = (
        "One row per robot. Idle is the share of its time in which it waited for the agent or the learner; the period "
        "is that of its control steps within rollouts. Weights' age is in updates: now, and at most."
    )
    return [html.section("Robots", note, html.wide(html.table(HEAD, map(_row, robots))) + _pool(summary.get("pool")))]


def _row(robot: Mapping[str, Any]) -> Sequence[str]:
    name = str(robot.get("robot_name", "?"))
    if "steps" not in robot:
        return [name, *["-"] * (len(HEAD) - 1)]
    age = robot.get("weights_age_updates")
    return [
        name,
        f"{robot['steps']:,}",
        f"{robot['episodes']:,}",
        f"{robot['recent_success']:.0%}",
        f"{robot['idle_share']:.1%}",
        f"{robot['agent_wait_s']:.0f} s",
        f"{robot['period_p50_ms']:.0f} ms",
        f"{robot['period_p99_ms']:.0f} ms",
        "-" if age is None else f"{age:,}",
        f"{robot['oldest_weights_updates']:,}",
        f"{robot['faults']}",
        f"{robot['lives']}",
    ]


def _pool(pool: Any) -> str:
    if not isinstance(pool, dict) or not pool:
        return ""
    rows = [
        ("questions of all robots", f"{pool['questions']}"),
        ("of them without an answer in time", f"{pool['late']}"),
        ("calls of the model", f"{pool['model_calls']}"),
        ("answered from the memory that they share", f"{pool['memory_hits']}"),
        ("records in it", f"{pool['records']}"),
        ("waited for a turn, in all", f"{pool['waited_s']:.1f} s"),
        ("agents at work, over the time of the run", f"{pool['use']:.0%}"),
    ]
    return html.table((), rows)
