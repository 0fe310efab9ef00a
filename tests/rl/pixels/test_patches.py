import numpy as np
import torch
from gymnasium import spaces

from rl.buffers import FrameStore
from rl.drq import DrQConfig, DrQPolicy
from rl.pixels.patches import patchify, random_shifts, shifted_images

SPACE = spaces.Dict(
    {
        "left": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "right": spaces.Box(0, 255, (8, 8, 3), np.uint8),
        "state": spaces.Box(-1.0, 1.0, (1,), np.float32),
    }
)


def store_of(images: int, rng: np.random.Generator) -> tuple[FrameStore, np.ndarray]:
    store = FrameStore(SPACE, 2, capacity=images + 1, pad=3)
    episode = {
        "left": rng.integers(0, 256, (images + 1, 8, 8, 3), np.uint8),
        "right": rng.integers(0, 256, (images + 1, 8, 8, 3), np.uint8),
        "state": np.zeros((images + 1, 1), np.float32),
        "action": np.zeros((images, 2), np.float32),
        "reward": np.zeros(images, np.float32),
        "terminated": np.zeros(images, bool),
        "truncated": np.zeros(images, bool),
    }
    return store, store.add_episode(episode)


def shift_of(image: np.ndarray, shifted: np.ndarray, pad: int) -> tuple[int, int]:
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    found = [
        (row, column)
        for row in range(2 * pad + 1)
        for column in range(2 * pad + 1)
        if np.array_equal(padded[row : row + 8, column : column + 8], shifted)
    ]
    assert len(found) == 1
    return found[0]


def test_shifts_cover_the_pad_evenly(rng: np.random.Generator):
    shifts = random_shifts(20_000, 4, rng)
    assert (shifts.min(), shifts.max()) == (0, 8)
    np.testing.assert_allclose(shifts.mean(0), [4.0, 4.0], atol=0.1)


def test_shifted_image_is_a_window_of_the_padded_one(rng: np.random.Generator):
    store, slots = store_of(20, rng)
    shifted = shifted_images(store, slots, rng)
    shifts = [shift_of(store.images("left", slots)[i], shifted["left"][i], 3) for i in range(20)]
    assert len(set(shifts)) > 5


def test_observation_and_next_observation_and_cameras_shift_on_their_own(rng: np.random.Generator):
    store, slots = store_of(20, rng)
    first, second = (shifted_images(store, slots, rng) for _ in range(2))
    left, again, right = (
        [shift_of(store.images(key, slots)[i], images[key][i], 3) for i in range(20)]
        for images, key in ((first, "left"), (second, "left"), (first, "right"))
    )
    assert left != again
    assert left != right


def test_patches_hold_every_pixel_of_a_square_of_all_cameras(rng: np.random.Generator):
    images = {key: rng.integers(0, 256, (2, 8, 12, 3), np.uint8) for key in ("left", "right")}
    patches = patchify(images, 4)
    assert patches.shape == (2, 2, 3, 2 * 4 * 4 * 3)
    square = patches[1, 1, 2].reshape(2, 4, 4, 3)
    np.testing.assert_array_equal(square[0], images["left"][1, 4:8, 8:12])
    np.testing.assert_array_equal(square[1], images["right"][1, 4:8, 8:12])


def test_image_that_patches_do_not_divide_is_continued_by_its_edge(rng: np.random.Generator):
    image = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    patches = patchify({"left": image}, 4)
    assert patches.shape == (2, 2, 2, 4 * 4 * 3)
    square = patches[0, 1, 1].reshape(4, 4, 3)  # rows 4 to 7 of 5, columns 4 to 7 of 7
    np.testing.assert_array_equal(square[0], image[0, 4, [4, 5, 6, 6]])
    for row in (1, 2, 3):
        np.testing.assert_array_equal(square[row], square[0])


def test_first_layer_is_a_strided_convolution_of_centred_pixels(rng: np.random.Generator):
    policy = DrQPolicy(SPACE, spaces.Box(-1.0, 1.0, (2,)), config=DrQConfig(patch_size=4, channels=8))
    images = {key: rng.integers(0, 256, (2, 8, 8, 3), np.uint8) for key in ("left", "right")}
    weight = policy.encoder.patch.weight  # (8, cameras * rows * columns * colours)
    kernel = weight.reshape(8, 2, 4, 4, 3).permute(0, 1, 4, 2, 3).reshape(8, 6, 4, 4)
    pixels = torch.from_numpy(np.concatenate([images["left"], images["right"]], -1)).permute(0, 3, 1, 2) / 255.0 - 0.5
    expected = torch.nn.functional.conv2d(pixels, kernel, policy.encoder.patch.bias, stride=4)
    seen: list[torch.Tensor] = []
    policy.encoder.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    policy.encode(policy.patches(images, 2))
    torch.testing.assert_close(seen[0], expected.relu(), atol=1e-5, rtol=1e-5)
