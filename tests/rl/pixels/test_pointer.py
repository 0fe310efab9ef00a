import torch

from rl.pixels.pointer import in_units, spread


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
