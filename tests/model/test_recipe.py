"""`recipe: paper`: the published form by one key; both forms train."""

from __future__ import annotations

import pytest
import torch

from basicsr_plugin.errors import OptionError
from deplsr_arch.fusion import CrossModalFusion, PriorModulation
from deplsr_model.deplsr_model import DePLSRModel
from deplsr_model.recipe import apply_recipe


def _published(stage1):
    """Stage 1 without what the recipe sets."""
    network = {key: value for key, value in stage1['network_da'].items() if key not in ('view', 'stem', 'logit_init')}
    train = {key: value for key, value in stage1['train'].items() if key != 'contrastive_opt'}
    return {**stage1, 'network_da': network, 'train': train, 'recipe': 'paper'}


def test_both_forms_of_both_stages_train(workplace, stage1, stage2, capsys):
    published1 = _published(stage1)
    published2 = {**stage2, 'recipe': 'paper', 'network_da': published1['network_da']}
    for form, (one, two) in {'ours': (stage1, stage2), 'paper': (published1, published2)}.items():
        assert workplace.run('train', one, name=f'adaptor_{form}') == 0
        weights = f'experiments/adaptor_{form}/models/net_da_latest.pth'
        assert workplace.run('train', two, name=f'sr_{form}', path__pretrain_network_da=weights) == 0
        state = torch.load(f'experiments/sr_{form}/models/net_g_latest.pth', weights_only=True)['params']
        assert ('fusion_blocks.0.attn.attn_d.q.weight' in state) == (form == 'paper')
        adaptor = torch.load(weights, weights_only=True)['params']
        assert ('logit_bias' in adaptor) == (form == 'paper')  # the sigmoid loss has one


def test_the_recipe_sets_what_the_paper_has():
    opt = {
        'recipe': 'paper',
        'network_g': {'type': 'FusedDAT'},
        'network_da': {'type': 'DegradationAdaptor'},
        'train': {},
    }
    apply_recipe(opt, ('prior_form', 'network_g', 'network_da', 'train'))
    assert opt['prior_form'] == 'embedding'
    assert opt['network_g']['fusion'] == 'paper'
    assert opt['network_da'] == {
        'type': 'DegradationAdaptor',
        'view': 'resize',
        'stem': 'patch',
        'logit_init': 'siglip',
    }
    assert opt['train']['contrastive_opt']['type'] == 'DegradationSigmoidLoss'


def test_the_default_gives_way_to_the_file_and_sets_the_rest_as_measured():
    opt = {'network_da': {'type': 'DegradationAdaptor', 'stem': 'patch'}, 'train': {'contrastive_opt': {'type': 'X'}}}
    apply_recipe(opt, ('prior_form', 'network_da', 'train'))
    assert opt['prior_form'] == 'words'
    assert opt['network_da'] == {
        'type': 'DegradationAdaptor', 'stem': 'patch', 'view': 'native', 'logit_init': 'clip',
    }  # fmt: skip
    assert opt['train'] == {'contrastive_opt': {'type': 'X'}}
    opt = {'network_da': {'type': 'LevelRegressor'}, 'train': {}}
    apply_recipe(opt, ('network_da', 'train'))
    assert opt == {
        'network_da': {'type': 'LevelRegressor'}, 'train': {'contrastive_opt': {'type': 'DegradationOrdinalLoss'}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ('opt', 'line'),
    [
        ({'recipe': 'papper'}, "recipe: expected one of measured, paper, got 'papper'; did you mean 'paper'"),
        (
            {'recipe': 'paper', 'network_g': {'fusion': 'film'}},
            "network_g.fusion: expected 'paper' with recipe: paper, got 'film'",
        ),
        (
            {'recipe': 'paper', 'prior_form': 'words'},
            "prior_form: expected 'embedding' with recipe: paper, got 'words'",
        ),
    ],
)
def test_what_contradicts_it_is_refused_in_one_line(opt, line):
    with pytest.raises(OptionError) as caught:
        apply_recipe(opt, ('prior_form', 'network_g'))
    assert line in str(caught.value)
    assert '\n' not in str(caught.value)


def test_the_default_fusion_is_the_one_that_measures_best():
    from deplsr_arch import Fused

    net = Fused(backbone={'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 2}, fuse_at=['body.0'])
    assert isinstance(net.fusion_blocks['0'], PriorModulation)
    published = Fused(
        backbone={'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_block': 2}, fuse_at=['body.0'], fusion='paper'
    )
    assert isinstance(published.fusion_blocks['0'], CrossModalFusion)
    assert DePLSRModel.options_class.__dataclass_fields__['prior_form'].default == 'words'
