import math

import numpy as np
import pytest
import torch

from rl.conrft.calql import calql_loss, conservative_gap, td_loss


def test_gap_without_a_binding_bound_is_that_of_cql():
    q_sampled, q_data = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0]])
    gap, below = conservative_gap(q_sampled, q_data, torch.tensor([-10.0]))
    expected = math.log((math.e + math.e**2 + math.e**3) / 3) - 3.0
    np.testing.assert_allclose(gap, [[expected]], rtol=1e-6)
    assert below == 0.0


def test_bound_lifts_values_below_the_return():
    q_sampled, q_data = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0]])
    gap, below = conservative_gap(q_sampled, q_data, torch.tensor([1.5]))
    expected = math.log((math.exp(1.5) + math.exp(2.0) + math.exp(3.0)) / 3) - 3.0
    np.testing.assert_allclose(gap, [[expected]], rtol=1e-6)
    assert below == 0.5


def test_bound_does_not_touch_the_value_of_the_data():
    gap, _ = conservative_gap(torch.tensor([[[0.0]]]), torch.tensor([[0.0]]), torch.tensor([2.0]))
    np.testing.assert_allclose(gap, [[math.log((math.exp(2.0) + 1.0) / 2)]], rtol=1e-6)


def test_values_below_the_return_are_pushed_no_further():
    q_sampled = torch.tensor([[[1.0, 4.0]]], requires_grad=True)
    gap, _ = conservative_gap(q_sampled, torch.tensor([[3.0]]), torch.tensor([2.0]))
    gap.sum().backward()
    weight = math.exp(4.0) / (math.exp(2.0) + math.exp(4.0) + math.exp(3.0))
    np.testing.assert_allclose(q_sampled.grad, [[[0.0, weight]]], rtol=1e-5)


@pytest.mark.parametrize(("temperature", "expected"), [(1e-3, 5.0 - 2.0), (1e3, (5.0 + 1.0 + 2.0) / 3 - 2.0)])
def test_temperature_goes_from_the_mean_to_the_largest_value(temperature: float, expected: float):
    q_sampled, q_data = torch.tensor([[[5.0, 1.0]]]), torch.tensor([[2.0]])
    gap, _ = conservative_gap(q_sampled, q_data, torch.tensor([-10.0]), temperature)
    np.testing.assert_allclose(gap, [[expected]], atol=5e-3)


def test_equal_values_leave_no_gap():
    gap, _ = conservative_gap(torch.full((2, 3, 30), 0.7), torch.full((2, 3), 0.7), torch.zeros(3))
    np.testing.assert_allclose(gap, np.zeros((2, 3)), atol=1e-5)


def test_td_loss_by_hand():
    q, target = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([0.0, 1.0])
    np.testing.assert_allclose(td_loss(q, target), (1.0 + 1.0) / 2 + (0.0 + 1.0) / 2)


def test_loss_by_hand_with_the_conservative_term_on_the_first_states_only():
    q_data, target = torch.tensor([[3.0, 1.0]]), torch.tensor([2.0, 1.0])
    q_sampled, returns = torch.tensor([[[1.0, 2.0]]]), torch.tensor([1.5])
    gap = math.log((math.exp(1.5) + math.exp(2.0) + math.exp(3.0)) / 3) - 3.0
    loss = calql_loss(q_data, target, q_sampled, returns, weight=0.1)
    np.testing.assert_allclose(float(loss), 0.5 + 0.1 * gap, rtol=1e-6)


def test_weight_0_is_plain_td():
    q_data, target = torch.randn(2, 4), torch.randn(4)
    loss = calql_loss(q_data, target, torch.randn(2, 4, 6), torch.randn(4), weight=0.0)
    torch.testing.assert_close(loss, td_loss(q_data, target))
