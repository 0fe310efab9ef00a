"""Keypoints: where the model sees them, where depth puts them, and whether they can be there."""

import numpy as np

from agps_agent.conversation import compose, converse
from agps_agent.models.parsing import ReplyError
from agps_agent.models.profiles import ModelProfile
from agps_agent.pictures import depth_of
from agps_agent.second_look import look_closer
from agps_agent.state import AgentContext, AgentFault, Reason
from prompts.loader import TaskPrompt
from rl.types import RGBDFrame
from tools.agreement import disagreement_m
from tools.answers import KeypointAnswer, PerceiveAnswer
from tools.errors import ToolFailed
from tools.labels import find_label
from tools.perception import Point, locate_keypoint
from tools.scene import tip_to_tcp

ANOTHER_VIEW_HELPS: frozenset[Reason] = frozenset(
    {"not_visible", "no_depth", "implausible_keypoints", "cameras_disagree", "outside_workspace", "outside_image"}
)
"""Faults of one image: the gripper hides a keypoint from one camera, not from all."""


async def find_keypoints(context: AgentContext) -> dict[str, Point]:
    """Return the task's keypoints by label, from the view that shows them best; another one is tried where it may help.

    Raises:
        AgentFault: With what was wrong in the first view, if none shows them.
        ToolFailed: If there is no depth at one.
    """
    found: list[dict[str, Point]] = []
    fault: AgentFault | ToolFailed | None = None
    for frame in views(context):
        try:
            found.append(await _in_view(context, frame))
        except (AgentFault, ToolFailed) as error:
            context.transcript[-1].refused(str(error))
            fault = fault or error
            if error.reason not in ANOTHER_VIEW_HELPS:
                break
        else:
            if _spread(found[-1]) <= context.settings.max_depth_spread_m:
                break
    if not found:
        assert fault is not None  # there is at least one view
        raise fault
    return min(found, key=_spread)


def views(context: AgentContext) -> list[RGBDFrame]:
    """Return the images to look at: the default one, then those that look from elsewhere the most."""
    first = context.frame
    others = [frame for frame in context.scene.frames.values() if frame.name != first.name]
    others.sort(key=lambda frame: float(frame.T_base_cam[:3, 2] @ first.T_base_cam[:3, 2]))
    return [first, *others][: context.settings.max_views]


async def _in_view(context: AgentContext, frame: RGBDFrame) -> dict[str, Point]:
    """Return the task's keypoints as the model finds them in an image, measured with depth and checked.

    Raises:
        AgentFault: If the model does not see what the task needs or gives no useful answer, or a keypoint cannot be
            where it says.
        ToolFailed: If there is no depth at one.
    """
    task = context.words
    pixels = await look(context, frame)
    if context.settings.second_look:
        pixels = await look_closer(look, context, frame, pixels)
    hidden = [label for label in task.keypoints if label not in pixels]
    if not pixels or not task.optional.issuperset(hidden):
        raise AgentFault("not_visible", f"The model does not see {', '.join(hidden)}.")
    points = {label: measure(context, frame, label, uv) for label, uv in pixels.items()}
    points = _reachable(points, task, context)
    _check_distances(points, task)
    _check_agreement(points, task, context)
    return points


def measure(context: AgentContext, frame: RGBDFrame, label: str, uv: tuple[float, float]) -> Point:
    """Return a keypoint of the task, seen at a pixel, as measured with depth.

    Raises:
        ToolFailed: If there is no depth.
    """
    behind_m = context.words.behind_m.get(label, 0.0)
    radius = context.settings.depth_radius_px
    return locate_keypoint(context.scene, frame.name, label, uv, radius=radius, behind_m=behind_m)


async def look(context: AgentContext, frame: RGBDFrame) -> dict[str, tuple[float, float]]:
    """Return the pixel, (u, v), of each of the task's keypoints that the model sees in an image.

    Raises:
        AgentFault: If it gives no useful answer.
    """
    prompt, task = context.prompt("perceive"), context.words
    height, width = frame.rgb.shape[:2]
    system, user = prompt.render(
        task_description=task.description,
        point_format=context.profile.instructions(width=width, height=height),
        image_size="{} pixels wide, {} high".format(*context.profile.model_size(width, height)),
        requested_keypoints=task.requested_keypoints,
    )
    depth = depth_of(frame) if context.profile.depth else []
    messages = compose(system, user, context.pictures.of(frame.rgb, context.profile), *depth)

    def to_pixels(answer: PerceiveAnswer) -> dict[str, tuple[float, float]]:
        return _requested_pixels(answer, task, context.profile, frame)

    return await converse(context, "perceive", messages, PerceiveAnswer, to_pixels)


def _spread(points: dict[str, Point]) -> float:
    """Return how much depth varies around the worst keypoint, [m]."""
    return max(point.depth_spread_m for point in points.values())


def _requested_pixels(
    answer: PerceiveAnswer, task: TaskPrompt, profile: ModelProfile, frame: RGBDFrame
) -> dict[str, tuple[float, float]]:
    """Return the pixel of every visible keypoint of the task.

    Raises:
        ReplyError: If a label is missing: the model may correct it.
        OutsideImage: If a point is not in the image: the model may correct it.
    """
    found: dict[str, KeypointAnswer] = {}
    for keypoint in answer.keypoints:
        label = find_label(keypoint.label, task.keypoints)
        if label is not None and (label not in found or keypoint.label == label):
            found[label] = keypoint
    missing = [label for label in task.keypoints if label not in found]
    if missing:
        raise ReplyError("wrong_schema", f"The reply lacks {', '.join(missing)}. Give every requested keypoint.")
    height, width = frame.rgb.shape[:2]
    pixels = {}
    for label in task.keypoints:
        point = found[label].point_2d
        if found[label].visible:
            assert point is not None  # the schema: what is visible has a point
            pixels[label] = profile.to_pixel(point, width=width, height=height)
    return pixels


def _reachable(points: dict[str, Point], task: TaskPrompt, context: AgentContext) -> dict[str, Point]:
    """Return the keypoints that the tool can go to; those that may be hidden may also be out of reach.

    Raises:
        AgentFault: If none is left, or the task needs one that is out of reach.
    """
    workspace, margin = context.scene.workspace, context.settings.workspace_margin_m
    shift = tip_to_tcp(context.scene)
    reachable = {}
    for label, point in points.items():
        outside = float(np.max(np.abs(point.xyz + shift - workspace.project(point.xyz + shift))))
        if outside <= margin:
            reachable[label] = point
        elif label not in task.optional or len(points) == 1:
            raise AgentFault(
                "outside_workspace",
                f"{label} at {np.round(point.xyz, 3).tolist()} m is {outside:.3f} m outside of what the tool can "
                f"reach; the limit is {margin:.3f} m.",
            )
    if not reachable:
        raise AgentFault("outside_workspace", f"The tool can reach none of {', '.join(points)}.")
    return reachable


def _check_distances(points: dict[str, Point], task: TaskPrompt) -> None:
    """Refuse keypoints that are not as far apart as they must be.

    Raises:
        AgentFault: With the first pair that is refused.
    """
    for distance in task.distances:
        if not points.keys() >= set(distance.between):
            continue
        first, second = (points[label] for label in distance.between)
        length = float(np.linalg.norm(first.xyz - second.xyz))
        if not distance.min_m <= length <= distance.max_m:
            raise AgentFault(
                "implausible_keypoints",
                f"{first.label} and {second.label} are {length:.3f} m apart; {distance.min_m:.3f} to "
                f"{distance.max_m:.3f} m is possible.",
            )


def _check_agreement(points: dict[str, Point], task: TaskPrompt, context: AgentContext) -> None:
    """Refuse keypoints that another camera sees past; one inside of something open, like a loop, is not asked about.

    Raises:
        AgentFault: With the first that is refused.
    """
    limit = context.settings.max_disagreement_m
    for label, point in points.items():
        past_m = 0.0 if label in task.behind_m else disagreement_m(context.scene, point)
        if past_m > limit:
            raise AgentFault(
                "cameras_disagree", f"Another camera sees {past_m:.3f} m past {label}; the limit is {limit:.3f} m."
            )
