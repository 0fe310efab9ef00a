"""Taking the views: by hand guiding, or by small guarded motions around the present pose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from rl.errors import HardwareFault
from rl.robots.base import CameraDriver
from rl.robots.calibration.board import MIN_CORNERS, CharucoBoard, Sighting
from rl.robots.calibration.poses import Plan, first_poses, plan_poses
from rl.robots.calibration.solve import Problem, fit
from rl.robots.calibration.views import CalibrationError, Coverage, View, coverage, usable
from rl.robots.clock import REAL_TIME, Clock
from rl.robots.station import Mount
from rl.transforms import apply_delta, pose, pose_difference
from rl.types import Box, FloatArray

STILL_S = 0.1
"""The arm must not have moved for this long before an image is awaited, [s]."""
STILL_M, STILL_RAD = 1.5e-4, 5e-4
"""Motion within `STILL_S`, and from before the image to after it, that counts as none, [m] and [rad]."""
SETTLE_TIMEOUT_S = 8.0
"""After that it is no settling any more, [s]."""
ROUNDS = 3
"""Times that poses are planned."""
FEWEST_FIRST_VIEWS = 4
"""First poses that must see the board before farther ones are planned."""

Key = Literal["take", "finish", "stop"]


class Pose(Protocol):
    """What an arm measures, as far as it matters here."""

    @property
    def T_base_tcp(self) -> FloatArray:
        """Measured pose. Shape (4, 4), [m]."""


class ReadableArm(Protocol):
    """An arm whose pose can be read while a person guides it."""

    def measure(self) -> Pose:
        """Return what it measures now."""


class MovableArm(ReadableArm, Protocol):
    """An arm that goes to poses inside its workspace."""

    def move_to(self, T_base_tcp: FloatArray, *, speed_m_s: float = 0.1) -> object:
        """Move in a straight line, guarded; returns when there."""

    def reaches(self, T_base_tcp: FloatArray) -> bool:
        """Return whether it can go to a pose from here."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What the operator sees while views are taken."""

    taken: bool
    """A view was just taken; else this is the live image."""
    corners: int
    """Crossings in the image."""
    of: int
    """Crossings of the board."""
    coverage: Coverage
    """Of the views so far."""
    asked_to_finish: bool = False
    """The operator wants to finish, and `coverage.missing` says why that is too early."""


Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One camera, one arm and one board, and whom to tell about it."""

    board: CharucoBoard
    camera: CameraDriver
    arm: ReadableArm
    report: Report
    still_s: float = STILL_S
    """See `STILL_S`."""
    clock: Clock = REAL_TIME
    """The station's."""

    def view(self) -> View:
        """Wait until the arm is at rest, and return the board as seen then with the arm's pose.

        Raises:
            HardwareFault: If the arm does not come to rest, or no image comes.
        """
        deadline = self.clock.now() + SETTLE_TIMEOUT_S
        while True:
            before = self._settle(deadline)
            # The first image may have been exposed before it arrived; the next one was not.
            first = self.camera.wait_newer(self.clock.now())
            frame = self.camera.wait_newer(first.time_s)
            after = self.arm.measure().T_base_tcp
            if _at_rest(before, after):
                T_base_tcp = apply_delta(before, 0.5 * pose_difference(before, after))
                return View(T_base_tcp=T_base_tcp, sighting=self.board.detect(frame.rgb))
            if self.clock.now() > deadline:  # it creeps: slowly enough for a moment, too fast for two images
                raise HardwareFault(
                    f"The arm still creeps after {SETTLE_TIMEOUT_S:.0f} s; let go of it, or check its load (load_kg)."
                )

    def take(self, views: list[View]) -> View:
        """Take a view, append it if it shows enough of the board, and report; returns it in any case."""
        view = self.view()
        good = view.sighting.count >= MIN_CORNERS
        if good:
            views.append(view)
        self.tell(view.sighting, views, taken=good)
        return view

    def tell(
        self, sighting: Sighting, views: Sequence[View], *, taken: bool = False, asked_to_finish: bool = False
    ) -> Coverage:
        """Report the live count of crossings and the coverage so far, and return the latter."""
        info = self.camera.info
        covered = coverage(views, width=info.width, height=info.height)
        self.report(
            Progress(
                taken=taken,
                corners=sighting.count,
                of=len(self.board.points),
                coverage=covered,
                asked_to_finish=asked_to_finish,
            )
        )
        return covered

    def _settle(self, deadline: float) -> FloatArray:
        """Return the pose after it has not changed for `still_s`."""
        anchor, since = self.arm.measure().T_base_tcp, self.clock.now()
        while True:
            self.clock.sleep(0.02)
            T, now = self.arm.measure().T_base_tcp, self.clock.now()
            if not _at_rest(anchor, T):
                moved = 1e3 * np.linalg.norm(T[:3, 3] - anchor[:3, 3]) / (now - since)
                anchor, since = T, now
                if now > deadline:
                    raise HardwareFault(
                        f"The arm still moves by {moved:.1f} mm/s after {SETTLE_TIMEOUT_S:.0f} s; let go of it, or "
                        "check what shakes it."
                    )
            elif now - since >= self.still_s:
                return T


def capture_guided(capture: Capture, keys: Callable[[], Key | None]) -> list[View]:
    """Return views that the operator chose: a key takes one, another one ends when there are enough.

    Args:
        capture: Camera and arm; the arm is only read.
        keys: Returns the key that was pressed since the last call, or None.

    Raises:
        CalibrationError: If the operator stops.
        HardwareFault: If the camera or the arm fails.
    """
    views: list[View] = []
    shown = -np.inf
    while True:
        frame = capture.camera.wait_newer(shown)
        shown = frame.time_s
        key = keys()
        sighting = capture.board.detect(frame.rgb)
        covered = capture.tell(sighting, views, asked_to_finish=key == "finish")
        if key == "stop":
            raise CalibrationError("The calibration was stopped by a key; nothing was written.")
        if key == "finish" and covered.missing() is None:
            return views
        if key == "take":
            capture.take(views)
            shown = capture.clock.now()


def capture_auto(
    capture: Capture,
    arm: MovableArm,
    *,
    mount: Mount,
    workspace: Box,
    count: int,
    speed_m_s: float,
    rng: np.random.Generator,
) -> list[View]:
    """Return views from a set of poses around the present one, to which the hand returns at the end.

    Six turns of 8 degrees first give a rough idea of where camera and board are; with it, the other poses are planned
    so that the board stays in the image, is seen from many directions and goes to the image's edges. Where something
    hides the board, e.g. the fingers, others are planned in place of those views, in up to `ROUNDS` rounds.

    Args:
        capture: Camera and board.
        arm: The arm, which is moving under control already.
        mount: Where the camera is.
        workspace: Where the TCP may go.
        count: Views to take in all.
        speed_m_s: Of the TCP, [m/s].
        rng: Source of the candidate poses.

    Raises:
        CalibrationError: If the board is not seen from here, or too few poses are possible from here.
        HardwareFault: If arm or camera fails.
    """
    views: list[View] = []
    here = capture.take(views)
    if not views:
        raise CalibrationError(
            f"The camera sees {here.sighting.count} crossings of the {capture.board} from here, and {MIN_CORNERS} are "
            "needed; move the hand or the board until it is in the middle of the image, and check the lens and light."
        )
    T_start = pose(workspace.project(here.T_base_tcp[:3, 3]), here.T_base_tcp[:3, :3])
    try:
        for T in first_poses(T_start):
            arm.move_to(T, speed_m_s=speed_m_s)
            capture.take(views)
        for _ in range(ROUNDS):
            for T in _farther_poses(
                capture, arm, views, T_start, mount=mount, workspace=workspace, count=count, rng=rng
            ):
                arm.move_to(T, speed_m_s=speed_m_s)
                capture.take(views)
            covered = coverage(views, width=capture.camera.info.width, height=capture.camera.info.height)
            if len(views) >= count and covered.missing() is None:
                break
    except CalibrationError:
        arm.move_to(T_start, speed_m_s=speed_m_s)
        raise
    arm.move_to(T_start, speed_m_s=speed_m_s)
    return views


def _farther_poses(
    capture: Capture,
    arm: MovableArm,
    views: Sequence[View],
    T_start: FloatArray,
    *,
    mount: Mount,
    workspace: Box,
    count: int,
    rng: np.random.Generator,
) -> list[FloatArray]:
    """Return the poses that the rough calibration from the first views allows."""
    good, info = usable(views), capture.camera.info
    if len(good) < FEWEST_FIRST_VIEWS:
        raise CalibrationError(
            f"Only {len(good)} of {len(views)} first poses see the board; start with the board in the middle of the "
            "image, or use --guided."
        )
    problem = Problem(board=capture.board, views=tuple(good), K=info.K, distortion=info.distortion, mount=mount)
    T_mount_cam, T_other_board = fit(problem)
    plan = Plan(
        board=capture.board,
        mount=mount,
        K=info.K,
        distortion=info.distortion,
        width=info.width,
        height=info.height,
        workspace=workspace,
    )
    return plan_poses(
        plan,
        T_base_tcp=T_start,
        reaches=arm.reaches,
        T_mount_cam=T_mount_cam,
        T_other_board=T_other_board,
        taken=good,
        count=max(count - len(good), 1),
        rng=rng,
    )


def _at_rest(T_before: FloatArray, T_after: FloatArray) -> bool:
    moved = pose_difference(T_before, T_after)
    return bool(np.linalg.norm(moved[:3]) < STILL_M and np.linalg.norm(moved[3:]) < STILL_RAD)
