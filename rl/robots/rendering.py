"""Colour and depth images of a MuJoCo model: one GL context per process, one pass per image."""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError, HardwareFault
from rl.robots.engine import mujoco
from rl.robots.panda import TCP_OFFSET_M
from rl.tasks.base import Camera
from rl.types import ByteArray, FloatArray

_lock = threading.RLock()
_contexts: dict[int, Any] = {}
"""GL context per process id: a forked child cannot use its parent's."""


def _shared_context() -> Any:
    """Return this process's GL context, created at the first use.

    One for all models: a context made after an earlier one was collected gives black images without an error.
    `MUJOCO_GL` chooses the platform; unset, EGL is used, which needs no display.
    """
    pid = os.getpid()
    if pid not in _contexts:
        platform = os.environ.setdefault("MUJOCO_GL", "egl").lower().strip()
        try:
            # Not mujoco.GLContext: that one was chosen when mujoco was imported, before the default above.
            if platform == "egl":
                from mujoco.egl import GLContext
            elif platform == "osmesa":
                from mujoco.osmesa import GLContext
            else:
                from mujoco.glfw import GLContext
            _contexts[pid] = GLContext(64, 64)
        except Exception as error:  # the platforms raise ImportError, AttributeError, RuntimeError, GLError
            raise _cannot_render(error) from error
    return _contexts[pid]


def _cannot_render(error: Exception) -> ConfigError:
    return ConfigError(
        f"Cannot render with MUJOCO_GL={os.environ['MUJOCO_GL']}: {error}. Without a display, unset MUJOCO_GL and run "
        "`apt-get install --no-install-recommends libegl1 libgl1-mesa-dri`."
    )


@contextmanager
def _current_context() -> Iterator[None]:
    """Make this process's GL context current in this thread, and in none afterwards, so that any thread may render."""
    with _lock:
        _shared_context().make_current()
        try:
            yield
        finally:
            _release_context()


def _release_context() -> None:
    """Leave this thread without a current context; costs 10 us. OSMesa's is not bound to a thread."""
    platform = os.environ["MUJOCO_GL"].lower().strip()
    if platform == "egl":
        from mujoco import egl

        none = egl.EGL.EGL_NO_SURFACE, egl.EGL.EGL_NO_SURFACE, egl.EGL.EGL_NO_CONTEXT
        egl.EGL.eglMakeCurrent(egl.EGL_DISPLAY, *none)
    elif platform != "osmesa":
        import glfw

        glfw.make_context_current(None)  # type: ignore[arg-type]  # documented: detaches


def _free(context: Any, pid: int) -> None:
    """Free a model's GL objects in the context that owns them."""
    if pid == os.getpid() and pid in _contexts:
        with _current_context():
            context.free()


@contextmanager
def _overturned_on_top(model: Any, data: Any) -> Iterator[None]:
    """Raise what a cloth shows of its underside by its thickness while the scene is copied.

    Without self-collision a folded cloth lies in itself, and the two layers would flicker through each other.
    """
    vertices = data.flexvert_xpos  # derived from the state at each step: the simulation never reads it back
    resting = vertices.copy()
    for flex in np.flatnonzero(model.flex_dim == 2):
        first, count = model.flex_elemdataadr[flex], 3 * model.flex_elemnum[flex]
        triangles = model.flex_elem[first : first + count].reshape(-1, 3) + model.flex_vertadr[flex]
        a, b, c = (resting[triangles[:, corner]] for corner in range(3))
        normal_z = np.zeros(len(vertices))
        np.add.at(normal_z, triangles, np.cross(b - a, c - a)[:, 2:])
        vertices[normal_z < 0.0, 2] += 2.2 * model.flex_radius[flex]
    try:
        yield
    finally:
        vertices[:] = resting


class Renderer:
    """Renders one model at up to a maximal size."""

    def __init__(
        self,
        model: Any,
        *,
        width: int,
        height: int,
        geom_groups: tuple[int, ...],
        samples: int,
    ) -> None:
        """Upload the model to the GPU or its software stand-in.

        Args:
            model: A `mujoco.MjModel`.
            width: Image width, [px].
            height: Image height, [px].
            geom_groups: Groups that are drawn.
            samples: Multisampling, 0 for none.
        """
        self._model = model
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [group in geom_groups for group in range(len(self._option.geomgroup))]
        self._option.sitegroup[:] = 0
        self._option.tendongroup[:] = 0
        self._perturb = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rgb = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)
        with _current_context():
            # Sizes and sampling of the offscreen buffer are read from the model when the context is made.
            model.vis.global_.offwidth, model.vis.global_.offheight = width, height
            model.vis.quality.offsamples = samples
            try:
                self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
            except mujoco.FatalError as error:
                raise _cannot_render(error) from error
            self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._finalizer = weakref.finalize(self, _free, self._context, os.getpid())
        self._finalizer.atexit = False  # by then the platform has closed its display

    def render(
        self, data: Any, camera_id: int, *, depth: bool, shadows: bool = False
    ) -> tuple[ByteArray, npt.NDArray[np.float32]]:
        """Return the colour image (H, W, 3), uint8, and the depth image (H, W), float32, [m]; empty if not asked for.

        Raises:
            HardwareFault: If the image came out in one colour: the GL context is broken.
        """
        with _current_context():
            # Each renderer has its own frame buffer; another renderer's may be bound.
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows  # 10 to 60 ms an image in software
            self._camera.fixedcamid = camera_id
            with _overturned_on_top(self._model, data):
                mujoco.mjv_updateScene(
                    self._model,
                    data,
                    self._option,
                    self._perturb,
                    self._camera,
                    mujoco.mjtCatBit.mjCAT_ALL,
                    self._scene,
                )
            mujoco.mjr_render(self._rect, self._scene, self._context)
            mujoco.mjr_readPixels(self._rgb, self._depth if depth else None, self._rect, self._context)
        rgb = np.ascontiguousarray(self._rgb[::-1])
        if (rgb == rgb[0, 0]).all():
            raise HardwareFault(
                f"Camera {self._model.camera(camera_id).name} rendered one flat colour, {rgb[0, 0].tolist()}: "
                "the GL context was lost, or the camera looks at nothing; restart the process."
            )
        return rgb, self._linear_depth() if depth else np.empty((0, 0), np.float32)

    def _linear_depth(self) -> npt.NDArray[np.float32]:
        """Return distances along the optical axis from the z-buffer (1 at the near plane, 0 at the far plane), [m]."""
        near = self._model.vis.map.znear * self._model.stat.extent
        far = self._model.vis.map.zfar * self._model.stat.extent
        z = self._depth[::-1].astype(np.float64)
        metres = near * far / (near + z * (far - near))
        metres[z <= 0.0] = 0.0  # nothing was hit: no data
        return np.asarray(metres, dtype=np.float32)

    def close(self) -> None:
        """Free the GL objects."""
        self._finalizer()


def intrinsics(*, width: int, height: int, fovy_deg: float) -> FloatArray:
    """Return K (3, 3), [px], of a pinhole camera whose pixel (0, 0) has its centre at (0, 0)."""
    focal = height / 2 / np.tan(np.deg2rad(fovy_deg) / 2)
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])


def mounted_pose(camera: Camera) -> FloatArray:
    """Return T_mount_cam (4, 4), [m], OpenCV axes: T_tcp_cam on the hand, T_base_cam in the world."""
    right, up = camera.axes()
    T = np.eye(4)
    T[:3, :3] = np.column_stack([right, -up, np.cross(right, -up)])
    T[:3, 3] = camera.position
    if camera.mount == "hand":  # the task measures from the flange face of the hand, a calibration from the TCP
        T[2, 3] -= TCP_OFFSET_M
    return T
