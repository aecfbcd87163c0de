"""Every mistake in the options of BasicSR's own parts is one line before a folder is made, and all are listed."""

from __future__ import annotations

import shutil
import sys

import cv2
import numpy as np
import pytest
import yaml

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.parse_options import parse_options, read_yaml
from basicsr_plugin.stock_checks import check_block
from basicsr_plugin.stock_parts import OPTIMIZERS, SCHEDULERS

apply_fixes()


@pytest.fixture
def lines(workplace, monkeypatch):
    """Returns the lines on an option file, without anything written; none for one that is right."""

    def run(opt, *arguments, is_train=True):
        name = workplace.write(opt)
        before = sorted(workplace.path.rglob('*'))
        monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', name, *arguments])
        try:
            parse_options(str(workplace.path), is_train)
        except UserError as error:
            return str(error).splitlines()
        finally:
            assert sorted(workplace.path.rglob('*')) == before
        return []

    return run


def expected(where, what, got):
    return f'{where}: expected {what}, got {got}'


NETWORK = {'type': 'MSRResNet', 'num_feat': 4, 'num_block': 1, 'upscale': 2}
TRAIN, VAL = 'datasets__train__', 'datasets__val__'
LR, SCHEDULE = {'type': 'Adam', 'lr': 1e-3}, {'type': 'MultiStepLR', 'milestones': [3]}
PSNR = {'type': 'calculate_psnr', 'crop_border': 2}
COSINE = {'type': 'CosineAnnealingRestartLR', 'periods': [4]}

MISTAKES = [
    # keys that a stock part needs
    ((f'{TRAIN}io_backend',), {}, "datasets.train: missing key 'io_backend'"),
    ((f'{TRAIN}gt_size',), {}, "datasets.train: missing key 'gt_size', which PairedImageDataset needs in training"),
    ((f'{TRAIN}use_hflip',), {}, "datasets.train: missing key 'use_hflip', which PairedImageDataset needs in training"),
    ((f'{VAL}dataroot_lq',), {}, "datasets.val: missing key 'dataroot_lq'; expected text"),
    (('scale',), {}, "missing key 'scale', which PairedImageDataset needs"),
    (('train__optim_g',), {}, "train: missing key 'optim_g', which SRModel needs"),
    (('network_g',), {}, "missing key 'network_g', which SRModel needs"),
    (('train__pixel_opt',), {}, 'train: expected pixel_opt or perceptual_opt, got neither'),
    # numbers that are none, or out of range
    ((), {f'{TRAIN}dataset_enlarge_ratio': 0}, 'dataset_enlarge_ratio: expected a number greater than 0, got 0'),
    ((), {f'{TRAIN}batch_size_per_gpu': 0}, 'datasets.train.batch_size_per_gpu: expected a number greater than or equ'),
    ((), {f'{TRAIN}batch_size_per_gpu': '2'}, 'datasets.train.batch_size_per_gpu: expected a whole number >= 1'),
    ((), {f'{TRAIN}batch_size_per_gpu': 2.5}, 'datasets.train.batch_size_per_gpu: expected a whole number, got 2.5'),
    ((), {f'{TRAIN}batch_size_per_gpu': 64}, 'batch_size_per_gpu: expected at most 4, the samples of an epoch, got 64'),
    ((), {f'{TRAIN}gt_size': 15}, 'datasets.train.gt_size: expected a multiple of scale 2, got 15; take 16'),
    ((), {'manual_seed': -1}, 'manual_seed: expected a number greater than or equal to 0, got -1'),
    ((), {'manual_seed': 1.5}, 'manual_seed: expected a whole number, got 1.5'),
    ((), {'manual_seed': 10**12}, 'manual_seed: expected a number less than or equal to 4000000000'),
    ((), {'train__total_iter': '500,000'}, "train.total_iter: expected a whole number, got '500,000'"),
    ((), {'train__total_iter': 2.5}, 'train.total_iter: expected a whole number, got 2.5'),
    ((), {'train__ema_decay': '0.999'}, "train.ema_decay: expected a number >= 0 and < 1, got '0.999'"),
    ((), {'train__ema_decay': float('nan')}, 'train.ema_decay: expected a finite number, got nan'),
    ((), {'train__warmup_iter': 5}, 'train.warmup_iter: expected at most total_iter (4), got 5; lower it'),
    ((), {'train__optim_g__lr': 1e12}, 'train.optim_g.lr: expected a number less than or equal to 10, got 1'),
    ((), {'train__warmup_iter': 1.5}, 'train.warmup_iter: expected a whole number, got 1.5'),
    ((), {'scale': '2'}, "scale: expected a whole number >= 1 and <= 64 or null, got '2'"),
    ((), {'scale': 0}, 'scale: expected a number greater than or equal to 1, got 0'),
    ((), {'num_gpu': 1.5}, "num_gpu: expected a number of GPUs or 'auto', got 1.5"),
    ((), {'num_gpu': 10**12}, "num_gpu: expected a number of GPUs or 'auto', got 1000000000000"),
    ((), {'network_g__num_feat': float('inf')}, 'network_g.num_feat: expected a finite number, got inf'),
    ((), {'network_g__num_block': 10**12}, 'network_g.num_block: expected a number up to 1000000, got 1000000000000'),
    ((), {'logger__print_freq': 2.5}, 'logger.print_freq: expected a whole number, got 2.5'),
    ((), {'logger__save_checkpoint_freq': 0.5}, 'logger.save_checkpoint_freq: expected a whole number, got 0.5'),
    ((), {'val__val_freq': 1.25}, 'val.val_freq: expected a whole number, got 1.25'),
    (
        (),
        {'val__metrics__psnr__crop_border': 1e15},
        'val.metrics.psnr.crop_border: expected a number less than or equal',
    ),
    (
        (),
        {'val__metrics__psnr__crop_border': 16},
        "val.metrics.psnr: 'lq/0.png': expected output images of 33 pixels or more",
    ),
    ((), {'network_g__num_feat': '64'}, "network_g.num_feat: expected a whole number from 1 upwards, got '64'"),
    ((), {'network_g__num_feat': -4}, 'network_g.num_feat: expected a whole number from 1 upwards, got -4'),
    # values of another type
    ((), {f'{TRAIN}dataroot_gt': True}, 'datasets.train.dataroot_gt: expected text, got True'),
    ((), {f'{TRAIN}use_rot': 'yes'}, "datasets.train.use_rot: expected true or false or null, got 'yes'"),
    ((), {'train__scheduler__milestones': 5}, 'train.scheduler.milestones: expected a list, got 5'),
    ((), {'train__scheduler__gamma': '0.5'}, "train.scheduler.gamma: expected a number > 0 and <= 10, got '0.5'"),
    ((), {'train__optim_g': {**LR, 'betas': [0.9]}}, 'train.optim_g.betas: expected 2 values or more, got [0.9]'),
    ((), {'train__optim_g': {**LR, 'betas': [0.9, 1]}}, 'train.optim_g.betas[1]: expected a number less than 1, got 1'),
    ((), {'train__optim_g': 3}, 'train.optim_g: expected a section of keys, got 3'),
    ((), {'train__optim_g__lr': 'low'}, "train.optim_g.lr: expected a number, got 'low'"),
    ((), {'train__pixel_opt__loss_weight': '1.0'}, 'train.pixel_opt.loss_weight: expected a number >= 0 and <= 10'),
    ((), {'train__pixel_opt__reduction': 'avg'}, "train.pixel_opt.reduction: expected 'mean' or 'sum', got 'avg'"),
    ((), {'train__pixel_opt': 3}, 'train.pixel_opt: expected a section of keys, got 3'),
    ((), {'val__metrics': 3}, 'val.metrics: expected a mapping, got 3'),
    ((), {'val__metrics__psnr': 3}, 'val.metrics.psnr: expected a section of keys, got 3'),
    ((), {'model_type': ['a', 'b']}, "model_type: expected text, got ['a', 'b']"),
    ((), {'path__strict_load_g': 'no'}, "path.strict_load_g: expected true or false, got 'no'"),
    ((), {'path__pretrain_network_g': ['a']}, "path.pretrain_network_g: expected text, got ['a']"),
    ((), {'plugins': 3}, 'plugins: expected a list'),
    ((), {'dist_params': {'port': '29500'}}, 'dist_params.port: expected a whole number >= 1 and <= 65535 or null'),
    # names
    ((), {'name': 2024}, 'name: expected text, got 2024; put it in quotes'),
    ((), {'name': '../..'}, "name: expected the name of a folder, without / and \\, got '../..'; choose another"),
    ((), {'name': ''}, 'name: expected the name of a folder'),
    ((), {f'{VAL}name': '../x'}, 'datasets.val.name: expected a name, which becomes that of a folder of images'),
    ((), {'path__ignore_resume_networks': ['network_q']}, "expected names of networks (network_g), got 'network_q'"),
    ((), {'path__pretrain_model_g': 'x'}, "path: unknown key 'pretrain_model_g'; did you mean 'pretrain_network_g'?"),
    (
        (),
        {f'{TRAIN}io_backend': {'type': 'dsik'}},
        "expected 'disk', 'lmdb' or 'memcached', got 'dsik'; did you mean 'di",
    ),
    (
        (),
        {'train__optim_g__type': 'Adamm'},
        "train.optim_g.type: expected one of Adam, got 'Adamm'; did you mean 'Adam'?",
    ),
    ((), {'train__scheduler__type': 'StepLR'}, 'train.scheduler.type: expected one of CosineAnnealingRestartLR, '),
    # misspelt keys
    ((), {f'{TRAIN}gt_sise': 16}, "datasets.train: unknown key 'gt_sise'; did you mean 'gt_size'?"),
    ((), {'val__metrics__psnr__test_y_chanel': True}, "unknown key 'test_y_chanel'; did you mean 'test_y_channel'?"),
    ((), {f'{TRAIN}io_backend__typ': 'disk'}, "datasets.train.io_backend: unknown key 'typ'; did you mean 'type'?"),
    ((), {'train__scheduler__gama': 0.5}, "train.scheduler: unknown key 'gama'; did you mean 'gamma'?"),
    ((), {'train__optim_g__weight_decy': 0}, "train.optim_g: unknown key 'weight_decy'; did you mean 'weight_decay'?"),
    ((), {'train__ema_decy': 0.9}, "train: unknown key 'ema_decy'; did you mean 'ema_decay'?"),
    ((), {'val__metrisc': {}}, "val: unknown key 'metrisc'; did you mean 'metrics'?"),
    ((), {'logger__use_tb_loger': True}, "logger: unknown key 'use_tb_loger'; did you mean 'use_tb_logger'?"),
    ((), {'manual_sed': 1}, "options: unknown key 'manual_sed'; did you mean 'manual_seed'?"),
    (('datasets__train__use_hflip',), {f'{TRAIN}use_flip': True}, "unknown key 'use_flip'; did you mean 'use_hflip'?"),
    # what does not go together
    (
        (),
        {'network_g': {'type': 'SwinIR', 'depths': [1], 'num_heads': [2, 2], 'upscale': 2}},
        'network_g.num_heads: expected 1 values, one for each of depths [1], got [2, 2]',
    ),
    (
        (),
        {'network_g': {'type': 'SwinIR', 'depths': [1], 'upscale': 2}},
        'network_g.num_heads: expected 1 values, one for each of depths [1], got [6, 6, 6, 6], the default',
    ),
    (
        (),
        {f'{TRAIN}persistent_workers': True},
        'persistent_workers: expected false with num_worker_per_gpu: 0, got true',
    ),
    (
        (),
        {f'{VAL}persistent_workers': True},
        'persistent_workers: expected false with validation, which has no workers',
    ),
    (
        (),
        {f'{TRAIN}persistent_workers': True, f'{TRAIN}num_worker_per_gpu': 1, f'{TRAIN}prefetch_mode': 'cpu'},
        'persistent_workers: expected false with prefetch_mode: cpu, got true; remove one of them',
    ),
    ((), {'train__scheduler': {**COSINE, 'periods': [2, 2]}}, 'expected restart_weights for each of periods [2, 2]'),
    (
        (),
        {'train__scheduler': {**COSINE, 'periods': [2]}},
        'expected a list with a sum of at least total_iter (4), got',
    ),
    (
        (),
        {'train__scheduler': {**SCHEDULE, 'restarts': [0, 2]}},
        'expected restart_weights for each of restarts [0, 2]',
    ),
    (
        (),
        {'network_g__num_in_ch': 1},
        'network_g.num_in_ch: expected 3, the channels of datasets.train, got 1; set it,',
    ),
    ((), {'network_g__upscale': 4}, 'network_g.upscale: expected 2, the scale of the run and of datasets.train, got 4'),
    (
        ('network_g__upscale',),
        {},
        'network_g.upscale: expected 2, the scale of the run and of datasets.train, got 4, i',
    ),
    ((), {f'{TRAIN}color': 'y'}, 'network_g.num_in_ch: expected 1, the channels of datasets.train, got 3; set it'),
    ((), {f'{TRAIN}filename_tmpl': '{}x{}'}, "expected filename_tmpl with one {}, such as '{}x4', got '{}x{}'"),
    ((), {f'{TRAIN}mean': [0.5, 0.5, 0.5]}, 'datasets.train: expected mean and std, got only one of them'),
    ((), {'logger__wandb': {'project': 'x'}}, 'logger.wandb.project: expected use_tb_logger: true with it'),
    ((), {f'{VAL}type': 'SingleImageDataset'}, 'val.metrics.psnr: expected a metric without GT, which datasets.val'),
    (
        (),
        {f'{TRAIN}type': 'SingleImageDataset'},
        'datasets.train.type: expected a data set with GT for training, got S',
    ),
    (
        (),
        {'val__metrics__niqe': {'type': 'calculate_niqe', 'crop_border': 0}},
        'expected output images of 96 pixels or',
    ),
]


@pytest.mark.parametrize(('without', 'changes', 'line'), MISTAKES)
def test_a_mistake_in_a_part_of_basicsr_is_one_line(lines, workplace, without, changes, line):
    found = lines(workplace.options(*without, **changes))
    assert line in found[0]


def test_all_mistakes_of_a_file_are_listed_at_once(lines, workplace):
    changes = {f'{TRAIN}gt_sise': 16, f'{VAL}io_backend': 3, 'train__total_iter': 'all', 'network_g__num_fat': 4}
    found = lines(workplace.options('manual_seed', **changes, val__metrics__psnr__crop_border='4'))
    assert [line.partition(': ')[0] for line in found] == [
        'train.total_iter',
        'datasets.train',
        'datasets.val.io_backend',
        'network_g',
        'val.metrics.psnr.crop_border',
    ]


@pytest.mark.parametrize(
    ('without', 'changes', 'line'),
    [
        (('scale',), {'sacle': 2}, "options: unknown key 'sacle'; did you mean 'scale'?"),
        (('network_g',), {'netwrok_g': 3}, "missing key 'network_g', which SRModel needs; did you mean 'netwrok_g'?"),
        (('network_g',), {'network_d': NETWORK}, "missing key 'network_g', which SRModel needs"),
        (
            (f'{TRAIN}gt_size',),
            {f'{TRAIN}gt_sise': 8},
            "datasets.train: unknown key 'gt_sise'; did you mean 'gt_size'?",
        ),
        (('train__optim_g__lr',), {'train__optim_g__rl': 1}, "train.optim_g: unknown key 'rl'; did you mean 'lr'?"),
        ((), {'scale': True}, 'scale: expected a whole number >= 1 and <= 64 or null, got True'),
        ((), {'scale': 10**12}, 'scale: expected a number less than or equal to 64, got 1000000000000'),
        ((), {f'{TRAIN}gt_size': float('inf')}, 'datasets.train.gt_size: expected a finite number, got inf'),
        ((), {f'{TRAIN}type': ['a']}, "datasets.train.type: expected text, got ['a']; put it in quotes"),
        ((), {'logger__wandb': {'entity': 'x'}}, "logger.wandb: unknown key 'entity'"),
    ],
)
def test_what_follows_from_a_mistake_is_not_listed_with_it(lines, workplace, without, changes, line):
    assert lines(workplace.options(*without, **changes)) == [line]


@pytest.mark.parametrize(
    'changes',
    [
        {'note': 'a key of the user', 'datasets__train__comment': 'tiny', 'train__note': 1},
        {'high_order_degradation': True, 'queue_size': 180, 'datasets__train__use_shuffle': True},
        {'datasets__train__use_flip': True, 'datasets__val__gt_size': 16, 'datasets__val__mean': None},
        {'train__total_iter': 4.0, 'logger__print_freq': 1e2, 'val__val_freq': 5e3, 'train__scheduler__milestones': []},
        {'logger__wandb': {'project': None, 'resume_id': None}, 'dist_params': {'backend': 'nccl', 'port': 29500}},
        {'train__tsa_iter': 3, 'datasets__train__num_frame': 5, 'network_g__num_in_ch': 3},
    ],
)
def test_keys_that_basicsr_does_not_read_and_numbers_as_it_writes_them_are_allowed(lines, workplace, changes):
    assert lines(workplace.options(**changes)) == []


def test_a_misspelt_phase_is_one_line(lines, workplace):
    opt = workplace.options()
    opt['datasets']['tarin'] = opt['datasets'].pop('train')
    line = "datasets.tarin: expected a data set called train, val or test, or val_2 and so on, got 'tarin'"
    assert lines(opt) == [line]


def test_whole_numbers_that_are_written_as_fractions_become_whole(workplace, monkeypatch):
    name = workplace.write(workplace.options(train__total_iter=4.0, logger__print_freq=1e2))
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', name])
    opt, _ = parse_options(str(workplace.path))
    assert [type(value) for value in (opt['train']['total_iter'], opt['logger']['print_freq'])] == [int, int]


def folder(workplace, name, sizes=None):
    """Copies the images ``lq`` to another folder, or writes images of some sizes."""
    path = workplace.path / name
    if sizes is None:
        shutil.copytree(workplace.path / 'lq', path)
        return path
    path.mkdir()
    for number, (width, height) in enumerate(sizes):
        cv2.imwrite(str(path / f'{number}.png'), np.zeros((height, width, 3), np.uint8))
    return path


def test_an_empty_folder_and_one_with_images_in_subfolders_only_are_one_line(lines, workplace):
    folder(workplace, 'other', [])
    line = "datasets.val.dataroot_lq: expected a folder with images, got 'other' with none"
    assert lines(workplace.options(datasets__val__dataroot_lq='other')) == [line]
    shutil.copytree(workplace.path / 'lq', workplace.path / 'other' / 'Canon')
    assert '4 files in subfolders' in lines(workplace.options(datasets__val__dataroot_lq='other'))[0]


def test_a_file_in_place_of_a_folder_is_one_line(lines, workplace):
    line = "datasets.val.dataroot_lq: expected a folder, got 'lq/0.png', a file; name the folder it is in"
    assert lines(workplace.options(datasets__val__dataroot_lq='lq/0.png')) == [line]


def test_images_without_a_partner_are_named(lines, workplace):
    (folder(workplace, 'other') / '2.png').unlink()
    assert (
        "expected '2.png' for the GT image '2.png'" in lines(workplace.options(datasets__train__dataroot_lq='other'))[0]
    )
    (folder(workplace, 'more') / '3.png').rename(workplace.path / 'more' / 'extra.png')
    (workplace.path / 'gt' / '3.png').unlink()
    found = lines(workplace.options('val', 'datasets__val', datasets__train__dataroot_lq='more'))
    assert "got 3 for 4 in 'more', none for 'extra.png'" in found[0]


def test_names_that_a_template_would_match_are_answered_with_it(lines, workplace):
    for path in folder(workplace, 'other').iterdir():
        path.rename(path.with_name(f'{path.stem}x4.png'))
    found = lines(workplace.options(datasets__train__dataroot_lq='other'))
    assert "it has '0x4.png': set filename_tmpl: '{}x4'" in found[0]
    opt = workplace.options(datasets__train__dataroot_lq='other', datasets__train__filename_tmpl='{}x4')
    assert lines(opt) == []
    for path in folder(workplace, 'bmp').iterdir():
        path.rename(path.with_suffix('.bmp'))
    found = lines(workplace.options(datasets__train__dataroot_lq='bmp'))
    assert 'GT and LQ images need the same suffix' in found[0]


def test_gt_and_lq_in_one_folder_are_answered_with_what_reads_them(lines, workplace):
    both = folder(workplace, 'both', [])
    for name in '0123':
        shutil.copy(workplace.path / 'gt' / f'{name}.png', both / f'{name}_HR.png')
        shutil.copy(workplace.path / 'lq' / f'{name}.png', both / f'{name}_LR2.png')
    changes = {f'{TRAIN}dataroot_gt': 'both', f'{TRAIN}dataroot_lq': 'both'}
    assert 'RealESRGANPairedDataset with meta_info' in lines(workplace.options(**changes))[0]
    (workplace.path / 'pairs.txt').write_text(''.join(f'{name}_HR.png, {name}_LR2.png\n' for name in '0123'))
    changes.update({f'{TRAIN}type': 'RealESRGANPairedDataset', f'{TRAIN}meta_info': 'pairs.txt'})
    assert lines(workplace.options(**changes)) == []
    (workplace.path / 'pairs.txt').write_text('0_HR.png 0_LR2.png\n')
    assert "expected 'GT, LQ' in each line" in lines(workplace.options(**changes))[0]


@pytest.mark.parametrize(
    ('sizes', 'line'),
    [
        (
            [(16, 16)] * 3 + [(16, 15)],
            'expected 32x30, 2 times the size of other/3.png (scale: 2), got 32x32 in gt/3.png',
        ),
        ([(8, 8)] * 4, 'expected 16x16, 2 times the size of other/0.png (scale: 2), got 32x32 in gt/0.png; set scale'),
    ],
)
def test_sizes_that_do_not_fit_the_scale_are_one_line(lines, workplace, sizes, line):
    folder(workplace, 'other', sizes)
    assert line in lines(workplace.options(datasets__train__dataroot_lq='other'))[0]


def test_a_crop_above_the_images_and_a_file_that_is_no_image_are_one_line(lines, workplace):
    line = 'datasets.train.gt_size: expected at most 32, the shorter side of gt/0.png, got 48'
    assert line in lines(workplace.options(datasets__train__gt_size=48))[0]
    (workplace.path / 'lq' / '1.png').write_text('none')
    found = lines(workplace.options())
    assert found[0] == (
        'datasets.train: expected images only, got lq/1.png, which cannot be read as one; replace or remove it'
    )


def test_a_launcher_outside_its_environment_is_one_line(lines, workplace, monkeypatch):
    for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    line = "--launcher slurm: expected slurm's environment, got no SLURM_PROCID; start with srun"
    assert lines(workplace.options(), '--launcher', 'slurm') == [line]


@pytest.mark.parametrize(
    ('module', 'line'),
    [
        ('wandb', 'logger.wandb.project: expected wandb, which is not installed'),
        ('tensorboard', 'logger.use_tb_logger: expected false, or TensorBoard, which is not installed'),
    ],
)
def test_a_logger_that_is_not_installed_is_one_line(lines, workplace, monkeypatch, module, line):
    monkeypatch.setattr('basicsr_plugin.stock_checks.find_spec', lambda name: None if name == module else object())
    changes = {'logger__use_tb_logger': True, 'logger__wandb': {'project': 'x'}}
    assert line in lines(workplace.options(**changes))[0]


def test_checkpoints_beyond_the_last_iteration_are_a_warning(lines, workplace, capsys):
    assert lines(workplace.options(logger__save_checkpoint_freq=5000)) == []
    assert 'save_checkpoint_freq: 5000, above total_iter (4); only the final weights' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        (
            'a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n',
            "options.yml, line 5: key 'c' is given twice, first in line 3; remove one",
        ),
        ('on: true\n', "options.yml, line 1: expected a text as a key, got 'on'; put it in quotes"),
        ('1: true\n', "options.yml, line 1: expected a text as a key, got '1'; put it in quotes"),
        ('? [a, b]\n: 1\n', 'options.yml, line 1: expected a text as a key, got a list or a mapping; write a name'),
        ('? {a: b}\n: 1\n', 'options.yml, line 1: expected a text as a key, got a list or a mapping; write a name'),
        (
            f'a: {"[" * 60}{"]" * 60}\n',
            'options.yml, line 1: expected at most 50 levels of nesting, got more; flatten it',
        ),
        (f'a: {"[" * 9000}{"]" * 9000}\n', 'options.yml: expected at most 50 levels of nesting, got more; flatten it'),
        ('a: &a [*a]\n', 'options.yml, line 1: expected values, got an alias of what it is in; write the values out'),
        ('a: !!int two\n', 'options.yml: a value cannot be read ('),
        ('a: 2024-13-45\n', 'options.yml: a value cannot be read ('),
    ],
)
def test_a_file_that_is_no_plain_option_file_is_one_line(workplace, text, line):
    with pytest.raises(UserError) as error:
        read_yaml(workplace.write(text))
    assert str(error.value).startswith(line)
    assert '\n' not in str(error.value)


def test_a_file_that_grows_through_aliases_is_one_line(workplace):
    text = 'a0: &a0 [1, 1]\n' + ''.join(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 30))
    with pytest.raises(UserError, match='expected at most 100000 values, got more; remove nested aliases'):
        read_yaml(workplace.write(text))


def test_a_key_that_is_merged_may_be_given_again(workplace):
    opt = read_yaml(workplace.write('z: &base {q: 1, p: 2}\na:\n  <<: *base\n  p: 3\n'))
    assert opt['a'] == {'q': 1, 'p': 3}


def test_the_tables_describe_what_torch_and_basicsr_take(workplace):
    import torch
    from basicsr.models import lr_scheduler

    weights = [torch.nn.Parameter(torch.zeros(1))]
    defaults = {'SGD': {'momentum': 0.9, 'nesterov': True}}
    for name, cls in OPTIMIZERS.items():
        block = {'type': name, 'lr': 1e-3, **defaults.get(name, {})}
        check_block(cls, block, 'train.optim_g', exact=True)
        optimizer = getattr(torch.optim, name)(weights, **{key: block[key] for key in block if key != 'type'})
        known = {key for key in cls.__dataclass_fields__ if key != 'type'}
        assert known <= set(optimizer.param_groups[0]) | {'params'}
    for name, cls in SCHEDULERS.items():
        built = 'MultiStepRestartLR' if name == 'MultiStepLR' else name
        known = {key for key in cls.__dataclass_fields__ if key != 'type'}
        assert known == set(getattr(lr_scheduler, built).__init__.__code__.co_varnames) & known
    with pytest.raises(OptionError):
        check_block(OPTIMIZERS['SGD'], {'type': 'SGD', 'lr': 1, 'nesterov': True}, 'train.optim_g', exact=True)


def test_option_files_of_basicsr_and_real_esrgan_are_accepted(lines, workplace, real_esrgan_degradation):
    opt = workplace.options('val', 'datasets__val', model_type='RealESRNetModel', gt_usm=True, queue_size=4)
    opt.update(real_esrgan_degradation['top'])
    (workplace.path / 'names.txt').write_text('0.png\n1.png\n2.png\n3.png\n')
    train = {**real_esrgan_degradation['train'], 'name': 'DF2K+OST', 'dataroot_gt': 'gt', 'meta_info': 'names.txt'}
    opt['datasets']['train'] = {**train, 'use_shuffle': True, 'prefetch_mode': None, 'dataset_enlarge_ratio': 1}
    assert lines(opt) == []
    for changes, line in (
        ({'queue_size': 3}, 'queue_size: expected a multiple of the batch of 2, got 3'),
        (
            {'jpeg_range': [95, 30]},
            'jpeg_range: expected two quality factors 1 <= low <= high <= 100, got [95.0, 30.0]',
        ),
        ({'resize_prob': [0.2, 0.7]}, 'resize_prob: expected 3 values or more, got [0.2, 0.7]'),
        ({'gt_size': 512}, 'gt_size: expected at most 400, the crop of RealESRGANDataset, got 512'),
        ({'noise_range': None}, "missing key 'noise_range', which RealESRNetModel needs"),
    ):
        assert line in lines({**opt, **changes})[0]
    kernels = {**opt['datasets']['train'], 'kernel_prob': [1]}
    assert 'expected kernel_prob with a probability for each' in lines({**opt, 'datasets': {'train': kernels}})[0]
    pairs = workplace.options('val', 'datasets__val', model_type='RealESRNetModel', gt_usm=True)
    assert 'high_order_degradation: expected false with a data set of pairs' in lines(pairs)[0]


def test_a_file_for_testing_is_checked_in_the_same_way(lines, workplace):
    opt = workplace.options('train', 'logger', 'datasets__train', val__suffix='a/b')
    opt['datasets'] = {'test': {**opt['datasets']['val'], 'io_backend': {'type': 'lmdb'}}}
    found = lines(yaml.safe_load(yaml.safe_dump(opt)), is_train=False)
    assert len(found) == 1
    assert found[0].startswith('val.suffix: expected the name of a folder')
    opt['val']['suffix'] = None
    assert lines(opt, is_train=False)[0] == (
        "datasets.test.dataroot_lq: expected a folder that ends in .lmdb with type: lmdb, got 'lq'"
    )
