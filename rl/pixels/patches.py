"""Random shift, the augmentation of DrQ, and the layout in which images reach the encoder."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rl.buffers import ByteArray, FrameStore, IntArray


def random_shifts(count: int, pad: int, rng: np.random.Generator) -> IntArray:
    """Draw window corners in a frame padded by `pad` pixels: shifts by up to `pad` in each direction.

    DrQ (arXiv:2004.13649): pad by repeating the edge, crop at random. Rows and columns in [0, 2 pad], shape (B, 2).
    """
    return rng.integers(0, 2 * pad + 1, size=(count, 2))


def shifted_images(
    store: FrameStore, slots: IntArray, rng: np.random.Generator, *, together: bool = False
) -> dict[str, ByteArray]:
    """Return each camera's images, shifted; the cameras of one observation alike if `together`. Shapes (B, H, W, C)."""
    common = random_shifts(len(slots), store.pad, rng)
    return {
        key: store.crop(key, slots, common if together else random_shifts(len(slots), store.pad, rng))
        for key in store.image_shapes
    }


def patch_grid(height: int, width: int, patch: int) -> tuple[int, int]:
    """Return how many squares of side `patch` cover an image, rows and columns."""
    return -(-height // patch), -(-width // patch)


def patchify(images: Mapping[str, npt.NDArray[np.uint8]], patch: int) -> ByteArray:
    """Cut images into squares and put all cameras' squares of a place side by side.

    A convolution whose stride is its kernel size is one matrix product on this layout, and moving bytes before they
    become floats costs a quarter.

    Args:
        images: Equally large images per camera, (B, H, W, C). Below and right of a size that `patch` does not divide,
            the edge is repeated.
        patch: Side of a square, [px].

    Returns:
        Shape (B, ceil(H / patch), ceil(W / patch), cameras * patch * patch * C), uint8.
    """
    first = next(iter(images.values()))
    batch, height, width, channels = first.shape
    rows, columns = patch_grid(height, width, patch)
    if (rows * patch, columns * patch) != (height, width):
        missing = ((0, 0), (0, rows * patch - height), (0, columns * patch - width), (0, 0))
        images = {key: np.pad(image, missing, mode="edge") for key, image in images.items()}
    # One void element is one row of a square: NumPy then copies runs of bytes, not single ones.
    run = f"V{patch * channels}"
    patches = np.empty((batch, rows, columns, len(images), patch), run)
    for camera, image in enumerate(images.values()):
        runs = np.ascontiguousarray(image).reshape(batch, rows, patch, -1).view(run)
        patches[:, :, :, camera] = runs.transpose(0, 1, 3, 2)
    return patches.view(np.uint8).reshape(batch, rows, columns, -1)
