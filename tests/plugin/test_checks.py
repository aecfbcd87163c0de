from __future__ import annotations

import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

from basicsr_plugin.checks import check_names_and_files, check_options
from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import OptionError

apply_fixes()

CHANGES = [
    ({'model_type': 'SRModl'}, "model_type: nothing called 'SRModl' is registered; did you mean 'SRModel'?"),
    ({'network_g__type': 'Wxyz'}, "network_g.type: nothing called 'Wxyz' is registered; see basicsr list"),
    (
        {'network_g__num_fat': 4},
        "network_g: unknown key 'num_fat'; did you mean 'num_feat'? (MSRResNet has no such key)",
    ),
    ({'network_g': 3}, 'network_g: expected a section of keys, got 3'),
    (
        {'network_g': {'type': 'EDSR', 'num_in_ch': 3}},
        "network_g: missing key 'num_out_ch', which EDSR needs; did you mean 'num_in_ch'?",
    ),
    (
        {'datasets__val__type': 'PairedDataset'},
        "datasets.val.type: nothing called 'PairedDataset' is registered; did you mean 'PairedImageDataset'?",
    ),
    (
        {'train__pixel_opt__type': 'L1'},
        "train.pixel_opt.type: nothing called 'L1' is registered; did you mean 'L1Loss'?",
    ),
    (
        {'train__pixel_opt__weight': 2},
        "train.pixel_opt: unknown key 'weight'; did you mean 'loss_weight'?",
    ),
    (
        {'val__metrics__psnr__type': 'psnr'},
        "val.metrics.psnr.type: nothing called 'psnr' is registered; did you mean 'calculate_psnr'?",
    ),
    (
        {'val__metrics__psnr': {'type': 'calculate_psnr', 'crop_boder': 4}},
        "val.metrics.psnr: unknown key 'crop_boder'; did you mean 'crop_border'?",
    ),
    (
        {'datasets__train__dataroot_gt': 'nowhere'},
        "datasets.train.dataroot_gt: expected an existing path, got 'nowhere', which does not exist; set it to yours",
    ),
    (
        {'datasets__val__dataroot_lq': 'nowhere'},
        "datasets.val.dataroot_lq: expected an existing path, got 'nowhere', which does not exist; set it to yours",
    ),
    (
        {'path__pretrain_network_g': 'none.pth'},
        "path.pretrain_network_g: expected an existing file, got 'none.pth', which does not exist",
    ),
    ({'path__pretrain_netwrk_g': 'g.pth'}, "path: unknown key 'pretrain_netwrk_g'; did you mean 'pretrain_network_g'?"),
]


@pytest.mark.parametrize(('changes', 'line'), CHANGES)
def test_each_mistake_is_one_line_before_anything_is_built(workplace, changes, line):
    opt = {**workplace.options(**changes), 'auto_resume': False}
    with pytest.raises(OptionError) as error:
        check_names_and_files(opt)
    assert str(error.value) == line


def test_good_options_pass(workplace):
    opt = workplace.options(datasets__train__io_backend={'type': 'memcached'}, datasets__train__dataroot_gt='on/server')
    opt['path']['my_own_weights'] = 'some.pth'
    opt['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3}  # registered as UNetDiscriminatorSN_basicsr
    opt['val']['metrics']['psnr']['better'] = 'higher'
    check_names_and_files({**opt, 'auto_resume': False})


def test_pretrained_file_may_be_missing_when_a_run_is_resumed(workplace):
    check_names_and_files({**workplace.options(path__pretrain_network_g='none.pth'), 'auto_resume': True})


def test_a_check_that_fails_on_a_value_with_a_fault_is_no_traceback(workplace, monkeypatch):
    monkeypatch.setattr(PairedImageDataset, 'typed_options', lambda block: block['gt_size'] // 2, raising=False)
    opt = {**workplace.options(datasets__train__gt_size='16'), 'auto_resume': False, 'is_train': True}
    for phase, dataset in opt['datasets'].items():
        dataset.update(phase=phase, scale=2)
    with pytest.raises(OptionError, match=r"^datasets\.train\.gt_size: expected .*, got '16'$"):
        check_options(opt)
