import pytest

from rl.drq.benchmark import _filled, bench_update
from rl.drq.config import DrQConfig

SMALL = DrQConfig(batch_size=16, hidden_size=32, channels=8, feature_size=8, buffer_capacity=1_000)


@pytest.mark.parametrize("cameras", [1, 2])
def test_benchmark_times_each_part_of_an_update(cameras: int) -> None:
    times_ms = bench_update(image_size=16, cameras=cameras, config=SMALL, repeats=2)
    assert set(times_ms) == {*"sample encode target critic actor pointer polyak update act".split()}
    assert all(time_ms > 0.0 for time_ms in times_ms.values())


def test_update_that_is_timed_learns_where_the_goal_is() -> None:
    """Else its time would lack that of the pointer."""
    model = _filled(16, 1, 19, 6, SMALL, "cpu")
    model.train(1)
    assert model.train_metrics["goal_error_mm"] > 0.0
