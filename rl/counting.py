"""How many of something there are, in words."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return `1 run`, `2 runs` or `1,200 runs`.

    Args:
        count: How many.
        one: What one is called, the verb included where it follows: `run is`.
        many: What several are called. None: as one, with an s.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
