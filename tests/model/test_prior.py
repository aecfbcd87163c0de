"""The prior of stage 2: estimated, from true captions, from a text, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch import DegradationAdaptor, LevelRegressor
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.tokens import tokenize
from deplsr_model.level_text import LevelEmbeddings, embed_levels
from deplsr_model.prior import (
    PriorInputs,
    PriorSetup,
    build_prior,
    check_source,
    needs_estimator,
    parse_levels,
    register_prior,
)
from deplsr_model.prior_dropout import drop_prior

NOMINAL = level_table('nominal')
LQ = torch.rand(2, 3, 16, 16)
TRUE = torch.tensor([[1.5, 25.0, 0.0, 40.0, 0.0]]).expand(2, -1)
TRUE_TEXT = 'blur with sigma:1.5, gaussian noise with sigma:25.0, jpeg with quality factor:40.0'


@pytest.fixture
def adaptor(stage2):
    torch.manual_seed(0)
    return DegradationAdaptor(**{key: value for key, value in stage2['network_da'].items() if key != 'type'}).eval()


def prior(source, estimator, form='mixture'):
    return build_prior(source, PriorSetup(estimator, 16, NOMINAL, form))


def fine_texts(text):
    return NOMINAL.fine_captions(parse_levels(text, NOMINAL))


@pytest.mark.parametrize(
    ('text', 'levels'),
    [
        ('jpeg with quality factor:40.0', (0, 0, 0, 40, 0)),
        ('A photo with jpeg with quality factor:40.0', (0, 0, 0, 40, 0)),
        ('blur with sigma:1.5, gaussian noise with sigma:25.0', (1.5, 25, 0, 100, 0)),
        (' ringing and overshoot artifacts ,poisson noise with scale:2.0', (0, 0, 2, 100, 1)),
    ],
)
def test_a_text_consists_of_fine_captions_and_what_it_does_not_name_is_at_its_zero_level(text, levels):
    assert parse_levels(text, NOMINAL) == levels


@pytest.mark.parametrize(
    ('text', 'part'),
    [
        ('estimatd', 'prior: expected estimated, none, captions'),
        ('blur with sigma:1.5, hue', "'hue' is no caption"),
        ('', "'' is no caption"),
        ('blur with sigma:1.0, blur with sigma:2.0', 'each degradation type once'),
    ],
)
def test_any_other_text_is_refused_in_one_line(text, part):
    with pytest.raises(OptionError) as caught:
        check_source(text, NOMINAL)
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_text_has_the_embeddings_that_captions_have_in_training(adaptor):
    text = 'gaussian noise with sigma:25.0, jpeg with quality factor:40.0'
    content, degradation = prior(text, adaptor, 'embedding')(PriorInputs(LQ))
    expected = adaptor.encode_text(tokenize(fine_texts(text), 'ViT-B-32', 48))
    assert not content.any()
    assert content.shape == (2, 1, 16)
    torch.testing.assert_close(degradation, expected.expand(2, -1, -1), atol=1e-6, rtol=0)


def test_true_captions_are_encoded_photo_by_photo(adaptor):
    texts = [[f'photo {i}', 'blur', *fine_texts(f'blur with sigma:{i + 1}.0')] for i in range(2)]
    tokens = torch.stack([tokenize(seven, 'ViT-B-32', 48) for seven in texts])
    content, degradation = prior('captions', adaptor, 'embedding')(PriorInputs(LQ, tokens, torch.zeros(2, 5)))
    assert not content.any()
    for i in range(2):
        torch.testing.assert_close(degradation[i], adaptor.encode_text(tokens[i, 2:]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('form', 'inputs', 'missing'),
    [
        ('mixture', PriorInputs(LQ, tokens=torch.zeros(2, 7, 48, dtype=torch.long)), 'levels'),
        ('embedding', PriorInputs(LQ, levels=TRUE), 'tokens'),  # became number tokens in version 0.1
        ('mixture', PriorInputs(LQ), 'levels'),
    ],
)
def test_true_captions_without_the_input_that_the_form_needs_are_refused_in_one_line(adaptor, form, inputs, missing):
    with pytest.raises(UserError, match=f"^prior: expected a data set with captions .*needs '{missing}'"):
        prior('captions', adaptor, form)(inputs)


def test_a_text_and_the_same_true_levels_are_the_same_prior_and_an_estimate_is_a_mixture_of_it(adaptor):
    true = prior('captions', adaptor)(PriorInputs(LQ, torch.zeros(2, 7, 48, dtype=torch.long), TRUE))
    torch.testing.assert_close(prior(TRUE_TEXT, adaptor)(PriorInputs(LQ)), true)
    embeddings = LevelEmbeddings(embed_levels(adaptor, NOMINAL))
    with torch.no_grad():
        estimated = embeddings.from_estimate(adaptor.prior(LQ)[1], adaptor.logit_scale.exp())
        torch.testing.assert_close(prior('estimated', adaptor)(PriorInputs(LQ))[1], estimated)


@pytest.mark.parametrize('source', ['captions', 'jpeg with quality factor:40.0'])
@pytest.mark.parametrize('estimator', [None, LevelRegressor(prior_dim=16)])
def test_captions_and_texts_need_an_estimator_with_a_text_tower(source, estimator):
    with pytest.raises(OptionError, match='prior: expected a network_da with a text tower'):
        prior(source, estimator)


def test_an_estimated_prior_needs_an_estimator():
    with pytest.raises(OptionError, match='prior: expected a network_da for prior: estimated, got none'):
        prior('estimated', None)


@pytest.mark.parametrize('form', ['mixture', 'embedding'])
def test_a_regressor_replaces_the_adaptor_in_both_forms(form):
    net = LevelRegressor(prior_dim=16, num_feat=8).eval()
    content, degradation = prior('estimated', net, form)(PriorInputs(LQ))
    assert (content.shape, degradation.shape) == ((2, 1, 16), (2, 5, 16))
    assert torch.equal(degradation, net.prior(LQ)[1])
    assert not degradation.requires_grad


def test_in_the_published_form_an_estimate_is_the_embedding_and_none_is_zeros(adaptor):
    with torch.no_grad():
        ours, theirs = prior('estimated', adaptor, 'embedding')(PriorInputs(LQ)), adaptor.prior(LQ)
        assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
    content, degradation = prior('none', None)(PriorInputs(LQ))
    assert (content.shape, degradation.shape) == ((2, 1, 16), (2, 5, 16))
    assert not content.any()
    assert not degradation.any()


def test_a_plugin_registers_its_own_source():
    @register_prior('ones', needs_estimator=False)
    def ones(setup):
        return lambda inputs: (torch.ones(len(inputs.lq), 1, setup.dim), torch.ones(len(inputs.lq), 5, setup.dim))

    check_source('ones', NOMINAL)
    assert not needs_estimator('ones')
    assert needs_estimator('estimated')
    assert needs_estimator('jpeg with quality factor:40.0')
    assert prior('ones', None)(PriorInputs(LQ))[1].all()
    with pytest.raises(OptionError, match='prior: expected estimated, none, captions, ones, or a text'):
        check_source('twos', NOMINAL)
    with pytest.raises(ValueError, match="'ones', which is taken"):
        register_prior('ones')(ones)


def test_dropout_zeroes_content_and_degradation_independently_and_keeps_the_rest():
    content, degradation = drop_prior((torch.ones(4000, 1, 3), torch.ones(4000, 5, 3)), 0.25, (0, 0, 1))
    kept = [part.flatten(1).mean(1) for part in (content, degradation)]
    for part in kept:
        assert set(part.tolist()) == {0.0, 1.0}
        assert abs(part.mean() - 0.75) < 0.03
    assert abs((kept[0] * kept[1]).mean() - 0.75**2) < 0.03


def test_without_dropout_the_prior_itself_is_returned():
    given = torch.ones(2, 1, 3), torch.ones(2, 5, 3)
    assert drop_prior(given, 0, (0, 0, 1)) is given


def test_dropout_depends_on_seed_rank_and_iteration_and_on_nothing_else():
    given = torch.ones(64, 1, 1), torch.ones(64, 5, 1)
    keys = [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)]
    drawn = []
    for key in keys:
        torch.manual_seed(len(drawn))
        drawn.append(drop_prior(given, 0.5, key)[1])
    assert len({tuple(one[:, 0, 0].tolist()) for one in drawn}) == len(keys)
    assert torch.equal(drop_prior(given, 0.5, keys[0])[1], drawn[0])


@pytest.mark.parametrize('form', ['mixture', 'embedding'])
@pytest.mark.parametrize('source', ['captions', 'jpeg with quality factor:40.0', 'none'])
def test_stage_2_trains_with_each_source_in_each_form(workplace, stage2, trained_adaptor, source, form):
    options = {**stage2, 'prior': source, 'prior_form': form}
    changes = {'path__pretrain_network_da': str(trained_adaptor), 'train__prior_dropout': 0.2}
    assert workplace.run('train', options, **changes) == 0
    assert Path('experiments/sr/models/net_g_latest.pth').exists()


def test_a_text_can_be_given_on_the_command_line_of_a_test(workplace, stage2, trained_adaptor, capsys):
    path = {'pretrain_network_da': str(trained_adaptor)}
    assert workplace.run('train', stage2, path=path) == 0
    test = {key: value for key, value in stage2.items() if key not in ('train', 'logger')}
    test['datasets'] = {'test': {**stage2['datasets']['val'], 'name': 'photos'}}
    test['path'] = {**path, 'pretrain_network_g': 'experiments/sr/models/net_g_latest.pth', 'param_key_g': 'params_ema'}
    test['prior'] = 'estimated'
    test['val'] = {**stage2['val'], 'save_img': True}
    images = {}
    for text in ('noise with sigma:0.0', 'noise with sigma:30.0'):
        force = ('--force_yml', f'prior={text}', f'name=run{len(images)}')
        assert workplace.run('test', test, *force) == 0
        folder = Path(f'results/run{len(images)}/visualization/photos')
        images[text] = [path.read_bytes() for path in sorted(folder.glob('*.png'))]
        assert len(images[text]) == 8
    assert workplace.run('test', test, '--force_yml', 'prior=none', 'name=without') == 0
    assert workplace.run('test', test, '--force_yml', 'prior=lots of noise') == 2
    assert "'lots of noise' is no caption" in capsys.readouterr().err
