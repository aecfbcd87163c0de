"""The prior of stage 2: from the adaptor, from words, from true captions, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.options import read_options
from deplsr_arch import DegradationAdaptor, LevelRegressor
from deplsr_arch.level_regressor_arch import number_tokens
from deplsr_data.degradation.captions import DEGRADATION_TYPES
from deplsr_data.tokens import tokenize
from deplsr_model.deplsr_model import DePLSRModel
from deplsr_model.level_words import LevelEmbeddings
from deplsr_model.options import SROptions
from deplsr_model.prior import Prior, drop_prior, parse_levels
from deplsr_model.vocabulary import TRAINING_LEVELS, embed_levels

LQ = torch.rand(2, 3, 16, 16)


@pytest.fixture
def adaptor(stage2):
    torch.manual_seed(0)
    return DegradationAdaptor(**{key: value for key, value in stage2['network_da'].items() if key != 'type'}).eval()


def fine_texts(words):
    return [
        degradation_type.say(level)
        for degradation_type, level in zip(DEGRADATION_TYPES, parse_levels(words), strict=True)
    ]


@pytest.mark.parametrize(
    ('words', 'levels'),
    [
        ('jpeg with quality factor:40.0', (0, 0, 0, 40, 0)),
        ('A photo with jpeg with quality factor:40.0', (0, 0, 0, 40, 0)),
        ('blur with sigma:1.5, gaussian noise with sigma:25.0', (1.5, 25, 0, 100, 0)),
        (' ringing and overshoot artifacts ,poisson noise with scale:2.0', (0, 0, 2, 100, 1)),
    ],
)
def test_words_are_fine_captions_and_what_they_leave_out_is_not_there(words, levels):
    assert parse_levels(words) == list(levels)


@pytest.mark.parametrize(
    ('words', 'part'),
    [
        ('adapter', "'adapter' is no caption"),
        ('blur with sigma:1.5, hue', "'hue' is no caption"),
        ('', "'' is no caption"),
        ('blur with sigma:1.0, blur with sigma:2.0', 'each degradation type once'),
    ],
)
def test_other_words_are_refused_in_one_line(words, part):
    with pytest.raises(OptionError) as caught:
        parse_levels(words)
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)


def test_words_become_the_embeddings_that_captions_have_in_training(adaptor):
    words = 'gaussian noise with sigma:25.0, jpeg with quality factor:40.0'
    content, degradation = Prior(words, adaptor, 16, 'ViT-B-32', 'embedding')(LQ)
    expected = adaptor.encode_text(tokenize(fine_texts(words), 'ViT-B-32', 48))
    assert not content.any()
    assert content.shape == (2, 1, 16)
    torch.testing.assert_close(degradation, expected.expand(2, -1, -1), atol=1e-6, rtol=0)


def test_true_captions_are_encoded_photo_by_photo(adaptor):
    texts = [[f'photo {i}', 'blur', *fine_texts(f'blur with sigma:{i + 1}.0')] for i in range(2)]
    tokens = torch.stack([tokenize(seven, 'ViT-B-32', 48) for seven in texts])
    content, degradation = Prior('captions', adaptor, 16, 'ViT-B-32', 'embedding')(LQ, tokens, torch.zeros(2, 5))
    assert not content.any()
    for i in range(2):
        torch.testing.assert_close(degradation[i], adaptor.encode_text(tokens[i, 2:]), atol=1e-6, rtol=0)


def test_true_captions_are_asked_of_the_data_set(adaptor):
    with pytest.raises(UserError, match='prior: expected a data set with captions'):
        Prior('captions', adaptor, 16, 'ViT-B-32')(LQ)


def test_said_and_true_levels_are_the_same_words_and_what_is_read_is_a_mixture_of_them(adaptor):
    levels = torch.tensor([[1.5, 25.0, 0.0, 40.0, 0.0]]).expand(2, -1)
    said = Prior(
        'blur with sigma:1.5, gaussian noise with sigma:25.0, jpeg with quality factor:40.0', adaptor, 16, 'ViT-B-32'
    )
    true = Prior('captions', adaptor, 16, 'ViT-B-32')(LQ, torch.zeros(2, 7, 48, dtype=torch.long), levels)
    torch.testing.assert_close(said(LQ), true)
    read = Prior('adaptor', adaptor, 16, 'ViT-B-32')(LQ)[1]
    words = LevelEmbeddings(embed_levels(adaptor, TRAINING_LEVELS, 'ViT-B-32', '{}', torch.device('cpu')))
    with torch.no_grad():
        torch.testing.assert_close(read, words.from_estimate(adaptor.prior(LQ)[1], adaptor.logit_scale.exp()))


def test_true_levels_come_as_numbers_and_clip_as_its_own_embedding(adaptor):
    levels = torch.tensor([[3.0, 0.0, 1.5, 100.0, 1.0]]).expand(2, -1)
    content, degradation = Prior('levels', None, 16, '')(LQ, torch.zeros(2, 7, 48, dtype=torch.long), levels)
    assert not content.any()
    torch.testing.assert_close(degradation[0, :, :5], torch.diag(torch.tensor([1.0, -1, 0, 1, 1])) / 4)
    assert not degradation[..., 5:].any()
    content, degradation = Prior('clip', adaptor, 16, 'ViT-B-32')(LQ)
    assert torch.equal(degradation, content.expand(-1, 5, -1))
    untrained = adaptor.prior(LQ)[0]  # whose corrections are zero
    torch.testing.assert_close(content, untrained.detach())


@pytest.mark.parametrize('source', ['captions', 'clip', 'jpeg with quality factor:40.0'])
def test_a_reader_without_words_cannot_give_words(source):
    with pytest.raises(OptionError, match='a text tower'):
        Prior(source, LevelRegressor(prior_dim=16), 16, '')


def test_a_regressor_stands_in_the_adaptors_place():
    net = LevelRegressor(prior_dim=16, num_feat=8).eval()
    content, degradation = Prior('adaptor', net, 16, '')(LQ)
    assert (content.shape, degradation.shape) == ((2, 1, 16), (2, 5, 16))
    with torch.no_grad():
        assert torch.equal(degradation, number_tokens(net(LQ), 16))


def test_the_adaptor_reads_the_photo_and_none_is_zeros(adaptor):
    with torch.no_grad():
        for ours, theirs in zip(Prior('adaptor', adaptor, 16, '', 'embedding')(LQ), adaptor.prior(LQ), strict=True):
            assert torch.equal(ours, theirs)
    content, degradation = Prior('none', None, 16, '')(LQ)
    assert (content.shape, degradation.shape) == ((2, 1, 16), (2, 5, 16))
    assert not content.any()
    assert not degradation.any()


def test_dropout_zeroes_content_and_degradation_apart_and_keeps_the_rest():
    content, degradation = drop_prior((torch.ones(4000, 1, 3), torch.ones(4000, 5, 3)), 0.25, (0, 0, 1))
    kept = [part.flatten(1).mean(1) for part in (content, degradation)]
    for part in kept:
        assert set(part.tolist()) == {0.0, 1.0}
        assert abs(part.mean() - 0.75) < 0.03
    assert abs((kept[0] * kept[1]).mean() - 0.75**2) < 0.03


def test_no_dropout_passes_the_prior_itself():
    prior = torch.ones(2, 1, 3), torch.ones(2, 5, 3)
    assert drop_prior(prior, 0, (0, 0, 1)) is prior


def test_dropout_depends_on_seed_rank_and_iteration_and_on_nothing_else():
    prior = torch.ones(64, 1, 1), torch.ones(64, 5, 1)
    keys = [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)]
    drawn = []
    for key in keys:
        torch.manual_seed(len(drawn))
        drawn.append(drop_prior(prior, 0.5, key)[1])
    assert len({tuple(one[:, 0, 0].tolist()) for one in drawn}) == len(keys)
    assert torch.equal(drop_prior(prior, 0.5, keys[0])[1], drawn[0])


def test_words_go_through_the_tokenizer_of_the_data_set_or_else_of_the_adaptors_clip(stage2):
    def named(**dataset):
        model = DePLSRModel.__new__(DePLSRModel)
        network = {**stage2['network_da'], 'clip': 'ViT-B-16-SigLIP'}
        model.options = read_options(SROptions, {**stage2, 'datasets': {'test': dataset}, 'network_da': network}, '')
        return model._tokenizer()

    assert named(type='SingleImageDataset') == 'ViT-B-16-SigLIP'
    assert named(tokenizer='ViT-L-14') == 'ViT-L-14'


@pytest.mark.parametrize('prior', ['captions', 'levels', 'clip', 'jpeg with quality factor:40.0', 'none'])
def test_stage_2_trains_and_tests_with_each_prior(workplace, stage2, trained_adaptor, prior):
    options = {**stage2, 'prior': prior}
    changes = {'path__pretrain_network_da': str(trained_adaptor), 'train__prior_dropout': 0.2}
    assert workplace.run('train', options, **changes) == 0
    assert Path('experiments/sr/models/net_g_latest.pth').exists()


def test_words_can_be_given_on_the_command_line_of_a_test(workplace, stage2, trained_adaptor, capsys):
    path = {'pretrain_network_da': str(trained_adaptor)}
    assert workplace.run('train', stage2, path=path) == 0
    test = {key: value for key, value in stage2.items() if key not in ('train', 'logger')}
    test['datasets'] = {'test': {**stage2['datasets']['val'], 'name': 'photos'}}
    test['path'] = {**path, 'pretrain_network_g': 'experiments/sr/models/net_g_latest.pth', 'param_key_g': 'params_ema'}
    test['prior'] = 'adaptor'
    test['val'] = {**stage2['val'], 'save_img': True}
    images = {}
    for words in ('gaussian noise with sigma:0.0', 'gaussian noise with sigma:30.0'):
        force = ('--force_yml', f'prior={words}', f'name=run{len(images)}')
        assert workplace.run('test', test, *force) == 0
        folder = Path(f'results/run{len(images)}/visualization/photos')
        images[words] = [path.read_bytes() for path in sorted(folder.glob('*.png'))]
        assert len(images[words]) == 8
    assert workplace.run('test', test, '--force_yml', 'prior=none', 'name=without') == 0
    assert workplace.run('test', test, '--force_yml', 'prior=lots of noise') == 2
    assert "'lots of noise' is no caption" in capsys.readouterr().err
