"""A fitted classifier: probability of success from an observation, and the one file that it is kept in."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rl.errors import AgpsError, ConfigError
from rl.files import quoted
from rl.rewards.classifier.network import UNREADABLE, RewardNetwork
from rl.types import ByteArray

FORMAT = 1
"""Version of the file; raised when its content changes meaning."""
STATE = "state"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a classifier reads and how large it is."""

    task: str
    cameras: tuple[str, ...]
    image_size: int
    """Side of the images, [px]."""
    width: int
    """Filters of the first stage."""
    state: tuple[int, ...] = ()
    """Entries of `state` that are read beside the images."""


@dataclass(kw_only=True)
class RewardClassifier:
    """Success of a task from images: p = sigmoid(slope * logit + offset), a success where p >= threshold."""

    setup: Setup
    network: RewardNetwork
    threshold: float
    slope: float = 1.0
    offset: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    """How it was fitted, as JSON: settings, digest of the frames, numbers on the validation split."""

    def __post_init__(self) -> None:
        """Freeze the network: a fitted classifier has no dropout and no gradients."""
        self.network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs

    @property
    def task(self) -> str:
        """Name of the task that it judges."""
        return self.setup.task

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras that it reads, in this order."""
        return self.setup.cameras

    @property
    def image_size(self) -> int:
        """Side of the images that it reads, [px]."""
        return self.setup.image_size

    @property
    def digest(self) -> str:
        """Hash of settings and weights; equal digests judge alike."""
        return _hash(self._header(), self.network.state_dict())

    def probability(self, observation: Mapping[str, npt.NDArray[Any]]) -> float:
        """Return the probability of success of one observation as the environment gives it."""
        images = {camera: observation[camera][None] for camera in self.cameras}
        return float(self.probabilities(images, observation[STATE][None])[0])

    def probabilities(self, images: Mapping[str, ByteArray], state: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the probability of success of many observations.

        Args:
            images: Per camera, (N, H, W, 3).
            state: Proprioception, read where the classifier was fitted with it. Shape (N, P).

        Returns:
            Shape (N,).
        """
        z = self.slope * self.logits(images, state) + self.offset
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))

    def logits(self, images: Mapping[str, ByteArray], state: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the network's logits, before calibration. Shape (N,)."""
        return network_logits(self.network, self.setup, images, state)

    def save(self, path: Path) -> None:
        """Write the classifier as one file, whole or not at all.

        Raises:
            AgpsError: If the disk refuses.
        """
        weights = self.network.state_dict()
        content = {"format": FORMAT, "header": self._header(), "weights": weights, "hash": self.digest}
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                torch.save(content, file)
            unfinished.replace(path)
        except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise AgpsError(f"Cannot write {path}: {error}; make room, or name another file.") from error

    @classmethod
    def load(cls, path: Path) -> "RewardClassifier":
        """Return the classifier in a file.

        Raises:
            ConfigError: If there is none, or it is damaged or of another version.
        """
        if not Path(path).is_file():
            raise ConfigError(
                f"There is no reward classifier {path}; `agps reward fit TASK --out {quoted(path)}` makes one."
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            version, text, weights = content["format"], content["header"], content["weights"]
            intact = content["hash"] == _hash(text, weights)
        except UNREADABLE as error:
            raise ConfigError(f"{path} is damaged or no reward classifier; fit it anew.") from error
        if version != FORMAT:
            raise ConfigError(f"{path} has format {version}, this version reads {FORMAT}; fit it anew.")
        try:
            header = json.loads(text)
            fields = header.pop("setup")
            setup = Setup(**{**fields, "cameras": tuple(fields["cameras"]), "state": tuple(fields["state"])})
            network = make_network(setup)
            network.load_state_dict(weights)
            loaded = cls(setup=setup, network=network, **header)
        except ConfigError as error:
            raise ConfigError(f"{path} cannot be used, fit it anew: {error}") from error
        except UNREADABLE as error:
            raise ConfigError(f"{path} was written by another version of this program; fit it anew.") from error
        if not intact:
            raise ConfigError(f"{path} does not match its own hash; it was changed or damaged, fit it anew.")
        return loaded

    def _header(self) -> str:
        """Return everything but the weights as JSON."""
        content = {
            "setup": dataclasses.asdict(self.setup),
            "threshold": self.threshold,
            "slope": self.slope,
            "offset": self.offset,
            "notes": dict(self.notes),
        }
        return json.dumps(content, sort_keys=True)


def make_network(setup: Setup) -> RewardNetwork:
    """Return a network of the right shape, with random weights."""
    return RewardNetwork(
        cameras=len(setup.cameras), image_size=setup.image_size, width=setup.width, state_size=len(setup.state)
    )


@torch.inference_mode()
def network_logits(
    network: RewardNetwork, setup: Setup, images: Mapping[str, ByteArray], state: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return the logits of many observations, in chunks that fit into memory. Shape (N,)."""
    parts = [np.zeros(0)]
    for start in range(0, len(state), 128):
        chunk = slice(start, start + 128)
        pixels = to_pixels({camera: images[camera][chunk] for camera in setup.cameras})
        parts.append(network(pixels, to_entries(state[chunk], setup)).double().numpy())
    return np.concatenate(parts)


def to_pixels(images: Mapping[str, ByteArray]) -> torch.Tensor:
    """Return images (N, H, W, 3) uint8 per camera as pixels in [0, 1], (N, cameras, 3, H, W)."""
    stacked = np.stack(list(images.values()), axis=1)
    return torch.from_numpy(stacked).permute(0, 1, 4, 2, 3).float() / 255.0


def to_entries(state: npt.NDArray[np.float32], setup: Setup) -> torch.Tensor:
    """Return what a classifier reads of proprioception, (N, entries)."""
    return torch.from_numpy(np.asarray(state, np.float32)[:, list(setup.state)])


def _hash(header: str, weights: Mapping[str, torch.Tensor]) -> str:
    content = hashlib.sha256(header.encode())
    for name in sorted(weights):
        content.update(name.encode())
        content.update(weights[name].contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
