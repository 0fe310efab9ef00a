"""Takes the place of `agps eval RUN --experiment NAME --out FOLDER`: the same lock and files, and no episodes."""

import argparse
import sys
from pathlib import Path

from agps_agent.measure.experiments.library import load_measurement
from agps_agent.measure.experiments.measured import Evaluated, digest, points
from agps_agent.measure.experiments.measurement import Condition
from agps_agent.run.directory import RunDirectory
from rl.files import write_atomically
from rl.ownership import give_up, own


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    for option in ("--experiment", "--threads"):
        parser.add_argument(option)
    parser.add_argument("--out", type=Path)
    told = parser.parse_args(argv)
    run, declared = RunDirectory(told.run), load_measurement(told.experiment)
    descriptor = own(told.out)
    with (told.out.parent / "begun.txt").open("a") as file:
        file.write(f"{told.out.name}\n")
    for point in points(declared, run, told.out):
        if isinstance(point.what, Condition) and not point.is_there:
            about = {"commit": None, "machine": None, "versions": {}, "seconds": 0.0, "of_run": digest(run)}
            evaluated = Evaluated(
                condition=point.what,
                episodes=declared.eval_episodes,
                seed=20_000,
                failed_seeds=(20_000,),
                mean_steps=9.0,
                policy_steps=60,
                **about,
            )
            write_atomically(point.path, evaluated.model_dump_json())
    give_up(told.out, descriptor)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
