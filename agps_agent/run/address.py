"""Addresses without a scheme: host and port, as of a Ray cluster."""

import re

EXAMPLE = "write HOST:PORT, such as 10.0.0.1:6379"
_ADDRESS = re.compile(r"(//)?[^/]+:\d+(/.*)?")


def is_address(text: str) -> bool:
    """Return whether a text is a host and a port."""
    return _ADDRESS.fullmatch(text) is not None
