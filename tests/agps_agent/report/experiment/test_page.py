import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from agps_agent.report.experiment.drawing import _resampled, draw, legend, legend_columns, look, numbered
from agps_agent.report.experiment.page import write_experiment
from agps_agent.report.experiment.results import FILE, CellOutcome, Results, gather, read_results
from agps_agent.report.experiment.table import cost_table, markdown, steps_to_80, table
from rl.errors import AgpsError, ConfigError
from scripts.browser import PHONE_PX, open_page
from tests.agps_agent.measure.experiments.grids import GRID, leave_run, tiny_grid
from tests.browser import needs_browser

FIGURES = ("success-steps", "success-robot", "success-wall", "final")


def results_of(folder: Path, *successes: int | None) -> Results:
    """A grid whose runs have so many successes of 20: AGPS and SERL with seed 0, then with seed 1."""
    experiment, runs = tiny_grid(folder)
    for run, count in zip(runs, successes, strict=False):
        if count is not None:
            leave_run(run, successes=count, agent_calls=3 if run.cell.name == "agps" else 0)
    return gather(experiment, runs, called="tiny.toml")


def cell(*steps: int | None, budget: int = 4_000) -> CellOutcome:
    run = {"origin": 0, "ended_by": "steps", "successes": 45, "episodes": 50, "env_steps": 4_000, "robot_time_s": 1.0}
    run |= {"wall_clock_s": 1.0, "agent_calls": 0, "memory_hits": 0, "agent_tokens": 0, "agent_usd": None}
    run |= {"human_s": 0.0, "stage_1": None, "triggers": [], "curve": []}
    runs = [{**run, "seed": seed, "steps_to_80": count} for seed, count in enumerate(steps)]
    told = {"name": "a", "task": "t", "panel": "p", "label": "l", "options": [], "declared": 3, "budget": budget}
    return CellOutcome.model_validate({**told, "runs": runs})


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((), ("-", "-")),
        ((1_200,), ("1,200", "-")),
        ((400, 800, 1_200), ("800", "400 to 1,200")),
        ((400, 800, None), ("800 (2 of 3 runs)", "400 to never in 4,000")),
        ((400, None, None), ("never in 4,000 (1 of 3 runs)", "400 to never in 4,000")),
        ((None, None), ("never in 4,000", "never in 4,000 to never in 4,000")),
    ],
)
def test_steps_to_80_are_told_with_those_that_never_got_there(
    steps: tuple[int | None, ...], words: tuple[str, str]
) -> None:
    assert steps_to_80(cell(*steps)) == words


def test_table_pools_seeds_and_leaves_out_what_says_nothing(tmp_path: Path) -> None:
    head, rows = table(results_of(tmp_path, 18, 4, 20))
    agps, serl = (dict(zip(head, row, strict=True)) for row in rows)
    assert (agps["runs"], agps["policy alone"], agps["agent calls"]) == ("2 of 2", "38/40", "3")
    assert agps["95 % (Wilson)"] == "83% to 99%"  # 38 of 40: centre 0.9106, half width 0.0756
    assert (serl["runs"], serl["policy alone"]) == ("1 of 2", "4/20")
    assert not {"cost", "human [s]", "stage 1 alone"} & set(head)
    assert markdown(head, rows).count("\n") == 4


def test_results_tell_how_they_were_made(tmp_path: Path) -> None:
    results = results_of(tmp_path, 18, 4)
    assert (results.command, results.finished, results.declared) == ("agps reproduce tiny.toml", 2, 4)
    assert results.hours == pytest.approx(240 / 3600)
    (origin,) = results.origins
    assert origin.machine is not None and "cores" in origin.machine and "torch" in origin.versions
    told = "usb_insertion --demos 1 --max-env-steps 60 --eval-every 30 --method agps --eval-episodes 20"
    assert results.cells[0].options == told.split()


def test_run_of_other_settings_is_left_out_and_said(tmp_path: Path) -> None:
    results_of(tmp_path, 18, 4)
    experiment, runs = tiny_grid(tmp_path, GRID.replace('"--method serl"', '"--method serl --demos 2"'))
    results = gather(experiment, runs, called="tiny.toml")
    assert results.finished == 1 and "made with demos = 1, and 2 is declared" in results.left_out[0]


@pytest.mark.parametrize(
    ("newest", "words"),
    [
        ((True, True), "the last point is of the newest ten. "),
        ((False, False), "the last point is scaled up from the rollouts that were left over. "),
        ((True, False), "is of the newest ten, and in 1 of 2 runs scaled up from the rollouts that were left over. "),
    ],
)
def test_figure_says_what_the_last_point_of_triggers_is(newest: tuple[bool, bool], words: str, tmp_path: Path) -> None:
    results = results_of(tmp_path, 18, 4, 20)
    agps = results.cells[0]
    told = zip(agps.runs, newest, strict=True)
    runs = [run.model_copy(update={"triggers": [3.0, 1.0], "triggers_of_newest_ten": one}) for run, one in told]
    results = results.model_copy(update={"cells": [agps.model_copy(update={"runs": runs}), *results.cells[1:]]})
    assert words in next(drawing.note for drawing in draw(results) if drawing.name == "triggers")


def test_everything_is_drawn_again_from_results_json_alone(tmp_path: Path) -> None:
    write_experiment(results_of(tmp_path, 18, 4, 20), tmp_path / "out")
    shutil.rmtree(tmp_path / "runs")
    write_experiment(read_results(tmp_path / "out"), tmp_path / "again")
    names = {"results.json", "index.html", "table.md"}
    names |= {f"{figure}.{kind}" for figure in FIGURES for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "again").iterdir()} == names
    for name in sorted(names):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_figures_fit_a_page_and_name_their_axes(tmp_path: Path) -> None:
    write_experiment(results_of(tmp_path, 18, 4), tmp_path)
    with Image.open(tmp_path / "success-steps.png") as picture:
        assert picture.width == 1_440  # 7.2 in of a page at 200 dpi
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/svg+xml") == 4 and "2 of 4 declared runs" in page


@needs_browser
def test_page_fits_a_phone(tmp_path: Path) -> None:
    written = write_experiment(results_of(tmp_path, 18, 4, 20), tmp_path / "out")
    with open_page(written.as_uri(), tmp_path / "profile", size=(PHONE_PX, 900)) as page:
        page.wait_for("document.readyState === 'complete'")
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        page.load_images()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX
        assert page.evaluate(BROKEN) == []


BROKEN = """[...document.querySelectorAll('td:first-child')].filter((cell) => {
    const word = document.createRange();
    word.selectNodeContents(cell);
    return /^\\w+$/.test(cell.innerText) && word.getClientRects().length > 1;
}).map((cell) => cell.innerText)"""
"""JavaScript: words of one part in the first columns that stand on two lines."""


def test_more_seeds_of_one_cell_complete_no_other(tmp_path: Path) -> None:
    results = results_of(tmp_path, 18, None, 17)
    assert (results.finished, results.declared) == (2, 4)
    more = [*results.cells[0].runs, *(run.model_copy(update={"seed": run.seed + 2}) for run in results.cells[0].runs)]
    results.cells[0] = results.cells[0].model_copy(update={"runs": more})
    assert results.finished == 2
    assert [row[2] for row in table(results)[1]] == ["4, where 2 are declared", "0 of 2"]


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (["usb_insertion", "--demos", "0"], "agps train usb_insertion --demos 0 --seed $N"),
        # What `plan` tells a run of the agent alone: the start of the final evaluation, 1,000 further for each seed.
        (["--agent-alone", "usb_insertion"], "agps eval --agent-alone usb_insertion --seed $((20000 + 1000 * N))"),
    ],
)
def test_page_tells_the_command_of_each_run(tmp_path: Path, options: list[str], command: str) -> None:
    results = results_of(tmp_path, 18)
    results.cells[0] = results.cells[0].model_copy(update={"options": options})
    write_experiment(results, tmp_path / "out")
    assert command in (tmp_path / "out" / "index.html").read_text()


def test_finished_run_without_its_final_evaluation_is_damaged(tmp_path: Path) -> None:
    results_of(tmp_path, 18)
    (tmp_path / "runs/tiny/agps-seed0/metrics.jsonl").write_text("")
    with pytest.raises(AgpsError, match="lacks the final evaluation; it is damaged, copy it again"):
        results_of(tmp_path)


@pytest.mark.parametrize("damage", [{"commit": 5}, {"machine": {}}])
def test_damaged_settings_of_a_run_are_told_as_such(damage: dict[str, object], tmp_path: Path) -> None:
    results_of(tmp_path, 18)
    config = tmp_path / "runs/tiny/agps-seed0/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **damage}))
    with pytest.raises(AgpsError, match="commit, machine or versions are damaged; copy it again"):
        results_of(tmp_path)


@pytest.mark.parametrize("damage", [{"versions": ["x"]}, {"task": 5}, {"model": []}, {"config": 5}])
def test_run_whose_settings_cannot_be_read_is_left_out_and_said(damage: dict[str, object], tmp_path: Path) -> None:
    results_of(tmp_path, 18)
    config = tmp_path / "runs/tiny/agps-seed0/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **damage}))
    results = results_of(tmp_path)
    (why,) = results.left_out
    assert results.finished == 0 and str(config) in why and "it is damaged" in why


def test_mean_begins_where_every_run_has_been_evaluated() -> None:
    x, each = _resampled([([400.0, 800.0], [0.0, 0.2]), ([600.0, 1000.0], [0.9, 1.0])], keep_last=True)
    assert (x[0], x[-1]) == (600.0, 1000.0)
    np.testing.assert_allclose(each[:, 0], [0.1, 0.9])
    np.testing.assert_allclose(each[:, -1], [0.2, 1.0])


def test_results_that_stand_are_not_replaced_by_fewer(tmp_path: Path) -> None:
    write_experiment(results_of(tmp_path, 18, 4), tmp_path / "out")
    shutil.rmtree(tmp_path / "runs" / "tiny" / "serl-seed0")
    with pytest.raises(ConfigError, match=r"has 1 runs that are not in this folder of runs \(serl, seed 0\)"):
        write_experiment(results_of(tmp_path), tmp_path / "out")
    assert read_results(tmp_path / "out").finished == 2


def test_damaged_results_are_refused_in_one_sentence(tmp_path: Path) -> None:
    write_experiment(results_of(tmp_path, 18), tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    content["cells"][0]["runs"][0]["successes"] = "many"
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(AgpsError, match=r"results.json: cells.0.runs.0.successes: .*; it is damaged"):
        read_results(tmp_path)


NO_RUN_HAS = [
    ("successes", 11, "11 of 10 episodes succeeded"),
    ("episodes", 0, "episodes: Input should be greater than or equal to 1"),
    ("origin", 1, "origin 1 is named, and 1 are there, counted from 0"),
    ("wall_clock_s", float("nan"), "wall_clock_s: Input should be"),
    ("robot_time_s", float("inf"), "robot_time_s: Input should be"),
    ("env_steps", -1, "env_steps: Input should be greater than or equal to 0"),
    ("env_steps", 10**18, "env_steps: Input should be less than"),
    ("stage_1", 1.5, "stage_1: Input should be less than or equal to 1"),
]


@pytest.mark.parametrize(("name", "value", "words"), NO_RUN_HAS)
def test_number_that_no_run_has_is_damage(name: str, value: float, words: str, tmp_path: Path) -> None:
    write_experiment(results_of(tmp_path, 10, 8, None, None), tmp_path / "out")
    file = tmp_path / "out" / FILE
    kept = json.loads(file.read_text())
    runs = kept["cells"][0]["runs"]
    runs[0] |= {"successes": 10, "episodes": 10}
    runs[0][name] = value
    file.write_text(json.dumps(kept))
    with pytest.raises(AgpsError) as refusal:
        read_results(tmp_path / "out")
    assert words in str(refusal.value) and str(refusal.value).endswith("it is damaged, or of another version.")


def test_table_of_costs_has_calls_tokens_seconds_and_money_by_each_list(tmp_path: Path) -> None:
    experiment, runs = tiny_grid(tmp_path)
    asked = {"agent_prompt_tokens": 40_000, "agent_completion_tokens": 2_000, "agent_seconds": 3.0}
    leave_run(runs[0], agent_calls=9, **asked)
    leave_run(runs[1])
    results = gather(experiment, runs, called="tiny.toml")
    head, (row,) = cost_table(results)
    told = dict(zip(head, row, strict=True))
    assert (told["method"], told["model calls"], told["prompt tokens"]) == ("AGPS", "9", "40,000")
    assert told["seconds to the replies"] == "3"
    assert told["gpt-5-mini (OpenAI)"] == "$0.01"  # 40,000 at $0.25 and 2,000 at $2.00 a million: 1.4 cents
    assert told["gpt-4o (Vercel AI Gateway)"] == "$0.12"  # 10 cents and 2
    write_experiment(results, tmp_path / "out")
    assert "## What a run's questions cost" in (tmp_path / "out" / "table.md").read_text()
    assert "What a run&#x27;s questions cost" in (tmp_path / "out" / "index.html").read_text()


def test_nobody_who_asked_leaves_no_table_of_costs(tmp_path: Path) -> None:
    write_experiment(results_of(tmp_path, None, 4), tmp_path / "out")
    assert "questions cost" not in (tmp_path / "out" / "table.md").read_text()


def test_what_is_drawn_as_a_level_alone_is_dashed_in_the_legend() -> None:
    figure = Figure()
    legend(figure, ["a policy", "the agent alone"], {"a policy": 0, "the agent alone": 1}, levels={"the agent alone"})
    policy, alone = figure.legends[0].get_lines()
    assert (policy.get_linestyle(), policy.get_marker()) == ("-", "o")
    assert (alone.get_linestyle(), alone.get_marker()) == ("--", "None")


def test_labels_of_one_panel_look_different(tmp_path: Path) -> None:
    seven = [("A", f"label {n}") for n in range(7)]
    assert list(numbered(seven).values()) == [0, 1, 2, 3, 4, 5, 6]
    numbers = numbered([*seven, ("B", "label 0"), ("B", "label 2"), ("B", "eighth")])
    looks = [look(numbers[label]) for label in ("label 0", "label 2", "eighth")]
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 3
    assert len(set(numbered([("A", f"label {n}") for n in range(30)]).values())) == 30


@pytest.mark.parametrize(
    ("labels", "columns"),
    [(["AGPS", "SERL"], 2), (["AGPS"] * 9, 4), (["a label of forty letters in all, or more"] * 4, 2), (["x" * 200], 1)],
)
def test_legend_has_as_many_columns_as_fit_the_page(labels: list[str], columns: int) -> None:
    assert legend_columns(labels) == columns


def test_panel_in_which_nothing_is_learned_has_no_axis_of_control_steps(tmp_path: Path) -> None:
    """The agent alone is a level beside curves, and a bar where there are none."""
    results = results_of(tmp_path, 18, 4)
    agps, serl = results.cells
    alone = agps.model_copy(update={"name": "alone", "panel": "Alone", "label": "the agent alone", "budget": 0})
    beside = alone.model_copy(update={"panel": serl.panel})
    names = {
        kind: [drawing.name for drawing in draw(results.model_copy(update={"cells": cells}))]
        for kind, cells in (("both", [agps, alone]), ("level", [serl, beside]), ("alone", [alone]))
    }
    assert names["both"] == names["level"] == list(FIGURES) and names["alone"] == ["final"]
    both = next(iter(draw(results.model_copy(update={"cells": [agps, alone]})))).svg
    assert both == next(iter(draw(results.model_copy(update={"cells": [agps]})))).svg
