"""Images in messages: found in LangChain's form or OpenAI's, named by their content."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

_DATA_URI = re.compile(r"data:image/(png|jpeg);base64,(.+)", re.DOTALL)


def decode_image(block: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Return file type (`png`, `jpeg`) and content of an image block, or None if the block is not an image.

    Content that is not base64 comes back empty.
    """
    if block.get("type") == "image" and isinstance(block.get("base64"), str):
        kind, text = str(block.get("mime_type", "image/png")).rpartition("/")[2], block["base64"]
    else:
        url = block.get("image_url")
        match = _DATA_URI.fullmatch(str(url.get("url", ""))) if isinstance(url, dict) else None
        if match is None:
            return None
        kind, text = match[1], match[2]
    try:
        return kind, base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return kind, b""


def image_name(block: Mapping[str, Any]) -> str | None:
    """Return `<sha256 of the content>.<file type>` of an image block, or None if the block is not an image."""
    image = decode_image(block)
    return None if image is None else name_of(*image)


def name_of(kind: str, content: bytes) -> str:
    """Return the name of an image file."""
    return f"{hashlib.sha256(content).hexdigest()}.{kind}"
