"""What somebody most likely meant who wrote a name that there is not."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a wrong one is nearest to: a slip of the fingers, or a part of it such as `usb`.

    Upper case and hyphens do not count. None if there is no such name.
    """
    spelled = {_plain(other): other for other in known}
    word = _plain(name)
    close = get_close_matches(word, spelled, n=1)
    if close:
        return spelled[close[0]]
    if len(word) < 2:
        return None
    return next((other for plain, other in spelled.items() if plain.startswith(word) or word in plain.split("_")), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the nearest name as a question to add to a sentence; nothing where there is none."""
    close = nearest(name, known)
    return f" Did you mean {close}?" if close else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
