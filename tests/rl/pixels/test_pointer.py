from dataclasses import replace

import torch

from rl.drq import DrQ, DrQConfig
from rl.pixels.pointer import in_units, spread
from tests.rl.drq.reach import ReachInMetres, record


def test_way_is_spread_over_ranges_of_metres_and_of_millimetres():
    way = torch.tensor([[0.0, 0.5, -0.01, 0.1]])  # 0, 50 mm, -1 mm, 0.2 rad
    moves, turns = [0.0, 0.5, -0.01, 0.0, 5.0, -0.1, 0.0, 25.0, -0.5], [0.2, 1.0, 5.0]
    expected = torch.tanh(torch.tensor([[*moves, *turns]]))
    torch.testing.assert_close(spread(way), expected)


def test_last_millimetre_is_seen_as_well_as_the_first_decimetre():
    near, nearer = spread(torch.tensor([[0.01, 0.0, 0.0, 0.0]])), spread(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
    assert (near - nearer).abs().max() > 0.4


def test_ways_are_told_in_tenths_of_metres_and_in_twos_of_radians():
    torch.testing.assert_close(in_units(torch.tensor([[0.1, 0.0, -0.05, 0.4]])), torch.tensor([[1.0, 0.0, -0.5, 0.2]]))


def test_pointer_learns_from_at_most_64_frames_of_all_parts_of_a_batch(monkeypatch):
    """Of 100 frames with a known way every second one: demonstrations, which come first, do not crowd out the rest."""
    model = DrQ("MultiInputPolicy", ReachInMetres(), config=DrQConfig(channels=8), seed=0, device="cpu")
    model.add_demonstrations(record(3, env=ReachInMetres()))
    ways = torch.full((128, 4), torch.nan)
    ways[:100] = torch.arange(100.0)[:, None]
    told = []
    monkeypatch.setattr("rl.pixels.algorithm.in_units", lambda known: told.append(known[:, 0]) or in_units(known))
    model.update_pointer(replace(model.sample(128), ways=ways), {})
    assert told[0].tolist() == [float(frame) for frame in range(0, 100, 2)]
