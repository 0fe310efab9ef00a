"""The simulated arm: MuJoCo with a native Cartesian impedance, one `mj_step` call per control step."""

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rl.errors import ConfigError
from rl.robots import panda
from rl.robots.base import CLOSED_BELOW, CONTROL_RATE_HZ
from rl.robots.engine import mujoco
from rl.robots.grasp import MODEL_ARRAYS, Grasp, ties_mjcf
from rl.robots.rendering import Renderer, intrinsics, mounted_pose
from rl.tasks.base import TOOL_DOWN, Camera, SceneVariation, SimulatedTask
from rl.transforms import matrix_to_rotvec
from rl.types import ByteArray, FloatArray, RGBDFrame, RobotState

AGENT_WIDTH, AGENT_HEIGHT = 640, 480
MAX_DEPTH_M = 3.0
"""Range of the agent's depth cameras; beyond it there is no data, [m]."""
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_MODEL_ARRAYS = ("cam_pos", "cam_quat", "light_diffuse", "light_dir", "mat_rgba", *MODEL_ARRAYS)
"""What a scene variation or a grasp changes in the model, not in the state."""


def build_model(
    task: SimulatedTask, *, timestep_s: float | None = None, impedance: panda.Impedance | None = None
) -> Any:
    """Return the `mujoco.MjModel` of the arm in a task's scene.

    Args:
        task: Scene, cameras and home pose.
        timestep_s: Physics step, [s]; the task's if None.
        impedance: Gains, defaults if None.

    Raises:
        ConfigError: If MuJoCo refuses the scene.
    """
    meshes = panda.find_mesh_folder()
    scene = task.scene_mjcf()
    q_home = panda.inverse_kinematics(task.home, np.array(panda.HOME_Q))
    tendon, actuators = panda.control_mjcf(q_home, impedance or panda.Impedance())
    cameras = {camera.name: camera for camera in (*task.policy_cameras, *task.agent_cameras)}
    mounted = {
        mount: "".join(_camera_mjcf(camera) for camera in cameras.values() if camera.mount == mount)
        for mount in ("world", "hand")
    }
    arm = panda.arm_mjcf(
        held_mjcf=scene.held, finger_mjcf=scene.fingers, hand_cameras_mjcf=mounted["hand"], mesh_folder=meshes
    )
    textures = "".join(f'<texture name="{name}" type="2d" file="{name}.png"/>' for name in scene.textures)
    ties = ties_mjcf(scene.grasp) if scene.grasp else ""
    text = f"""<mujoco model="{task.name}">
        <compiler angle="radian" autolimits="true"/>
        <option timestep="{timestep_s or task.timestep_s}" {scene.option}/>
        <extension>{scene.extension}</extension>
        <statistic extent="1" center=".5 0 .2"/>
        <visual>
          <map znear=".01" zfar="10" shadowclip=".8"/>
          <headlight ambient=".32 .32 .33" diffuse=".18 .18 .18" specular="0 0 0"/>
          <quality shadowsize="2048" numslices="12" numstacks="6" numquads="4"/>
          <rgba haze=".7 .72 .75 1"/>
        </visual>
        <asset>
          <texture type="skybox" builtin="gradient" rgb1=".78 .80 .83" rgb2=".58 .60 .63" width="32" height="192"/>
          {textures}{panda.assets_mjcf(meshes)}{scene.assets}
        </asset>
        <worldbody>{panda.REFERENCE_SITES_MJCF}{mounted["world"]}{scene.world}{arm}</worldbody>
        <contact>{scene.contact}</contact>
        <equality>{scene.equality}{ties}</equality>
        <tendon>{tendon}{scene.tendon}</tendon>
        <actuator>{actuators}{scene.actuator}</actuator>
        <sensor><force name="force" site="tcp"/><torque name="torque" site="tcp"/>{scene.sensor}</sensor>
        </mujoco>"""
    try:
        model = mujoco.MjModel.from_xml_string(text, {f"{n}.png": _png(image) for n, image in scene.textures.items()})
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"MuJoCo cannot build the scene of {task.name}: {reason}.") from error
    _rescale(model, friction=task.friction_scale, mass=task.mass_scale)
    return model


def _rescale(model: Any, *, friction: float, mass: float) -> None:
    """Multiply the sliding friction of all that touches, and the mass of all that is not the arm."""
    if friction != 1.0:
        model.geom_friction[:, 0] *= friction
        model.flex_friction[:, 0] *= friction
        model.pair_friction[:, :2] *= friction
    if mass != 1.0:
        arm = {model.body(name).id for name in panda.BODY_NAMES}
        others = [body for body in range(1, model.nbody) if body not in arm]
        model.body_mass[others] *= mass
        model.body_inertia[others] *= mass
        model.body_gravcomp[others] /= mass  # what the arm lifts of them stays as it was
        mujoco.mj_setConst(model, mujoco.MjData(model))


def _png(image: ByteArray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _camera_mjcf(camera: Camera) -> str:
    right, up = camera.axes()
    axes = " ".join(f"{v:.9f}" for v in (*right, *up))
    position = " ".join(f"{v:.9f}" for v in camera.position)
    return f'<camera name="{camera.name}" pos="{position}" xyaxes="{axes}" fovy="{camera.fovy_deg}"/>'


def nominal_arrays(model: Any) -> dict[str, FloatArray]:
    """Return a copy of everything in a fresh model that a scene variation or a grasp changes."""
    return {name: getattr(model, name).copy() for name in _MODEL_ARRAYS}


def apply_variation(model: Any, data: Any, nominal: dict[str, FloatArray], variation: SceneVariation) -> None:
    """Set what differs about the scene in one episode.

    Args:
        model: Compiled scene.
        data: Its state: movable bodies are moved here.
        nominal: `nominal_arrays` of the fresh model; what an earlier variation changed goes back to it.
        variation: What differs.
    """
    for name, values in nominal.items():
        getattr(model, name)[:] = values
    for body, (position, turn) in variation.moved.items():
        mocap = model.body(body).mocapid[0]
        data.mocap_pos[mocap] = position
        data.mocap_quat[mocap] = [np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)]
    model.light_diffuse[:] *= variation.light_gain
    model.light_dir[:, :2] += variation.light_shift
    model.light_dir[:] /= np.linalg.norm(model.light_dir, axis=1, keepdims=True)
    for name, gain in (variation.colour_gain or {}).items():
        material = model.material(name).id
        model.mat_rgba[material, :3] = np.clip(model.mat_rgba[material, :3] * gain, 0.0, 1.0)
    for name, shift in (variation.camera_shift or {}).items():
        camera = model.camera(name).id
        model.cam_pos[camera] += shift[:3]
        mujoco.mju_quatIntegrate(model.cam_quat[camera], shift[3:], 1.0)


@dataclass(frozen=True, kw_only=True)
class MujocoSnapshot:
    """A moment of the simulation."""

    state: FloatArray
    """MuJoCo's integration state."""
    model_arrays: dict[str, FloatArray]
    """What the scene variation has set in the model."""
    tare: FloatArray
    """Wrench at reset, base frame. Shape (6,)."""


class MujocoBackend:
    """A `Backend` in simulation. The same calls with the same generator give the same bits."""

    def __init__(
        self,
        task: SimulatedTask,
        *,
        timestep_s: float | None = None,
        impedance: panda.Impedance | None = None,
        shadows: bool = True,
    ) -> None:
        """Compile the scene.

        Args:
            task: Scene, cameras, start and home.
            timestep_s: Physics step, [s]; divides the control period. The task's if None.
            impedance: Gains, defaults if None.
            shadows: Draw shadows in the agent's default image.

        Raises:
            ConfigError: If the timestep does not divide the control period.
        """
        timestep_s = task.timestep_s if timestep_s is None else timestep_s
        steps = 1.0 / CONTROL_RATE_HZ / timestep_s
        if abs(steps - round(steps)) > 1e-6 or timestep_s > 0.010:
            raise ConfigError(f"timestep_s is {timestep_s}; use a divisor of 0.1 s of at most 0.010, e.g. 0.002.")
        self._substeps = round(steps)
        self._task = task
        self._shadows = shadows
        self._model = build_model(task, timestep_s=timestep_s, impedance=impedance)
        self._data = mujoco.MjData(self._model)
        self._q_home = panda.inverse_kinematics(task.home, np.array(panda.HOME_Q))
        self._tcp = self._model.site("tcp").id
        sites = [self._model.site(i).name for i in range(self._model.nsite)]
        self._truth_sites = {n.removeprefix("truth/"): i for i, n in enumerate(sites) if n.startswith("truth/")}
        scene = task.scene_mjcf()
        self._truth_bodies = {name: self._model.body(body).id for name, body in scene.truth_bodies.items()}
        self._grasp = Grasp(self._model, scene.grasp) if scene.grasp else None
        self._arm_qpos = np.array([self._model.joint(name).qposadr[0] for name in panda.JOINT_NAMES])
        self._nominal = nominal_arrays(self._model)
        self._tare: FloatArray = np.zeros(6)
        self._policy_renderer: tuple[int, Renderer] | None = None
        self._agent_renderer: Renderer | None = None

    @property
    def model(self) -> Any:
        """The `mujoco.MjModel`, for tests and viewers."""
        return self._model

    @property
    def data(self) -> Any:
        """The `mujoco.MjData`, for tests and viewers."""
        return self._data

    def reset(self, T_base_tcp: FloatArray, rng: np.random.Generator) -> RobotState:
        """Place arm and scene, let the arm settle for one control period and tare the wrench."""
        mujoco.mj_resetData(self._model, self._data)
        apply_variation(self._model, self._data, self._nominal, self._task.sample_scene(rng))
        q = panda.inverse_kinematics(T_base_tcp, self._q_home)
        opening_m = self._task.gripper_opening * panda.FINGER_TRAVEL_M
        self._data.qpos[self._arm_qpos] = [*q, opening_m, opening_m]
        self._tare = np.zeros(6)
        state = self.command(T_base_tcp, self._task.gripper_opening)
        self._tare = state.wrench
        return self._measure()

    def command(self, T_base_target: FloatArray, gripper_opening: float) -> RobotState:
        """Pull the TCP towards the target for one control period."""
        ctrl = self._data.ctrl
        ctrl[:3] = T_base_target[:3, 3]
        ctrl[3:6] = matrix_to_rotvec(TOOL_DOWN.T @ T_base_target[:3, :3])
        ctrl[6:8] = gripper_opening * panda.FINGER_TRAVEL_M
        closing = gripper_opening < CLOSED_BELOW <= self._opening()
        if self._grasp and gripper_opening >= CLOSED_BELOW:
            self._grasp.release(self._data)
        mujoco.mj_step(self._model, self._data, nstep=self._substeps)
        # mj_step leaves positions and sensors of the step before the last integration.
        mujoco.mj_forward(self._model, self._data)
        if self._grasp and closing and self._opening() < CLOSED_BELOW:
            self._grasp.tie(self._data)
        return self._measure()

    def policy_images(self, image_size: int) -> dict[str, ByteArray]:
        """Return low-poly images without shadows."""
        return {name: rgb for name, (rgb, _) in self.policy_rgbd(image_size, depth=False).items()}

    def policy_rgbd(self, image_size: int, *, depth: bool) -> dict[str, tuple[ByteArray, npt.NDArray[np.float32]]]:
        """Return colour (H, W, 3) and depth (H, W), [m], of each policy camera, in one pass each."""
        if self._policy_renderer is None or self._policy_renderer[0] != image_size:
            renderer = Renderer(self._model, width=image_size, height=image_size, geom_groups=(0, 1), samples=0)
            self._policy_renderer = (image_size, renderer)
        renderer = self._policy_renderer[1]
        return {
            camera.name: renderer.render(self._data, self._model.camera(camera.name).id, depth=depth)
            for camera in self._task.policy_cameras
        }

    def capture(self, cameras: Collection[str] | None = None, *, shadows: bool = True) -> tuple[RGBDFrame, ...]:
        """Return full-mesh RGB-D of the named agent cameras; shadows fall in the default one, which people look at."""
        if self._agent_renderer is None:
            self._agent_renderer = Renderer(
                self._model, width=AGENT_WIDTH, height=AGENT_HEIGHT, geom_groups=(0, 2), samples=4
            )
        default = self._task.agent_cameras[0].name
        return tuple(
            self._frame(camera, self._agent_renderer, shadows=shadows and self._shadows and camera.name == default)
            for camera in self._task.agent_cameras
            if cameras is None or camera.name in cameras
        )

    def truth(self) -> dict[str, FloatArray]:
        """Return the scene's named points, in the base frame, [m]."""
        sites = {name: self._data.site_xpos[i].copy() for name, i in self._truth_sites.items()}
        return sites | {name: self._data.xpos[i].copy() for name, i in self._truth_bodies.items()}

    def snapshot(self) -> MujocoSnapshot:
        """Return the state of simulator and scene."""
        state = np.empty(mujoco.mj_stateSize(self._model, _STATE))
        mujoco.mj_getState(self._model, self._data, state, _STATE)
        arrays = {name: getattr(self._model, name).copy() for name in _MODEL_ARRAYS}
        return MujocoSnapshot(state=state, model_arrays=arrays, tare=self._tare)

    def restore(self, snapshot: MujocoSnapshot) -> None:
        """Go back to a snapshot."""
        for name, values in snapshot.model_arrays.items():
            getattr(self._model, name)[:] = values
        mujoco.mj_setState(self._model, self._data, snapshot.state, _STATE)
        mujoco.mj_forward(self._model, self._data)
        mujoco.mj_setState(self._model, self._data, snapshot.state, _STATE)  # forward may touch the warm start
        self._tare = snapshot.tare

    def close(self) -> None:
        """Free the renderers."""
        if self._policy_renderer is not None:
            self._policy_renderer[1].close()
        if self._agent_renderer is not None:
            self._agent_renderer.close()
        self._policy_renderer = self._agent_renderer = None

    def _measure(self) -> RobotState:
        data = self._data
        rotation = data.site_xmat[self._tcp].reshape(3, 3).copy()
        T_base_tcp = np.eye(4)
        T_base_tcp[:3, :3] = rotation
        T_base_tcp[:3, 3] = data.site_xpos[self._tcp]
        velocity = np.empty(6)  # angular first
        mujoco.mj_objectVelocity(self._model, data, mujoco.mjtObj.mjOBJ_SITE, self._tcp, velocity, 0)
        # MuJoCo reports what the hand exerts on the arm; a wrench on the TCP points the other way.
        wrench = -np.concatenate([rotation @ data.sensordata[:3], rotation @ data.sensordata[3:6]])
        return RobotState(
            T_base_tcp=T_base_tcp,
            twist=np.concatenate([velocity[3:], velocity[:3]]),
            wrench=wrench - self._tare,
            gripper_opening=self._opening(),
        )

    def _opening(self) -> float:
        return float(self._data.qpos[self._arm_qpos[7:]].sum()) / (2 * panda.FINGER_TRAVEL_M)

    def _frame(self, camera: Camera, renderer: Renderer, *, shadows: bool) -> RGBDFrame:
        index = self._model.camera(camera.name).id
        rgb, depth_m = renderer.render(self._data, index, depth=True, shadows=shadows)
        depth_m[depth_m > MAX_DEPTH_M] = 0.0
        T_base_cam = np.eye(4)
        # OpenGL cameras look along -z with y up; OpenCV's look along z with y down.
        T_base_cam[:3, :3] = self._data.cam_xmat[index].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
        T_base_cam[:3, 3] = self._data.cam_xpos[index]
        return RGBDFrame(
            name=camera.name,
            rgb=rgb,
            depth_m=depth_m,
            K=intrinsics(width=AGENT_WIDTH, height=AGENT_HEIGHT, fovy_deg=camera.fovy_deg),
            T_base_cam=T_base_cam,
            T_mount_cam=mounted_pose(camera),  # without the jitter of an episode: that is one station
        )
