from pathlib import Path

import pytest

from agps_agent.measure.experiments.declaration import Experiment
from agps_agent.measure.experiments.library import (
    experiment_names,
    load_experiment,
    load_measurement,
    measurement_names,
)
from rl.errors import ConfigError

HEAD = 'title = "T"\nquestion = "Q?"\nseeds = 2\n'
CELL = '[[cells]]\nname = "a"\ntask = "usb_insertion"\npanel = "USB"\nlabel = "AGPS"\n'


def declared(folder: Path, text: str) -> Experiment:
    (folder / "mine.toml").write_text(text)
    return load_experiment(str(folder / "mine.toml"))


def test_experiments_that_ship_have_at_least_three_seeds_and_fifty_episodes() -> None:
    assert experiment_names() == ["fig3", "fig4b", "triggers", "vlm-error", "when-it-helps"]
    for name in experiment_names():
        experiment = load_experiment(name)
        for cell in experiment.cells:
            assert experiment.seeds_of(cell) >= 3 and experiment.episodes_of(cell) == 50


def test_file_names_the_experiment_and_a_cell_may_have_its_own_numbers(tmp_path: Path) -> None:
    experiment = declared(tmp_path, HEAD + 'options = "--demos 0"\n' + CELL + "seeds = 5\neval_episodes = 7\n")
    (cell,) = experiment.cells
    assert (experiment.name, experiment.seeds_of(cell)) == ("mine", 5)
    assert experiment.arguments_of(cell) == ("usb_insertion", "--demos", "0", "--eval-episodes", "7")


def test_options_of_a_cell_come_after_those_of_all(tmp_path: Path) -> None:
    experiment = declared(tmp_path, HEAD + 'options = "--demos 0"\n' + CELL + "options = \"--vlm 'a b'\"\n")
    assert experiment.arguments_of(experiment.cells[0])[1:5] == ("--demos", "0", "--vlm", "a b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds = = 2", "mine.toml is not TOML"),
        (HEAD, "mine.toml: cells is missing."),
        (HEAD.replace("= 2", "= true") + CELL, "seeds: Input should be a valid integer"),
        (HEAD + "cells = []\n", "cells: Tuple should have at least 1 item"),
        (HEAD + 'color = "red"\n' + CELL, "mine.toml: color is nothing that is known here."),
        ('name = "x"\n' + HEAD + CELL, "name is what the file is called; leave it out."),
        (HEAD.replace("2", "0") + CELL, "seeds: Input should be greater than or equal to 1"),
        (HEAD + CELL + "sedes = 2\n", "cell a: sedes is nothing that is known here."),
        (HEAD + CELL.replace('label = "AGPS"\n', ""), "cell a: label is missing."),
        (HEAD + CELL.replace('"a"', '"A b"'), "'A b' names no folder; use lower-case letters"),
        (HEAD + CELL + CELL, "two cells are called 'a'; name each otherwise."),
        (HEAD + CELL + CELL.replace('"a"', '"b"'), "the panel 'USB' has two cells with the label 'AGPS'."),
        (HEAD + CELL + 'options = "--seed 3"\n', "cell a: options: --seed does not belong here: write seeds = N."),
        (HEAD + CELL + 'options = "--run_dir=x"\n', "--run-dir does not belong here"),
        (HEAD + CELL + 'options = "--vlm \'open"\n', "is no command line (No closing quotation)"),
        (HEAD + "cells = [3]\n", "cell number 1: Input should be a valid dictionary"),
    ],
)
def test_wrong_file_is_refused_in_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        declared(tmp_path, text)
    assert words in str(refusal.value) and str(refusal.value).startswith(str(tmp_path))


def test_name_that_nothing_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"There is no experiment 'fig4'; there are fig3, fig4a, fig4b, .*fig4b\?"):
        load_experiment("fig4")
    with pytest.raises(ConfigError, match="There is no file nowhere.toml"):
        load_experiment("nowhere.toml")


def test_chosen_cells_keep_the_order_of_the_file() -> None:
    experiment = load_experiment("fig4b")
    assert [cell.name for cell in experiment.chosen(("knot-memory", "usb-memory"))] == ["usb-memory", "knot-memory"]
    with pytest.raises(ConfigError, match="fig4b has no cell 'usb'; its cells are usb-memory"):
        experiment.chosen(("usb",))


MEASURED = 'title = "T"\nquestion = "Q?"\nruns_of = "fig3"\n'
CONDITION = '[[conditions]]\nname = "far"\nlabel = "far"\nstart_scale = 1.5\n'
LANDSCAPE = '[landscape]\ngoal = "port"\ny_mm = [-10, 10]\nz_mm = [0, 15]\nstep_mm = 5\n'


def test_measurements_that_ship_measure_cells_that_there_are() -> None:
    assert measurement_names() == ["fig4a", "fig5", "fig6", "robustness"]
    for name in measurement_names():
        measurement = load_measurement(name)
        assert load_experiment(measurement.runs_of).chosen(measurement.cells)
        assert measurement.eval_episodes == 50


def test_steps_that_a_landscape_draws_are_kept_by_the_runs_that_it_draws() -> None:
    fig5 = load_measurement("fig5")
    assert fig5.landscape is not None and fig5.landscape.at == (400, 800, 1600)
    source = load_experiment(fig5.runs_of)
    for cell in source.chosen(fig5.cells):
        assert "--keep-at 400 800 1600" in " ".join(source.arguments_of(cell))


def test_conditions_that_ship_compare_with_training() -> None:
    for name in ("fig4a", "robustness"):
        first, *others = load_measurement(name).conditions
        assert first.values == {} and all(condition.values for condition in others)


def test_grid_of_a_landscape_has_both_ends(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MEASURED + LANDSCAPE)
    landscape = load_measurement(str(tmp_path / "mine.toml")).landscape
    assert landscape is not None
    assert (landscape.ys_mm.tolist(), landscape.zs_mm.tolist()) == ([-10, -5, 0, 5, 10], [0, 5, 10, 15])
    assert landscape.checkpoints == (None,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MEASURED, "mine.toml: it measures nothing; declare [[conditions]] or a [landscape]."),
        (MEASURED + CONDITION + CONDITION, "two conditions have the name 'far'; call each otherwise."),
        (
            MEASURED + CONDITION.replace('"far"', '"boxes"', 1),
            "a condition is called boxes, as files of landscapes are",
        ),
        (MEASURED + CONDITION.replace("1.5", "0"), "condition far: start_scale: Input should be greater than 0."),
        (MEASURED + CONDITION + "speed = 2\n", "condition far: speed is nothing that is known here."),
        (MEASURED + LANDSCAPE.replace("[0, 15]", "[15, 0]"), "z_mm goes from 15 to 0; write the smaller number first."),
        (MEASURED + LANDSCAPE.replace("= 5", "= 0.01"), "step_mm = 0.01 makes 3,003,501 points"),
        (MEASURED + LANDSCAPE.replace("= 5", "= 1e-9"), "and 20,000 are the most"),
        (MEASURED + LANDSCAPE.replace("= 5", "= 5e-324"), "and 20,000 are the most"),
        (MEASURED + LANDSCAPE.replace("= 5", "= inf"), "step_mm: Input should be a finite number"),
        (MEASURED + LANDSCAPE.replace("[0, 15]", "[0, inf]"), "Input should be a finite number"),
        (MEASURED + "seeds = 3\n" + CONDITION, "mine.toml: seeds is nothing that is known here."),
    ],
)
def test_wrong_measurement_is_refused_in_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_measurement(str(tmp_path / "mine.toml"))
    assert words in str(refusal.value)


def test_what_trains_is_not_taken_for_what_measures() -> None:
    with pytest.raises(ConfigError, match="fig4a trains nothing: it measures runs of fig3; name that one"):
        load_experiment("fig4a")
    with pytest.raises(ConfigError, match="fig3 trains, and measures no runs of another"):
        load_measurement("fig3")
