from collections.abc import Callable
from pathlib import Path as FilePath

import numpy as np
import numpy.typing as npt
import pytest

from agps_agent.detectors import EmbeddingMismatch, FloatConfig, FloatDetector, NotEnoughDemos
from agps_agent.detectors.float.detector import calibrate
from agps_agent.detectors.float.evaluation import watch
from agps_agent.detectors.float.transport import float_index
from rl.errors import ConfigError

Path = npt.NDArray[np.float64]
Make = Callable[[], Path]


@pytest.fixture
def demos(good_rollout: Make) -> list[Path]:
    return [good_rollout() for _ in range(12)]


def drifting(rollout: Path, onset: int, rng: np.random.Generator) -> Path:
    """The rollout until `onset`, then 20 frames of nothing ever seen."""
    return np.vstack([rollout[:onset], 3.0 * rng.standard_normal(rollout.shape[1]) + np.zeros((20, rollout.shape[1]))])


def stalled(rollout: Path, onset: int, frames: int = 40) -> Path:
    """The rollout until `onset`, then the same frame for ever."""
    return np.vstack([rollout[:onset], np.repeat(rollout[onset : onset + 1], frames, axis=0)])


def test_paper_threshold_fires_at_the_first_frame_of_good_rollouts(demos: list[Path], good_rollout: Make) -> None:
    # Eq. 1 read literally: one frame is far from a whole demonstration. Kept exact and selectable; not the default.
    detector = FloatDetector(FloatConfig.paper()).fit(demos)
    assert all(watch(detector, good_rollout())[0].triggered for _ in range(10))


def test_paper_threshold_is_the_95th_percentile_of_whole_demos(demos: list[Path]) -> None:
    detector = FloatDetector(FloatConfig.paper()).fit(demos)
    to_others = [float_index(demo, demos[:n] + demos[n + 1 :]) for n, demo in enumerate(demos)]
    assert detector.calibration.global_threshold == pytest.approx(np.percentile(to_others, 95.0), abs=1e-9)


def test_paper_index_of_a_whole_demo_is_inside(demos: list[Path]) -> None:
    reading = watch(FloatDetector(FloatConfig.paper()).fit(demos), demos[0])[-1]
    assert reading.index == pytest.approx(0.0, abs=1e-9)
    assert reading.fired is None


@pytest.mark.parametrize("config", [FloatConfig(), FloatConfig(index="prefix"), FloatConfig(local=True)])
def test_good_rollouts_seldom_fire(config: FloatConfig, demos: list[Path], good_rollout: Make) -> None:
    detector = FloatDetector(config).fit(demos)
    flagged = [any(r.triggered for r in watch(detector, good_rollout())) for _ in range(30)]
    assert np.mean(flagged) <= 0.25  # alpha is 1/13 here; 30 rollouts and one calibration set scatter


@pytest.mark.parametrize("config", [FloatConfig(), FloatConfig(index="prefix"), FloatConfig(local=True)])
def test_drift_and_stall_fire(
    config: FloatConfig, demos: list[Path], good_rollout: Make, rng: np.random.Generator
) -> None:
    detector = FloatDetector(config).fit(demos)
    for bad in (drifting(good_rollout(), 12, rng), stalled(good_rollout(), 8)):
        steps = [r.step for r in watch(detector, bad) if r.triggered]
        assert steps and steps[0] > 8


def test_local_term_sees_drift_before_the_index_does(
    demos: list[Path], good_rollout: Make, rng: np.random.Generator
) -> None:
    bad = drifting(good_rollout(), 20, rng)
    alone = FloatDetector(FloatConfig(index="prefix")).fit(demos)
    both = FloatDetector(FloatConfig(index="prefix", local=True, local_window=2)).fit(demos)
    first = [next(r for r in watch(d, bad) if r.triggered) for d in (both, alone)]
    assert first[0].step < first[1].step
    assert first[0].fired == "local"


def test_faster_rollout_is_not_a_failure(demos: list[Path], good_rollout: Make) -> None:
    # A policy becomes faster than its demonstrations; the band is one-sided.
    detector = FloatDetector().fit(demos)
    assert np.mean([any(r.triggered for r in watch(detector, good_rollout()[::2])) for _ in range(10)]) <= 0.2


def test_band_holds_its_last_value_beyond_the_longest_demo(demos: list[Path]) -> None:
    calibration = FloatDetector().fit(demos).calibration
    length = calibration.mean.shape[1]
    np.testing.assert_array_equal(calibration.thresholds(length), calibration.thresholds(length + 50))


def test_after_a_correction_the_drift_is_forgotten(demos: list[Path], good_rollout: Make) -> None:
    rollout = good_rollout()
    detector = FloatDetector(FloatConfig(index="prefix", cooldown_steps=4)).fit(demos)
    readings = watch(detector, stalled(rollout, 8, frames=60))
    assert readings[-1].fired is not None
    detector.rearm()
    after = [detector.update(frame) for frame in rollout[8:]]
    assert after[0].step < 20 < readings[-1].step  # most of the stall is cut off
    assert not any(reading.fired for reading in after)


def test_no_second_trigger_before_the_cooldown_is_over(demos: list[Path], good_rollout: Make) -> None:
    bad = stalled(good_rollout(), 6, frames=60)
    detector = FloatDetector(FloatConfig(cooldown_steps=15)).fit(demos)
    detector.reset()
    for frame in bad:
        if detector.update(frame).triggered:
            break
    detector.rearm()
    again = [n for n, _ in enumerate(range(60), start=1) if detector.update(bad[-1]).triggered]
    assert again[0] >= 15


def test_it_fires_as_long_as_the_rollout_is_off_and_anew_after_reset(demos: list[Path], good_rollout: Make) -> None:
    """Nothing is spent on a step at which nobody can be asked."""
    bad = stalled(good_rollout(), 6, frames=60)
    detector = FloatDetector().fit(demos)
    first, second = ([reading.triggered for reading in watch(detector, bad)] for _ in range(2))
    assert first == second and sum(first) > 10 and first[-1]


def test_saved_detector_gives_the_same_readings(demos: list[Path], good_rollout: Make, tmp_path: FilePath) -> None:
    detector = FloatDetector(FloatConfig(local=True, alpha=0.2)).fit(demos)
    detector.save(tmp_path / "float.npz")
    rollout = good_rollout()
    assert watch(FloatDetector.load(tmp_path / "float.npz"), rollout) == watch(detector, rollout)


def test_file_of_something_else_is_refused(tmp_path: FilePath) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ConfigError, match="other.npz"):
        FloatDetector.load(tmp_path / "other.npz")


def test_too_few_demos_are_refused(demos: list[Path]) -> None:
    with pytest.raises(NotEnoughDemos, match="4 demonstrations and FLOAT calibrates on 5"):
        FloatDetector().fit(demos[:4])
    with pytest.raises(NotEnoughDemos, match="2 or more"):
        FloatDetector(FloatConfig(min_demos=1)).fit(demos[:1])
    with pytest.raises(NotEnoughDemos, match="fit"):
        FloatDetector().update(demos[0][0])


def test_alpha_that_so_few_demos_cannot_promise_is_refused(demos: list[Path]) -> None:
    with pytest.raises(NotEnoughDemos, match=r"alpha = 0.05 needs 19 demonstrations and there are 12"):
        FloatDetector(FloatConfig(alpha=0.05)).fit(demos)
    assert FloatDetector().fit(demos).calibration.alpha == pytest.approx(1 / 13)


def test_limit_is_the_conformal_order_statistic() -> None:
    # Curves that differ by a constant: n = 9, alpha = 0.2 takes the ceil(10 x 0.8) = 8th smallest score.
    curves = [np.full((2, 4), float(level)) for level in range(9)]
    limit = calibrate(curves, FloatConfig(alpha=0.2, warmup_steps=0)).limit
    others = np.array([0, 1, 2, 3, 4, 5, 6, 8], dtype=float)
    assert limit == pytest.approx((7.0 - others.mean()) / others.std(ddof=1))


def test_contradictory_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="local"):
        FloatConfig(local=True, threshold="global95")
    with pytest.raises(ConfigError, match="alpha"):
        FloatConfig(alpha=1.5)
    with pytest.raises(ConfigError, match="min_demos is 0"):
        FloatConfig(min_demos=0)


def test_embedding_of_another_encoder_is_refused(demos: list[Path]) -> None:
    detector = FloatDetector().fit(demos)
    with pytest.raises(EmbeddingMismatch, match="16 dimensions"):
        detector.update(np.ones(8))
