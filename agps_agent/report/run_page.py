"""The report of one run: one page that can be mailed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from agps_agent.models.prices import in_dollars
from agps_agent.report import figures, html
from agps_agent.report.curves import (
    REWARD_ERRORS,
    episodes_of,
    evaluation_curve,
    evaluations_of,
    expected_curve,
    figures_of,
    final_evaluations_of,
    per_ten_rollouts,
    steps_to,
    training_curve,
)
from agps_agent.report.fleet_table import fleet_sections
from agps_agent.report.interventions import InterventionView, read_interventions, spread
from agps_agent.run.acting import helper_of, idle
from agps_agent.run.directory import Row, RunDirectory
from agps_agent.run.films import films_in
from agps_agent.run.methods import shown
from agps_agent.run.rows import check_reportable, config_of
from rl.counting import counted
from rl.evaluation import wilson_interval
from rl.files import read_json_object, write_atomically

FIRST_CARDS = 9
"""Interventions shown at once; the others unfold."""

MAX_CARDS = 90
"""Interventions in the page: each adds some 40 kB."""
_ACTING = {
    "mean": "deterministic",
    "unstuck": "deterministic but where the arm gets nowhere",
    "sampled": "by actions that it draws",
}


def write_report(run: RunDirectory) -> Path:
    """Write report.html of a finished or interrupted run, and return its path.

    Raises:
        AgpsError: If config.json is damaged or the page cannot be written.
    """
    rows, summary = run.read_metrics(), run.read_summary()
    check_reportable(rows, summary, run.path)
    episodes, evaluations, final = episodes_of(rows), evaluations_of(rows), final_evaluations_of(rows)
    saved = read_json_object(run.config)
    config: Mapping[str, Any] = config_of(saved, run.config)
    camera = (config.get("agent") or {}).get("camera")
    views = read_interventions(run, episodes, camera=camera, limit=MAX_CARDS)
    questions = len(run.intervention_ids())
    model = saved.get("model") or config.get("vlm", "?")
    title = f"{saved.get('task') or config.get('task', 'run')} with {_method(config, model)}"
    demos = config.get("demos", "?")
    subtitle = f"{demos} demonstration{'' if demos == 1 else 's'}, seed {config.get('seed', '?')}, {run.path}"
    sections = [
        html.header(title, subtitle),
        *_notices(summary),
        _headline(summary, episodes, evaluations, questions, is_foreign=bool(config.get("env"))),
        *_films(run),
        *_learning(episodes, evaluations, final, helper=helper_of(config), acting=config.get("eval_acting", "mean")),
        *_measured(figures_of([*evaluations, *final])),
        *_pretraining([row for row in rows if row.get("kind") == "pretrain"]),
        *_learner(evaluations),
        *([_return(episodes, evaluations, final)] if config.get("env") and episodes else []),
        *_takeovers(episodes),
        *_detector(episodes),
        *_reward(episodes),
        *_gallery(views, questions),
        *fleet_sections(summary),
        *_robot(summary.get("robot") or (episodes[-1].get("robot") if episodes else None) or {}),
        _configuration(config, saved.get("versions") or {}),
    ]
    write_atomically(run.report, html.page(title, sections))
    return run.report


def _notices(summary: Row) -> list[str]:
    """Return why the run is over and how to go on, and what is wrong with it; runs of earlier versions say neither."""
    notices = [html.notice(summary["ending"])] if summary.get("ending") else []
    return notices + ([html.notice(summary["diagnosis"], "wrong")] if summary.get("diagnosis") else [])


def _measured(points: Sequence[Row]) -> list[str]:
    if not points:
        return []
    points = list({point["env_steps"]: point for point in points}.values())  # the final evaluation is of the last step
    error = ", and how far from the goal the encoder takes it to be" if figures.has_goal_error(points) else ""
    note = (
        "What the run is diagnosed from, at each evaluation: values of the newest batch, from the smallest to the "
        "largest, against the range that returns can have; shares of the newest 20 rollouts in which a reward was seen "
        f"or a detector fired, and of their steps that were guided{error}."
    )
    return [html.section("What to look at first", note, html.figure(figures.measured(points), "Q, shares and errors"))]


def _films(run: RunDirectory) -> list[str]:
    """Return what the policy's cameras see in the final evaluation; runs of earlier versions filmed nothing."""
    cards = []
    for film in films_in(run.films):
        outcome, episode, steps = film.stem.split("_")
        said = html.badge("succeeded" if outcome == "success" else "failed", outcome)
        head = html.badges([said], f"episode {int(episode)}, {int(steps)} steps")
        moving = html.film(film.read_bytes(), f"What the policy saw in episode {int(episode)}")
        cards.append(f'<div class="card">{moving}<div class="body">{head}</div></div>')
    if not cards:
        return []
    note = (
        "The final evaluation as the policy's cameras see it, in the time that it takes: the first success, and the "
        "first failures if there were any."
    )
    return [html.section("The policy alone", note, f'<div class="gallery">{"".join(cards)}</div>')]


def _learner(evaluations: Sequence[Row]) -> list[str]:
    points = [(row["env_steps"], row["learned"]) for row in evaluations if isinstance(row.get("learned"), dict)]
    points = [(steps, values) for steps, values in points if values]
    if len(points) < 2:
        return []
    drawn = html.figure(figures.learned(points), "Losses and values of the learner")
    note = "The learner's newest batch at each evaluation: losses should fall or stay, values rise towards the return."
    return [html.section("Losses and values", note, html.unfolding("show", drawn))]


def _method(config: Mapping[str, Any], model: str) -> str:
    method = str(config.get("method", "?"))
    is_real = config.get("robot", "sim") != "sim"
    human = f" (human with {config.get('teleop')})" if is_real else " (simulated human)"
    who = {"agent": f" ({model} agent)", "human": human}.get(helper_of(config), "")
    return f"{shown(method)}{who}" + (f" on {config['robot']}" if is_real else "")


def _headline(
    summary: Row, episodes: Sequence[Row], evaluations: Sequence[Row], questions: int, *, is_foreign: bool
) -> str:
    last: Row = {**(episodes[-1] if episodes else {}), **summary}
    numbers = [
        _final_success(summary, evaluations),
        (f"{last.get('env_steps', 0):,}", f"environment steps, {counted(len(episodes), 'rollout')}"),
        (f"{last.get('learner_steps', 0):,}", "learner steps"),
        (_duration(last.get("wall_clock_s", 0.0)), "training, wall-clock"),
        (_duration(last.get("robot_time_s", 0.0)), "robot time at 10 Hz, agent pauses included"),
        (_steps(summary.get("steps_to_80", steps_to(evaluations, 0.8))), "steps to 80 %"),
        (_steps(summary.get("steps_to_100", steps_to(evaluations, 1.0))), "steps to 100 %"),
    ]
    if last.get("agent_tokens"):
        numbers.insert(1, _model_costs(last))
    if questions or last.get("agent_calls"):
        triggered = per_ten_rollouts(episodes, "triggered")
        hits = last.get("memory_hits", 0)
        numbers.append(
            (f"{last.get('agent_calls', 0)}", f"agent calls in {counted(questions, 'question')}, {hits} from memory")
        )
        numbers.append(
            (
                f"{triggered[0]:.0f} → {triggered[-1]:.0f}" if triggered else "-",
                "triggers per 10 rollouts, from the first to the last",
            )
        )
    if "mean_return" in summary and summary["mean_return"] is not None and is_foreign:
        numbers.insert(1, (f"{summary['mean_return']:.4g}", "mean return of the policy alone"))
    if last.get("human_interventions"):
        numbers.append(
            (
                _duration(last.get("human_s", 0.0)),
                f"with a human's hand on the arm, in {last['human_interventions']} interventions; "
                "the human watches all of the robot time",
            )
        )
    if summary.get("pretrain_success_rate") is not None:
        wins = round(summary["pretrain_success_rate"] * summary["eval_episodes"])
        stage = f"successes after stage 1 alone, {summary['pretrain_steps']:,} updates"
        numbers.insert(1, (f"{wins} of {summary['eval_episodes']}", stage))
    return html.tiles(numbers)


def _model_costs(last: Row) -> tuple[str, str]:
    """Return what the model came to: money where its price is known, else tokens; its name, tokens and seconds."""
    tokens, usd = f"{last['agent_tokens']:,} tokens", last.get("agent_usd")
    said = [f"{'of' if usd is None else 'for'} {last.get('model') or 'the model'}"]
    if last.get("agent_prompt_tokens"):
        apart = f"{last['agent_prompt_tokens']:,} in prompts, {last['agent_completion_tokens']:,} in replies"
        said.append(apart if usd is None else f"{tokens}: {apart}")
    if last.get("agent_seconds") is not None:
        said.append(f"{last['agent_seconds']:.0f} s until its replies")
    return (tokens if usd is None else in_dollars(usd)), ", ".join(said)


def _final_success(summary: Row, evaluations: Sequence[Row]) -> tuple[str, str]:
    if summary.get("success_rate") is not None:
        rate, episodes = summary["success_rate"], summary["eval_episodes"]
    elif evaluations:
        rate, episodes = evaluations[-1]["success_rate"], evaluations[-1].get("episodes", 0)
    else:
        rate, episodes = 0.0, 0
    if episodes < 1:
        return "-", "the policy was not evaluated"
    wins = round(rate * episodes)
    low, high = wilson_interval(wins, episodes)
    return (
        f"{wins} of {episodes}",
        f"successes of the policy alone (95 % interval {100 * low:.0f} to {100 * high:.0f} %)",
    )


def _pretraining(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    newest = {row["updates"]: row for row in rows}  # a resumed run did some of them over
    drawn = figures.pretraining([newest[updates] for updates in sorted(newest)])
    note = "Stage 1 learns from the demonstrations alone. Losses and values of single batches, each with its own scale."
    return [html.section("Stage 1", note, html.figure(drawn, "Losses of stage 1 over its updates"))]


def _takeovers(episodes: Sequence[Row]) -> list[str]:
    if not any(row.get("human_stretches") for row in episodes):
        return []
    note = (
        "One line per training rollout, from its first control step to its last; orange is when the human's hand was "
        "on the arm, the dot how the rollout ended."
    )
    return [html.section("Takeovers", note, html.figure(figures.takeovers(episodes), "Takeovers in each rollout"))]


def _reward(episodes: Sequence[Row]) -> list[str]:
    judged = [row for row in episodes if "true_success" in row]
    if not judged:
        return []
    counts = {name: sum(wrong(row) for row in judged) for name, wrong in REWARD_ERRORS.items()}
    wrong_in_words = ", ".join(f"{count} {name}" for name, count in counts.items())
    rewarded = sum(row["success"] for row in judged)
    note = (
        f"The reward did not come from the truth. Of {len(judged)} training rollouts, {rewarded} were rewarded: "
        f"{wrong_in_words}. Rewarded, not true: the rollout ended as a success that the simulator did "
        "not see at that step. True, not rewarded: the simulator saw a success at some step, the reward at none. "
        "Evaluations are by the simulator's truth."
    )
    drawn = html.figure(figures.reward_errors(judged), "Wrong rewards per 10 rollouts")
    return [html.section("Where reward and truth disagreed", note, drawn)]


def _learning(
    episodes: Sequence[Row], evaluations: Sequence[Row], final: Sequence[Row], *, helper: str, acting: str
) -> list[str]:
    if not episodes and not evaluations:
        return [html.section("Success", "No rollout was finished.", "")]
    curves = training_curve(episodes), evaluation_curve(evaluations), evaluation_curve(final)
    hoped = expected_curve(evaluations)
    steps = figures.success_over_steps(*curves, episodes, helper=helper, expected=hoped)
    expected = " Dotted: what the task's recipe had there." if hoped[0] else ""
    ticks = "" if helper == "nobody" else f" Ticks: rollouts that the {helper} helped in."
    clocks = figures.success_over_clocks(*curves)
    return [
        html.section(
            "Success over environment steps",
            f"Dots: the policy alone, {_ACTING.get(acting, acting)}, no agent and no box. "
            "Pale line: training rollouts in which nobody "
            f"helped, with exploration noise. Diamond: the final evaluation.{expected}{ticks}",
            html.figure(steps, "Success over environment steps"),
        ),
        html.section(
            "Success over both clocks",
            "Wall-clock is what this machine took, evaluations excluded; robot time is what a robot at 10 Hz would "
            "have taken: 0.1 s per step, plus the pauses in which the agent thinks and the arm holds still.",
            html.figure(clocks, "Success over wall-clock and robot time"),
        ),
    ]


def _return(episodes: Sequence[Row], evaluations: Sequence[Row], final: Sequence[Row]) -> str:
    note = "Sum of the rewards of an episode, as the environment gives them: not discounted, not scaled."
    drawn = figures.return_over_steps(episodes, evaluations, final)
    return html.section("Return over environment steps", note, html.figure(drawn, "Return over environment steps"))


def _detector(episodes: Sequence[Row]) -> list[str]:
    sections = []
    if any("triggered" in row for row in episodes):
        sections.append(
            html.section(
                "Triggers per 10 rollouts",
                f"Pale: rollouts that {_who_watched(episodes)} found to drift. Dark: rollouts that the agent helped "
                "in, those that it demonstrated from the first step included. Help fades as the policy succeeds alone.",
                html.figure(figures.triggers_per_ten(episodes), "Triggers per 10 rollouts"),
            )
        )
    names = [key.removesuffix("_scores") for row in episodes for key in row if key.endswith("_scores") and row[key]]
    for name in dict.fromkeys(names):
        title, about, symbol = _DETECTORS.get(name, (f"{name} in good and bad rollouts", f"The index of {name}.", name))
        sections.append(
            html.section(
                title,
                f"{about} Left: within rollouts, against the last threshold. Right: the largest score of each rollout, "
                "which is 1 where the detector fires; green for good and red for bad rollouts, with a ring where the "
                "agent helped.",
                html.figure(figures.detector_traces(episodes, name, symbol=symbol), f"{title}, against the threshold"),
            )
        )
    return sections


_DETECTORS = {
    "float": (
        "λ of good and bad rollouts",
        "λ is how far a rollout has strayed: the cost of turning what its cameras have seen so far into what the "
        "nearest good rollout saw (optimal transport between image features; demonstrations are good, and so is "
        "whatever succeeded later). FLOAT asks the agent for help when λ rises above the threshold, which nearly all "
        "good rollouts stay below.",
        "λ",
    )
}
"""Detectors that are drawn under another name than their own: title, what is measured, symbol."""


def _who_watched(episodes: Sequence[Row]) -> str:
    """Return which detectors woke the agent how often; in runs of earlier versions only that they did."""
    woke = Counter(str(row["trigger_kind"]) for row in episodes if row.get("trigger_kind"))
    known = {"float": "FLOAT", "stall": "the stall rule"}
    counts = ", ".join(f"{known.get(name, name)} in {count}" for name, count in woke.most_common())
    return f"the failure detectors ({counts})" if counts else "the failure detectors"


def _gallery(views: Sequence[InterventionView], questions: int) -> list[str]:
    if not views:
        return []
    first = spread(views, FIRST_CARDS)
    content = f'<div class="gallery">{"".join(map(_card, first))}</div>'
    if rest := [view for view in views if view not in first]:
        content += (
            f'<details class="more"><summary>{len(rest)} more</summary>'
            f'<div class="gallery">{"".join(map(_card, rest))}</div></details>'
        )
    left_out = f" {len(views)} of them, spread over the run." if questions > len(views) else ""
    note = (
        "What the agent saw, with the keypoints that it found, the way that it sends the tip of the tool (orange, from "
        "the ring to the larger ring) or the box that confines it (violet), and how the rollout ended."
    )
    return [html.section(f"Interventions ({questions})", note + left_out, content)]


def _card(view: InterventionView) -> str:
    image = '<div class="noimage">no image</div>' if view.image is None else html.picture(view.image)
    badges = [html.badge(view.kind if view.kind != "none" else "no intervention", view.kind)]
    if view.from_memory:
        badges.append(html.badge("from memory", "memory"))
    where = f"#{view.id}"
    if view.episode is not None:
        success = bool(view.episode.get("success"))
        badges.append(html.badge("succeeded" if success else "failed", "success" if success else "failure"))
        where += f" · rollout {view.episode.get('episode', '?')}"
    lines = [view.failure_mode, view.reason, view.effect, view.end]
    facts = " · ".join(fact for fact in (view.trigger, view.cost) if fact)
    return (
        f'<div class="card">{image}<div class="body">{html.badges(badges, where)}'
        + "".join(f"<p>{escape(line)}</p>" for line in dict.fromkeys(lines) if line)
        + f'<p class="muted">{escape(facts)}</p>'
        + ("" if view.from_memory else html.folded("prompt", view.prompt) + html.folded("reply", view.reply))
        + "</div></div>"
    )


ROBOT_FIGURES = {
    "ticks": "control steps",
    "tick_p50_ms": "period, median [ms]",
    "tick_p99_ms": "period, 99 % below [ms]",
    "tick_max_ms": "period, longest [ms]",
    "late_ticks": "periods over 120 ms",
    "watchdog_freezes": "watchdog held the arm (no action for 0.3 s)",
    "watchdog_stops": "watchdog stopped the arm (no action for 1 s)",
    "faults": "faults, each of which ended its episode",
    "recoveries": "recoveries",
    "min_success_rate": "control commands in time, worst share",
    "camera_age_p50_ms": "age of an image when used, median [ms]",
    "camera_age_p99_ms": "age of an image when used, 99 % below [ms]",
    "max_force_N": "largest force measured [N]",
    "guarded_steps": "control steps that the guard shortened",
}
"""What a real arm counted, in the order of the report."""


def _robot(counted: Mapping[str, float]) -> list[str]:
    if not counted:
        return []
    named = [(text, f"{counted[name]:g}") for name, text in ROBOT_FIGURES.items() if name in counted]
    others = [
        (name.replace("guard/", "limit that acted: ").replace("_", " "), f"{value:g}")
        for name, value in counted.items()
        if name.startswith(("guard/", "confirm/", "key_"))
    ]
    note = (
        "What rate, watchdog, guard and cameras did in training and evaluations since the run was started, or resumed. "
        "Pauses, in which the arm is held, are left out of the period."
    )
    return [html.section("Robot", note, html.table((), [*named, *others]))]


def _configuration(config: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    """Return the settings that acted in a run; those of a helper or a robot that it did not have are left out."""
    without_effect = idle(config)
    acting = {name: value for name, value in config.items() if name not in without_effect}
    groups: dict[str, Mapping[str, object]] = {"run": {k: v for k, v in acting.items() if not isinstance(v, dict)}}
    groups |= {name: values for name, values in acting.items() if isinstance(values, dict) and values}
    groups["versions"] = versions
    note = "Settings that acted in this run, and the versions that it ran with; config.json has all of them."
    return html.section("Configuration", note, html.unfolding("show", html.settings(groups)))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def _steps(steps: int | None) -> str:
    return "-" if steps is None else f"{steps:,}"
