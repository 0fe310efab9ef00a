"""`agps calibrate CAMERA | board`: where a camera sits, from views of a printed board."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro

from agps_agent.cli.options import UsageError, json_only_on_stdout, parse_options
from agps_agent.run.signals import terminated_like_ctrl_c
from rl.errors import ConfigError

if TYPE_CHECKING:
    from rl.robots.base import Arm, CameraDriver
    from rl.robots.calibration.board import CharucoBoard, Dictionary
    from rl.robots.calibration.capture import Key, Progress
    from rl.robots.calibration.solve import Solution
    from rl.robots.cameras.calibration import CameraCalibration
    from rl.robots.station import CameraConfig, StationConfig
    from rl.types import Box, FloatArray
else:
    from rl.robots.calibration.board import Dictionary


@dataclass(frozen=True)
class BoardSize:
    """The board; what is measured on the print counts, not what was asked for."""

    square_mm: float = 25.0
    """Edge of a square as measured on the print, [mm]: its error scales every distance."""
    columns: int = 8
    """Squares along the longer side."""
    rows: int = 6
    """Squares along the shorter side."""
    dictionary: Dictionary = "DICT_4X4_50"
    """Marker family."""


@dataclass(frozen=True)
class PrintOptions:
    """Draw the board on an A4 page at its exact size, with a scale bar of 100 mm."""

    out: Path = Path("charuco.pdf")
    """PDF to write."""
    json: bool = False
    """Print one JSON object on stdout."""
    board: tyro.conf.OmitArgPrefixes[BoardSize] = BoardSize()
    """The board."""


@dataclass(frozen=True)
class CalibrateOptions:
    """Find out where a camera sits on the hand or beside the arm, or check what is known; `board` prints the board.

    A camera on the hand looks at a board that lies still; one beside the arm looks at a board in the hand.
    """

    camera: tyro.conf.Positional[str]
    """Camera of the station, or `board` to print one."""
    station: Path = Path("station.toml")
    """Station file."""
    robot_ip: str | None = None
    """Address of the arm in place of the station's."""
    guided: bool = False
    """Move the hand yourself: s takes a view, f finishes, Esc stops. This is the default."""
    auto: bool = False
    """Let the arm go to poses around the present one, inside the workspace."""
    check: bool = False
    """Report where the board's origin is by the calibration, and go above it."""
    views: int = 20
    """Views to take with --auto."""
    speed_m_s: float = 0.1
    """Of the TCP, [m/s]."""
    hover_mm: float = 50.0
    """Height of the TCP above the board's origin with --check, [mm]."""
    confirm: bool = True
    """Ask before the arm moves."""
    seed: int = 0
    """Of the poses of --auto."""
    out: Path | None = None
    """File to write. None: the station's, or calibration/CAMERA.json beside the station file."""
    json: bool = False
    """Print one JSON object on stdout."""
    board: tyro.conf.OmitArgPrefixes[BoardSize] = BoardSize()
    """The board."""


def run(argv: Sequence[str]) -> int:
    """Run `agps calibrate`."""
    if argv and argv[0] == "board":
        return _print_board(argv[1:])
    options = parse_options(CalibrateOptions, argv, prog="agps calibrate")
    _check_options(options)
    from rl.robots.station import load_station

    board = _board(options.board)
    station = load_station(options.station, ip=options.robot_ip)
    config = station.camera(options.camera)
    with json_only_on_stdout(options.json) as show, terminated_like_ctrl_c():
        if options.check:
            numbers, words = _check(options, station, config, board)
        else:
            numbers, words = _calibrate(options, station, config, board)
        show(numbers)
    if not options.json:
        print("\n".join(words))
    return 1 if numbers.get("misfits") else 0


def _print_board(argv: Sequence[str]) -> int:
    options = parse_options(PrintOptions, argv, prog="agps calibrate board")
    from rl.robots.calibration.printing import write_pdf

    board = _board(options.board)
    write_pdf(board, options.out)
    width, height = (1e3 * size for size in board.size_m)
    with json_only_on_stdout(options.json) as show:
        show({"file": str(options.out), "board": str(board), "width_mm": width, "height_mm": height})
    if not options.json:
        print(
            f"{board}, {width:.0f} x {height:.0f} mm, in {options.out}. Print at 100 %, measure a square with "
            "callipers, and tell it: agps calibrate CAMERA --square-mm <measured>"
        )
    return 0


def _board(size: BoardSize) -> "CharucoBoard":
    from rl.robots.calibration.board import CharucoBoard

    return CharucoBoard(columns=size.columns, rows=size.rows, square_m=size.square_mm / 1e3, dictionary=size.dictionary)


def _check_options(options: CalibrateOptions) -> None:
    from rl.robots.calibration.views import MIN_VIEWS

    if options.guided + options.auto + options.check > 1:
        raise UsageError("Use one of --guided, --auto and --check.")
    if not MIN_VIEWS <= options.views <= 200:
        raise UsageError(f"--views is {options.views}; ask for {MIN_VIEWS} to 200.")
    if not 0.0 < options.speed_m_s <= 0.25:
        raise UsageError(f"--speed-m-s is {options.speed_m_s:g}; ask for more than 0 and at most 0.25.")
    if not 0.0 <= options.hover_mm <= 300.0:
        raise UsageError(f"--hover-mm is {options.hover_mm:g}; ask for 0 to 300.")
    if options.out is not None and options.out.is_dir():
        raise UsageError(f"--out {options.out} is a folder; name a file.")
    moves = options.auto or options.check
    if not sys.stdin.isatty() and not (moves and not options.confirm):
        what = "The arm asks before it moves" if moves else "--guided reads keys"
        raise UsageError(f"{what} and there is no terminal; use a terminal, or --auto --no-confirm beside the arm.")


def _calibrate(
    options: CalibrateOptions, station: "StationConfig", config: "CameraConfig", board: "CharucoBoard"
) -> tuple[dict[str, Any], list[str]]:
    from rl.robots.calibration.capture import Capture, capture_auto, capture_guided
    from rl.robots.calibration.solve import calibrate
    from rl.robots.cameras.calibration import CameraCalibration

    with ExitStack() as stack:
        camera, arm = _open(stack, station, config)
        info = camera.info
        capture = Capture(board=board, camera=camera, arm=arm, report=_Line(), clock=station.clock)
        if options.auto:
            _ask(options, f"The arm will move up to 12 cm and 30 degrees around its pose for {options.views} views.")
            arm.start()
            views = capture_auto(
                capture,
                arm,
                mount=config.mount,
                workspace=station.workspace,
                count=options.views,
                speed_m_s=options.speed_m_s,
                rng=np.random.default_rng(options.seed),
            )
            arm.stop()
        else:
            with _keys() as keys:
                views = capture_guided(capture, keys)
    solution = calibrate(
        board,
        views,
        K=info.K,
        distortion=info.distortion,
        width=info.width,
        height=info.height,
        mount=config.mount,
    )
    calibration = CameraCalibration(
        camera=config.name,
        serial=info.serial,
        mount=config.mount,
        width=info.width,
        height=info.height,
        T_mount_cam=tuple(tuple(float(v) for v in row) for row in solution.T_mount_cam),
        residual_mm=solution.residual_mm,
        residual_deg=solution.residual_deg,
        poses=solution.views,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        board=str(board),
    )
    default = options.station.parent / "calibration" / f"{config.name}.json"
    file = options.out or config.calibration or default
    calibration.save(file)
    return _result(calibration, solution, file, config, options.station)


def _result(
    calibration: "CameraCalibration", solution: "Solution", file: Path, config: "CameraConfig", station: Path
) -> tuple[dict[str, Any], list[str]]:
    from rl.robots.calibration.check import doubts

    found = doubts(calibration)
    numbers = {
        "file": str(file),
        "camera": calibration.camera,
        "serial": calibration.serial,
        "mount": calibration.mount,
        "views": solution.views,
        "residual_mm": solution.residual_mm,
        "residual_deg": solution.residual_deg,
        "reprojection_px": solution.reprojection_px,
        "T_mount_cam": solution.T_mount_cam.tolist(),
        "doubts": found,
    }
    x, y, z = solution.T_mount_cam[:3, 3]
    frame = "TCP" if calibration.mount == "hand" else "base"
    words = [
        f"{calibration.camera} ({calibration.serial}) is at ({x:.4f}, {y:.4f}, {z:.4f}) m in the {frame} frame.",
        f"{solution.views} views, {solution.reprojection_px:.2f} px; on held-out views {solution.residual_mm:.2f} mm "
        f"and {solution.residual_deg:.3f} degrees. Saved in {file}",
        *found,
    ]
    if config.calibration is None or config.calibration.resolve() != file.resolve():
        words.append(
            f"The station does not use that file yet: write it as `calibration` of {config.name} in {station}."
        )
    return numbers, words


def _check(
    options: CalibrateOptions, station: "StationConfig", config: "CameraConfig", board: "CharucoBoard"
) -> tuple[dict[str, Any], list[str]]:
    from rl.robots.calibration.capture import Capture
    from rl.robots.calibration.check import board_in_base, doubts, misfits
    from rl.robots.cameras.calibration import CameraCalibration

    file = options.out or config.calibration
    if file is None:
        raise ConfigError(
            f"Camera {config.name} has no calibration in {options.station}; run `agps calibrate {config.name}` first."
        )
    calibration = CameraCalibration.load(file)
    with ExitStack() as stack:
        camera, arm = _open(stack, station, config)
        info = camera.info
        wrong = misfits(calibration, serial=info.serial, width=info.width, height=info.height, mount=config.mount)
        found = doubts(calibration)
        numbers: dict[str, Any] = {"file": str(file), "camera": config.name, "misfits": wrong, "doubts": found}
        words = [*wrong, *found]
        if wrong:
            return numbers, words
        view = Capture(board=board, camera=camera, arm=arm, report=_Line(), clock=station.clock).view()
        T_base_board = board_in_base(board, view.sighting, info, calibration, view.T_base_tcp)
        origin = T_base_board[:3, 3]
        numbers |= {"corners": view.sighting.count, "T_base_board": T_base_board.tolist()}
        words.append(
            f"By the calibration of {calibration.date} the board's origin, its corner at the dot, is at "
            f"{_point(origin)} in the base frame."
        )
        above, sentence = _go_above(options, arm, view.T_base_tcp, origin, station.workspace)
        numbers["tcp"] = None if above is None else above.tolist()
        words.append(sentence)
    return numbers, words


def _go_above(
    options: CalibrateOptions, arm: "Arm", T_base_tcp: "FloatArray", origin: "FloatArray", workspace: "Box"
) -> "tuple[FloatArray | None, str]":
    """Move the TCP above a point if that is possible and wanted; return where it is then, and what to tell."""
    from rl.robots.calibration.check import hover_path

    try:
        path = hover_path(origin, T_base_tcp=T_base_tcp, height_m=options.hover_mm / 1e3, workspace=workspace)
        _ask(
            options, f"The arm will move the TCP {options.hover_mm:.0f} mm above the board's origin, {_point(origin)}."
        )
    except ConfigError as error:
        return None, f"The arm did not move: {error}"
    arm.start()
    for T in path:
        arm.move_to(T, speed_m_s=options.speed_m_s)
    reached = arm.measure().T_base_tcp[:3, 3]
    arm.stop()
    return reached, (
        f"The TCP is at {_point(reached)}; measure how far that is from {options.hover_mm:.0f} mm straight above "
        "the dot."
    )


def _point(point: "FloatArray") -> str:
    return "({:.4f}, {:.4f}, {:.4f}) m".format(*point)


def _open(stack: ExitStack, station: "StationConfig", config: "CameraConfig") -> "tuple[CameraDriver, Arm]":
    """Return the streaming camera and the connected arm; both are closed with the stack, the arm first."""
    from rl.robots.cameras import open_camera
    from rl.robots.station import open_arm

    camera = stack.enter_context(closing(open_camera(config, station.clock)))
    arm = stack.enter_context(closing(open_arm(station)))
    return camera, arm


def _ask(options: CalibrateOptions, what: str) -> None:
    """Ask the operator before the arm moves.

    Raises:
        ConfigError: If the answer is not yes.
    """
    if not options.confirm:
        return
    print(f"{what} Keep a hand on the stop button. Move? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError("It was not confirmed; answer y to let the arm move.")


@contextmanager
def _keys() -> "Iterator[Callable[[], Key | None]]":
    """Read the operator's keys from the terminal."""
    from rl.robots.teleop.keys import KeyReader

    meaning: dict[str | None, Key] = {"success": "take", "fail": "finish", "stop": "stop"}
    print("Guide the hand, let go of it, then press: s takes a view, f finishes, Esc stops.", file=sys.stderr)
    with KeyReader() as reader:
        yield lambda: meaning.get(reader.read())


class _Line:
    """Shows the crossings that are seen and what is still missing: one line that changes, or one line a view."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, progress: "Progress") -> None:
        """Show it."""
        if not (self._live or progress.taken or progress.asked_to_finish):
            return
        covered = progress.coverage
        turns = "/".join(f"{angle:.0f}" for angle in covered.rotation_deg)
        text = (
            f"{progress.corners:2d} of {progress.of} crossings; {covered.views} views, turned {turns} degrees, "
            f"{100 * covered.image:.0f} % of the image"
        )
        missing = covered.missing()
        line = f"{text}: {'enough' if missing is None else 'more needed'}"
        if progress.asked_to_finish and missing is not None:
            line = f"Not yet. {missing}"
        end = "\n" if progress.taken or progress.asked_to_finish else ""
        print(f"\r\033[K{line}" if self._live else line, end=end, file=sys.stderr, flush=True)
