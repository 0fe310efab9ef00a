"""What is remembered of a scene to know it again, and whether a record of a like scene fits the present one."""

import logging
from collections.abc import Container, Iterable

from agps_agent.state import KeypointState
from tools.memory import MemoryRecord, Target
from tools.memory.look import Look, cut_patch, look_around
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


def first_that_fits(
    records: Iterable[MemoryRecord], scene: Scene, *, seen: Container[str] = ()
) -> tuple[MemoryRecord | None, list[str]]:
    """Return the first record that fits a scene, and why those before it do not.

    A record that does not fit keeps its standing: it is right for its own scene, which may come back. Where a target is
    hidden nobody knows, and it does not fit either: a wrong plan costs an episode, a fresh look three model calls.

    Args:
        records: In the order in which they are tried.
        scene: The present one.
        seen: Records whose targets were all seen unmoved in this rollout, before the arm came to hide them.
    """
    passed_over: list[str] = []
    for record in records:
        if (why := _misfit(record, scene, seen)) is None:
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


def cameras_of(records: Iterable[MemoryRecord]) -> frozenset[str]:
    """Return the names of the cameras that saw the records' targets."""
    targets = (target for record in records for target in record.targets.values())
    return frozenset(target.patch.camera for target in targets if target.patch is not None)


def unmoved(records: Iterable[MemoryRecord], scene: Scene) -> tuple[str, ...]:
    """Return the records, by id, whose targets are all seen where they were."""
    return tuple(record.id for record in records if _look(record, scene).verdict == "unmoved")


def _misfit(record: MemoryRecord, scene: Scene, seen: Container[str]) -> str | None:
    """Return why a record does not fit a scene; None if it does."""
    if record.is_open is not None and record.is_open != has_open_fingers(scene):
        return f"the fingers were {'open' if record.is_open else 'closed'} then"
    look = _look(record, scene)
    return None if look.verdict == "hidden" and record.id in seen else look.why or None


def _look(record: MemoryRecord, scene: Scene) -> Look:
    return look_around({label: target.patch for label, target in record.targets.items()}, scene.frames)
