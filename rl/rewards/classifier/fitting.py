"""Fit a classifier: balanced batches, augmentation, averaged weights, calibration, a threshold for precision."""

import copy
import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from rl.errors import ConfigError
from rl.pixels.patches import random_shifts
from rl.rewards.classifier.classifier import (
    RewardClassifier,
    Setup,
    make_network,
    network_logits,
    to_entries,
    to_pixels,
)
from rl.rewards.classifier.config import FitConfig
from rl.rewards.classifier.frames import LabelledFrames
from rl.rewards.classifier.metrics import calibrated_loss, choose_threshold, confusion, platt
from rl.rewards.classifier.network import RewardNetwork
from rl.tasks.registry import load_task
from rl.types import ByteArray

GRIPPER_ENTRIES = (2, 18)
"""Height over the start and gripper opening, of `state` as the environment's datasheet lists it: whether the fingers
are open and have gone up decides a towel's success, and shows in few pixels. All 19 entries are memorised instead."""

Report = Callable[[int, float, float], None]
"""Called after each check with updates, training loss and validation loss."""


def fit_classifier(
    frames: LabelledFrames, config: FitConfig | None = None, report: Report | None = None
) -> RewardClassifier:
    """Return a classifier fitted on the training split, calibrated and cut on the validation split.

    The held-out split is not looked at.

    Raises:
        ConfigError: If a split has too few frames of a label, the pretrained weights do not fit, or it diverges.
    """
    config = config or FitConfig()
    train, validation = frames.of("train"), frames.of("validation")
    _check_enough(train, validation, config)
    setup = Setup(
        task=frames.task,
        cameras=frames.cameras,
        image_size=frames.image_size,
        width=config.width,
        state=_state_entries(frames, config),
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = make_network(setup)
        if config.pretrained is not None:
            network.trunk.load_pretrained(config.pretrained)
            network.trunk.requires_grad_(False)
        _train(network, setup, train, validation, config, report)
    classifier = RewardClassifier(setup=setup, network=network, threshold=0.5)
    logits = classifier.logits(validation.images, validation.state)
    classifier.slope, classifier.offset = platt(logits, validation.success)
    probability = classifier.probabilities(validation.images, validation.state)
    classifier.threshold = choose_threshold(probability, validation.success, precision=config.precision)
    counts = confusion(probability >= classifier.threshold, validation.success)
    settings = {**dataclasses.asdict(config), "pretrained": config.pretrained and str(config.pretrained)}
    classifier.notes = {
        "config": settings,
        "frames": frames.digest(),
        "seeds": sorted({int(seed) for seed in (*train.seed, *validation.seed)}),
        "updates": config.updates,
        "train": _sizes(train),
        "validation": {**_sizes(validation), "precision": counts.precision, "recall": counts.recall},
    }
    return classifier


def _train(
    network: RewardNetwork,
    setup: Setup,
    train: LabelledFrames,
    validation: LabelledFrames,
    config: FitConfig,
    report: Report | None,
) -> None:
    """Train, and leave the averaged weights in the network."""
    rng = np.random.default_rng(config.seed)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    average = copy.deepcopy(network)
    losses = []
    for update in range(1, config.updates + 1):
        network.train()
        chosen = balanced_batch(train.success, config.batch_size, rng)
        batch = train.take(chosen)
        pixels = augment(batch.images, config, rng)
        target = torch.from_numpy(batch.success.astype(np.float32))
        loss = F.binary_cross_entropy_with_logits(network(pixels, to_entries(batch.state, setup)), target)
        if not torch.isfinite(loss):
            raise ConfigError(f"The loss is not a number with learning_rate {config.learning_rate}; use a lower one.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1.0 - config.average)
        losses.append(float(loss.detach()))
        if report is not None and (update % config.check_every == 0 or update == config.updates):
            average.eval()
            logits = network_logits(average, setup, validation.images, validation.state)
            report(update, float(np.mean(losses)), calibrated_loss(logits, validation.success))
            losses.clear()
    network.load_state_dict(average.state_dict())


def balanced_batch(success: npt.NDArray[np.bool_], size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw indices, half of them of successes, with replacement. Shape (size,)."""
    positives, negatives = np.flatnonzero(success), np.flatnonzero(~success)
    half = size // 2
    return np.concatenate([rng.choice(positives, half), rng.choice(negatives, size - half)])


def augment(images: Mapping[str, ByteArray], config: FitConfig, rng: np.random.Generator) -> torch.Tensor:
    """Return pixels (B, cameras, 3, H, W) after a random shift, colour jitter and, if asked for, mirroring.

    The images of one frame change alike: what they show together stays true.
    """
    count = len(next(iter(images.values())))
    corners = random_shifts(count, config.shift, rng)
    pixels = to_pixels({camera: shift_images(frames, config.shift, corners) for camera, frames in images.items()})
    gain = 1.0 + config.brightness * rng.uniform(-1.0, 1.0, (count, 1, 1, 1, 1))
    tint = 1.0 + config.brightness / 2.0 * rng.uniform(-1.0, 1.0, (count, 1, 3, 1, 1))
    contrast = 1.0 + config.contrast * rng.uniform(-1.0, 1.0, (count, 1, 1, 1, 1))
    mean = pixels.mean((2, 3, 4), keepdim=True)
    pixels = (pixels - mean) * torch.from_numpy(contrast).float() + mean
    pixels = (pixels * torch.from_numpy(gain * tint).float()).clamp(0.0, 1.0)
    if config.flip:
        mirrored = torch.from_numpy(rng.random((count, 1, 1, 1, 1)) < 0.5)
        pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    return pixels


def shift_images(frames: ByteArray, pad: int, corners: npt.NDArray[np.int64]) -> ByteArray:
    """Return images (B, H, W, C) cropped out of their edge-padded selves at `corners` in [0, 2 pad], (B, 2)."""
    height, width = frames.shape[1:3]
    padded = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    return np.stack(
        [
            image[row : row + height, column : column + width]
            for image, (row, column) in zip(padded, corners, strict=True)
        ]
    )


def _state_entries(frames: LabelledFrames, config: FitConfig) -> tuple[int, ...]:
    if config.state is None:
        actions = load_task(frames.task).actions if frames.actions is None else frames.actions
        return GRIPPER_ENTRIES if actions == 7 else ()
    size = frames.state.shape[1]
    for entry in config.state:
        if not 0 <= entry < size:
            raise ConfigError(f"state entry {entry} does not exist; use 0 to {size - 1}.")
    return config.state


def _check_enough(train: LabelledFrames, validation: LabelledFrames, config: FitConfig) -> None:
    for name, part, least in (("training", train, config.least_positives), ("validation", validation, 1)):
        counts = {"positive": int(part.success.sum()), "negative": int((~part.success).sum())}
        for label, count in counts.items():
            if count < least:
                raise ConfigError(
                    f"The {name} split holds {count} {label} frames, the fit needs {least}; collect a larger --{label}."
                )


def _sizes(frames: LabelledFrames) -> dict[str, int]:
    return {
        "episodes": len(set(frames.episode)),
        "positive": int(frames.success.sum()),
        "negative": int((~frames.success).sum()),
    }
