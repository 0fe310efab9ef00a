import math

import numpy as np
import pytest
import torch

from rl.conrft.consistency import (
    ConsistencyHead,
    NoiseScales,
    boundary_scalings,
    karras_sigmas,
    reconstruction_loss,
    snr_weights,
    time_embedding,
)
from rl.errors import ConfigError

SCALES = NoiseScales()


def make_head(scales: NoiseScales = SCALES) -> ConsistencyHead:
    torch.manual_seed(0)
    return ConsistencyHead(3, 2, 16, scales)


def test_schedule_runs_from_80_to_0_002_in_40_scales():
    sigmas = karras_sigmas(SCALES)
    assert sigmas.shape == (40,)
    # (80^(1/7) + 13/39 (0.002^(1/7) - 80^(1/7)))^7: a third of the way down
    third = (2 / 3 * 80 ** (1 / 7) + 1 / 3 * 0.002 ** (1 / 7)) ** 7
    np.testing.assert_allclose(sigmas[[0, 13, 39]], [80.0, third, 0.002], rtol=1e-5)
    np.testing.assert_allclose(third, 9.7232, atol=1e-3)
    assert (sigmas.diff() < 0).all()


def test_schedule_with_rho_1_is_a_straight_line():
    straight = NoiseScales(sigma_min=1.0, sigma_max=4.0, rho=1.0, count=4)
    np.testing.assert_allclose(karras_sigmas(straight), [4.0, 3.0, 2.0, 1.0], atol=1e-6)


def test_scalings_by_hand():
    scales = NoiseScales(sigma_min=0.25, sigma_data=0.5)
    c_skip, c_out, c_in = boundary_scalings(torch.tensor([0.25, 1.2]), scales)
    # sigma = 1.2: c_skip = 0.25 / (0.95^2 + 0.25), c_in = 1 / sqrt(1.44 + 0.25) = 1 / 1.3, c_out = 0.95 * 0.5 / 1.3
    np.testing.assert_allclose(c_skip, [1.0, 0.25 / 1.1525], rtol=1e-6)
    np.testing.assert_allclose(c_out, [0.0, 0.475 / 1.3], rtol=1e-6)
    np.testing.assert_allclose(c_in, [1.0 / math.sqrt(0.3125), 1.0 / 1.3], rtol=1e-6)


def test_smallest_noise_gives_back_the_input():
    x = torch.tensor([[0.3, -0.7], [1.4, 0.0]])
    torch.testing.assert_close(make_head()(torch.randn(2, 3), x, torch.tensor([0.002])), x, atol=0, rtol=0)


def test_weights_by_hand():
    np.testing.assert_allclose(snr_weights(torch.tensor([0.5, 2.0, 80.0]), SCALES), [8.0, 4.25, 4.00015625], rtol=1e-6)


def test_reconstruction_loss_by_hand():
    denoised, actions = torch.tensor([[0.5, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    # weights 8 and 4.25, mean squares 0.125 and 0.5
    loss = reconstruction_loss(denoised, actions, torch.tensor([0.5, 2.0]), SCALES)
    np.testing.assert_allclose(float(loss), (8 * 0.125 + 4.25 * 0.5) / 2, rtol=1e-6)


def test_no_scale_weighs_more_than_another_network_error_at_the_largest():
    sigmas = karras_sigmas(SCALES)
    _, c_out, _ = boundary_scalings(sigmas, SCALES)
    effective = snr_weights(sigmas, SCALES) * c_out.square()  # = ((sigma - sigma_min) / sigma)^2
    np.testing.assert_allclose(effective, ((sigmas - 0.002) / sigmas).square(), rtol=1e-4, atol=1e-6)
    assert effective.max() <= 1.0


def test_many_noised_actions_of_one_observation_are_treated_as_each_alone():
    head, observed, noise = make_head(), torch.randn(4, 3), torch.randn(4, 5, 2)
    together = head.sample(observed, noise)
    assert together.shape == (4, 5, 2)
    for n in range(5):
        torch.testing.assert_close(together[:, n], head.sample(observed, noise[:, n]), atol=1e-5, rtol=1e-5)


def test_sample_is_one_step_from_the_largest_noise_and_clipped():
    head, observed, noise = make_head(), torch.randn(64, 3), torch.randn(64, 2)
    with torch.no_grad():
        head.trunk[-1].weight.mul_(20.0)
        expected = head(observed, 80.0 * noise, torch.full((64,), 80.0))
        action = head.sample(observed, noise)
    assert expected.abs().max() > 1.0
    torch.testing.assert_close(action, expected.clamp(-1, 1), atol=1e-6, rtol=1e-6)


def test_drawn_scales_are_all_but_the_smallest_equally_often():
    drawn = make_head().draw_sigmas(39_000, torch.Generator().manual_seed(0))
    values, counts = drawn.unique(return_counts=True)
    torch.testing.assert_close(values.flip(0), karras_sigmas(SCALES)[:-1])
    assert (counts - 1000).abs().max() < 150


def test_time_embedding_tells_neighbouring_scales_apart():
    embedding = time_embedding(karras_sigmas(SCALES))
    assert embedding.shape == (40, 16)
    assert torch.cdist(embedding, embedding).add(torch.eye(40) * 9).min() > 0.1


def test_unordered_scales_are_refused():
    with pytest.raises(ConfigError, match="no schedule"):
        NoiseScales(sigma_min=2.0, sigma_max=1.0)


def test_denoising_learns_a_mapping_from_observation_to_action():
    """Two observations, two actions: at the largest noise the head answers each one's own."""
    head, generator = make_head(), torch.Generator().manual_seed(1)
    observed = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).repeat(32, 1)
    actions = torch.tensor([[0.5, -0.5], [-0.9, 0.2]]).repeat(32, 1)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(300):
        sigma = head.draw_sigmas(64, generator)
        noised = actions + sigma[:, None] * torch.randn(actions.shape, generator=generator)
        loss = reconstruction_loss(head(observed, noised, sigma), actions, sigma, SCALES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        np.testing.assert_allclose(head.sample(observed, torch.zeros(64, 2)), actions, atol=0.1)
        assert (head.sample(observed, torch.randn(64, 2)) - actions).abs().mean() < 0.1
