"""Fusion in networks of BasicSR: at first exactly the backbone, then it learns."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest
import torch

from basicsr_plugin.errors import UserError
from deplsr_arch import Fused, FusedDAT, FusedRRDBNet, FusedSwinIR
from deplsr_arch.fusion import CrossModalFusion
from deplsr_model.checkpoint import load_into

# isort: split
from basicsr.utils.registry import ARCH_REGISTRY

REAL_WEIGHTS = Path(__file__).parents[3] / 'shared/data/weights/RealESRGAN_x4plus_anime_6B_fp16.pth'
RRDB = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 5, 'num_grow_ch': 8}
SWIN = {'embed_dim': 12, 'depths': [2, 2], 'num_heads': [2, 2], 'window_size': 8, 'mlp_ratio': 2.0}
SWIN |= {'upscale': 4, 'upsampler': 'pixelshuffledirect'}
D = 8


def _edsr(**changes):
    backbone = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 4}
    return Fused(**{'backbone': backbone, 'fuse_at': ['body.0', 'body.2'], 'prior_dim': D, **changes})


def _rcan():
    backbone = {'type': 'RCAN', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_group': 2, 'num_block': 2}
    return Fused(backbone=backbone, fuse_at=['body.0', 'body.1'], prior_dim=D)


def _compact():
    backbone = {'type': 'SRVGGNetCompact', 'num_feat': 16, 'num_conv': 6}
    return Fused(backbone=backbone, fuse_at=['body.2', 'body.8'], prior_dim=D)


def _srresnet():
    backbone = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 3}
    return Fused(backbone=backbone, fuse_at=['body.0', 'body.2'], prior_dim=D)


NETWORKS = {
    'RRDBNet': lambda: FusedRRDBNet(**RRDB, prior_dim=D),
    'SwinIR': lambda: FusedSwinIR(**SWIN, prior_dim=D, fusion_num_heads=4),
    'EDSR': _edsr,
    'EDSR with attention': lambda: _edsr(fusion='residual'),
    'EDSR with kernels': lambda: _edsr(fusion='kernels'),
    'RCAN': _rcan,
    'SRVGGNetCompact': _compact,
    'MSRResNet': _srresnet,
}


def _activate(net):
    """Sets the weights of the fusions to values other than zero, as after some training."""
    for block in net.fusion_blocks.values():
        last = block.attn.proj if isinstance(block, CrossModalFusion) else block.out
        torch.nn.init.normal_(last.weight)


def _prior(batch, dim=D, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, dim, generator=rng), torch.randn(batch, 5, dim, generator=rng)


@pytest.mark.parametrize('name', NETWORKS)
def test_at_first_the_output_is_that_of_the_backbone(name):
    net = NETWORKS[name]().eval()
    stock = type(net.backbone)
    x = torch.rand(2, 3, 24, 16)
    with torch.no_grad():
        alone = net.backbone(x)
        fused = net(x, *_prior(2))
    assert stock.__module__.startswith('basicsr.')
    torch.testing.assert_close(fused, alone, atol=1e-6, rtol=0)
    assert fused.shape == (2, 3, 96, 64)


@pytest.mark.parametrize('name', NETWORKS)
def test_fifty_steps_move_all_fusion_weights_and_lower_the_loss(name):
    torch.manual_seed(0)
    net = NETWORKS[name]()
    before = copy.deepcopy(net.state_dict())
    x, gt = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    gt = torch.nn.functional.interpolate(gt, scale_factor=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(50):
        loss = (net(x, *_prior(2)) - gt).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    # a key's bias adds the same to all logits of a softmax, so it never gets a gradient
    moved = {k: (v - before[k]).abs().max() > 0 for k, v in net.state_dict().items() if k.startswith('fusion_blocks')}
    still = {key for key, value in moved.items() if not value and not key.endswith(('.k.bias', '.kv.bias'))}
    assert not still


@pytest.mark.parametrize('name', NETWORKS)
def test_once_it_has_learned_the_prior_changes_the_output(name):
    net = NETWORKS[name]().eval()
    _activate(net)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert (net(x, *_prior(1)) - net(x, *_prior(1, seed=1))).abs().max() > 1e-6


def _published_rrdb(folder):
    """A random RRDBNet in the layout of the published files: half precision under params_ema."""
    torch.manual_seed(1)
    net = ARCH_REGISTRY.get('RRDBNet')(**RRDB)
    path = folder / 'rrdb.pth'
    torch.save({'params_ema': {key: value.half() for key, value in net.state_dict().items()}}, path)
    return net, path


def test_a_checkpoint_of_the_backbone_loads_unchanged_and_missing_weights_are_returned(tmp_path):
    stock, path = _published_rrdb(tmp_path)
    net = FusedRRDBNet(**RRDB, prior_dim=D)
    kept = load_into(net, path, param_key='params_ema').kept
    assert kept == [key for key in net.state_dict() if not key.startswith('backbone.')]
    stock.half().float()
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(x, *_prior(1)), stock(x), atol=1e-6, rtol=0)


@pytest.mark.skipif(not REAL_WEIGHTS.exists(), reason='the published weights are not in shared/data/weights')
def test_real_esrgan_with_fusion_is_real_esrgan_at_first():
    stock = ARCH_REGISTRY.get('RRDBNet')(num_in_ch=3, num_out_ch=3, num_block=6)
    load_into(stock, REAL_WEIGHTS, param_key='params_ema')
    net = FusedRRDBNet(num_block=6, prior_dim=D)
    load_into(net, REAL_WEIGHTS, param_key='params_ema')
    x = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(net(x, *_prior(1)), stock(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('change', 'part'),
    [
        (lambda state: state.pop('conv_first.weight'), '1 missing: backbone.conv_first.weight'),
        (lambda state: state.update(conv_frist=torch.zeros(1)), '1 unexpected: backbone.conv_frist'),
        (lambda state: state.update({'conv_first.bias': torch.zeros(3)}), 'backbone.conv_first.bias (file (3,)'),
    ],
)
def test_a_checkpoint_that_is_not_the_backbones_is_refused(tmp_path, change, part):
    state = ARCH_REGISTRY.get('RRDBNet')(**RRDB).state_dict()
    change(state)
    torch.save({'params': state}, tmp_path / 'x.pth')
    with pytest.raises(UserError) as caught:
        load_into(FusedRRDBNet(**RRDB, prior_dim=D), tmp_path / 'x.pth')
    assert part in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_checkpoint_with_half_of_the_fusion_is_refused(tmp_path):
    net = FusedRRDBNet(**RRDB, prior_dim=D)
    state = {key: value for key, value in net.state_dict().items() if not key.startswith('fusion_blocks.1')}
    torch.save({'params': state}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'missing: fusion_blocks\.1'):
        load_into(net, tmp_path / 'x.pth')


def test_fused_dat_takes_a_plain_dats_checkpoint_and_returns_its_output(tmp_path):
    sizes = {'upscale': 2, 'img_size': 16, 'split_size': [4, 8], 'depth': [2], 'embed_dim': 16, 'num_heads': [2]}
    sizes |= {'expansion_factor': 2, 'pos_dim': 4}
    plain = ARCH_REGISTRY.get('DAT')(**sizes).eval()
    torch.save({'params': plain.state_dict()}, tmp_path / 'dat.pth')
    net = FusedDAT(**sizes, prior_dim=D, fusion_num_heads=4, fusion_init='identity').eval()
    load_into(net, tmp_path / 'dat.pth')
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(x, *_prior(1)), plain(x), atol=1e-6, rtol=0)


def test_its_own_checkpoint_loads_completely(tmp_path):
    nets = [_edsr(), _edsr()]
    torch.save({'params': nets[0].state_dict()}, tmp_path / 'x.pth')
    assert load_into(nets[1], tmp_path / 'x.pth').kept == []
    for ours, theirs in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_images_are_mirrored_to_the_sides_that_the_backbone_needs():
    swin = NETWORKS['SwinIR']().eval()
    halving = FusedRRDBNet(**RRDB, scale=2, prior_dim=D).eval()
    with torch.no_grad():
        assert swin(torch.rand(1, 3, 5, 21), *_prior(1)).shape == (1, 3, 20, 84)
        assert halving(torch.rand(1, 3, 23, 25), *_prior(1)).shape == (1, 3, 46, 50)


def test_copies_and_threads_do_not_mix_their_priors():
    net = _edsr()
    _activate(net)
    twin = copy.deepcopy(net)
    x = torch.rand(1, 3, 32, 32)
    alone = [net(x, *_prior(1, seed=seed)).detach() for seed in range(4)]
    together = [None] * 4

    def run(seed):
        for _ in range(5):
            together[seed] = (net, twin)[seed % 2](x, *_prior(1, seed=seed)).detach()

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_it_runs_in_half_precision():
    net = NETWORKS['RRDBNet']()
    with torch.autocast('cpu', torch.bfloat16):
        out = net(torch.rand(1, 3, 16, 16), *_prior(1))
    out.float().mean().backward()
    assert out.isfinite().all()


def test_building_it_does_not_change_the_start_of_the_backbone():
    torch.manual_seed(3)
    plain = ARCH_REGISTRY.get('EDSR')(num_in_ch=3, num_out_ch=3, num_feat=16, num_block=4)
    torch.manual_seed(3)
    net = _edsr()
    assert net.backbone.training
    for ours, theirs in zip(net.backbone.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_each_image_is_filtered_by_kernels_of_its_own_prior():
    net = _edsr(fusion='kernels').eval()
    _activate(net)
    x, (xi, xd) = torch.rand(3, 3, 9, 11), _prior(3)
    together = net(x.to(memory_format=torch.channels_last), xi, xd)
    alone = torch.cat([net(x[i : i + 1], xi[i : i + 1], xd[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together, net(x, xi, xd.flip(0)), atol=1e-5)


def test_kernels_need_maps_and_start_as_identity():
    swin = {'type': 'SwinIR', 'img_size': 16, **SWIN}
    with pytest.raises(ValueError, match=r"'layers.0': expected a map \(B, C, h, w\) with fusion: kernels, got"):
        Fused(backbone=swin, fuse_at=['layers.0'], prior_dim=D, fusion='kernels')
    with pytest.raises(ValueError, match="fusion_init: expected 'identity' with fusion: kernels, got 'paper'"):
        _edsr(fusion='kernels', fusion_init='paper')
    with pytest.raises(ValueError, match="fusion: expected 'film' or 'kernels' or 'residual' or 'paper', got 'kernel'"):
        _edsr(fusion='kernel')
    net = _edsr(fusion='kernels')
    with pytest.raises(UserError, match='5 degradation tokens with fusion: kernels, got 1 and 2'):
        net(torch.rand(1, 3, 8, 8), torch.rand(1, 1, D), torch.rand(1, 2, D))
