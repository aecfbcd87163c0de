"""Images in BasicSR's own data sets and validations: damaged, odd, tiny ones, and those of one name."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from basicsr_plugin import image_decoding
from basicsr_plugin.errors import UserError


def pairs(workplace, **changes):
    from basicsr.data import build_dataset

    opt = {**workplace.options()['datasets']['train'], 'phase': 'train', 'scale': 2, **changes}
    return build_dataset(opt)


def single(workplace, folder='lq'):
    from basicsr.data import build_dataset

    opt = {'name': 'x', 'type': 'SingleImageDataset', 'dataroot_lq': folder, 'io_backend': {'type': 'disk'}}
    return build_dataset({**opt, 'phase': 'test'})


def test_images_are_decoded_as_basicsr_does(workplace):
    photo = cv2.imread('gt/0.png')
    cv2.imwrite('lq/0.png', photo)
    cv2.imwrite('lq/1.png', photo[..., 0])
    cv2.imwrite('lq/2.jpg', photo)
    Path('lq/2.png').unlink()
    dataset = single(workplace)
    for index in range(3):
        wanted = cv2.imread(dataset.paths[index])[..., ::-1]
        found = (dataset[index]['lq'].permute(1, 2, 0).numpy() * 255).round()
        assert np.abs(found - wanted).max() <= (dataset.paths[index].endswith('.jpg'))


def test_sixteen_bits_stay_sixteen_bits(workplace):
    deep = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3) * 80 + 7
    cv2.imwrite('lq/0.png', deep)
    found = single(workplace)[0]['lq'].permute(1, 2, 0).numpy() * 65535
    np.testing.assert_allclose(found, deep[..., ::-1], atol=0.01)


def test_alpha_that_is_dropped_is_reported_once(workplace, caplog, monkeypatch):
    monkeypatch.setattr(image_decoding, '_reported', [0])
    for name in ('0', '1'):
        image = Image.open(f'lq/{name}.png')
        image.putalpha(3)
        image.save(f'lq/{name}.png')
    dataset = single(workplace)
    assert [dataset[index]['lq'].shape[0] for index in range(2)] == [3, 3]
    assert [record.getMessage() for record in caplog.records if 'alpha' in record.getMessage()] == [
        "'lq/0.png': its alpha channel is dropped, and that of other images; basicsr upscale keeps it"
    ]


@pytest.mark.parametrize(
    ('content', 'line'),
    [
        (lambda c: c[: len(c) // 2], "'lq/1.png': expected a readable image, got "),
        (lambda _: b'', "'lq/1.png': expected a readable image, got an empty file"),
        (lambda _: b'<html>', "'lq/1.png': expected a readable image, got no known format"),
        (lambda c: c[:60] + bytes([c[60] ^ 1]) + c[61:], "'lq/1.png': expected a readable image, got "),
    ],
)
def test_an_image_of_basicsrs_sets_that_cannot_be_read_is_named(workplace, content, line, caplog, monkeypatch):
    whole = Path('lq/1.png').read_bytes()
    test, train = single(workplace), pairs(workplace)
    logger = logging.getLogger('basicsr')  # whether it propagates depends on the tests before
    monkeypatch.setattr(logger, 'propagate', False)
    monkeypatch.setattr(logger, 'handlers', [caplog.handler])
    Path('lq/1.png').write_bytes(content(whole))
    with pytest.raises(UserError) as error:
        test[1]
    assert str(error.value).startswith(line)
    place = next(number for number, pair in enumerate(train.paths) if pair['lq_path'] == 'lq/1.png')
    for _ in range(2):  # the next one replaces it, and the line comes once
        assert train[place]['lq_path'] != 'lq/1.png'
    lines = [record.getMessage() for record in caplog.records if 'skipped' in record.getMessage()]
    assert len(lines) == 1
    assert line in lines[0]


def test_a_folder_whose_images_are_in_subfolders_is_one_line(workplace):
    Path('lq/sub').mkdir()
    for path in Path('lq').glob('*.png'):
        path.rename(Path('lq/sub') / path.name)
    with pytest.raises(
        UserError,
        match=r"^datasets\.test\.dataroot_lq: expected a folder with images, got 'lq' with none; it has 4 files",
    ):
        single(workplace)


def test_a_training_set_of_which_nothing_can_be_read_ends(workplace):
    train = pairs(workplace)
    for path in Path('lq').glob('*.png'):
        path.write_bytes(b'x')
    with pytest.raises(UserError, match=r'^datasets\.train: expected at most 3 unreadable images of 4, got more'):
        train[0]


def test_pairs_whose_sizes_do_not_fit_are_named(workplace, caplog):
    cv2.imwrite('lq/0.png', np.zeros((9, 9, 3), np.uint8))
    dataset = pairs(workplace, phase='val')
    place = next(number for number, pair in enumerate(dataset.paths) if pair['lq_path'] == 'lq/0.png')
    cv2.imwrite('lq/0.png', np.zeros((17, 16, 3), np.uint8))
    with pytest.raises(UserError, match=r"^'gt/0\.png': expected 34 x 32 pixels, 2 times those of 'lq/0\.png', got 32"):
        dataset[place]


def options_of_test(workplace, **dataset):
    opt = workplace.options('datasets', 'train', 'logger', path__pretrain_network_g=None, val__save_img=True)
    opt['val']['suffix'] = None
    opt['datasets'] = {'test': {'name': 'set', 'io_backend': {'type': 'disk'}, **dataset}}
    return opt


def run(workplace, capsys, opt):
    status = workplace.basicsr('test', '-opt', workplace.write(opt))
    return status, capsys.readouterr().err.splitlines()[-1]


def test_outputs_of_one_name_are_refused(workplace, capsys):
    shutil.copy('lq/0.png', 'lq/0.jpg')
    opt = options_of_test(workplace, type='SingleImageDataset', dataroot_lq='lq')
    del opt['val']['metrics']
    status, line = run(workplace, capsys, opt)
    assert status == 2
    assert "expected images of different names, got 'lq/0.jpg' and 'lq/0.png', whose outputs would" in line


def test_an_image_too_small_for_a_metric_is_named(workplace, capsys):
    cv2.imwrite('gt/2.png', np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite('lq/2.png', np.zeros((4, 4, 3), np.uint8))
    opt = options_of_test(workplace, type='PairedImageDataset', dataroot_lq='lq', dataroot_gt='gt')
    status, line = run(workplace, capsys, opt)
    assert status == 2
    assert (
        "'lq/2.png': expected output images of 15 pixels or more for calculate_ssim with crop_border: 2, got 8" in line
    )
