"""What is remembered of a scene to know it again, and whether a record of a like scene fits the present one."""

import logging
from collections.abc import Iterable

from agps_agent.state import KeypointState
from tools.memory import MemoryRecord, Target
from tools.memory.look import cut_patch, look_around
from tools.perception import Point
from tools.scene import Scene, has_open_fingers

log = logging.getLogger(__name__)


def to_targets(points: Iterable[Point], scene: Scene) -> dict[str, Target] | None:
    """Return points as a record keeps them, with how each looked to the camera that it was measured with.

    Returns:
        Targets by label; None if one of them looks like what is beside it, so that nobody could tell whether it moved.
    """
    targets = {}
    for point in points:
        frame = scene.frames.get(point.camera)
        patch = None if frame is None else cut_patch(frame, point.xyz)
        if patch is None:
            log.info("Not remembered: the images do not tell where %s is.", point.label)
            return None
        targets[point.label] = Target(xyz=point.xyz, patch=patch)
    return targets


def first_that_fits(records: Iterable[MemoryRecord], scene: Scene) -> tuple[MemoryRecord | None, list[str]]:
    """Return the first record that fits a scene, and why those before it do not.

    A record that does not fit keeps its standing: it is right for its own scene, which may come back. Where a target is
    hidden nobody knows, and it does not fit either: a wrong plan costs an episode, a fresh look three model calls.
    """
    passed_over = []
    for record in records:
        if (why := _misfit(record, scene)) is None:
            return record, passed_over
        log.info("Record %s is not used: %s.", record.id, why)
        passed_over.append(f"{record.id}: {why}.")
    return None, passed_over


def recalled_keypoints(record: MemoryRecord) -> list[KeypointState]:
    """Return every keypoint that a recalled plan goes by, at the best known place; no image shows them."""
    return [
        KeypointState(label=label, camera="", uv=[], xyz=target.aim.tolist(), depth_spread_m=0.0)
        for label, target in record.targets.items()
    ]


def _misfit(record: MemoryRecord, scene: Scene) -> str | None:
    """Return why a record does not fit a scene; None if it does."""
    if record.is_open is not None and record.is_open != has_open_fingers(scene):
        return f"the fingers were {'open' if record.is_open else 'closed'} then"
    patches = {label: target.patch for label, target in record.targets.items()}
    return look_around(patches, scene.frames).why or None
