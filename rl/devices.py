"""Where networks compute: a processor, or a GPU that torch sees."""

import re

import torch

from rl.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of this name; `auto` is a CUDA GPU if torch sees one.

    Args:
        name: auto, cpu, cuda, or cuda:N.

    Raises:
        ConfigError: If there is no such device; it names those that there are.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    whole = "cuda:0" if name == "cuda" else name
    if not re.fullmatch(r"cpu|cuda:\d+", whole) or whole not in there:
        raise ConfigError(f"--device is {name}; torch sees {', '.join(there)} here: ask for one of them, or auto.")
    return torch.device(name)


def in_words(device: torch.device) -> str:
    """Return what a device is called: `cpu`, or `cuda:0 (its name)`."""
    return str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"


def all_in_words() -> str:
    """Return the GPUs that torch sees, or that it sees none, and of which build it is."""
    names = [in_words(torch.device("cuda", number)) for number in range(torch.cuda.device_count())]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "processors alone"
    seen = ", ".join(names) or "no GPU: networks compute on the processor"
    return f"{seen}; torch {torch.__version__} is built for {build}"
