"""Edits of estimates: what they parse, what they change, and that no edit changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from upscale_cases import DIM, TYPES, randomly

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch import DegradationAdaptor
from deplsr_arch.number_tokens import distribution_tokens
from deplsr_data.degradation.level_tables import level_table
from deplsr_model.level_text import neighbour_shares
from deplsr_model.prior import PriorInputs, PriorSetup, build_prior
from deplsr_model.upscaling.edits import Edit, Steering, check_edits, parse_edit, stated_levels
from deplsr_model.upscaling.steering import steered

TABLE = level_table('effective')
NETWORK_DA = {'num_feat': 8, 'prior_dim': DIM, 'num_degradation_types': TYPES}
ADAPTOR = {
    'type': 'DegradationAdaptor',
    'view': 'native',
    'num_degradation_types': TYPES,
    'clip': {
        'embed_dim': DIM,
        'vision_cfg': {'image_size': 16, 'patch_size': 8, 'width': 16, 'layers': 2, 'head_width': 8},
        'text_cfg': {'context_length': 48, 'vocab_size': 49408, 'width': 16, 'heads': 2, 'layers': 1},
    },
}


@pytest.fixture(scope='module')
def adaptor():
    torch.manual_seed(0)
    return DegradationAdaptor(**{key: value for key, value in copy.deepcopy(ADAPTOR).items() if key != 'type'}).eval()


@pytest.fixture(params=['distribution', 'numbers', 'mixture', 'embedding'])
def case(request, adaptor):
    """An estimator that can be edited, and what option prior: estimated returns for it."""
    form = 'embedding' if request.param == 'embedding' else 'mixture'
    blocks = {'distribution': 'LevelDistribution', 'numbers': 'LevelRegressor'}
    net = randomly({'type': blocks[request.param], **NETWORK_DA}) if request.param in blocks else adaptor
    return steered(net, TABLE, form), build_prior('estimated', PriorSetup(net, DIM, TABLE, form, TYPES))


@pytest.mark.parametrize(
    ('text', 'form', 'amount'),
    [
        ('-50%', 'percent', -50),
        ('+20%', 'percent', 20),
        ('20%', 'percent', 20),
        ('+0.5', 'shift', 0.5),
        ('-2', 'shift', -2),
        ('40', 'level', 40),
        ('.5', 'level', 0.5),
        (' 0 ', 'level', 0),
    ],
)
def test_an_edit_is_a_percentage_a_shift_or_a_level(text, form, amount):
    assert parse_edit('noise', text) == Edit('noise', form, amount)


@pytest.mark.parametrize('text', ['', 'much', '50 %', '--5', '1e3', '5px'])
def test_what_is_no_edit_is_one_line(text):
    with pytest.raises(UserError, match=r'--noise: expected a percentage such as -50%, a shift'):
        parse_edit('noise', text)


def test_a_percentage_acts_on_the_distance_from_the_zero_level():
    types = {one.name: one for one in TABLE.types}
    levels = torch.tensor([0.0, 10.0, 40.0])
    assert Edit('noise', 'percent', -50).apply(levels, types['noise']).tolist() == [0, 5, 20]
    assert Edit('jpeg', 'percent', -50).apply(levels, types['jpeg']).tolist() == [50, 55, 70]  # 100 is no JPEG
    assert Edit('blur', 'shift', 0.5).apply(levels, types['blur']).tolist() == [0.5, 10.5, 40.5]
    assert Edit('jpeg', 'level', 40).apply(levels, types['jpeg']).tolist() == [40, 40, 40]


def test_noise_means_gaussian_and_poisson_noise_where_levels_are_nominal():
    nominal = level_table('nominal').types
    assert [one.name for one in check_edits([parse_edit('noise', '-50%')], nominal)] == ['gaussian', 'poisson']
    assert [one.name for one in check_edits([parse_edit('noise', '+5')], nominal)] == ['gaussian']
    assert [one.name for one in check_edits([parse_edit('noise', '-50%')], TABLE.types)] == ['noise']


def test_an_unknown_level_is_one_line_with_the_nearest_name():
    with pytest.raises(UserError, match="--grian: the model estimates no level called 'grian'; did you mean 'grain'"):
        check_edits([parse_edit('grian', '0')], TABLE.types)


@pytest.mark.parametrize('text', ['0%', '+0%', '-0', '+0.0'])
def test_an_edit_of_nothing_is_left_out(text):
    assert check_edits([parse_edit('blur', text)], TABLE.types) == ()


@torch.no_grad()
def test_without_edits_the_prior_is_that_of_a_test(case):
    estimator, estimated = case
    lq = torch.rand(1, 3, 40, 56)
    expected = estimated(PriorInputs(lq, at_use=True))
    for got, wanted in zip(estimator.prior(estimator.observe(lq)), expected, strict=True):
        assert torch.equal(got, wanted)


@torch.no_grad()
def test_an_edit_changes_the_token_of_its_type_alone(case):
    estimator, _ = case
    seen = estimator.observe(torch.rand(1, 3, 40, 56))
    content, tokens = estimator.prior(seen)
    edited_content, edited = estimator.prior(seen, [Edit('jpeg', 'level', 40)])
    changed = [one.name for k, one in enumerate(TABLE.types) if not torch.equal(tokens[:, k], edited[:, k])]
    assert changed == ['jpeg']
    assert torch.equal(content, edited_content)
    assert dict(zip(TABLE.names, estimator.estimate(seen, [Edit('jpeg', 'level', 40)]).levels, strict=True))[
        'jpeg'
    ] == pytest.approx(40, abs=1e-3)


@torch.no_grad()
def test_edited_levels_follow_the_edit_and_stay_within_the_range(case):
    estimator, _ = case
    seen = estimator.observe(torch.rand(1, 3, 40, 56))
    noise = TABLE.names.index('noise')
    before = estimator.estimate(seen).levels[noise]
    half = estimator.estimate(seen, [Edit('noise', 'percent', -50)]).levels[noise]
    assert half == pytest.approx(before / 2, rel=1e-4)
    more = [estimator.estimate(seen, [Edit('noise', 'shift', shift)]).levels[noise] for shift in (-40, -1, 1, 40)]
    assert more == sorted(more)
    assert (more[0], more[-1]) == pytest.approx((0, 40), abs=1e-3)


@torch.no_grad()
def test_stated_levels_are_the_text_prior_of_an_adaptor(adaptor):
    text = 'noise with sigma:25.0, jpeg with quality factor:40.0'
    levels = stated_levels(text, (), TABLE)
    for form in ('mixture', 'embedding'):
        expected = build_prior(text, PriorSetup(adaptor, DIM, TABLE, form, TYPES))(PriorInputs(torch.rand(1, 3, 8, 8)))
        for got, wanted in zip(steered(adaptor, TABLE, form).stated(levels), expected, strict=True):
            assert torch.equal(got, wanted)


@torch.no_grad()
def test_stated_levels_without_text_are_what_a_certain_estimator_estimates():
    net = randomly({'type': 'LevelDistribution', **NETWORK_DA})
    levels = stated_levels('noise with sigma:10.0', (), TABLE)
    content, tokens = steered(net, TABLE).stated(levels)
    positions = torch.tensor([[0, 0.5, 0, 1, 0, 0, 0, 0.0]])  # of noise 10 the root, of noise 40 the highest level
    expected = distribution_tokens(*net.moments(neighbour_shares(positions, net.num_levels)), DIM)
    assert torch.allclose(tokens, expected)
    assert not content.any()


def test_stated_levels_are_edited_and_kept_within_the_range():
    edits = (Edit('noise', 'percent', -50), Edit('blur', 'shift', -1))
    levels = TABLE.named_levels(stated_levels('noise with sigma:20.0, blur with sigma:0.5', edits, TABLE))
    assert (levels['noise'], levels['blur'], levels['jpeg']) == (10, 0, 100)
    with pytest.raises(OptionError, match="'heavy noise' is no caption"):
        stated_levels('heavy noise', (), TABLE)


@torch.no_grad()
def test_out_of_range_photos_follow_levels_that_are_stated_and_ignore_relative_edits():
    net = randomly({'type': 'LevelDistribution', **NETWORK_DA})
    net.whitening.copy_(torch.eye(len(net.whitening)) * 1e4)
    estimator = steered(net, TABLE)
    seen = estimator.observe(torch.rand(1, 3, 40, 56))
    assert estimator.estimate(seen).out_of_range
    assert not estimator.prior(seen, [Edit('noise', 'percent', 50)])[1].any()
    tokens = estimator.prior(seen, [Edit('noise', 'level', 10)])[1]
    assert [bool(token.any()) for token in tokens[0]] == [one.name == 'noise' for one in TABLE.types]


@pytest.mark.parametrize('strength', [-0.1, 1.1])
def test_a_strength_beyond_0_to_1_is_one_line(strength):
    with pytest.raises(UserError, match='--strength: expected a number from 0 to 1'):
        Steering(strength=strength)


def test_an_estimator_with_more_types_than_its_levels_is_one_line():
    net = randomly({'type': 'LevelRegressor', **NETWORK_DA})
    with pytest.raises(UserError, match='expected at most 5, the types of nominal levels, got 8'):
        steered(net, level_table('nominal'))
