from pathlib import Path

import numpy as np

from agps_agent.run.recording import Drift, Recorder, contents, recordings_of
from rl.types import Box, Observation, Prune, RobotState, Takeover

BOX = Box(lower=np.array([0.4, -0.1, 0.0]), upper=np.array([0.6, 0.1, 0.2]))


def observe(step: int) -> Observation:
    robot = RobotState(T_base_tcp=np.eye(4), twist=np.zeros(6), wrench=np.ones(6), gripper_opening=0.0)
    images = {"wrist_1": np.full((16, 16, 3), step, dtype=np.uint8)}
    return Observation(images=images, state=np.zeros(4, np.float32), robot=robot, T_base_ref=np.eye(4), step=step)


def record(path: Path, *, every: int = 10, episode: int = 0, prune: bool = False) -> dict[str, int]:
    recorder = Recorder(path, workspace=BOX, every=every)
    active = Prune(box=BOX) if prune else None
    for step in range(4):
        recorder.log_step(observe(step), env_step=step, episode=episode, drift=Drift(0.1, 0.2), active=active)
    recorder.close()
    return dict(contents(path)) if path.exists() else {}


def test_tenth_episode_is_recorded_in_full(tmp_path: Path) -> None:
    rows = record(tmp_path / "recording.rrd", episode=10)
    assert rows["/camera/wrist_1"] == 4 and rows["/world/path"] == 4


def test_other_episodes_keep_their_series_only(tmp_path: Path) -> None:
    rows = record(tmp_path / "recording.rrd", episode=3)
    assert "/camera/wrist_1" not in rows and rows["/float/index"] >= 4


def test_intervention_makes_an_episode_worth_its_images(tmp_path: Path) -> None:
    rows = record(tmp_path / "recording.rrd", episode=3, prune=True)
    assert rows["/camera/wrist_1"] == 4 and "/world/box" in rows


def test_steps_with_a_hand_on_the_arm_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "recording.rrd"
    recorder = Recorder(path, cameras=["wrist_1"])
    for step in range(6):
        active = Takeover(action=np.zeros(6)) if step >= 4 else None
        recorder.log_step(observe(step), env_step=step, episode=3, active=active)
    recorder.close()
    rows = dict(contents(path))
    assert rows["/camera/wrist_1"] == 2 and rows["/rollout/human"] == 2 + 1  # and what the series is called


def test_resumed_run_keeps_the_earlier_recording(tmp_path: Path) -> None:
    path = tmp_path / "recording.rrd"
    record(path)
    before = path.read_bytes()
    record(path)
    assert path.read_bytes() == before
    assert [file.name for file in recordings_of(path)] == ["recording.rrd", "recording-2.rrd"]


def test_nothing_is_written_without_an_interval(tmp_path: Path) -> None:
    assert record(tmp_path / "recording.rrd", every=0) == {}
    assert list(tmp_path.iterdir()) == []
