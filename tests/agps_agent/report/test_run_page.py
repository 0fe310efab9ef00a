import json
import re
from pathlib import Path

import numpy as np
import pytest

from agps_agent.report import write_report
from agps_agent.run.directory import RunDirectory
from agps_agent.run.films import Filmer
from rl.rollout import Moment
from tests.agps_agent.report.synthetic import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("runs") / "run", episodes=60)
    write_report(run)
    return run


@pytest.mark.parametrize(
    "title",
    [
        "Success over environment steps",
        "Success over both clocks",
        "Triggers per 10 rollouts",
        "λ of good and bad rollouts",
        "Interventions (",
        "Configuration",
    ],
)
def test_page_has_every_section(run: RunDirectory, title: str) -> None:
    assert f"<h2>{title}" in run.report.read_text()


def test_success_stands_before_the_losses_of_stage_1(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", method="conrft", episodes=12)).read_text()
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles.index("Success over environment steps") < titles.index("Stage 1")


def test_page_needs_nothing_beside_it(run: RunDirectory) -> None:
    page = run.report.read_text()
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_headline_says_how_the_policy_does_alone(run: RunDirectory) -> None:
    assert "<b>49 of 50</b>" in run.report.read_text()


def test_words_of_a_model_are_text_and_not_markup(run: RunDirectory) -> None:
    page = run.report.read_text()
    assert "Where is &lt;socket&gt;?" in page and "<socket>" not in page


def test_intervention_shows_trigger_answer_and_outcome(run: RunDirectory) -> None:
    page = run.report.read_text()
    assert "FLOAT at step 22: λ 0.240 over 0.210" in page
    assert "box of 40 x 40 x 60 mm around (450, 50, 30) mm" in page
    assert "1 waypoints (1 free) to (450, 50, 30) mm" in page


def test_intervention_shows_how_it_ended(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    end = {"id": "0001", "kind": "guide", "how": "blocked", "steps": 14, "waypoint": 1, "waypoints": 5}
    damaged = {"id": "0001", "of": "another version"}
    row = {"kind": "episode", "episode": 12, "env_steps": 9999, "success": False, "intervention_ids": ["0001"]}
    run.append_metrics({**row, "interventions": [damaged, {**end, "distance_m": 0.0082}]})
    assert "ended: blocked after 14 steps, 8 mm short of waypoint 2 of 5" in write_report(run).read_text()


def test_long_galleries_unfold(run: RunDirectory) -> None:
    assert re.search(r"<summary>\d+ more</summary>", run.report.read_text())


def test_run_without_agent_has_no_gallery(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", method="serl", episodes=30)).read_text()
    assert "Interventions (" not in page and "with SERL" in page


def test_run_with_a_human_shows_when_it_had_the_arm(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", method="hil-serl", episodes=30)
    page = write_report(run).read_text()
    assert "with HIL-SERL (simulated human)" in page and "<h2>Takeovers" in page
    seconds, stretches = run.read_summary()["human_s"], run.read_summary()["human_interventions"]
    assert f"<b>{round(seconds)} s</b><span>with a human&#x27;s hand on the arm, in {stretches} interventions" in page
    assert "Ticks: rollouts that the human helped in." in page


def test_run_with_two_stages_shows_the_first(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", method="agps-conrft", episodes=12)).read_text()
    assert "<h2>Stage 1" in page and "<b>16 of 50</b><span>successes after stage 1 alone, 500 updates" in page


def test_learned_reward_is_compared_with_the_truth(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=70, learned_reward=True)
    rows = [row for row in run.read_metrics() if row["kind"] == "episode"]
    false = sum(row["success"] and not row["true_success"] for row in rows)
    missed = sum(row["was_true"] and not row["success"] for row in rows)
    page = write_report(run).read_text()
    assert false + missed == 10 and f"{false} rewarded, not true, {missed} true, not rewarded" in page


def test_run_rewarded_by_the_truth_has_nothing_to_compare(run: RunDirectory) -> None:
    assert "disagreed" not in run.report.read_text() and "Takeovers" not in run.report.read_text()


def test_run_that_was_stopped_at_once_still_has_a_page(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion"}, "versions": {}}))
    assert "No rollout was finished." in write_report(run).read_text()


@pytest.mark.filterwarnings("error")
def test_run_that_was_only_helped_so_far_is_drawn(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.config.write_text('{"config": {"task": "usb_insertion", "method": "agps"}}')
    for episode in range(3):
        row = {"kind": "episode", "episode": episode, "env_steps": 100 * (episode + 1), "success": True}
        run.append_metrics({**row, "guided_steps": 20, "intervention_ids": [f"{episode:04d}"]})
    assert "agent helped" in write_report(run).read_text()


def test_damaged_intervention_keeps_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    (run.intervention("0001") / "intervention.json").write_text("{")
    (run.intervention("0001") / "annotated.png").write_bytes(b"")
    assert "no image" in write_report(run).read_text()


def measured_run(path: Path, **figures: object) -> RunDirectory:
    """A run of which two evaluations say what was measured."""
    run = make_run(path, episodes=12)
    for n, success in enumerate((0.2, 0.6)):
        point = {
            "env_steps": 20_000 + n,
            "reward_rate": 0.5,
            "help_share": 0.1,
            "q_mean": 0.4,
            "q_min": 0.1,
            "q_max": 0.9,
        }
        row = {"kind": "eval", "env_steps": 20_000 + n, "success_rate": success, "episodes": 20}
        run.append_metrics({**row, "figures": {**point, **figures}})
    return run


def test_run_says_why_it_ended_and_what_is_wrong(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    words = {
        "ending": "Ended after all 60 steps; go on with: agps train <x>",
        "diagnosis": "Help never succeeds: none.",
    }
    run.write_summary({**run.read_summary(), **words})
    page = write_report(run).read_text()
    assert '<p class="notice ">Ended after all 60 steps; go on with: agps train &lt;x&gt;</p>' in page
    assert '<p class="notice wrong">Help never succeeds: none.</p>' in page


def test_what_was_measured_is_drawn_over_the_run(tmp_path: Path, run: RunDirectory) -> None:
    page = write_report(measured_run(tmp_path / "run")).read_text()
    assert "<h2>What to look at first" in page and "how far from the goal" not in page and "Dotted: " not in page
    page = write_report(measured_run(tmp_path / "error", goal_error_mm=4.0, expected=0.5)).read_text()
    assert "how far from the goal" in page and "Dotted: what the task" in page
    assert "What to look at first" not in run.report.read_text()  # nothing of it was measured


def test_confirmation_is_no_point_of_the_curve(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    before = write_report(run).read_bytes()
    run.append_metrics({"kind": "confirmation", "env_steps": 10, "success_rate": 1.0, "episodes": 60, "passed": True})
    assert write_report(run).read_bytes() == before


def test_page_shows_the_policy_alone_moving(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    filmer = Filmer(run.films, ["wrist"], 10.0)
    for step in range(3):
        seen = {"wrist": np.full((8, 8, 3), 80 * step, np.uint8)}
        filmer(4, Moment(obs=seen, info={"is_success": False}, step=step, truncated=step == 2))
    page = write_report(run).read_text()
    assert "<h2>The policy alone" in page and "episode 4, 2 steps" in page and "data:image/webp;base64," in page


def test_page_names_the_model_and_its_tokens(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    saved = json.loads(run.config.read_text())
    run.config.write_text(json.dumps({**saved, "model": "Qwen/Qwen3-VL-8B"}))
    run.write_summary({**run.read_summary(), "model": "Qwen/Qwen3-VL-8B", "agent_tokens": 12_345})
    page = write_report(run).read_text()
    assert "with AGPS (Qwen/Qwen3-VL-8B agent)" in page
    assert "<b>12,345 tokens</b><span>of Qwen/Qwen3-VL-8B</span>" in page


def test_page_names_money_and_seconds_of_a_model_with_a_price(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    tokens = {"agent_tokens": 12_345, "agent_prompt_tokens": 12_000, "agent_completion_tokens": 345}
    paid = {"model": "gpt-5-mini", **tokens, "agent_seconds": 61.25, "agent_usd": 1.234}
    run.write_summary({**run.read_summary(), **paid})
    told = "12,345 tokens: 12,000 in prompts, 345 in replies, 61 s until its replies"
    tile = f"<b>$1.23</b><span>for gpt-5-mini, {told}</span>"
    page = write_report(run).read_text()
    assert tile in page and page.index(tile) < page.index("environment steps, ")


def test_page_shows_losses_over_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    assert "<h2>Losses and values" not in write_report(run).read_text()
    for steps in (400, 800):
        row = {"kind": "eval", "env_steps": steps, "success_rate": 0.5, "episodes": 20}
        run.append_metrics({**row, "learned": {"critic_loss": 1.0 / steps, "q_mean": 0.5}})
    assert "<h2>Losses and values" in write_report(run).read_text()


@pytest.mark.parametrize(
    ("method", "shown", "left_out"),
    [("agps", ["supervisor", "gamma"], ["simulated human", "teleop"]), ("serl", ["gamma"], ["supervisor", "vlm"])],
)
def test_only_settings_that_acted_are_listed(
    tmp_path: Path, method: str, shown: list[str], left_out: list[str]
) -> None:
    run = make_run(tmp_path / "run", method=method, episodes=12)
    saved = json.loads(run.config.read_text())
    helper = {"agps": "agent", "serl": "nobody"}[method]
    more = {"helper": helper, "supervisor": {"help_share": 0.5}, "human": {"simulated human": 1}, "teleop": "gamepad"}
    run.config.write_text(json.dumps({**saved, "config": {**saved["config"], **more}}))
    listed = write_report(run).read_text().split("<h2>Configuration")[1]
    assert all(f">{name}<" in listed for name in shown)
    assert not any(f">{name}<" in listed for name in left_out)
