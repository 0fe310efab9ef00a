"""`agps doctor`: can this machine run everything, is the robot station fit for a run, and if not, what to do."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options
from agps_agent.cli.tasks import check_task
from agps_agent.doctor.checkup import Check, Finding, attempt
from agps_agent.doctor.machine import machine_checks
from agps_agent.doctor.station import StationCheckup
from rl.errors import AgpsError


@dataclass(frozen=True)
class DoctorOptions:
    """Check packages, rendering, meshes, processor, disk and, if asked, a chat model and a robot station.

    With a station: client libraries, real-time kernel, the arm's connection, mode, force at rest and lost packets, the
    gripper, each camera and its calibration, and whether task and workspace fit. No check moves anything; to count lost
    packets the arm holds its pose for a moment, with `--hold-s 0` not even that.
    """

    vlm: str | None = None
    """Base URL of an OpenAI-compatible server to check too."""
    run_dir: Path = Path(".")
    """Folder that runs are written to."""
    station: Path | None = None
    """Station file: check the robot too."""
    robot_ip: str | None = None
    """Address of the arm in place of the station file's."""
    task: str = "usb_insertion"
    """Task whose poses and cameras the station must have."""
    hold_s: float = 3.0
    """How long the arm holds its pose under control to count lost packets, [s]; 0: not at all."""
    json: bool = False
    """Print one JSON object on stdout."""


def run(argv: Sequence[str]) -> int:
    """Run `agps doctor`."""
    options = parse_options(DoctorOptions, argv, prog="agps doctor")
    if options.robot_ip is not None and options.station is None:
        raise UsageError("--robot-ip needs --station FILE; docs/hardware.md shows what to write in it.")
    if not 0.0 <= options.hold_s <= 60.0:
        raise UsageError(f"--hold-s is {options.hold_s}; ask for 0 to 60.")
    check_task(options.task)
    results: dict[str, Finding] = {}
    with ExitStack() as stack:
        show = stack.enter_context(json_only_on_stdout(options.json))
        checks: dict[str, Check] = machine_checks(options.run_dir, options.vlm)
        if options.station is not None:
            checkup = StationCheckup(options.station, ip=options.robot_ip, task=options.task, hold_s=options.hold_s)
            checks |= stack.enter_context(checkup).checks()
        width = max(len(name) for name in checks)
        for name, check in checks.items():
            results[name] = attempt(check)
            if not options.json:
                print(f"{results[name].mark}  {name:<{width}} {results[name].finding}", flush=True)
        show({name: asdict(result) for name, result in results.items()})
    failed = [name for name, result in results.items() if result.ok is False]
    if failed:
        raise AgpsError(f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}.")
    return 0
