"""A backend that commands nothing: what it draws, and that it moves nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rl.errors import AgpsError, ConfigError
from rl.robots.look_only import TRAIL, DryRunBackend, draw_targets
from rl.robots.rendering import intrinsics, mounted_pose
from rl.tasks import get_task
from rl.tasks.base import Camera
from rl.transforms import pose
from rl.types import Box, FloatArray, RGBDFrame
from tests.clocks import MovedClock

DOWN = np.diag([1.0, -1.0, -1.0])
ORANGE, GREEN, VIOLET = (255, 140, 0), (0, 200, 90), (150, 90, 230)
ROOM = Box(lower=np.array([-0.2, -0.1, 0.0]), upper=np.array([0.2, 0.1, 0.0001]))


def frame() -> RGBDFrame:
    """One metre above the table, looking down; 100 px are 0.25 m."""
    K = np.array([[400.0, 0.0, 160.0], [0.0, 400.0, 120.0], [0.0, 0.0, 1.0]])
    return RGBDFrame(
        name="side",
        rgb=np.zeros((240, 320, 3), np.uint8),
        depth_m=np.ones((240, 320), np.float32),
        K=K,
        T_base_cam=pose(np.array([0.0, 0.0, 1.0]), DOWN),
    )


class Arm:
    """Stands 10 cm beside the middle."""

    closed = False
    twist, wrench = np.zeros(6), np.ones(6)
    T_base_tcp = pose(np.array([0.1, 0.0, 0.0]))

    def measure(self) -> "Arm":
        return self

    def pose_at(self, time_s: float) -> FloatArray:
        return self.T_base_tcp

    def close(self) -> None:
        self.closed = True


class Cameras:
    """Always show the table."""

    closed = False

    def policy_images(self, size: int) -> dict[str, Any]:
        return {"side": np.full((size, size, 3), 7, np.uint8)}

    def capture(self, names: Any, pose_at: Any) -> tuple[RGBDFrame, ...]:
        return (frame(),)

    def wait_newer(self, time_s: float, *, timeout_s: float = 2.0) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Standing(MovedClock):
    """Whoever sleeps moves it."""

    def sleep(self, duration_s: float) -> None:
        self.move(max(0.0, duration_s))


def looking(folder: Path | None, every: int = 10) -> tuple[DryRunBackend, Arm, Cameras, Standing]:
    arm, cameras, clock = Arm(), Cameras(), Standing()
    backend = DryRunBackend(
        get_task("usb_insertion"), arm, cameras, workspace=ROOM, folder=folder, picture_every=every, clock=clock
    )
    return backend, arm, cameras, clock


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels (u, v) of a colour, or of one between it and black: lines are smooth."""
    wanted, brightness = np.array(colour, float), np.linalg.norm(picture.astype(float), axis=2)
    along = picture @ wanted / np.linalg.norm(wanted)
    return np.argwhere((brightness > 40.0) & (along > 0.998 * brightness))[:, ::-1]


def drawn(*targets: tuple[float, float, float], position: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    points = [np.array(target) for target in targets]
    return draw_targets(frame(), points, position=np.array(position), workspace=ROOM)


def test_workspace_is_drawn_where_it_is() -> None:
    """0.4 m x 0.2 m around the middle: 160 px x 80 px."""
    edges = where(drawn(position=(9.0, 9.0, 0.0)), VIOLET)
    np.testing.assert_allclose([edges.min(axis=0), edges.max(axis=0)], [[80, 80], [240, 160]], atol=1)


def test_tcp_is_in_the_middle_of_its_ring() -> None:
    """0.1 m along x and -0.05 along y: the camera's y points the other way."""
    ring = where(drawn(position=(0.1, -0.05, 0.0)), GREEN)
    np.testing.assert_allclose(ring.mean(axis=0), [200, 140], atol=1.0)
    assert np.abs(np.linalg.norm(ring - [200, 140], axis=1) - 7).max() <= 2.0


def test_targets_lead_from_the_oldest_to_the_newest() -> None:
    way = where(drawn((-0.1, 0.02, 0.0), (0.0, 0.02, 0.0), (0.1, 0.02, 0.0), position=(0.1, 0.02, 0.0)), ORANGE)
    assert way[:, 0].min() <= 121 and way[:, 0].max() >= 198


def test_what_is_behind_the_camera_is_left_out() -> None:
    np.testing.assert_array_equal(drawn((0.0, 0.0, 2.0)), drawn())
    assert len(where(drawn(position=(0.0, 0.0, 2.0)), GREEN)) == 0


def test_point_far_outside_of_the_image_draws_nothing_in_it() -> None:
    assert len(where(drawn(position=(1e6, 0.0, 0.0)), GREEN)) == 0


def test_image_of_the_camera_is_left_as_it_was() -> None:
    seen = frame()
    draw_targets(seen, [np.zeros(3)], position=np.zeros(3), workspace=ROOM)
    assert not seen.rgb.any()


def test_one_picture_is_written_for_every_tenth_command(tmp_path: Path) -> None:
    backend, *_ = looking(tmp_path / "pictures")
    backend.reset(Arm.T_base_tcp, np.random.default_rng(0))
    for _ in range(21):
        backend.command(pose(np.array([0.05, 0.0, 0.0])), 0.0)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["step_0000.png", "step_0010.png", "step_0020.png"]
    shown = np.asarray(Image.open(tmp_path / "pictures" / "step_0020.png"))
    assert len(where(shown, ORANGE)) and len(where(shown, GREEN)) and len(where(shown, VIOLET))
    assert backend.metrics() == {"commands_drawn": 21.0}


def test_commands_take_a_control_period_each(tmp_path: Path) -> None:
    backend, _, _, clock = looking(None)
    backend.reset(Arm.T_base_tcp, np.random.default_rng(0))
    began_s = clock.now()
    for _ in range(5):
        backend.command(Arm.T_base_tcp, 0.0)
    assert clock.now() - began_s == pytest.approx(0.5)
    assert list(tmp_path.iterdir()) == []


def test_arm_stays_where_it_is_whatever_is_commanded() -> None:
    backend, *_ = looking(None)
    for x in (0.0, 0.3):
        state = backend.command(pose(np.array([x, 0.0, 0.0])), 1.0)
        np.testing.assert_array_equal(state.T_base_tcp, Arm.T_base_tcp)
        np.testing.assert_array_equal(state.wrench, Arm.wrench)


def test_oldest_targets_are_forgotten(tmp_path: Path) -> None:
    backend, *_ = looking(tmp_path, every=TRAIL)
    for n in range(TRAIL + 1):
        backend.command(pose(np.array([-0.15 if n == 0 else 0.15, 0.05, 0.0])), 0.0)
    shown = np.asarray(Image.open(tmp_path / f"step_{TRAIL:04d}.png"))
    assert len(where(shown, ORANGE)) and where(shown, ORANGE)[:, 0].min() > 190


def test_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    backend, *_ = looking(tmp_path / "pictures")
    (tmp_path / "pictures" / "step_0000.png").mkdir(parents=True)
    with pytest.raises(AgpsError, match="Cannot write .*step_0000.png; make room, or name another folder"):
        backend.command(Arm.T_base_tcp, 0.0)


def test_real_scene_can_neither_be_saved_nor_restored() -> None:
    backend, *_ = looking(None)
    for act in (backend.snapshot, lambda: backend.restore(None)):
        with pytest.raises(ConfigError, match="cannot be saved and restored; use the simulation"):
            act()
    assert backend.truth() == {}


def test_closing_closes_arm_and_cameras() -> None:
    backend, arm, cameras, _ = looking(None)
    backend.close()
    assert arm.closed and cameras.closed


@pytest.mark.parametrize(("fovy_deg", "focal"), [(90.0, 240.0), (53.130102354, 480.0)])
def test_focal_length_is_half_the_height_over_the_tangent_of_half_the_angle(fovy_deg: float, focal: float) -> None:
    K = intrinsics(width=640, height=480, fovy_deg=fovy_deg)
    np.testing.assert_allclose(K, [[focal, 0, 319.5], [0, focal, 239.5], [0, 0, 1]], rtol=1e-6)


def test_edge_of_the_image_is_at_half_the_opening_angle() -> None:
    K = intrinsics(width=128, height=128, fovy_deg=58.0)
    top = np.linalg.inv(K) @ [63.5, -0.5, 1.0]  # the upper edge of the first row
    assert np.rad2deg(np.arctan(-top[1])) == pytest.approx(29.0)


@pytest.mark.parametrize("task", ["usb_insertion", "knot_hanging", "towel_folding"])
def test_camera_looks_along_its_third_axis_and_is_no_mirror(task: str) -> None:
    cameras: list[Camera] = [*get_task(task).policy_cameras, *get_task(task).agent_cameras]
    for camera in cameras:
        T = mounted_pose(camera)
        right, up = camera.axes()
        np.testing.assert_allclose(T[:3, 0], right, atol=1e-12)
        np.testing.assert_allclose(T[:3, 1], -np.asarray(up), atol=1e-12)
        np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
