"""Find values that are no finite numbers, before they reach the memory, the weights or the arm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rl.errors import NotFinite

if TYPE_CHECKING:  # arrays are looked at where nothing learns, too
    import torch


def not_finite_at(values: npt.ArrayLike) -> tuple[int, ...] | None:
    """Return the index of the first value that float32 does not hold as a finite number; None if there is none."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(values, np.float32))
    return None if finite.all() else tuple(int(i) for i in np.argwhere(~finite)[0])


def check_finite(values: Mapping[str, Any], *, giver: str, when: str, advice: str) -> None:
    """Refuse what an environment or a policy gave, if a number in it is not finite; integers always are.

    Args:
        values: Arrays and numbers, by name.
        giver: Who gave them, to begin the message with.
        when: At which step of which episode.
        advice: What to do, to end the message with.

    Raises:
        NotFinite: Names the giver, the value, and the moment.
    """
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind != "f" or (at := not_finite_at(array)) is None:
            continue
        component = f"{name}{list(at)}" if at else name
        raise NotFinite(f"{giver} gave {component} = {array[at]} {when}, no finite float32: it was not used. {advice}")


def check_loss(name: str, loss: "torch.Tensor", *, update: int) -> None:
    """Refuse a loss that is not finite, before the weights follow it.

    Raises:
        NotFinite: Names the loss and the update.
    """
    if not bool(loss.isfinite()):
        raise NotFinite(
            f"The {name} loss is {loss.item()} at update {update}: learning has diverged, and ends before the weights "
            "follow. Lower learning_rate, or look for rewards and values beyond clip_target."
        )


def check_weights(tensors: "Mapping[str, torch.Tensor]", *, when: str) -> None:
    """Refuse weights that are not finite.

    Raises:
        NotFinite: Names the first tensor.
    """
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise NotFinite(
                f"The weights {name} are not finite {when}: learning has diverged. Go on from an earlier checkpoint, "
                "with a smaller learning_rate."
            )
