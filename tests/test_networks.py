"""The law of widths, on the layers of every network that can be built here."""

import contextlib
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from gymnasium import spaces
from torch import nn

import agps_agent
import rl
import tools
from agps_agent.detectors.float.efficientnet import EfficientNetLite0
from agps_agent.run.config import RunConfig
from rl.conrft.config import ConRFTConfig
from rl.conrft.policies import ConRFTPolicy
from rl.drq import DrQConfig
from rl.drq.policies import DrQPolicy
from rl.errors import ConfigError
from rl.pixels.config import PixelConfig
from rl.rewards.classifier import FitConfig
from rl.rewards.classifier.network import ResNet10, RewardNetwork
from rl.tasks.registry import TASKS
from rl.widths import LANES, check_width

SMALLEST = {"channels": LANES, "feature_size": 8, "hidden_size": 16}


def space(cameras: int) -> spaces.Dict:
    images = {f"wrist_{n}": spaces.Box(0, 255, (64, 64, 3), np.uint8) for n in range(cameras)}
    return spaces.Dict({**images, "state": spaces.Box(-1.0, 1.0, (19,), np.float32)})


def policies() -> Iterator[nn.Module]:
    """Yield the policies of the presets, of every task's recipe, and the smallest, with one to three cameras."""
    told = [RunConfig(task=name).algorithm_options for name in TASKS.names]
    drq = [
        DrQConfig(**SMALLEST),
        *(DrQConfig.preset(name) for name in DrQConfig.presets),
        *(options for options in told if isinstance(options, DrQConfig)),
    ]
    conrft = [
        ConRFTConfig.of(**SMALLEST),
        ConRFTConfig(),
        *(options for options in told if isinstance(options, ConRFTConfig)),
    ]
    for cameras in (1, 2, 3):
        for actions in (6, 7):
            box = spaces.Box(-1.0, 1.0, (actions,), np.float32)
            yield from (DrQPolicy(space(cameras), box, config=config) for config in dict.fromkeys(drq))
            yield from (ConRFTPolicy(space(cameras), box, config=config) for config in dict.fromkeys(conrft))


def classifiers() -> Iterator[nn.Module]:
    for width in (LANES, FitConfig().width, 64):
        for cameras in (1, 2, 3):
            yield RewardNetwork(cameras=cameras, image_size=32, width=width, state_size=2)


def encoders() -> Iterator[nn.Module]:
    yield EfficientNetLite0()


def float_encoder() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs the extra float")
    small = transformers.Dinov2Config(hidden_size=48, num_hidden_layers=1, num_attention_heads=3, image_size=56)
    model: nn.Module = transformers.Dinov2Model(small)
    return model


def unlawful(network: nn.Module) -> list[str]:
    """Return the 1x1 convolutions whose input channels fill no whole number of registers."""
    return [
        f"{name}: {layer}"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and set(layer.kernel_size) == {1} and layer.in_channels % LANES
    ]


def test_no_network_has_a_1x1_convolution_of_channels_that_are_no_multiple_of_8() -> None:
    for network in (*policies(), *classifiers(), *encoders(), float_encoder()):
        assert unlawful(network) == []


def test_walk_finds_what_it_looks_for() -> None:
    assert len(unlawful(nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(3, 8, 7)))) == 1


def test_walk_passes_every_class_of_ours_that_convolves() -> None:
    """A new network has to be added above."""
    for package in (agps_agent, rl, tools):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                with contextlib.suppress(ModuleNotFoundError):  # a driver whose extra is not installed: no network
                    importlib.import_module(module.name)
    walked = {type(layer) for network in (*policies(), *classifiers(), *encoders()) for layer in network.modules()}
    ours = {kind for kind in subclasses(nn.Module) if kind.__module__.split(".")[0] in ("agps_agent", "rl", "tools")}
    assert {kind for kind in ours if "nn.Conv" in inspect.getsource(kind)} - walked == set()


def subclasses(kind: type) -> set[type]:
    return {kind, *(deeper for child in kind.__subclasses__() for deeper in subclasses(child))}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (4, "4; ask for a multiple of 8, e.g. 8:"),
        (0, "e.g. 8:"),
        (-8, "e.g. 8:"),
        (12, "12; .* 8 or 16:"),
        (65, "64 or 72:"),
    ],
)
def test_other_widths_are_refused_with_the_nearest_that_work(value: int, words: str) -> None:
    for build in (
        lambda: check_width("width", value),
        lambda: FitConfig(width=value),
        lambda: ResNet10(value),
        lambda: RewardNetwork(cameras=1, image_size=32, width=value),
    ):
        with pytest.raises(ConfigError, match=f"^width is .*{words}"):
            build()
    for config in (PixelConfig, DrQConfig, ConRFTConfig, DrQConfig.preset):
        arguments = ("tuned",) if config == DrQConfig.preset else ()
        with pytest.raises(ConfigError, match=f"^channels is .*{words}"):
            config(*arguments, channels=value)


def test_smallest_classifier_learns_without_damage_on_a_processor_with_avx2_alone() -> None:
    """With a width of 4 the heap is damaged: oneDNN's 1x1 convolution backwards."""
    program = (
        "import torch; from rl.rewards.classifier.network import RewardNetwork\n"
        f"network = RewardNetwork(cameras=2, image_size=64, width={LANES})\n"
        "for _ in range(30): network(torch.rand(64, 2, 64, 64, 3).permute(0, 1, 4, 2, 3), None).sum().backward()\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
