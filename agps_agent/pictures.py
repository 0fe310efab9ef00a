"""Camera images as content blocks of a chat message."""

import base64
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from agps_agent.models.profiles import ModelProfile
from rl.types import ByteArray

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 98)
_EXACT_JPEG = (*_JPEG, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
"""Half the time and size of PNG. It moves what the embedded model finds by 0.002 px (median of 29 images; at most
0.03); colour at half resolution, the default, does so more."""


def encode(image: ByteArray, *, profile: ModelProfile | None = None, exact: bool = True) -> dict[str, Any]:
    """Return an image as a content block.

    Args:
        image: Colour image at full resolution. Shape (H, W, 3), uint8.
        profile: Whose limits the image is scaled down to; None sends it as it is.
        exact: Points in it are asked for; else colour is sent at half its resolution, in half the time.
    """
    height, width = image.shape[:2]
    size = (width, height) if profile is None else profile.sent_size(width, height)
    if size != (width, height):
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    ok, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _EXACT_JPEG if exact else _JPEG)
    assert ok
    return {"type": "image", "base64": base64.b64encode(jpeg.tobytes()).decode(), "mime_type": "image/jpeg"}


_encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
"""Encodes beside the graph, which then has the picture when it asks for it."""


class Pictures:
    """The pictures of one question, each image encoded once: the same bytes are looked at once by a server."""

    def __init__(self) -> None:
        self._encoded: list[tuple[ByteArray, Future[dict[str, Any]]]] = []

    def of(self, image: ByteArray, profile: ModelProfile, *, exact: bool = True) -> dict[str, Any]:
        """Return an image as a content block, encoded now if it was not prepared. Arguments as of `encode`."""
        return self._future(image, profile, exact).result()

    def prepare(self, image: ByteArray, profile: ModelProfile, *, exact: bool = True) -> None:
        """Begin to encode an image that will be asked for."""
        self._future(image, profile, exact)

    def _future(self, image: ByteArray, profile: ModelProfile, exact: bool) -> "Future[dict[str, Any]]":
        for known, future in self._encoded:
            if known is image:
                return future
        future = _encoder.submit(encode, image, profile=profile, exact=exact)
        self._encoded.append((image, future))
        return future
