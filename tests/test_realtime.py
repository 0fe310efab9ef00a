import numpy as np
import pytest

from agps_agent.benchmarks import bench_agent, bench_realtime, rate_numbers


def test_numbers_of_a_rate_worked_by_hand() -> None:
    stamps = np.array([0.0, 0.1, 0.2, 0.5, 0.6])  # the fourth command came two periods late
    numbers = rate_numbers(stamps, 10.0)
    assert (numbers["ticks"], numbers["lost_ticks"]) == (5, 2)
    assert numbers["longest_gap_ms"] == pytest.approx(300.0)
    assert numbers["jitter_p99_ms"] == pytest.approx(194.0)  # between 0 and 200 ms: the 99th of four


def test_loop_keeps_its_rate_while_the_agent_thinks() -> None:
    numbers = bench_realtime("usb_insertion", agent_s=2.0, seconds=3.0, on_trigger="continue", robot="fake")
    assert numbers["agent_thinking_s"] >= 2.0 and numbers["agent_pause_s"] == 0.0
    assert numbers["ticks"] == 30
    # A busy machine may delay one tick; holding still for two seconds would lose twenty.
    assert numbers["lost_ticks"] <= 2


def test_loop_holds_while_the_agent_thinks() -> None:
    numbers = bench_realtime("usb_insertion", agent_s=0.5, seconds=1.2, on_trigger="hold", robot="fake")
    assert numbers["agent_pause_s"] >= 0.5
    assert numbers["longest_gap_ms"] >= 500.0


def test_graph_costs_milliseconds() -> None:
    numbers = bench_agent("usb_insertion", vlm="embedded", vlm_model=None, questions=1)
    assert numbers["answered"] == 1
    assert 0.0 < numbers["graph_median_ms"] < numbers["graph_p95_ms"] < 1000.0
