import pytest
import torch

from rl.errors import ConfigError
from rl.rewards.classifier.network import ResNet10, RewardNetwork, SpatialLearnedEmbeddings


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_trunk_of_width_64_is_hil_serls_resnet_10():
    trunk = ResNet10(64)
    assert trunk(torch.zeros(2, 3, 128, 128)).shape == (2, 512, 4, 4)
    # Kernels and norms of stem, four blocks, three projections: 9,536 + 73,984 + 230,144 + 919,040 + 3,673,088.
    assert count(trunk) == 4_905_792


def test_spatial_embedding_is_a_weighted_sum_over_places():
    embedding = SpatialLearnedEmbeddings(channels=1, side=2)
    with torch.no_grad():
        embedding.maps.zero_()
        embedding.maps[0, :, 0] = torch.tensor([1.0, 10.0, 100.0, 1000.0])
        embedding.maps[0, :, 7] = 1.0
    out = embedding(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert out.tolist() == [[4321.0, 0, 0, 0, 0, 0, 0, 10.0]]


def test_cameras_share_the_trunk_and_not_the_heads():
    one = RewardNetwork(cameras=1, image_size=64, width=16)
    two = RewardNetwork(cameras=2, image_size=64, width=16)
    extra_head_inputs = 256 * 256
    assert count(two) - count(one) == count(two.cameras[0]) + extra_head_inputs
    assert two(torch.zeros(3, 2, 3, 64, 64), torch.zeros(3, 19)).shape == (3,)


def test_state_changes_the_logit_only_where_it_is_read():
    pixels = torch.rand(1, 1, 3, 32, 32)
    for size, differs in ((0, False), (5, True)):
        network = RewardNetwork(cameras=1, image_size=32, width=8, state_size=size).eval()
        logits = [network(pixels, torch.full((1, 5), value)).item() for value in (0.0, 1.0)]
        assert (logits[0] != logits[1]) == differs


def test_size_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="image_size 100 must divide by 32"):
        RewardNetwork(cameras=1, image_size=100, width=16)


def test_pretrained_trunk_comes_back_bit_for_bit(tmp_path):
    saved = ResNet10(8)
    torch.save(saved.state_dict(), tmp_path / "trunk.pt")
    loaded = ResNet10(8)
    loaded.load_pretrained(tmp_path / "trunk.pt")
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ResNet10(16).state_dict(), r"does not fit a ResNet-10 of width 8: .* has shape"),
        ({"conv.weight": torch.zeros(8, 3, 7, 7)}, "is missing"),
        ({**ResNet10(8).state_dict(), "fc.weight": torch.zeros(1)}, "fc.weight is not part of it"),
        ({"epoch": 3}, "no plain state dict"),
        ([1, 2], "no plain state dict"),
    ],
)
def test_pretrained_weights_that_do_not_fit_say_why(content, words, tmp_path):
    torch.save(content, tmp_path / "trunk.pt")
    with pytest.raises(ConfigError, match=words):
        ResNet10(8).load_pretrained(tmp_path / "trunk.pt")


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_pretrained_file_that_cannot_be_read_is_one_sentence(content, tmp_path):
    if content is not None:
        (tmp_path / "trunk.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="Cannot read pretrained weights") as error:
        ResNet10(8).load_pretrained(tmp_path / "trunk.pt")
    assert "\n" not in str(error.value)
