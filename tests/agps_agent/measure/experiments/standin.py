"""Takes the place of `agps train`: the same arguments, lock and files, and no learning.

The folder of the experiment says how it goes: a run waits while `hold-NAME` is there, and dies where `die-NAME` is.
Each beginning is a line in `begun.txt`.
"""

import sys
import time

from agps_agent.cli.train import read_options
from agps_agent.run.config_file import save_config
from agps_agent.run.directory import RunDirectory, alone_in
from agps_agent.run.signals import terminated_like_ctrl_c


def train(argv: list[str]) -> int:
    options = read_options(argv)
    path = options.config.run_dir
    assert path is not None
    folder, name = path.parent, path.name
    with terminated_like_ctrl_c(), alone_in(path):
        with (folder / "begun.txt").open("a") as file:
            file.write(f"{name} {'resumed' if options.resume else 'begun'}\n")
        run = RunDirectory.open(path) if options.resume else RunDirectory.create(path)
        save_config(options.config, run)
        if (folder / f"die-{name}").exists():
            sys.stderr.write("agps: The camera is on fire.\n")
            return 1
        run.append_metrics({"kind": "eval", "env_steps": 30, "success_rate": 0.5, "episodes": 20})
        (run.checkpoints / "30").mkdir(exist_ok=True)
        (run.checkpoints / "30" / "manifest.json").touch()
        try:
            while (folder / f"hold-{name}").exists():
                time.sleep(0.02)
        except KeyboardInterrupt:
            run.write_summary({"ended_by": "interrupted", "success_rate": 0.5, "eval_episodes": 20})
            return 1
        run.append_metrics({"kind": "eval", "env_steps": 60, "success_rate": 0.9, "episodes": 20})
        summary = {"task": "usb_insertion", "ended_by": "steps", "success_rate": 0.9, "eval_episodes": 20}
        run.write_summary({**summary, "env_steps": 60, "wall_clock_s": 120.0, "steps_to_80": 60})
    return 0


if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
