"""A second question about an enlarged part of the image: half a pixel there is an eighth of one here."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np

from agps_agent.state import AgentContext, AgentFault
from rl.types import RGBDFrame
from tools.crop import crop_around

Pixels = dict[str, tuple[float, float]]
Look = Callable[[AgentContext, RGBDFrame], Awaitable[Pixels]]

MARGIN_SHARE = 0.08
"""Around the points, over the width of the image."""


async def look_closer(look: Look, context: AgentContext, frame: RGBDFrame, seen: Pixels) -> Pixels:
    """Return where the model sees the same keypoints in an enlarged part of the image, in pixels of the whole, (u, v).

    The way back is computed here: the model is shown the part alone, and its points count in what it is shown. A
    keypoint that it does not find again stays where it was seen first; so do all if it gives no useful answer.

    Args:
        look: Asks about one image.
        context: Model and limits.
        frame: The whole image.
        seen: Where the keypoints were seen in it, [px].
    """
    if not seen:
        return seen
    height, width = frame.rgb.shape[:2]
    crop = crop_around(seen.values(), width=width, height=height, margin_px=MARGIN_SHARE * width)
    part = crop.cut(frame.rgb)
    no_depth = np.zeros(part.shape[:2], dtype=np.float32)  # depth is read in the whole image
    try:
        closer = await look(context, replace(frame, rgb=part, depth_m=no_depth))
    except AgentFault as fault:
        context.transcript[-1].refused(f"The first look counts: {fault}")
        return seen
    return seen | {label: crop.to_whole(pixel) for label, pixel in closer.items() if label in seen}
