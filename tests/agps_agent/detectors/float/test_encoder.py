import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from agps_agent.detectors import DinoV2Encoder, Encoder, ThumbnailEncoder, default_encoder
from agps_agent.detectors.float.encoder import concatenate_views, imagenet_pixels
from rl.errors import ConfigError

Images = dict[str, npt.NDArray[np.uint8]]

WRISTS = ("wrist_1", "wrist_2")


@pytest.fixture
def images(rng: np.random.Generator) -> Images:
    return {name: rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for name in ("wrist_1", "wrist_2", "side")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of the real architecture, small and random, saved as the hub saves it."""
    transformers = pytest.importorskip("transformers")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dinov2")
    config = transformers.Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, mlp_ratio=2, patch_size=14, image_size=56
    )
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


def check_contract(encoder: Encoder, images: Images) -> None:
    embedding = encoder.encode(images)
    assert embedding.dtype == np.float32
    assert embedding.shape == (encoder.dim,)
    per_view = embedding.reshape(len(encoder.cameras), -1)
    np.testing.assert_allclose(np.linalg.norm(per_view, axis=1), 1.0, atol=1e-5)
    batch = encoder.encode_batch([images, {name: image[::-1].copy() for name, image in images.items()}])
    assert batch.shape == (2, encoder.dim)
    np.testing.assert_allclose(batch[0], embedding, atol=1e-5)
    assert np.abs(batch[1] - embedding).max() > 1e-4


def test_thumbnails_keep_the_contract(images: Images) -> None:
    check_contract(default_encoder(WRISTS), images)
    check_contract(ThumbnailEncoder(cameras=("side",), size=8), images)


def test_cosine_of_the_row_of_views_is_the_mean_of_the_views_cosines(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 3, 5)).astype(np.float32)
    cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    whole = concatenate_views(list(a)) @ concatenate_views(list(b)) / 3.0
    assert whole == pytest.approx(np.mean(cosines), abs=1e-6)


def test_thumbnail_of_a_plain_image_is_its_colour() -> None:
    image = np.full((64, 64, 3), (10, 20, 30), np.uint8)
    embedding = ThumbnailEncoder(cameras=("side",), size=2).encode({"side": image})
    np.testing.assert_allclose(embedding, np.tile([10, 20, 30], 4) / np.sqrt(4 * 1400), atol=1e-6)


def test_missing_camera_is_named(images: Images) -> None:
    with pytest.raises(ConfigError, match="reads camera 'front'"):
        ThumbnailEncoder(cameras=("front",)).encode(images)


def test_dinov2_loads_a_saved_checkpoint(checkpoint: Path, images: Images) -> None:
    encoder = DinoV2Encoder(str(checkpoint), cameras=WRISTS)
    assert encoder.dim == 2 * 48
    check_contract(encoder, images)


def test_dinov2_gives_the_model_s_cls_token(checkpoint: Path, images: Images) -> None:
    import transformers

    model = transformers.Dinov2Model.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        token = model(torch.from_numpy(imagenet_pixels(images["side"], 224))[None]).pooler_output[0].numpy()
    embedding = DinoV2Encoder(str(checkpoint), cameras=("side",)).encode(images)
    np.testing.assert_allclose(embedding, token / np.linalg.norm(token), atol=1e-5)


def test_bfloat16_changes_the_embedding_little(checkpoint: Path, images: Images) -> None:
    full, half = (DinoV2Encoder(str(checkpoint), cameras=WRISTS, bfloat16=b).encode(images) for b in (False, True))
    assert full @ half / 2.0 > 0.999


def test_pixels_are_normalised_as_imagenet() -> None:
    white = imagenet_pixels(np.full((64, 96, 3), 255, np.uint8), 28)
    assert white.shape == (3, 28, 28)
    np.testing.assert_allclose(white[:, 0, 0], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], atol=1e-5)


def test_folder_without_weights_is_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ConfigError, match="holds no config.json"):
        DinoV2Encoder(str(tmp_path), cameras=WRISTS)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"lacks \d+ weights|No DINOv2 weights"):
        DinoV2Encoder(str(tmp_path), cameras=WRISTS)


def test_size_that_patches_do_not_divide_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="image_size = 100 is not a multiple"):
        DinoV2Encoder(str(checkpoint), cameras=WRISTS, image_size=100)


def test_transformers_is_not_imported_until_it_is_needed() -> None:
    code = "import sys, agps_agent.detectors.float.encoder; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0


def test_missing_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"agps\[float\]"):
        DinoV2Encoder("dinov2-small", cameras=WRISTS)
