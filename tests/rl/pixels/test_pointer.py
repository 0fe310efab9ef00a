import torch

from rl.pixels.pointer import spread


def test_way_is_spread_over_ranges_of_metres_and_of_millimetres():
    way = torch.tensor([[0.0, 0.5, -0.01]])  # 0, 50 mm, -1 mm
    expected = torch.tanh(torch.tensor([[0.0, 0.5, -0.01, 0.0, 5.0, -0.1, 0.0, 25.0, -0.5]]))
    torch.testing.assert_close(spread(way), expected)


def test_last_millimetre_is_seen_as_well_as_the_first_decimetre():
    near, nearer = spread(torch.tensor([[0.01, 0.0, 0.0]])), spread(torch.tensor([[0.0, 0.0, 0.0]]))
    assert (near - nearer).abs().max() > 0.4
