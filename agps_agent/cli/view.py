"""`agps view RUN_DIR`: open the Rerun recording of a run."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from agps_agent.cli.options import parse_options
from agps_agent.run.directory import RunDirectory
from rl.errors import AgpsError, ConfigError
from rl.files import quoted


@dataclass(frozen=True)
class ViewOptions:
    """Open the Rerun viewer on a recorded run: cameras, path of the TCP, box, waypoints, lambda."""

    run_dir: tyro.conf.Positional[Path]
    """Run directory."""
    check: bool = False
    """Print what is in the recording instead of opening it."""
    web: bool = False
    """Serve the viewer to a browser on this machine (127.0.0.1)."""


def run(argv: Sequence[str]) -> int:
    """Run `agps view`."""
    options = parse_options(ViewOptions, argv, prog="agps view")
    directory = RunDirectory.open(options.run_dir)
    from agps_agent.run.recording import contents, recordings_of

    files = recordings_of(directory.recording)
    if not files:
        raise ConfigError(f"{directory.path} has no recording.rrd; train with --record-every 10.")
    if options.check:
        for file in files:
            print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")
            for entity, count in contents(file):
                print(f"  {count:>7}  {entity}")
        return 0
    names = [str(file) for file in files]
    if not options.web and not has_display():
        print("There is no display here. Open the recording elsewhere, or in a browser on this machine:")
        print(f"  rerun {' '.join(map(quoted, names))}")
        print(f"  agps view {quoted(directory.path)} --web")
        return 0
    web = ["--web-viewer", "--bind", "127.0.0.1"] if options.web else []
    code = subprocess.run([sys.executable, "-m", "rerun", *web, *names], check=False).returncode
    if code != 0:
        raise AgpsError(f"The Rerun viewer ended with code {code}; try `agps view {quoted(directory.path)} --web`.")
    return 0


def has_display() -> bool:
    """Return whether a window can be opened."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
