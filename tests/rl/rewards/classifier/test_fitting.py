import dataclasses

import numpy as np
import pytest
import torch

from rl.errors import AgpsError, ConfigError
from rl.rewards.classifier import FitConfig, RewardClassifier, fit_classifier
from rl.rewards.classifier.fitting import augment, balanced_batch
from rl.rewards.classifier.judging import score_frames
from rl.rewards.classifier.network import ResNet10
from tests.rl.rewards.classifier.synthetic import synthetic_frames

QUICK = FitConfig(width=8, updates=150, check_every=25, least_positives=5, shift=2)


@pytest.fixture(scope="module")
def frames():
    return synthetic_frames()


@pytest.fixture(scope="module")
def classifier(frames):
    return fit_classifier(frames, QUICK)


def test_fit_learns_what_held_out_frames_show(classifier, frames):
    score = score_frames(classifier, frames)
    assert score.counts.precision >= 0.9 and score.counts.recall >= 0.9
    assert score.average_precision > 0.97


def test_held_out_frames_change_nothing(frames, classifier):
    shuffled = np.where(frames.split == "held_out", ~frames.success, frames.success)
    again = fit_classifier(dataclasses.replace(frames, success=shuffled), QUICK)
    assert again.threshold == classifier.threshold
    weights = zip(again.network.parameters(), classifier.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_fit_leaves_the_global_random_state_alone(frames):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    fit_classifier(frames, dataclasses.replace(QUICK, updates=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_fit_that_diverges_says_so(frames):
    with pytest.raises(ConfigError, match="not a number with learning_rate 1e\\+30; use a lower one"):
        fit_classifier(frames, dataclasses.replace(QUICK, learning_rate=1e30))


def test_frames_whose_start_the_fit_saw_do_not_count_as_held_out(classifier, frames):
    seen = dataclasses.replace(frames, seed=np.zeros_like(frames.seed))
    with pytest.raises(ConfigError, match="another --seed"):
        score_frames(classifier, seen)


def test_batches_are_half_successes(rng):
    success = np.array([True] + [False] * 99)
    chosen = balanced_batch(success, 64, rng)
    assert success[chosen].sum() == 32


def test_augmentation_moves_the_cameras_of_a_frame_alike(rng):
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 16, 16] = 255
    config = FitConfig(brightness=0.0, contrast=0.0, shift=4)
    moved = [augment({"a": image, "b": image}, config, rng) for _ in range(8)]
    places = set()
    for pixels in moved:
        torch.testing.assert_close(pixels[:, 0], pixels[:, 1])
        places.add(int(pixels[0, 0, 0].argmax()))
    assert len(places) > 4


def test_augmentation_without_any_change_is_the_image(rng):
    frames = synthetic_frames(episodes=1)
    pixels = augment(frames.images, FitConfig(shift=0, brightness=0.0, contrast=0.0), rng)
    np.testing.assert_allclose(pixels[:, 0].permute(0, 2, 3, 1) * 255.0, frames.images["left"], atol=1e-3)


def test_pretrained_trunk_stays_as_it_is(frames, tmp_path):
    trunk = ResNet10(8)
    torch.save(trunk.state_dict(), tmp_path / "trunk.pt")
    fitted = fit_classifier(frames, dataclasses.replace(QUICK, updates=5, pretrained=tmp_path / "trunk.pt"))
    assert all(torch.equal(a, b) for a, b in zip(trunk.parameters(), fitted.network.trunk.parameters(), strict=True))


def test_too_few_successes_are_refused(frames):
    with pytest.raises(
        ConfigError, match="training split holds .* positive frames, the fit needs 500; collect a larger --positive"
    ):
        fit_classifier(frames, dataclasses.replace(QUICK, least_positives=500))


def test_one_label_only_is_refused(frames):
    with pytest.raises(ConfigError, match="holds 0 negative frames"):
        fit_classifier(dataclasses.replace(frames, success=np.ones_like(frames.success)), QUICK)


def test_saved_classifier_judges_bit_for_bit_alike(classifier, frames, tmp_path):
    classifier.save(tmp_path / "deep" / "classifier.pt")
    loaded = RewardClassifier.load(tmp_path / "deep" / "classifier.pt")
    np.testing.assert_array_equal(
        loaded.probabilities(frames.images, frames.state), classifier.probabilities(frames.images, frames.state)
    )
    assert loaded.digest == classifier.digest and loaded.threshold == classifier.threshold
    assert loaded.notes["config"]["width"] == 8


def test_one_observation_is_judged_as_in_a_batch(classifier, frames):
    observation = {camera: images[3] for camera, images in frames.images.items()} | {"state": frames.state[3]}
    batch = classifier.probabilities(frames.images, frames.state)
    assert classifier.probability(observation) == pytest.approx(batch[3], abs=1e-5)


def test_missing_classifier_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ConfigError, match="agps reward fit"):
        RewardClassifier.load(tmp_path / "none.pt")


def test_damaged_classifier_is_refused(classifier, tmp_path):
    path = tmp_path / "classifier.pt"
    classifier.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="damaged"):
            RewardClassifier.load(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format", 99, "has format 99"),
        ("hash", "0", "does not match its own hash"),
        ("header", "{}", "another version"),
        ("weights", {}, "another version"),
    ],
)
def test_changed_classifier_is_refused(key, value, words, classifier, tmp_path):
    path = tmp_path / "classifier.pt"
    classifier.save(path)
    torch.save({**torch.load(path, weights_only=True), key: value}, path)
    with pytest.raises(ConfigError, match=words):
        RewardClassifier.load(path)


def test_classifier_that_cannot_be_written_leaves_nothing(classifier, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AgpsError, match="Cannot write"):
        classifier.save(tmp_path / "file" / "classifier.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_frames_of_other_cameras_are_not_scored(classifier, frames):
    with pytest.raises(ConfigError, match="reads cameras"):
        score_frames(classifier, dataclasses.replace(frames, images={"left": frames.images["left"]}))


def test_gripper_is_read_where_the_task_commands_it(frames):
    towel = dataclasses.replace(frames, task="towel_folding")
    quick = dataclasses.replace(QUICK, updates=1)
    assert fit_classifier(towel, quick).setup.state == (2, 18)
    assert fit_classifier(frames, quick).setup.state == ()
    assert fit_classifier(towel, dataclasses.replace(quick, state=())).setup.state == ()


def test_state_entry_that_does_not_exist_is_refused(frames):
    with pytest.raises(ConfigError, match="state entry 19 does not exist; use 0 to 18"):
        fit_classifier(frames, dataclasses.replace(QUICK, state=(2, 19)))


def test_classifier_that_reads_state_comes_back_from_its_file(frames, tmp_path):
    fitted = fit_classifier(frames, dataclasses.replace(QUICK, updates=1, state=(0, 18)))
    fitted.save(tmp_path / "c.pt")
    loaded = RewardClassifier.load(tmp_path / "c.pt")
    assert loaded.setup == fitted.setup
    moved = frames.state + np.eye(19, dtype=np.float32)[18]
    assert (loaded.logits(frames.images, moved) != loaded.logits(frames.images, frames.state)).any()


def test_file_of_a_width_that_is_no_longer_allowed_is_named(classifier, tmp_path):
    path = tmp_path / "narrow.pt"
    classifier.save(path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "header": content["header"].replace('"width": 8}', '"width": 4}')}, path)
    with pytest.raises(ConfigError, match=r"narrow\.pt cannot be used, fit it anew: width is 4; ask"):
        RewardClassifier.load(path)
