"""Where networks compute."""

from pathlib import Path

import pytest
import torch

from rl.checkpoint import STATE, load_policy, save_checkpoint
from rl.devices import all_in_words, choose_device
from rl.errors import ConfigError
from tests.rl.counting import ALGORITHMS, make_model


def test_auto_is_a_gpu_where_torch_sees_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "cuda:x", ""])
def test_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device is {name}; torch sees cpu.*or auto"):
        choose_device(name)


def test_doctor_is_told_what_torch_sees_and_was_built_for() -> None:
    assert torch.__version__ in all_in_words() and "built for" in all_in_words()


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_checkpoint_is_loaded_onto_the_device_that_is_asked_for(kind: type, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", make_model(kind), {})
    loaded = load_policy(tmp_path / "last", kind, device="cpu")
    assert {parameter.device.type for parameter in loaded.policy.parameters()} == {"cpu"}
    assert torch.load(tmp_path / "last" / STATE, map_location="cpu", weights_only=False)["extra"] == {}


def test_noise_of_a_gpus_generator_is_not_forced_upon_a_processors(caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(ALGORITHMS[0])
    before = model.noise_rng.get_state()
    states = {**model.random_states(), "noise": torch.zeros(16, dtype=torch.uint8)}  # as a CUDA generator's
    model.set_random_states(states)
    assert torch.equal(model.noise_rng.get_state(), before) and "another device" in caplog.text
