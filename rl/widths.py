"""Which numbers of channels a convolution of ours may have."""

from rl.errors import ConfigError

LANES = 8
"""Floats in an AVX2 register. Without AVX-512, oneDNN of torch 2.13.0 writes past its buffers in the backward pass of a
1x1 convolution with stride on channels-last input whose channels are no multiple of this; the process then dies of a
damaged heap, sooner or later."""


def check_width(name: str, value: int) -> None:
    """Refuse a number of channels that fills no whole number of registers.

    Raises:
        ConfigError: Names the setting and the nearest values that work.
    """
    if value < LANES or value % LANES:
        below, above = max(LANES, value // LANES * LANES), max(LANES, -(-value // LANES) * LANES)
        nearest = f"{above}" if below == above else f"{below} or {above}"
        raise ConfigError(
            f"{name} is {value}; ask for a multiple of {LANES}, e.g. {nearest}: torch damages memory with other widths "
            "on processors without AVX-512."
        )
