import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agps_agent.report.compare import (
    TABLE_HEAD,
    RunResult,
    comparison_markdown,
    comparison_rows,
    grouped,
    looks,
    read_result,
    said,
    write_comparison,
)
from agps_agent.report.curves import Curve
from agps_agent.report.figures import SERIES, Series, comparison, mean_curve
from agps_agent.run.directory import RunDirectory
from agps_agent.run.methods import ALONE
from rl.errors import AgpsError
from tests.agps_agent.report.synthetic import make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / f"{method}{seed}", method=method, seed=seed, episodes=40)
        for method in ("agps", "serl")
        for seed in (0, 1)
    ]


def test_seeds_are_pooled_with_their_interval(runs: list[RunDirectory]) -> None:
    table = comparison_markdown(grouped([read_result(run) for run in runs])).splitlines()
    assert len(table) == 4
    assert table[2].startswith("| AGPS | 1 | 0, 1 | 49/50, 49/50 | 98% | 93%-99% | 3000 |")


def test_costs_of_agent_and_human_stand_beside_each_other(tmp_path: Path) -> None:
    methods = ("agps", "hil-conrft")
    runs = [make_run(tmp_path / method, method=method, episodes=30) for method in methods]
    rows = comparison_rows(grouped([read_result(run) for run in runs]))
    agps, human = (dict(zip(TABLE_HEAD, row, strict=True)) for row in rows)
    assert int(agps["agent calls"]) > 0 and agps["human time [s]"] == "0" and agps["stage 1 alone"] == "-"
    summary = runs[1].read_summary()
    assert human["human interventions"] == str(summary["human_interventions"]) != "0"
    assert (human["human time [s]"], human["stage 1 alone"]) == (f"{summary['human_s']:.0f}", "16/50")


def test_run_that_did_not_finish_is_a_dash(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    run.summary.unlink()
    assert "| 0 | - | - | - |" in comparison_markdown(grouped([read_result(run)]))


def test_page_overlays_the_groups_and_links_the_reports(runs: list[RunDirectory], tmp_path: Path) -> None:
    page = write_comparison(runs, runs[0].path.parent / "comparison.html").read_text()
    assert page.count("data:image/svg+xml") == 3
    assert 'href="agps0/report.html"' in page
    assert not re.findall(r'(?:src|href)="https?:', page)


def test_mean_over_seeds_keeps_what_a_run_ended_with() -> None:
    short = Curve([1000.0], [1.0], [1.0], [1.0])
    long = Curve([1000.0, 2000.0], [1.0, 2.0], [1.0, 2.0], [0.0, 0.5])
    x, y = mean_curve([short, long], "env_steps", points=3)
    np.testing.assert_allclose(x, [1000, 1500, 2000])
    np.testing.assert_allclose(y, [0.5, 0.625, 0.75])


def result(
    method: str = "agps",
    demos: int = 1,
    seed: int = 0,
    rate: float | None = None,
    path: Path | None = None,
    **summary: Any,
) -> RunResult:
    """A run of which only the summary matters; without a rate it has not finished."""
    done = {} if rate is None else {"success_rate": rate, "eval_episodes": 50}
    return RunResult(
        path=path or Path(f"runs/{method}{seed}"),
        method=method,
        demos=demos,
        seed=seed,
        summary={**done, **summary},
        curve=Curve([], [], [], []),
    )


def row_of(*results: RunResult) -> dict[str, str]:
    (row,) = comparison_rows({"group": results})
    return dict(zip(TABLE_HEAD, row, strict=True))


def test_groups_are_by_method_and_demonstrations_most_first() -> None:
    results = [result("serl", 1, 1), result("agps", 0), result("serl", 1, 0), result("agps", 20), result("agps", 1)]
    groups = grouped(results)
    assert list(groups) == ["AGPS, 20 demos", "AGPS, 1 demo", "SERL, 1 demo", "AGPS, 0 demos"]
    assert [run.seed for run in groups["SERL, 1 demo"]] == [0, 1]


def test_successes_are_pooled_and_not_their_rates() -> None:
    """10 of 10 and 25 of 50 are 35 of 60."""
    row = row_of(result(rate=1.0, eval_episodes=10), result(seed=1, rate=0.5))
    assert (row["successes of the policy alone"], row["pooled"]) == ("10/10, 25/50", "58%")


def test_median_is_over_the_seeds_that_finished() -> None:
    runs = [result(seed=n, rate=1.0, env_steps=steps) for n, steps in enumerate((1000, 9000, 2000))]
    assert row_of(*runs, result(seed=3, env_steps=50))["env steps"] == "2000"
    assert row_of(*runs)["seeds"] == "0, 1, 2"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([1000, 3000], "2000"),
        ([1000, 1800, None], "1800 (2 of 3)"),
        ([1000, None, None], "never (1 of 3)"),
        ([1000, None], "never (1 of 2)"),  # between 1,000 and never
        ([None, None], "-"),
        ([0, 0], "0"),  # stage 1 was there already
    ],
)
def test_level_that_not_every_seed_reached_says_how_many_did(steps: list[int | None], told: str) -> None:
    runs = [result(seed=n, rate=0.9, steps_to_80=count) for n, count in enumerate(steps)]
    assert row_of(*runs)["steps to 80 %"] == told


def test_run_of_an_earlier_version_lacks_columns_and_not_the_table() -> None:
    row = row_of(result(rate=0.98))
    assert row["pooled"] == "98%" and {row["agent calls"], row["human time [s]"], row["robot time [s]"]} == {"-"}


def test_nothing_is_known_before_a_run_finished() -> None:
    row = row_of(result())
    assert {row[name] for name in TABLE_HEAD[4:]} == {"-"}


def test_markdown_has_one_cell_per_column_in_every_line() -> None:
    groups = grouped([result("agps", rate=1.0), result("serl", 0)])
    lines = comparison_markdown(groups).splitlines()
    assert len(lines) == 2 + len(groups) and {line.count("|") for line in lines} == {lines[0].count("|")}


def test_runs_without_an_evaluation_are_compared_without_curves(tmp_path: Path) -> None:
    for name in ("a", "b"):
        RunDirectory.create(tmp_path / name).config.write_text('{"config": {"method": "serl"}}')
    page = write_comparison([RunDirectory(tmp_path / name) for name in "ab"], tmp_path / "deep" / "page.html")
    text = page.read_text()
    assert "Success over" not in text and text.count("not finished") == 3  # two links and the note about dashes
    assert 'href="../a/report.html"' in text


def test_damaged_configuration_is_named(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.config.write_text("{")
    with pytest.raises(AgpsError, match="config.json"):
        read_result(run)


def test_columns_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", method="serl", episodes=12)
    head = comparison_markdown(grouped([read_result(run)])).splitlines()[0]
    assert "steps to 80 %" in head and "human" not in head and "stage 1 alone" not in head and "agent calls" not in head


def test_final_evaluation_is_drawn_beside_the_way_to_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", episodes=12)
    steps = run.read_summary()["env_steps"]
    for rate in (0.5, 0.82):  # of a run that was resumed the last one counts
        run.append_metrics({"kind": "final_eval", "env_steps": steps, "success_rate": rate, "episodes": 50})
    final = read_result(run).final
    assert (final.env_steps, final.success) == ([steps], [0.82])
    (low, high) = final.intervals[0]
    assert low < 0.82 < high


def test_runs_of_another_task_or_with_other_settings_are_not_pooled() -> None:
    made = [replace(result(seed=seed), task="usb_insertion") for seed in (0, 1)]
    knot, wide = replace(made[0], task="knot_hanging"), replace(made[1], settings="wide", path=Path("runs/wide-seed1"))
    assert list(grouped([*made, knot])) == ["knot_hanging: AGPS, 1 demo", "usb_insertion: AGPS, 1 demo"]
    narrow = [replace(run, path=Path(f"runs/narrow-seed{run.seed}")) for run in made]
    groups = grouped([*narrow, wide])
    assert {name: [run.seed for run in runs] for name, runs in groups.items()} == {
        "AGPS, 1 demo, narrow": [0, 1],
        "AGPS, 1 demo, wide": [1],
    }


def test_runs_with_other_budgets_are_not_pooled(tmp_path: Path) -> None:
    """They come to other ends: a run of 200 control steps is no second seed of one of 600."""
    named = []
    for name, told in (("long", {"max_env_steps": 600}), ("short", {"max_env_steps": 200}), ("other", {})):
        run = RunDirectory.create(tmp_path / name)
        common = {"task": "usb_insertion", "method": "agps", "demos": 0, "max_env_steps": 600, "pretrain_steps": 400}
        run.config.write_text(json.dumps({"config": {**common, **told, "max_minutes": len(named)}}))
        named.append(read_result(run))
    groups = grouped(named)
    assert sorted(len(runs) for runs in groups.values()) == [1, 2]


def test_groups_of_one_method_look_different_and_are_named() -> None:
    groups = {f"AGPS, 1 demo, {n}": [result(path=Path(f"runs/{n}"))] for n in range(11)}
    found = looks(groups)
    assert len(set(found)) == 11 and max(hue for hue, _ in found) < len(SERIES)
    assert looks({"a": [result("agps", 20)], "b": [result("serl", 20)], "c": [result("agps", 0)]}) == [
        (0, 0),
        (0, 1),
        (1, 0),
    ]
    head, rows = said(TABLE_HEAD, comparison_rows(groups))
    assert head[0] == "runs" and [row[0] for row in rows] == list(groups)
    assert said(TABLE_HEAD, comparison_rows({"a": [result("agps")], "b": [result("serl")]}))[0][0] == "method"


def test_number_of_a_group_is_that_of_its_runs(
    runs: list[RunDirectory], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One of three has not been evaluated yet."""
    new = RunDirectory.create(tmp_path / "agps2")
    config = json.loads(runs[0].config.read_text())
    config["config"]["seed"] = 2
    new.config.write_text(json.dumps(config))
    labels: list[list[str]] = []
    monkeypatch.setattr(
        "agps_agent.report.figures.comparison",
        lambda series, axis: labels.append([s.label for s in series]) or "<svg/>",
    )
    write_comparison([*runs, new], tmp_path / "comparison.html")
    assert sorted(label[-3:] for label in labels[0]) == ["(2)", "(3)"]


def test_run_with_one_evaluation_is_drawn_as_a_point_and_one_with_none_by_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("agps_agent.report.figures._svg", lambda figure: drawn.append(figure) or "<svg/>")
    one = Curve([400.0], [1.0], [1.0], [0.5])
    series = [
        Series(label="one (2)", color="#000000", dash="-", curves=[one]),
        Series(label="none (1)", color="#ff0000", dash="-", curves=[], finals=[one]),
    ]
    comparison(series, "env_steps")
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    assert lines["one (2)"].get_marker() == "o" and lines["none (1)"].get_marker() in (None, "None")
    assert len(lines["none (1)"].get_xdata()) == 0 and any(line.get_marker() == "D" for line in drawn[0].axes[0].lines)


def test_agent_alone_is_no_policy_of_its_method(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "alone")
    run.config.write_text(json.dumps({"config": {"task": "usb_insertion", "method": "agps", "demos": 0}}))
    run.write_summary({"method": ALONE, "success_rate": 1.0, "eval_episodes": 2})
    assert list(grouped([read_result(run)])) == ["agent alone, 0 demos"]
