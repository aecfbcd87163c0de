from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from basicsr_plugin import cli, compat, presets

NETWORK = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}
EDSR = {**NETWORK, 'type': 'EDSR'}


def test_options(workplace, **changes):
    """Options to test the averaged weights of the last checkpoint."""
    opt = workplace.options('train', 'logger', 'val__val_freq', **changes)
    opt['datasets'] = {'test': opt['datasets']['val']}
    opt['path'].update(pretrain_network_g='experiments/run/models/net_g_4.pth', param_key_g='params_ema')
    return opt


test_options.__test__ = False


def metrics(log):
    return re.findall(r'# (\w+): ([\d.]+)', log)


def shell(*arguments, cwd, **kwargs):
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, **kwargs)


def error_of(workplace, capsys, *arguments):
    assert workplace.basicsr(*arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('basicsr: error: ')]
    assert len(lines) == 1
    return lines[0].removeprefix('basicsr: error: ')


def test_help_and_version_come_without_loading_torch(tmp_path):
    code = (
        'import sys\nfrom basicsr_plugin import cli\n'
        'try: cli.main(sys.argv[1:])\nexcept SystemExit as end: assert end.code == 0\n'
        'assert not {"torch", "open_clip", "basicsr", "numpy", "pydantic"} & set(sys.modules)'
    )
    shown = [shell(sys.executable, '-c', code, arg, cwd=tmp_path, check=True).stdout for arg in ('--help', '--version')]
    assert 'basicsr train -opt' in shown[0]
    assert re.match(r'basicsr command \d+\.\d+\.\d+ \(BasicSR 1\.4\.2\)', shown[1])


def test_list_does_not_load_open_clip(tmp_path):
    code = (
        'import gc, sys\nfrom basicsr_plugin import cli\n'
        'assert cli.main(["list"]) == 0 and gc.isenabled()\nassert "open_clip" not in sys.modules'
    )
    assert 'DegradationAdaptor ' in shell(sys.executable, '-c', code, cwd=tmp_path, check=True).stdout


def test_list_prints_every_name_with_its_package_in_columns(workplace, capsys):
    assert workplace.basicsr('list') == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert ['arch', 'EDSR', 'basicsr'] in rows
    assert ['model', 'SRModel', 'basicsr'] in rows
    assert len({line.rindex(' ') for line in lines if not line.startswith('preset')}) == 1
    assert workplace.basicsr('list', 'metric') == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {'metric'}


def test_list_shows_the_presets_of_all_packages(workplace, capsys, monkeypatch):
    folder = workplace.path / 'weights'
    folder.mkdir()
    (folder / 'tiny-x2.safetensors').touch()
    monkeypatch.setattr(presets, '_FOLDERS', {})
    presets.register_presets(folder, 'nice')
    assert workplace.basicsr('list', 'preset') == 0
    assert capsys.readouterr().out.split() == ['preset', 'tiny-x2', 'nice']
    (folder / 'tiny-x2.md').write_text('# tiny-x2\n\nEnlarges photos x2. Quickly.\n')
    assert workplace.basicsr('list', 'preset') == 0
    assert capsys.readouterr().out.strip() == 'preset   tiny-x2  nice  Enlarges photos x2.'


@pytest.mark.parametrize('network', [NETWORK, EDSR], ids=['SRResNet', 'EDSR'])
def test_stock_model_trains_resumes_and_tests(workplace, network):
    changes = {'network_g': network, 'logger__use_tb_logger': True, 'num_gpu': 'auto'}
    name = workplace.write(workplace.options(**changes))
    assert workplace.basicsr('train', '-opt', name, '--force_yml', 'train:total_iter=2') == 0
    assert workplace.basicsr('train', '-opt', name, '--auto_resume') == 0
    log = workplace.log()
    assert 'iter:       4' in log
    # CMD line that BasicSR keeps with the options
    assert (
        '# basicsr train -opt options.yml --auto_resume' in (workplace.path / 'experiments/run/options.yml').read_text()
    )
    assert list((workplace.path / 'tb_logger' / 'run').iterdir())
    opt = test_options(workplace, network_g=network, val__save_img=True)
    assert workplace.basicsr('test', '-opt', workplace.write(opt, 'test.yml')) == 0
    tested = metrics(workplace.log(command='test', root='results'))
    assert len(tested) == 2
    assert tested == metrics(log)[-2:]  # the validation of the same checkpoint
    assert len(list((workplace.path / 'results/run/visualization/tiny_val').glob('*_run.png'))) == 4


def test_workers_and_prefetching_train(workplace):
    opt = workplace.options()
    opt['datasets']['train'].update(num_worker_per_gpu=1, prefetch_mode='cpu', num_prefetch_queue=2)
    assert workplace.basicsr('train', '-opt', workplace.write(opt)) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason='one process on the CPU')
def test_torchrun_trains_with_one_process(workplace):
    name = workplace.write(
        workplace.options(num_gpu='auto', train__total_iter=2, datasets__train__num_worker_per_gpu=1)
    )
    run = shell(
        *(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '1'),
        *('-m', 'basicsr_plugin.cli', 'train', '-opt', name, '--launcher', 'pytorch'),
        cwd=workplace.path,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert 'DistributedDataParallel - MSRResNet' in workplace.log()
    assert 'iter:       2' in workplace.log()


def test_user_mistake_ends_the_process_with_one_line_and_status_2(workplace):
    name = workplace.write(workplace.options(datasets__train__dataroot_gt='nowhere'))
    run = shell(sys.executable, '-m', 'basicsr_plugin.cli', 'train', '-opt', name, cwd=workplace.path)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1] == (
        "basicsr: error: datasets.train.dataroot_gt: expected an existing path, got 'nowhere', which does not exist; "
        'set it to yours'
    )
    assert 'Traceback' not in run.stderr


def test_missing_option_file_is_one_line(workplace, capsys):
    assert error_of(workplace, capsys, 'train', '-opt', 'no.yml') == (
        '-opt: expected an option file, got no.yml: No such file or directory'
    )


def test_weights_of_another_shape_are_one_line(workplace, capsys):
    assert workplace.basicsr('train', '-opt', workplace.write(workplace.options())) == 0
    opt = test_options(workplace, network_g={**NETWORK, 'num_block': 2, 'num_feat': 5})
    line = error_of(workplace, capsys, 'test', '-opt', workplace.write(opt))
    assert line.startswith(
        'path.pretrain_network_g: experiments/run/models/net_g_4.pth does not fit MSRResNet: 4 missing: '
        'body.1.conv1.weight, '
    )
    assert '11 of another shape: conv_first.weight (file (4, 3, 3, 3), network (5, 3, 3, 3))' in line
    assert line.endswith('and 8 more; set the options that the file was trained with')


@pytest.mark.parametrize(
    ('content', 'line'),
    [
        (
            b'PK no zip',
            'path.pretrain_network_g: g.pth cannot be read as a checkpoint of plain tensors (it is truncated',
        ),
        (None, 'path.pretrain_network_g: g.pth does not fit MSRResNet: 12 missing: '),
    ],
)
def test_file_that_holds_no_weights_is_one_line(workplace, capsys, content, line):
    if content is None:
        torch.save({'weight': torch.zeros(1)}, 'g.pth')
    else:
        (workplace.path / 'g.pth').write_bytes(content)
    opt = test_options(workplace)
    opt['path'].update(pretrain_network_g='g.pth', param_key_g='params')
    assert error_of(workplace, capsys, 'test', '-opt', workplace.write(opt)).startswith(line)


def test_missing_photo_is_one_line_also_from_a_worker(workplace, capsys, monkeypatch):
    (workplace.path / 'names.txt').write_text('0.png (32,32,3)\ngone.png (32,32,3)\n')
    opt = workplace.options(datasets__train__meta_info_file='names.txt')
    line = error_of(workplace, capsys, 'train', '-opt', workplace.write(opt))
    assert line.endswith('got one for lq/gone.png, which does not exist')
    for module in ('image_sets', 'dataset_checks'):  # where it is not among those that are looked at before the run
        monkeypatch.setattr(f'basicsr_plugin.{module}.sample', lambda pairs: pairs[:1])
    for workers in (0, 1):
        opt = workplace.options(datasets__train__num_worker_per_gpu=workers)
        opt['datasets']['train']['meta_info_file'] = 'names.txt'
        line = error_of(workplace, capsys, 'train', '-opt', workplace.write(opt))
        assert 'gone.png' in line
        assert 'no such file' in line.lower()


def test_interruption_before_the_first_iteration_is_a_short_line(workplace, capsys, monkeypatch):
    compat.apply_fixes()
    import basicsr.train

    def interrupted(root):
        assert sys.argv == ['basicsr train', '-opt', 'options.yml']
        assert root == str(workplace.path)
        raise KeyboardInterrupt

    before = sys.argv
    monkeypatch.setattr(basicsr.train, 'train_pipeline', interrupted)
    assert workplace.basicsr('train', '-opt', 'options.yml') == 130
    assert capsys.readouterr().err == '\nbasicsr: interrupted\n'
    assert sys.argv is before


def test_bug_keeps_its_traceback(workplace, monkeypatch):
    compat.apply_fixes()
    import basicsr.train

    monkeypatch.setattr(basicsr.train, 'train_pipeline', lambda root: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workplace.basicsr('train', '-opt', 'options.yml')


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(['trian'])
    assert end.value.code == 2
    assert 'trian' in capsys.readouterr().err
