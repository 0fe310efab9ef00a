import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from agps_agent.cli.reproduce import parse_cell
from agps_agent.measure.experiments.library import load_measurement
from agps_agent.measure.experiments.measured import Boxes, Evaluated, ValueMap, digest, map_name
from agps_agent.measure.experiments.measurement import Measurement
from agps_agent.measure.experiments.planning import PlannedRun, plan
from agps_agent.report.experiment.measured import MeasuredResults, gather_measured, read_measured
from agps_agent.report.experiment.measured_drawing import _conditions, varied
from agps_agent.report.experiment.measured_page import (
    alignment_table,
    condition_table,
    map_table,
    write_measured_experiment,
)
from agps_agent.report.experiment.results import FILE
from rl.errors import AgpsError, ConfigError
from tests.agps_agent.measure.experiments.grids import leave_run, tiny_grid

RESULTS = Path(__file__).parents[4] / "docs" / "results"
MEASURED = """
title = "Further out"
question = "How far?"
runs_of = "tiny.toml"
eval_episodes = 20
"""
STARTS = """
[[conditions]]
name = "start-1"
label = "1x"

[[conditions]]
name = "start-2"
label = "2x"
start_scale = 2
"""
LANDSCAPE = """
[landscape]
goal = "port"
y_mm = [-20, 20]
z_mm = [20, 50]
step_mm = 10
at = [400]
boxes = 4
"""
ABOUT = {"commit": "abc", "machine": "Linux x, 2 cores", "versions": {"torch": "2"}, "seconds": 1.0}


def planned(folder: Path, text: str) -> tuple[Measurement, tuple[PlannedRun, ...]]:
    """A grid of four runs, three of them finished, and what is measured of it."""
    experiment, _ = tiny_grid(folder)
    runs = plan(experiment, folder / "runs" / "tiny", parse_cell)
    for run in runs[:3]:
        leave_run(run)
    (folder / "far.toml").write_text(MEASURED + text)
    return load_measurement(str(folder / "far.toml")), runs


def gathered(folder: Path, measurement: Measurement, runs: tuple[PlannedRun, ...]) -> MeasuredResults:
    return gather_measured(measurement, runs, folder / "runs" / "far", called="far.toml")


def evaluated(folder: Path, measurement: Measurement, run: PlannedRun, *failed: int) -> None:
    """Leave what a run's policy does under each condition: so many of 20 episodes fail."""
    from agps_agent.run.directory import RunDirectory

    place = folder / "runs" / "far" / run.name
    place.mkdir(parents=True, exist_ok=True)
    for condition, failures in zip(measurement.conditions, failed, strict=False):
        point = Evaluated(
            of_run=digest(RunDirectory(run.path)),
            condition=condition,
            episodes=20,
            seed=20_000,
            failed_seeds=tuple(range(20_000, 20_000 + failures)),
            mean_steps=15.0,
            policy_steps=60,
            **ABOUT,
        )
        (place / f"{condition.name}.json").write_text(point.model_dump_json())


def mapped(folder: Path, measurement: Measurement, run: PlannedRun, *, best_y_mm: float) -> None:
    """Leave a landscape that is highest at z = 30 and beside the goal, at the end and a flat one after 400 steps."""
    from agps_agent.run.directory import RunDirectory

    landscape = measurement.landscape
    assert landscape is not None
    place = folder / "runs" / "far" / run.name
    place.mkdir(parents=True, exist_ok=True)
    (run.path / "checkpoints" / "step-000400").mkdir(parents=True)
    y, z = np.meshgrid(landscape.ys_mm, landscape.zs_mm)
    last = 1.0 - np.hypot(y - best_y_mm, z - 30.0) / 100.0
    about = {"of_run": digest(RunDirectory(run.path)), "landscape": landscape.plane, **ABOUT}
    for name, steps, values in (("step-000400", 400, np.full(last.shape, 0.2)), (None, 60, last)):
        drawn = ValueMap(seed=30_000, policy_steps=steps, values=tuple(map(tuple, values.tolist())), **about)
        (place / map_name(name)).write_text(drawn.model_dump_json())
    centres = ((0.0, best_y_mm, 30.0), (5.0, best_y_mm + 3.0, 34.0), (0.0, best_y_mm, 50.0))
    boxes = Boxes(scenes=4, seed=50_000, centres_mm=centres, **about)
    (place / "boxes.json").write_text(boxes.model_dump_json())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_conditions_pool_the_runs_that_are_measured_and_name_the_others(tmp_path: Path) -> None:
    measurement, runs = planned(tmp_path, STARTS)
    evaluated(tmp_path, measurement, runs[0], 2, 10)
    evaluated(tmp_path, measurement, runs[2], 0)
    results = gathered(tmp_path, measurement, runs)
    head, rows = condition_table(results)
    first, second, *_ = (dict(zip(head, row, strict=True)) for row in rows)
    assert (first["condition"], first["runs"], first["policy alone"]) == ("as trained", "2 of 2", "38/40")
    assert first["95 % (Wilson)"] == "83% to 99%"
    assert (second["condition"], second["runs"], second["policy alone"]) == ("start region x 2", "1 of 2", "10/20")
    assert rows[2][3:] == ["0 of 2", "-", "-", "-"]
    assert results.missing == ["serl-seed1", "serl-seed0", "agps-seed1"] and results.finished == 1


def test_alignment_of_each_run_is_with_its_own_landscape(tmp_path: Path) -> None:
    measurement, runs = planned(tmp_path, LANDSCAPE)
    mapped(tmp_path, measurement, runs[0], best_y_mm=0.0)
    mapped(tmp_path, measurement, runs[2], best_y_mm=10.0)
    head, (row, other) = alignment_table(gathered(tmp_path, measurement, runs))
    told = dict(zip(head[:-1], row[:-1], strict=True))
    # Of 20 points the highest is 1.0 and its four neighbours share the next value; centres are 0, 5 and 20 mm away.
    assert (told["runs"], told["boxes"], told["in the highest tenth"]) == ("2 of 2", "6 in 8 scenes", "67%")
    assert told["distance to the highest value [mm]"] == "8.3" and other[2] == "0 of 2"


def test_landscapes_tell_how_far_their_highest_value_is_from_the_goal(tmp_path: Path) -> None:
    measurement, runs = planned(tmp_path, LANDSCAPE)
    mapped(tmp_path, measurement, runs[0], best_y_mm=0.0)
    head, rows = map_table(gathered(tmp_path, measurement, runs))
    early, last, none = (dict(zip(head, row, strict=True)) for row in rows)
    assert (early["policy"], early["highest value"]) == ("400 steps", "0.200")
    assert (last["policy"], last["highest value"]) == ("end, 60 steps", "1.000")
    assert last["its distance to the goal [mm]"] == "30.0" and none["policy"] == "-"


def test_everything_measured_is_drawn_again_from_results_json_alone(tmp_path: Path) -> None:
    measurement, runs = planned(tmp_path, STARTS + LANDSCAPE)
    evaluated(tmp_path, measurement, runs[0], 2, 10)
    mapped(tmp_path, measurement, runs[0], best_y_mm=0.0)
    write_measured_experiment(gathered(tmp_path, measurement, runs), tmp_path / "out")
    shutil.rmtree(tmp_path / "runs")
    write_measured_experiment(read_measured(tmp_path / "out"), tmp_path / "again")
    names = {"results.json", "index.html", "table.md"}
    names |= {f"{figure}.{kind}" for figure in ("conditions", "landscape") for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "again").iterdir()} == names
    for name in sorted(names):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    for figure in ("conditions", "landscape"):
        with Image.open(tmp_path / "out" / f"{figure}.png") as picture:
            assert picture.width == 1_440  # 7.2 in of a page at 200 dpi


def test_one_number_that_varies_is_an_axis_and_several_are_lines(tmp_path: Path) -> None:
    assert varied(load_measurement("fig4a").conditions) == "start_scale"
    assert varied(load_measurement("robustness").conditions) is None


@pytest.mark.parametrize("name", ["fig4a", "robustness"])
def test_titles_of_panels_stand_beside_each_other_within_the_page(name: str) -> None:
    figure = _conditions(read_measured(RESULTS / name))
    FigureCanvasAgg(figure).draw()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes._left_title.get_window_extent() for axes in shown]
    assert len(titles) == 6
    assert all(box.x1 <= figure.bbox.width and box.x0 >= 0 for box in titles)
    assert not any(one.overlaps(other) for one, other in combinations(titles, 2))


def test_measurements_that_stand_are_not_replaced_by_fewer(tmp_path: Path) -> None:
    measurement, runs = planned(tmp_path, STARTS)
    evaluated(tmp_path, measurement, runs[0], 2, 10)
    write_measured_experiment(gathered(tmp_path, measurement, runs), tmp_path / "out")
    (tmp_path / "runs" / "far" / runs[0].name / "start-2.json").unlink()
    with pytest.raises(ConfigError, match=r"has 1 measurements that are not .* \(agps, seed 0, start-2\)"):
        write_measured_experiment(gathered(tmp_path, measurement, runs), tmp_path / "out")


def test_damaged_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"name": 3}')
    with pytest.raises(AgpsError, match=r"results.json: name: .*; it is damaged"):
        read_measured(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda kept: kept["landscape"].update(step_mm=5.0), "the values do not fill the grid of 7 x 9 points"),
        (lambda kept: kept.update(landscape=None), "agps has a landscape, and no grid for it stands in the file"),
        (lambda kept: kept["cells"][0]["trials"][0].update(condition="x"), "agps has trials under x, which is none of"),
        (lambda kept: kept["cells"][0]["trials"][0].update(mean_steps=float("nan")), "mean_steps: Input should be"),
        (lambda kept: kept["cells"][0]["trials"][0].update(successes=21), "21 of 20 episodes succeeded"),
        (lambda kept: kept["cells"][0]["boxes"][0].update(scenes=0), "boxes in 0 scenes"),
        (lambda kept: kept.update(origins=[]), "origin 0 is named, and 0 are there"),
    ],
)
def test_measurement_that_cannot_be_is_damage(
    damage: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    measurement, runs = planned(tmp_path, STARTS + LANDSCAPE)
    evaluated(tmp_path, measurement, runs[0], 2)
    mapped(tmp_path, measurement, runs[0], best_y_mm=0.0)
    write_measured_experiment(gathered(tmp_path, measurement, runs), tmp_path / "out")
    kept = json.loads((tmp_path / "out" / FILE).read_text())
    damage(kept)
    (tmp_path / "out" / FILE).write_text(json.dumps(kept))
    with pytest.raises(AgpsError) as refusal:
        read_measured(tmp_path / "out")
    assert words in str(refusal.value) and str(refusal.value).endswith("it is damaged, or of another version.")
