import json
import shutil
from pathlib import Path

import pytest

from agps_agent.cli.reproduce import parse_cell
from agps_agent.measure.experiments.cost import estimate_grid, in_words, spent, spent_in_words, step_rates
from agps_agent.measure.experiments.library import load_experiment
from agps_agent.measure.experiments.planning import Glance, glance, plan, seeds_found, standing
from agps_agent.run.estimate import calls_of
from rl.errors import ConfigError
from rl.ownership import give_up, own
from tests.agps_agent.measure.experiments.grids import GRID, leave_run, tiny_grid


def test_seeds_change_last(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    assert [run.name for run in runs] == ["agps-seed0", "serl-seed0", "agps-seed1", "serl-seed1"]
    assert [run.config.seed for run in runs] == [0, 0, 1, 1]
    assert runs[2].begin()[-4:] == ("--seed", "1", "--run-dir", str(runs[2].path))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("--method ppo", "tiny, cell serl: There is no method 'ppo'"),
        ("--method serl --demos -1", "tiny, cell serl: --demos: Input should be greater than or equal to 0"),
        ("--methode serl", "tiny, cell serl: Unrecognized"),
        ("-h", "tiny, cell serl: its options ask for help."),
    ],
)
def test_option_that_training_would_refuse_is_refused_before_anything_runs(
    wrong: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        tiny_grid(tmp_path, GRID.replace('"--method serl"', f'"{wrong}"'))
    assert words in str(refusal.value) and not (tmp_path / "runs").exists()


def test_run_stands_by_what_is_on_disk(tmp_path: Path) -> None:
    _, (finished, interrupted, unfinished, absent) = tiny_grid(tmp_path)
    leave_run(finished)
    leave_run(interrupted, ended_by="interrupted")
    leave_run(unfinished, successes=None)
    states = [standing(run).state for run in (finished, interrupted, unfinished, absent)]
    assert states == ["finished", "queued", "queued", "queued"]


def test_run_that_was_made_with_other_settings_is_not_counted(tmp_path: Path) -> None:
    _, (run, *_) = tiny_grid(tmp_path)
    leave_run(run)
    _, (longer, *_) = tiny_grid(tmp_path, GRID.replace("--max-env-steps 60", "--max-env-steps 90"))
    now = standing(longer)
    assert now.state == "other" and "made with max_env_steps = 60, and 90 is declared" in now.why


@pytest.mark.parametrize("row", ['{"env_steps": "x"}', '{"env_steps": [1]}', '{"env_steps": 1e400}', '{"figures": 3}'])
def test_damaged_line_does_not_end_the_table(row: str, tmp_path: Path) -> None:
    _, (run, *_) = tiny_grid(tmp_path)
    directory = leave_run(run)
    with directory.metrics.open("a") as file:
        file.write(row + "\n")
    assert glance(run.path) == Glance(60, 0.9)


def test_finished_run_without_its_settings_is_left_as_it_is(tmp_path: Path) -> None:
    _, (run, *_) = tiny_grid(tmp_path)
    leave_run(run).config.unlink()
    now = standing(run)
    assert now.state == "other" and "has no config.json; copy it again, or move it away" in now.why


def test_damaged_run_is_told_as_one(tmp_path: Path) -> None:
    _, (run, *_) = tiny_grid(tmp_path)
    leave_run(run).summary.write_text("{")
    assert standing(run).state == "other" and "is damaged; move" in standing(run).why


def test_run_that_somebody_trains_is_in_use_even_when_it_looks_finished(tmp_path: Path) -> None:
    _, (run, *_) = tiny_grid(tmp_path)
    leave_run(run)
    descriptor = own(run.path)
    assert standing(run).state == "in use"
    give_up(run.path, descriptor)
    assert standing(run).state == "finished"


def test_copies_of_another_machine_are_found(tmp_path: Path) -> None:
    _, (run, *_) = tiny_grid(tmp_path)
    leave_run(run)
    shutil.move(run.path, tmp_path / "elsewhere")
    assert standing(run).state == "queued"
    shutil.copytree(tmp_path / "elsewhere", run.path)
    assert standing(run).state == "finished"


def test_glance_takes_the_newest_whole_lines(tmp_path: Path) -> None:
    assert glance(tmp_path) == Glance(0, None)
    rows = [{"kind": "eval", "env_steps": 400, "success_rate": 0.25}, {"episode": 3, "env_steps": 431}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"env_steps": 9')
    assert glance(tmp_path) == Glance(431, 0.25)


def test_more_seeds_than_declared_are_found(tmp_path: Path) -> None:
    experiment, (run, *_) = tiny_grid(tmp_path)
    assert seeds_found(experiment, run.path.parent) == 0
    for name in ("agps-seed7", "other-seed9", "agps-seedling"):
        (run.path.parent / name).mkdir(parents=True)
    assert seeds_found(experiment, run.path.parent) == 8


def test_estimate_is_by_the_rate_of_finished_runs(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    leave_run(runs[0])  # 60 steps in 120 s
    assert step_rates([run.path for run in runs]) == {"usb_insertion": 0.5}
    estimate = estimate_grid(runs[1:], [runs[0].path])
    assert (estimate.runs, estimate.control_steps, estimate.asking) == (3, 180, 1)
    assert estimate.hours == pytest.approx(180 / 0.5 / 3600)
    assert (estimate.least.calls, estimate.most.calls) == (2, 110)
    assert "at most 0.1 h with 2 at a time" in in_words(estimate, jobs=2)[0]
    # Two calls of 780 tokens of prompts at 2.50 and 37 of replies at 10.00 USD per million.
    assert any(line.startswith("  gpt-4o (Vercel AI Gateway): $0.0046 to ") for line in in_words(estimate, jobs=2))


def test_scene_that_moves_asks_more() -> None:
    assert calls_of({"port_jitter_mm": 30.0}) == calls_of({"hook_jitter_deg": 1}) == (60, 500)
    assert calls_of({}) == calls_of({"port_jitter_mm": 0, "light_jitter": 0.4}) == (2, 110)
    assert calls_of({}, recalls=False) == (20, 130)


ROOT = Path(__file__).parents[4]


ASKING = {
    **dict.fromkeys(("fig3", "fig4b", "vlm-error", "ablation", "ablation-tasks"), 20),
    **{"when-it-helps": 54, "triggers": 9, "triggers-fade": 6, "triggers-oracle": 6, "towel-longer": 3},
}
"""Experiments, and how many published runs that ask they have at least."""


@pytest.mark.parametrize("name", ASKING)
def test_every_published_run_lies_within_its_estimate(name: str, tmp_path: Path) -> None:
    results = json.loads((ROOT / "docs" / "results" / name / "results.json").read_text())
    published = {cell["name"]: cell["runs"] for cell in results["cells"]}
    own = ROOT / "examples" / f"{name}.toml"
    experiment = load_experiment(str(own) if own.is_file() else name)
    outside, seen = [], 0
    for run in plan(experiment, tmp_path, parse_cell, seeds=1):
        estimate = estimate_grid([run], [])
        for done in published[run.cell.name] if estimate.asking else []:
            seen += 1
            for count in ("calls", "prompt_tokens", "completion_tokens"):
                low, high = getattr(estimate.least, count), getattr(estimate.most, count)
                if not low <= done[f"agent_{count}"] <= high:
                    outside.append((run.cell.name, done["seed"], count, low, done[f"agent_{count}"], high))
    assert seen >= ASKING[name] and outside == []


def test_hours_are_not_guessed(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    assert estimate_grid(runs, []).hours is None
    assert "hours are not known" in in_words(estimate_grid(runs, []), jobs=2)[0]


def test_runs_that_share_the_machine_take_no_longer_than_is_said(tmp_path: Path) -> None:
    """Three runs of an hour, two at a time, take two hours, and one run takes as long alone as beside none."""
    _, runs = tiny_grid(tmp_path)
    leave_run(runs[0])
    estimate = estimate_grid(runs[1:], [runs[0].path])
    one = estimate.longest
    assert one is not None and estimate.hours == pytest.approx(3 * one)
    told = [estimate.hours_with(jobs) for jobs in (1, 2, 3)]
    assert told == pytest.approx([3 * one, 2 * one, 3 * one / 3 + one * 2 / 3])
    assert "with 3 at a time" in in_words(estimate, jobs=100)[0]


def asking(tmp_path: Path, **models: str) -> list[str]:
    """What is said of the models that a grid asks, one cell each."""
    lines = ['title = "T"', 'question = "Q?"', "seeds = 2", "eval_episodes = 1", 'options = "--max-env-steps 60"']
    for name, options in models.items():
        lines += ["[[cells]]", f'name = "{name}"', 'task = "usb_insertion"', f'label = "{name}"', 'panel = "P"']
        lines += [f'options = "--method agps {options}"']
    (tmp_path / "asking.toml").write_text("\n".join(lines))
    runs = plan(load_experiment(str(tmp_path / "asking.toml")), tmp_path, parse_cell)
    return in_words(estimate_grid(runs, []), jobs=2)[1:]


def test_each_model_that_is_asked_has_its_own_price(tmp_path: Path) -> None:
    openai, own = "--vlm https://api.openai.com/v1 --vlm-model gpt-5-mini", "--vlm http://127.0.0.1:8000/v1"
    told = asking(
        tmp_path,
        here="",
        also_here="--vlm embedded,point-error-px=8",
        openai=openai,
        dearer=f"{openai} --vlm-price-in 250 --vlm-price-out 2000",
        own=own,
    )
    # Two runs of 2 to 110 calls: 4 of 780 and 37 tokens at 0.25 and 2.00 USD per million; 220 of 1,440 and 65.
    assert told[0].startswith("10 runs ask the agent: 20 to 1,100 model calls") and "embedded" not in told[0]
    assert told[1:] == [
        "  a model in this process, 4 runs: nothing",
        "  gpt-5-mini at https://api.openai.com/v1, 2 runs: $0.0011 to $0.11",
        "  gpt-5-mini at https://api.openai.com/v1, 2 runs: $1.08 to $107.80",
        "  the model at http://127.0.0.1:8000/v1, 2 runs: no price is known; give one with --vlm-price-in and "
        "--vlm-price-out",
    ]


def test_embedded_model_costs_nothing_and_what_served_ones_would_is_told(tmp_path: Path) -> None:
    told = asking(tmp_path, here="", erring="--vlm embedded,point-error-px=8")
    assert told[0].endswith("tokens. The embedded model costs nothing; a served one in its place:") and len(told) == 7


def test_where_nothing_is_learned_there_are_no_hours_to_know() -> None:
    assert in_words(estimate_grid([], []), jobs=2) == ["0 runs to do, at most 0 control steps."]


def test_what_questions_have_cost_is_summed_over_finished_runs_and_told_by_each_price_list(tmp_path: Path) -> None:
    _, runs = tiny_grid(tmp_path)
    asked = {"agent_prompt_tokens": 1_000_000, "agent_completion_tokens": 100_000, "agent_seconds": 12.4}
    leave_run(runs[0], agent_calls=300, **asked)
    leave_run(runs[1])
    leave_run(runs[2], agent_calls=100, **asked, agent_usd=0.5)
    cost = spent(runs)
    assert (cost.runs, cost.usage.calls, cost.usage.prompt_tokens, cost.seconds) == (2, 400, 2_000_000, 24.8)
    head, *lines = spent_in_words(cost)
    assert "400 model calls, 2,000,000 tokens of prompts and 200,000 of replies, 25 s" in head and "$0.50 by" in head
    # 2 million at $0.25 and 0.2 million at $2.00; three lists have six models.
    assert "  gpt-5-mini (OpenAI): $0.90" in lines and len(lines) == 6
    assert spent_in_words(spent(runs[1:2])) == []
