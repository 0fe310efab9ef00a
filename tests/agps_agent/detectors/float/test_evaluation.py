from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from agps_agent.detectors import FloatDetector, ThumbnailEncoder
from agps_agent.detectors.float.evaluation import (
    auroc,
    encode_rollout,
    evaluate_detector,
    evaluate_embeddings,
    fit_detector,
)
from rl.errors import ConfigError

Path = npt.NDArray[np.float64]


def test_area_under_the_curve_worked_by_hand() -> None:
    assert auroc([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert auroc([3.0, 4.0], [1.0, 2.0]) == 0.0
    assert auroc([1.0, 3.0], [2.0, 3.0]) == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    with pytest.raises(ConfigError):
        auroc([], [1.0])


def video(path: list[tuple[int, int]]) -> dict[str, npt.NDArray[np.uint8]]:
    """A bright square that moves over a dark image, seen by two cameras."""
    frames = np.full((len(path), 32, 32, 3), 30, np.uint8)
    for frame, (row, column) in zip(frames, path, strict=True):
        frame[row : row + 8, column : column + 8] = 220
    return {"wrist_1": frames, "wrist_2": frames[:, ::-1].copy(), "state": np.zeros((len(path), 3), np.uint8)}


def descent(rng: np.random.Generator) -> dict[str, npt.NDArray[np.uint8]]:
    column = int(rng.integers(8, 17))
    return video([(row, column + round((12 - column) * row / 24)) for row in range(25)])


def test_bad_videos_are_told_from_good_ones(rng: np.random.Generator) -> None:
    encoder = ThumbnailEncoder(cameras=("wrist_1", "wrist_2"))
    detector = fit_detector([descent(rng) for _ in range(10)], encoder)
    stuck = [video([(min(row, 8 + n), 12) for row in range(40)]) for n in range(4)]
    lost = [video([(min(row, 10), min(12 + row, 24)) for row in range(40)]) for _ in range(2)]
    report = evaluate_detector(detector, encoder, [descent(rng) for _ in range(6)], stuck + lost)
    assert report.auroc > 0.95
    assert report.detection_rate == 1.0
    assert len(report.rollouts) == 12
    assert report.early_steps == 25


def test_report_counts_triggers(good_rollout: Callable[[], Path]) -> None:
    detector = FloatDetector().fit([good_rollout() for _ in range(8)])
    bad = -good_rollout()
    report = evaluate_embeddings(detector, [good_rollout()], [bad, bad])
    assert report.detection_rate == 1.0
    assert report.median_trigger_step == report.rollouts[1].trigger_step
    assert len(report.rollouts[0].index) == report.rollouts[0].steps


def test_missing_camera_is_named(rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="side"):
        encode_rollout(ThumbnailEncoder(cameras=("side",)), descent(rng))
