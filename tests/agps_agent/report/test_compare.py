import re
from pathlib import Path

import numpy as np
import pytest

from agps_agent.report.compare import (
    TABLE_HEAD,
    comparison_markdown,
    comparison_rows,
    grouped,
    read_result,
    write_comparison,
)
from agps_agent.report.curves import Curve
from agps_agent.report.figures import mean_curve
from agps_agent.run.directory import RunDirectory
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
    assert "| 0 | - | - | - | - |" in comparison_markdown(grouped([read_result(run)]))


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
