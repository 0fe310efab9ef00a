from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import ot
import pytest

from agps_agent.detectors.float.transport import (
    EmbeddingMismatch,
    IncrementalFloatIndex,
    bench_float,
    float_index,
    partial_index,
)

Path = npt.NDArray[np.float64]
Make = Callable[[], Path]
X, Y = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def random_case(seed: int) -> tuple[Path, list[Path]]:
    """A rollout with idle frames, and demonstrations that share frames with it and with each other."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 9))
    demos = [rng.standard_normal((int(rng.integers(1, 13)), k)) for _ in range(int(rng.integers(1, 6)))]
    rollout = rng.standard_normal((16, k))
    rollout[4:8] = rollout[3]
    rollout[10:12] = demos[0][0]
    demos.append(demos[0].copy())
    return rollout, demos


def plain_reference(rollout: Path, demo: Path) -> float:
    """Eq. 1 for one demonstration, written with nothing of ours."""
    a = rollout / np.linalg.norm(rollout, axis=1, keepdims=True)
    b = demo / np.linalg.norm(demo, axis=1, keepdims=True)
    return float(ot.emd2(ot.unif(len(a)), ot.unif(len(b)), 1.0 - a @ b.T))


def test_a_demo_is_at_no_distance_from_itself(good_rollout: Make) -> None:
    demo = good_rollout()
    assert float_index(demo, [good_rollout(), demo]) == pytest.approx(0.0, abs=1e-12)


def test_two_point_example_worked_by_hand() -> None:
    # One frame X against the demo (X, Y): half the mass stays, half moves at cost 1 - cos 90 degrees = 1.
    assert float_index([X], [[X, Y]]) == pytest.approx(0.5)
    assert float_index([X, Y], [[X, Y]]) == pytest.approx(0.0)
    # (X, X, Y): 2/3 of the mass on X and 1/2 wanted, so 1/6 moves to Y.
    assert float_index([X, X, Y], [[X, Y]]) == pytest.approx(1.0 / 6.0)


def test_opposite_frames_cost_two() -> None:
    assert float_index([X], [[-X]]) == pytest.approx(2.0)


def test_partial_example_worked_by_hand() -> None:
    # One of four frames: a quarter of the mass goes to the demo's X for nothing; a whole X needs half of it moved.
    assert partial_index([X], [[X, Y]], horizon=4) == pytest.approx(0.0)
    assert partial_index([X, X, X], [[X, Y]], horizon=4) == pytest.approx(0.25)
    assert partial_index([X, X, X, X], [[X, Y]], horizon=4) == pytest.approx(0.5)


def test_the_nearest_demo_decides(good_rollout: Make) -> None:
    rollout, demos = good_rollout(), [good_rollout() for _ in range(3)]
    assert float_index(rollout, demos) == pytest.approx(min(float_index(rollout, [demo]) for demo in demos))


def test_order_of_frames_and_demos_and_scale_do_not_matter(rng: np.random.Generator, good_rollout: Make) -> None:
    rollout, demos = good_rollout(), [good_rollout() for _ in range(3)]
    shuffled = float_index(3.0 * rng.permutation(rollout), [rng.permutation(demo) for demo in demos[::-1]])
    assert shuffled == pytest.approx(float_index(rollout, demos), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_incremental_index_equals_emd2_over_all_demos(seed: int) -> None:
    rollout, demos = random_case(seed)
    incremental = IncrementalFloatIndex(demos)
    for t, frame in enumerate(rollout, start=1):
        step = incremental.append(frame)
        exact = np.array([plain_reference(rollout[:t], demo) for demo in demos])
        assert step.index == pytest.approx(exact.min(), abs=1e-9)
        assert exact[step.argmin] == pytest.approx(exact.min(), abs=1e-9)
        assert np.all(step.lower_bounds <= exact + 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_incremental_partial_index_is_exact(seed: int) -> None:
    rollout, demos = random_case(seed)
    incremental = IncrementalFloatIndex(demos, index="partial", horizon=10)
    for t, frame in enumerate(rollout, start=1):
        assert incremental.append(frame).index == pytest.approx(partial_index(rollout[:t], demos, 10), abs=1e-9)


def test_partial_index_never_falls_until_the_horizon(good_rollout: Make) -> None:
    incremental = IncrementalFloatIndex([good_rollout() for _ in range(4)], index="partial", horizon=40)
    values = [incremental.append(frame).index for frame in good_rollout()]
    assert np.all(np.diff(values) >= -1e-12)


def test_partial_index_of_a_whole_rollout_is_the_paper_s(good_rollout: Make) -> None:
    rollout, demos = good_rollout(), [good_rollout() for _ in range(3)]
    assert partial_index(rollout, demos, horizon=len(rollout)) == pytest.approx(float_index(rollout, demos))


def test_long_rollout_outgrows_the_first_buffers(rng: np.random.Generator) -> None:
    demos = [rng.standard_normal((5, 3)) for _ in range(2)]
    rollout = rng.standard_normal((150, 3))
    incremental = IncrementalFloatIndex(demos)
    steps = [incremental.append(frame) for frame in rollout]
    assert steps[-1].index == pytest.approx(float_index(rollout, demos), abs=1e-9)


def test_truncated_rollout_goes_on_as_if_it_had_been_short(good_rollout: Make) -> None:
    rollout, demos = good_rollout(), [good_rollout() for _ in range(3)]
    incremental = IncrementalFloatIndex(demos)
    for frame in rollout:
        incremental.append(frame)
    incremental.truncate(6)
    assert len(incremental) == 6
    step = incremental.append(rollout[20])
    assert step.index == pytest.approx(float_index(np.vstack([rollout[:6], rollout[20]]), demos), abs=1e-9)


def test_reset_forgets_the_rollout(good_rollout: Make) -> None:
    rollout, demos = good_rollout(), [good_rollout() for _ in range(3)]
    incremental = IncrementalFloatIndex(demos)
    first = [incremental.append(frame).index for frame in rollout]
    incremental.reset()
    np.testing.assert_allclose([incremental.append(frame).index for frame in rollout], first, atol=1e-12)


def test_few_demos_are_solved_per_step() -> None:
    bench = bench_float(demos=20, frames=30, dimensions=64)
    assert bench["solves"] < 4.0
    assert bench["max_error"] < 1e-9


def test_phase_says_where_the_newest_frame_is() -> None:
    way = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0.0, 1.5, 11)])
    incremental = IncrementalFloatIndex([way])
    np.testing.assert_allclose([incremental.append(frame).phase for frame in way], np.linspace(0.0, 1.0, 11))


def test_black_image_costs_one_to_everything() -> None:
    assert float_index([np.zeros(2)], [[X, Y]]) == pytest.approx(1.0)


@pytest.mark.parametrize("embedding", [np.ones(3), np.ones((2, 2)), np.ones(0), np.array([1.0, np.nan])])
def test_embedding_that_does_not_fit_is_refused(embedding: Path) -> None:
    incremental = IncrementalFloatIndex([[X, Y]])
    with pytest.raises(EmbeddingMismatch):
        incremental.append(embedding)
    assert len(incremental) == 0


def test_demos_of_another_encoder_are_refused() -> None:
    with pytest.raises(EmbeddingMismatch, match="Demonstration 1 has 3 dimensions and the embedding 2"):
        float_index([X], [[X], [[1.0, 0.0, 0.0]]])
    with pytest.raises(EmbeddingMismatch, match="no demonstration"):
        float_index([X], [])
