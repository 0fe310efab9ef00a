"""A small grid on disk, for tests."""

from pathlib import Path

from agps_agent.cli.reproduce import parse_cell
from agps_agent.measure.experiments.declaration import Experiment
from agps_agent.measure.experiments.library import load_experiment
from agps_agent.measure.experiments.planning import PlannedRun, plan
from agps_agent.run.config_file import save_config
from agps_agent.run.directory import RunDirectory

GRID = """
title = "Tiny"
question = "Does it end?"
seeds = 2
eval_episodes = 20
options = "--demos 1 --max-env-steps 60 --eval-every 30"

[[cells]]
name = "agps"
task = "usb_insertion"
panel = "USB insertion"
label = "AGPS"
options = "--method agps"

[[cells]]
name = "serl"
task = "usb_insertion"
panel = "USB insertion"
label = "SERL"
options = "--method serl"
"""


def tiny_grid(folder: Path, text: str = GRID) -> tuple[Experiment, tuple[PlannedRun, ...]]:
    file = folder / "tiny.toml"
    file.write_text(text)
    experiment = load_experiment(str(file))
    return experiment, plan(experiment, folder / "runs" / "tiny", parse_cell)


def leave_run(run: PlannedRun, *, successes: int | None = 18, **summary: object) -> RunDirectory:
    """Write what a run leaves behind, finished with so many successes of 20, or not finished."""
    directory = RunDirectory.create(run.path)
    save_config(run.config.model_copy(update={"run_dir": run.path, "threads": 2}), directory)
    directory.append_metrics({"kind": "eval", "env_steps": 30, "success_rate": 0.4, "episodes": 20})
    directory.append_metrics({"kind": "eval", "env_steps": 60, "success_rate": 0.85, "episodes": 20})
    if successes is not None:
        directory.append_metrics(
            {"kind": "final_eval", "env_steps": 60, "success_rate": successes / 20, "episodes": 20}
        )
        told = {"task": "usb_insertion", "ended_by": "steps", "env_steps": 60, "wall_clock_s": 120.0}
        told |= {"robot_time_s": 6.0, "steps_to_80": 60, "success_rate": successes / 20, "eval_episodes": 20}
        directory.write_summary({**told, **summary})
    return directory
