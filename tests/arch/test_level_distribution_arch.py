"""LevelDistribution: distributions over levels, their intervals, and the prior that they make."""

from __future__ import annotations

import pytest
import torch

from deplsr_arch.level_distribution_arch import LevelDistribution, quantile
from deplsr_arch.number_tokens import distribution_tokens

SMALL = {'prior_dim': 16, 'num_feat': 8, 'num_block': 1, 'stride': 4, 'num_levels': 9, 'num_degradation_types': 3}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return LevelDistribution(**SMALL).eval()


@pytest.mark.parametrize('size', [(64, 64), (33, 70), (3, 5)])
def test_it_takes_photos_of_any_size(net, size):
    lq = torch.rand(2, 3, *size)
    assert net(lq).shape == (2, 3, 9)
    content, tokens = net.prior(lq)
    assert content.shape == (2, 1, 16)
    assert tokens.shape == (2, 3, 16)
    assert torch.isfinite(tokens).all()


def test_mean_and_interval_are_those_of_the_softmax(net):
    lq = torch.rand(5, 3, 32, 32)
    found = net.estimate(lq)
    share = net(lq).softmax(dim=-1)
    torch.testing.assert_close(found.mean, (share * torch.linspace(0, 1, 9)).sum(dim=-1))
    assert ((found.low <= found.mean) & (found.mean <= found.high)).all()


def test_the_quantiles_of_a_uniform_distribution_are_linear():
    share = torch.full((11,), 1 / 11)
    for at in (0.1, 0.5, 0.9):
        assert float(quantile(share, at)) == pytest.approx(at * 1.1 - 0.05, abs=1e-6)


def test_the_quantiles_of_a_certain_level_are_within_half_a_step_of_it():
    share = torch.zeros(11)
    share[4] = 1
    assert float(quantile(share, 0.05)) == pytest.approx(0.355)
    assert float(quantile(share, 0.95)) == pytest.approx(0.445)


def test_a_photo_far_out_of_range_has_no_prior(net):
    lq = torch.rand(4, 3, 32, 32)
    net.whitening.copy_(torch.eye(8))
    features = net.features(lq)
    net.centre.copy_(features.mean(dim=0))
    net.threshold.copy_((features - net.centre).square().mean(dim=1).sqrt().max())
    assert (net.estimate(lq).distance <= 1).all()
    assert net.prior(lq)[1].abs().max() > 0
    net.threshold.mul_(1e-3)
    assert (net.estimate(lq).distance > 2).all()
    assert net.prior(lq)[1].abs().max() == 0


def test_a_prior_too_narrow_for_mean_and_deviation_is_refused():
    with pytest.raises(ValueError, match='prior_dim: expected at least 6'):
        LevelDistribution(**{**SMALL, 'prior_dim': 5})


def test_at_use_the_deviation_is_wider_and_the_mean_is_the_same(net):
    lq = torch.rand(4, 3, 32, 32)
    _, trained = net.prior(lq)
    content, used = net.prior_at_use(lq)
    mean, deviation = net.moments(net.shares(net.features(lq)))
    torch.testing.assert_close(used, distribution_tokens(mean, (1.5 * deviation).clamp(max=0.5), 16))
    torch.testing.assert_close(trained, distribution_tokens(mean, deviation, 16))
    assert content.shape == (4, 1, 16)
    assert not torch.equal(used, trained)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return LevelDistribution(**SMALL, members=2).eval()


def test_two_members_return_the_mean_of_their_distributions(net, pair):
    """The first of them has the names of a single one."""
    lq = torch.rand(5, 3, 32, 40)
    alone = {name: value for name, value in pair.state_dict().items() if name.partition('.')[0] in ('trunk', 'head')}
    net.load_state_dict({**net.state_dict(), **alone})
    assert pair(lq).shape == (2, 5, 3, 9)
    torch.testing.assert_close(pair(lq)[0], net(lq))
    share = pair.shares(pair.features(lq))
    torch.testing.assert_close(share, pair(lq).softmax(dim=-1).mean(dim=0))
    assert pair.features(lq).shape == (5, 16)
    assert pair.estimate(lq).mean.shape == (5, 3)


def test_members_that_disagree_have_a_larger_deviation(pair):
    share = torch.zeros(2, 1, 3, 9)
    share[0, ..., 2], share[1, ..., 6] = 50, 50
    pair.logits = lambda features: share
    assert float(pair.moments(pair.shares(torch.zeros(1, 16)))[1].min()) == pytest.approx(0.25, abs=1e-3)
