"""The Rerun recording of a run: cameras, path of the TCP, box, waypoints, and lambda against its threshold.

    /camera/<name>                       what the policy sees
    /world/{workspace,path,tcp}          base frame, metres
    /world/{box,waypoints}               the intervention under way
    /float/{index,threshold}             the detector
    /rollout/{success,contact_force}     how it goes
    /rollout/human                       steps with a human's hand on the arm

Timelines: `env_step` and `episode`. Series are logged at every step; images and the 3D scene in each k-th episode and
while an intervention is under way, so that a run of 10,000 steps stays at some ten megabytes.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from rl.errors import AgpsError
from rl.files import write_atomically
from rl.types import Box, ByteArray, EpisodeOutcome, Guide, Intervention, Observation, Prune, Takeover

_log = logging.getLogger(__name__)

APPLICATION = "agps"

FLUSH_TIMEOUT_S = 20.0
"""Longest wait for what was logged to be encoded."""

_POLICY, _AGENT, _MUTED, _GOOD, _BAD = (31, 111, 235), (217, 115, 13), (150, 160, 170), (42, 157, 111), (200, 69, 60)


@dataclass(frozen=True)
class Drift:
    """What the detector said at one step."""

    index: float
    threshold: float


class Recorder:
    """Records a run and writes it to a `.rrd` file at the end; `every=0` records nothing.

    Until then it is in memory, about 1 MB per 1,000 steps: Rerun's own file writer hangs the process on a full disk.
    """

    def __init__(
        self, path: Path, *, workspace: Box | None = None, cameras: Sequence[str] = (), every: int = 10
    ) -> None:
        self._every = every
        self._path = path
        self._path_so_far: list[np.ndarray] = []
        self._shown: Intervention | None = None
        self._stream: rr.RecordingStream | None = None
        if every > 0:
            self._stream = _open_stream(path, cameras)
            self._encoded = rr.binary_stream(self._stream)
            if workspace is not None:
                self._log_box("world/workspace", workspace, _MUTED)

    def log_step(
        self,
        observation: Observation,
        *,
        env_step: int,
        episode: int,
        drift: Drift | None = None,
        active: Intervention | None = None,
    ) -> None:
        """Log one control step.

        Args:
            observation: What was seen after the step.
            env_step: Control steps since the run began.
            episode: Number of the rollout.
            drift: What the detector said; None before it is calibrated.
            active: The intervention under way.
        """
        if self._stream is None:
            return
        self._stream.set_time("env_step", sequence=env_step)
        self._stream.set_time("episode", sequence=episode)
        if drift is not None:
            self._stream.log("float/index", rr.Scalars(drift.index))
            self._stream.log("float/threshold", rr.Scalars(drift.threshold))
        self._stream.log("rollout/contact_force", rr.Scalars(observation.robot.contact_force_N))
        self._log_intervention(active)
        if isinstance(active, Takeover):
            self._stream.log("rollout/human", rr.Scalars(1.0))
        if episode % self._every == 0 or active is not None:
            self._log_scene(observation)

    def log_images(self, images: Mapping[str, ByteArray], *, env_step: int, episode: int) -> None:
        """Log what an environment shows of which nothing else is known, in each k-th episode.

        Args:
            images: What was seen after the step, by camera.
            env_step: Control steps since the run began.
            episode: Number of the rollout.
        """
        if self._stream is None or episode % self._every != 0:
            return
        self._stream.set_time("env_step", sequence=env_step)
        self._stream.set_time("episode", sequence=episode)
        self._log_images(images)

    def log_episode(self, outcome: EpisodeOutcome) -> None:
        """Log how the rollout ended that the last step belonged to, and begin a new path."""
        self._path_so_far = []
        if self._stream is None:
            return
        self._stream.log("rollout/success", rr.Scalars(float(outcome.success)))
        self._log_intervention(None)

    def close(self) -> None:
        """Write the next free file of the run; a disk that is full costs the recording and a warning, not the run."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            content = self._encoded.read(flush=True, flush_timeout_sec=FLUSH_TIMEOUT_S)
            write_atomically(_next_file(self._path), content or b"")
        except (AgpsError, RuntimeError) as error:
            _log.warning("The recording is lost: %s", error)

    def _log_scene(self, observation: Observation) -> None:
        assert self._stream is not None
        self._log_images(observation.images)
        position = np.array(observation.robot.T_base_tcp[:3, 3])
        self._path_so_far.append(position)
        self._stream.log("world/tcp", rr.Points3D([position], radii=[0.003], colors=[_POLICY]))
        self._stream.log("world/path", rr.LineStrips3D([np.array(self._path_so_far)], colors=[_POLICY]))

    def _log_images(self, images: Mapping[str, ByteArray]) -> None:
        assert self._stream is not None
        for name, image in images.items():
            colours = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
            self._stream.log(f"camera/{name}", rr.Image(colours).compress(jpeg_quality=80))

    def _log_intervention(self, active: Intervention | None) -> None:
        assert self._stream is not None
        active = None if isinstance(active, Takeover) else active  # nothing to draw: the arm shows it
        if active is self._shown:
            return
        for name in ("box", "waypoints"):
            self._stream.log(f"world/{name}", rr.Clear(recursive=True))
        if isinstance(active, Prune):
            self._log_box("world/box", active.box, _AGENT)
        elif isinstance(active, Guide):
            positions = np.array([waypoint.T_base_tcp[:3, 3] for waypoint in active.waypoints])
            self._stream.log("world/waypoints/line", rr.LineStrips3D([positions], colors=[_AGENT]))
            self._stream.log("world/waypoints/points", rr.Points3D(positions, radii=[0.0015], colors=[_AGENT]))
        self._shown = active

    def _log_box(self, name: str, box: Box, color: tuple[int, int, int]) -> None:
        assert self._stream is not None
        shape = rr.Boxes3D(mins=[box.lower], sizes=[box.upper - box.lower], colors=[color])
        self._stream.log(name, shape, static=name.endswith("workspace"))


def recordings_of(path: Path) -> list[Path]:
    """Return the recording and what resumed runs added to it, oldest first."""
    later = sorted(path.parent.glob(f"{path.stem}-*.rrd"), key=lambda file: (len(file.name), file.name))
    return [file for file in (path, *later) if file.is_file()]


def contents(path: Path) -> list[tuple[str, int]]:
    """Return the entities of a recording and how many times each was logged, by name.

    Raises:
        AgpsError: If the recording is damaged.
    """
    from rerun.chunk import RrdReader

    rows: dict[str, int] = {}
    try:
        for chunk in RrdReader(path).stream():
            rows[chunk.entity_path] = rows.get(chunk.entity_path, 0) + chunk.num_rows
    except RuntimeError as error:
        raise AgpsError(f"{path} is damaged ({error}).") from error
    return sorted(rows.items())


def _next_file(path: Path) -> Path:
    earlier = len(recordings_of(path))
    return path if earlier == 0 else path.with_name(f"{path.stem}-{earlier + 1}{path.suffix}")


def _open_stream(path: Path, cameras: Sequence[str]) -> rr.RecordingStream:
    """Begin a recording. All recordings of one run share their identity, so that the viewer joins them."""
    identity = uuid.uuid5(uuid.NAMESPACE_URL, path.resolve().as_uri())
    stream = rr.RecordingStream(APPLICATION, recording_id=identity)
    stream.send_blueprint(_blueprint(cameras), make_active=False)
    stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for name, color, text in (("index", _POLICY, "λ"), ("threshold", _BAD, "threshold")):
        stream.log(f"float/{name}", rr.SeriesLines(colors=[color], names=[text]), static=True)
    stream.log("rollout/success", rr.SeriesPoints(colors=[_GOOD], names=["success"]), static=True)
    stream.log("rollout/human", rr.SeriesPoints(colors=[_AGENT], names=["hand on the arm"]), static=True)
    stream.log("rollout/contact_force", rr.SeriesLines(colors=[_MUTED], names=["contact force [N]"]), static=True)
    return stream


def _blueprint(cameras: Sequence[str]) -> rrb.Blueprint:
    views = [rrb.Spatial2DView(origin=f"/camera/{name}", name=name) for name in cameras]
    return rrb.Blueprint(
        rrb.Vertical(
            rrb.Horizontal(rrb.Spatial3DView(origin="/world", name="arm"), rrb.Vertical(*views), column_shares=[2, 1]),
            rrb.Horizontal(
                rrb.TimeSeriesView(origin="/float", name="λ against its threshold"),
                rrb.TimeSeriesView(origin="/rollout", name="rollouts"),
            ),
            row_shares=[2, 1],
        ),
        collapse_panels=True,
    )
