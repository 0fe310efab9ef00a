"""Camera images as content blocks of a chat message."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from agps_agent.models.profiles import ModelProfile
from rl.types import ByteArray, RGBDFrame
from tools.perception import Point, annotate
from tools.scene import depth_png

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 98)
"""A third of the time and size of PNG; what the embedded model finds stays as exact."""


def encode(image: ByteArray, *, profile: ModelProfile | None = None) -> dict[str, Any]:
    """Return an image as a content block.

    Args:
        image: Colour image at full resolution. Shape (H, W, 3), uint8.
        profile: Whose limits the image is scaled down to; None sends it as it is.
    """
    height, width = image.shape[:2]
    size = (width, height) if profile is None else profile.sent_size(width, height)
    if size != (width, height):
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _JPEG)
    assert ok
    return {"type": "image", "base64": base64.b64encode(jpeg.tobytes()).decode(), "mime_type": "image/jpeg"}


def depth_of(frame: RGBDFrame) -> list[dict[str, Any]]:
    """Return depth and calibration of an image as content blocks, for a model whose profile asks for them."""
    camera = {"name": frame.name, "K": frame.K.tolist(), "T_base_cam": frame.T_base_cam.tolist()}
    said = "Its depth follows as an image of 16 bits, in units of 0.1 mm, 0 where there is none.\n"
    png = base64.b64encode(depth_png(frame)).decode()
    return [
        {"type": "text", "text": f"{said}Its camera: {json.dumps(camera)}"},
        {"type": "image", "base64": png, "mime_type": "image/png"},
    ]


class Pictures:
    """The pictures of one question, each image encoded once: the same bytes are looked at once by a server."""

    def __init__(self) -> None:
        self.annotated: ByteArray | None = None
        """The image that was labelled last. Shape (H, W, 3)."""
        self._encoded: list[tuple[ByteArray, dict[str, Any]]] = []

    def of(self, image: ByteArray, profile: ModelProfile) -> dict[str, Any]:
        """Return an image as a content block."""
        for known, picture in self._encoded:
            if known is image:
                return picture
        self._encoded.append((image, encode(image, profile=profile)))
        return self._encoded[-1][1]

    def labelled(self, image: ByteArray, keypoints: Mapping[str, Point], profile: ModelProfile) -> dict[str, Any]:
        """Return a copy of an image, into which labelled keypoints are drawn, as a content block."""
        self.annotated = annotate(image, keypoints)
        return encode(self.annotated, profile=profile)
