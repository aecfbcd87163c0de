"""Calibration: temperatures, intervals that cover, and the range of familiar photos."""

from __future__ import annotations

import pytest
import torch

from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_model.calibration import calibrate, level_cross_entropy
from deplsr_model.level_text import neighbour_shares


class Brightness(LevelDistribution):
    """Features are brightness and noise; the level is estimated from the brightness, with a chosen certainty."""

    def __init__(self, certainty: float) -> None:
        super().__init__(prior_dim=4, num_feat=2, stride=2, num_levels=21, num_degradation_types=1)
        self.certainty = certainty

    def features(self, lq):
        return torch.stack([lq.mean(dim=(1, 2, 3)), lq.std(dim=(1, 2, 3))], dim=1)

    def logits(self, features):
        return -((features[:, :1, None] - self.positions()) ** 2) * self.certainty


@pytest.fixture(scope='module')
def crops():
    """Photos whose brightness is their level with an error of 0.1."""
    generator = torch.Generator().manual_seed(0)
    level = 0.2 + 0.6 * torch.rand(2000, 1, generator=generator)
    brightness = level + 0.1 * torch.randn(2000, 1, generator=generator)
    lq = brightness[:, :, None, None] + 0.01 * torch.randn(2000, 3, 8, 8, generator=generator)
    return lq, level


@pytest.mark.parametrize('certainty', [5.0, 50.0, 5000.0])
def test_intervals_cover_nine_tenths_of_other_photos(crops, certainty):
    lq, level = crops
    net = Brightness(certainty)
    calibrate(net, [(lq[:1000], level[:1000])])
    found = net.estimate(lq[1000:])
    covered = ((found.low <= level[1000:]) & (level[1000:] <= found.high)).float().mean()
    assert 0.86 < float(covered) < 0.94


def test_photos_without_a_degradation_do_not_widen_the_intervals_of_the_others(crops):
    lq, level = (part.clone() for part in crops)
    level[::3], lq[::3] = 0, 0
    net = Brightness(50.0)
    calibrate(net, [(lq[:1000], level[:1000])])
    found = net.estimate(lq[1000:])
    covered = ((found.low <= level[1000:]) & (level[1000:] <= found.high)).float().mean()
    assert 0.86 < float(covered) < 0.94


def test_an_overconfident_estimator_is_cooled_to_the_right_temperature(crops):
    lq, level = crops
    net = Brightness(200.0)
    calibrate(net, [(lq, level)])
    # exp(-(x - l)^2 c / T) is the density of an error of 0.1 where c / T = 1 / (2 * 0.1^2) = 50
    assert float(net.temperature) == pytest.approx(200 / 50, rel=0.15)


def test_familiar_photos_are_in_range_and_others_are_not(crops):
    lq, level = crops
    net = Brightness(50.0)
    calibrate(net, [(lq[:1000], level[:1000])])
    assert float((net.estimate(lq[1000:]).distance > 1).float().mean()) < 0.06
    strange = torch.rand(50, 3, 8, 8)  # of a contrast that none of them has
    assert (net.estimate(strange).distance > 1).all()


def test_photos_beyond_the_range_of_a_type_are_recognised_by_others_like_them(crops):
    lq, level = crops
    brighter = 0.86 + 0.1 * torch.rand(400, 1, 1, 1) + 0.01 * torch.randn(400, 3, 8, 8)
    shown, others = brighter[:200], brighter[200:]
    plain, exposed = Brightness(50.0), Brightness(50.0)
    calibrate(plain, [(lq[:1000], level[:1000])])
    calibrate(exposed, [(lq[:1000], level[:1000])], {0: shown})
    before, after = (float((net.estimate(others).distance > 1).float().mean()) for net in (plain, exposed))
    assert before < 0.6
    assert after > 0.8
    assert float((exposed.estimate(lq[1000:]).distance > 1).float().mean()) < 0.06


def test_an_estimator_of_version_0_2_0_has_nothing_beyond_its_range():
    net = Brightness(50.0)
    state = {name: value for name, value in net.state_dict().items() if not name.startswith('beyond')}
    net.beyond_bias.fill_(9)
    net.load_state_dict(state)
    assert float(net.beyond_bias) == 0
    with pytest.raises(RuntimeError, match='threshold'):
        net.load_state_dict({name: value for name, value in state.items() if name != 'threshold'})


def test_levels_are_shared_between_neighbours():
    shares = neighbour_shares(torch.tensor([0.0, 0.3, 1.2]), 11)
    assert shares.sum(dim=-1).tolist() == pytest.approx([1, 1, 1])
    assert (shares @ torch.linspace(0, 1, 11)).tolist() == pytest.approx([0, 0.3, 1])


def test_the_cross_entropy_is_least_for_the_true_shares():
    positions = torch.tensor([[0.3]])
    right = neighbour_shares(positions, 5).clamp(min=1e-9).log()
    assert level_cross_entropy(right, positions) < level_cross_entropy(torch.zeros(1, 1, 5), positions)
