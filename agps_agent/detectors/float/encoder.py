"""Encoders: camera images to the embeddings that FLOAT compares and memory recalls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from rl.errors import ConfigError
from rl.registry import Registry
from rl.types import ByteArray

Embedding = npt.NDArray[np.float32]

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class Encoder(Protocol):
    """Turns the images of one step into one vector, one unit vector per camera, concatenated."""

    @property
    def name(self) -> str:
        """What makes the embeddings, for files and logs."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The views that are read, in the order of the embedding."""

    @property
    def dim(self) -> int:
        """Length k of an embedding."""

    def encode(self, images: Mapping[str, ByteArray]) -> Embedding:
        """Return the embedding, shape (k,), of images (H, W, 3) uint8 by camera name."""

    def encode_batch(self, steps: Sequence[Mapping[str, ByteArray]]) -> Embedding:
        """Return the embeddings of several steps' images. Shape (B, k)."""


ENCODERS: Registry[Callable[..., Encoder]] = Registry("agps.encoders", "encoder")
"""What makes an encoder of the names of cameras, by name: a class or a function that takes them as `cameras`."""


def make_encoder(name: str, cameras: Sequence[str]) -> Encoder:
    """Return an encoder by its name.

    Args:
        name: A registered name, `package.module:Name` or `./file.py:Name`.
        cameras: The views that it reads.

    Raises:
        ConfigError: If there is none, it cannot be made, or it is no encoder.
    """
    maker = ENCODERS.load(name)
    try:
        made = maker(cameras=tuple(cameras))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The encoder {name} cannot be made: {error}.") from error
    if not all(hasattr(made, member) for member in ("name", "cameras", "dim", "encode", "encode_batch")):
        raise ConfigError(f"{name} is no encoder: it must have what agps_agent.detectors.Encoder names.")
    return made


@dataclass(frozen=True)
class ThumbnailEncoder:
    """Small blurred copies of the images: no weights, no download, well under a millisecond."""

    cameras: tuple[str, ...]
    """The views that are read: the policy's."""
    size: int = 16
    """Side of a thumbnail, [px]."""

    @property
    def name(self) -> str:
        """What made the embeddings."""
        return f"thumbnail{self.size}"

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return len(self.cameras) * self.size * self.size * 3

    def encode(self, images: Mapping[str, ByteArray]) -> Embedding:
        """Return one unit vector per camera, concatenated. Shape (k,)."""
        views = []
        for camera in self.cameras:
            small = cv2.resize(view(images, camera), (self.size, self.size), interpolation=cv2.INTER_AREA)
            views.append(small.astype(np.float32).ravel())
        return concatenate_views(views)

    def encode_batch(self, steps: Sequence[Mapping[str, ByteArray]]) -> Embedding:
        """Return the embeddings of several steps' images. Shape (B, k)."""
        return np.stack([self.encode(images) for images in steps])


DINOV2_HUB_NAMES = {"dinov2-base": "facebook/dinov2-base", "dinov2-small": "facebook/dinov2-small"}
"""ViT-B/14 (the paper's, 768 dimensions per view) and ViT-S/14 (384, three times as fast)."""


class DinoV2Encoder:
    """Frozen DINOv2 CLS tokens, one forward pass per view (AGPS, arXiv:2602.11978, Sec. III-B).

    One thread needs about 80 ms (ViT-B) or 30 ms (ViT-S) per view in bfloat16 on a CPU with AMX, three times as much in
    float32: two views at 10 Hz want ViT-S or a GPU.
    """

    def __init__(
        self,
        source: str,
        *,
        cameras: Sequence[str],
        image_size: int = 224,
        device: str = "cpu",
        bfloat16: bool = False,
    ) -> None:
        """Load the weights.

        Args:
            source: `dinov2-base`, `dinov2-small`, another name on the hub, or a folder with a saved checkpoint.
            cameras: The views that are read.
            image_size: Side that images are resized to, a multiple of 14, [px].
            device: Torch device of the model.
            bfloat16: Half the memory, and faster where the processor has it; cosines change by less than 1e-3.

        Raises:
            ConfigError: If transformers is missing, the size is wrong, or there are no weights at `source`.
        """
        import torch

        self.cameras = tuple(cameras)
        self.name = f"{DINOV2_HUB_NAMES.get(source, source)}@{image_size}{'-bf16' if bfloat16 else ''}"
        self._dtype = torch.bfloat16 if bfloat16 else torch.float32
        self._device = torch.device(device)
        self._model = _load_dinov2(source).to(device=self._device, dtype=self._dtype)
        patch = int(self._model.config.patch_size)
        if image_size < patch or image_size % patch:
            raise ConfigError(
                f"image_size = {image_size} is not a multiple of the model's {patch} px patches; try 224."
            )
        self._image_size = image_size
        self.dim = len(self.cameras) * int(self._model.config.hidden_size)

    def encode(self, images: Mapping[str, ByteArray]) -> Embedding:
        """Return one unit vector per camera, concatenated. Shape (k,)."""
        return np.asarray(self.encode_batch([images])[0])

    def encode_batch(self, steps: Sequence[Mapping[str, ByteArray]]) -> Embedding:
        """Return the embeddings of several steps' images, 32 images per forward pass. Shape (B, k)."""
        import torch

        pixels = np.stack([imagenet_pixels(view(s, c), self._image_size) for s in steps for c in self.cameras])
        tokens = []
        with torch.no_grad():
            for start in range(0, len(pixels), 32):
                chunk = torch.from_numpy(pixels[start : start + 32])
                output = self._model(chunk.to(device=self._device, dtype=self._dtype))
                tokens.append(output.last_hidden_state[:, 0].float().cpu().numpy())
        features = np.concatenate(tokens).reshape(len(steps), len(self.cameras), -1)
        return np.stack([concatenate_views(list(step)) for step in features])


def imagenet_pixels(image: ByteArray, size: int) -> npt.NDArray[np.float32]:
    """Return an image's central square as DINOv2 expects it, ImageNet statistics. Shape (3, size, size)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    resized = cv2.resize(square, (size, size), interpolation=how).astype(np.float32) / 255.0
    return np.asarray(((resized - _IMAGENET_MEAN) / _IMAGENET_STD).transpose(2, 0, 1))


def _load_dinov2(source: str) -> Any:
    try:
        from transformers import Dinov2Model
    except ImportError as error:
        raise ConfigError(
            "DINOv2 needs the transformers package; install it with: pip install 'agps[float]'."
        ) from error
    folder = Path(source)
    if folder.exists() and not (folder / "config.json").is_file():
        raise ConfigError(f"'{source}' holds no config.json; give a folder written by save_pretrained.")
    try:
        loaded: Any = Dinov2Model.from_pretrained(
            DINOV2_HUB_NAMES.get(source, source), local_files_only=folder.exists(), output_loading_info=True
        )
    except (OSError, ValueError, ImportError) as error:  # the last where the environment names a SOCKS proxy
        reason = str(error).splitlines()[0]
        raise ConfigError(f"No DINOv2 weights at '{source}' ({reason}); give a hub name or a local folder.") from error
    network, info = loaded
    if info["missing_keys"]:
        # transformers only warns, and would go on with random weights.
        raise ConfigError(f"'{source}' lacks {len(info['missing_keys'])} weights of DINOv2; give a DINOv2 checkpoint.")
    network.eval().requires_grad_(False)
    return network


def view(images: Mapping[str, ByteArray], camera: str) -> ByteArray:
    """Return one camera's image.

    Raises:
        ConfigError: If the camera is not there.
    """
    if camera not in images:
        raise ConfigError(f"The encoder reads camera '{camera}' and there are {sorted(images)}; name one of those.")
    return images[camera]


def concatenate_views(features: Sequence[npt.NDArray[np.float32]]) -> Embedding:
    """Return the views' features, each scaled to length 1, in a row: its cosine is the mean of the views' cosines."""
    units = [f / max(float(np.linalg.norm(f)), 1e-12) for f in features]
    return np.asarray(np.concatenate(units), dtype=np.float32)


def dinov2(cameras: Sequence[str]) -> Encoder:
    """Return DINOv2 ViT-S/14 from the hub or its cache: three times as fast as ViT-B/14, see `DinoV2Encoder`."""
    return DinoV2Encoder("dinov2-small", cameras=cameras)


def default_encoder(cameras: Sequence[str]) -> Encoder:
    """Return the encoder that needs no download.

    Measured on USB insertion (20 demonstrations, 160 good and 140 bad held-out rollouts): thumbnails of 8, 16 and 32
    pixels, histograms of gradients and random convolutions all reach 1.00 area under the ROC curve over whole rollouts
    and 0.93 to 0.96 over the first 19 frames. Thumbnails of 16 and 32 pixels raise fewest false alarms (0.17 against
    0.24 to 0.35), and 16 costs 0.02 ms a step: where the port is relative to the hand shows in the coarse picture.
    """
    return ThumbnailEncoder(cameras=tuple(cameras))
