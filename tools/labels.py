"""Labels and names as models write them: the same letters in another case, with other signs between them."""

import re
from collections.abc import Iterable

_BETWEEN = re.compile(r"[\W_]+")


def find_label(said: str, known: Iterable[str]) -> str | None:
    """Return the known label that is meant, e.g. `port_left` for `Port Left`; None if there is none, or several."""
    labels = list(known)
    if said in labels:
        return said
    meant = [label for label in labels if _bare(label) == _bare(said)]
    return meant[0] if len(meant) == 1 else None


def _bare(label: str) -> str:
    return _BETWEEN.sub("", label.casefold())
