import numpy as np
import pytest

from agps_agent.measure.benchmarks import bench_agent, bench_memory, bench_realtime, rate_numbers


def test_numbers_of_a_rate_worked_by_hand() -> None:
    stamps = np.array([0.0, 0.1, 0.2, 0.5, 0.6])  # the fourth command came two periods late
    numbers = rate_numbers(stamps, 10.0)
    assert (numbers["ticks"], numbers["lost_ticks"]) == (5, 2)
    assert numbers["longest_gap_ms"] == pytest.approx(300.0)
    assert numbers["jitter_p99_ms"] == pytest.approx(194.0)  # between 0 and 200 ms: the 99th of four


def test_loop_is_not_held_while_the_agent_thinks() -> None:
    numbers = bench_realtime("usb_insertion", agent_s=0.5, seconds=6.0, on_trigger="continue", robot="fake")
    assert numbers["agent_pause_s"] == 0.0
    assert numbers["ticks"] == 60


def test_loop_holds_while_the_agent_thinks() -> None:
    numbers = bench_realtime("usb_insertion", agent_s=0.5, seconds=1.2, on_trigger="hold", robot="fake")
    assert numbers["agent_pause_s"] >= 0.5
    assert numbers["longest_gap_ms"] >= 500.0


def test_graph_is_timed_beside_the_model() -> None:
    numbers = bench_agent("usb_insertion", vlm="embedded", vlm_model=None, questions=1)
    assert numbers["answered"] == 1
    assert 0.0 < numbers["graph_median_ms"] <= numbers["graph_p95_ms"]


@pytest.mark.parametrize(("jitter_mm", "recalled"), [(None, 1.0), (20.0, 0.0)])
def test_memory_answers_where_nothing_moves_and_not_where_the_port_does(
    jitter_mm: float | None, recalled: float
) -> None:
    """A thumbnail of the wrist view says nothing of a port that moved; the look at it does."""
    options = {"port_jitter_mm": jitter_mm}
    numbers = bench_memory("usb_insertion", scenes=2, tolerance_m=1e-4, task_options=options)
    assert numbers["recalled@0.60"] == numbers["possible"] == recalled
    assert numbers["precision@0.60"] == pytest.approx(1.0 if recalled else np.nan, nan_ok=True)
