"""What TensorBoard gets, sent to Weights & Biases too: `agps train --wandb PROJECT`."""

import importlib
import numbers
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.logger import KVWriter

from agps_agent.run.config import RunConfig
from agps_agent.run.directory import RunDirectory
from rl.errors import ConfigError


class WandbWriter(KVWriter):
    """Sends the scalars of a Stable-Baselines3 logger to a run of Weights & Biases."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Send what TensorBoard is told at a control step."""
        told = {
            name: float(value)
            for name, value in key_values.items()
            if isinstance(value, numbers.Real) and "tensorboard" not in (key_excluded.get(name) or ())
        }
        self._run.log(told, step=step)

    def note(self, summary: Mapping[str, Any]) -> None:
        """Send the headline numbers of the run."""
        self._run.summary.update(
            {name: value for name, value in summary.items() if isinstance(value, numbers.Real | str)}
        )

    def close(self) -> None:
        """Send what is left, and end the run there."""
        self._run.finish()


def open_mirror(config: RunConfig, run: RunDirectory) -> WandbWriter:
    """Begin a run in the project of `--wandb`; its own files are in `wandb/` of the run directory.

    `WANDB_MODE`, `WANDB_API_KEY` and what else the package reads from the environment count. A resumed run is one of
    its own there, in the same group.

    Raises:
        ConfigError: If the package is not installed, or cannot begin.
    """
    try:
        wandb: Any = importlib.import_module("wandb")
    except ImportError as error:
        raise ConfigError(
            f"--wandb {config.wandb} needs the wandb package; install it with: pip install 'agps[wandb]'."
        ) from error
    try:
        begun = wandb.init(
            project=config.wandb,
            name=run.path.name,
            group=run.path.name,
            dir=str(run.path),
            config=config.model_dump(mode="json"),
            save_code=False,
            settings=wandb.Settings(console="off", quiet=True, x_disable_stats=True),
        )
    except wandb.errors.Error as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"Weights & Biases cannot begin ({said}); log in with `wandb login`, keep the run on this machine with "
            "WANDB_MODE=offline, or leave --wandb out."
        ) from error
    return WandbWriter(begun)
