from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from deplsr_data.ops import codecs
from deplsr_data.ops.codecs import CODECS, batched_recode, is_available, jpeg_quality_of, recode
from deplsr_data.ops.jpeg import compress

needs_avif = pytest.mark.skipif(not is_available('avif'), reason='needs Pillow 11.3 with AVIF')
EACH = pytest.mark.parametrize('codec', ['webp', pytest.param('avif', marks=needs_avif)])


@EACH
@pytest.mark.parametrize('quality', [20, 90])
def test_it_is_what_pillow_writes_and_reads(pixels, photo, codec, quality):
    buffer = io.BytesIO()
    settings = {'speed': 8} if codec == 'avif' else {}
    Image.fromarray(pixels).save(buffer, codec.upper(), quality=quality, **settings)
    expected = np.asarray(Image.open(buffer).convert('RGB'))
    np.testing.assert_array_equal(np.rint(recode(photo, codec, quality) * 255), expected)


@EACH
def test_the_error_falls_as_the_quality_rises(photo, codec):
    errors = [np.square(recode(photo, codec, quality) - photo).mean() for quality in (10, 40, 70, 95)]
    assert errors == sorted(errors, reverse=True)


@EACH
@pytest.mark.parametrize('quality', [20, 50, 80])
def test_the_jpeg_of_the_named_quality_changes_the_photo_as_much(photo, codec, quality):
    def psnr(changed):
        return -10 * np.log10(np.square(changed - photo).mean())

    named = psnr(compress(photo, jpeg_quality_of(codec, quality)))
    assert psnr(recode(photo, codec, quality)) == pytest.approx(named, abs=1.5)


@EACH
def test_the_named_quality_rises_with_the_quality(codec):
    named = [jpeg_quality_of(codec, quality) for quality in range(101)]
    assert named == sorted(named)
    assert 1 <= named[0] < 20
    assert 95 < named[-1] <= 100


@needs_avif
def test_a_batch_is_coded_one_by_one_whatever_lies_beyond_an_image(photo):
    images = [photo[:40, :33], photo[5:29, 8:56], photo[:48, :48]]
    x = torch.full((3, 48, 3, 64), 0.9)
    for place, image in enumerate(images):
        x[place, : image.shape[0], :, : image.shape[1]] = torch.from_numpy(image.transpose(0, 2, 1).copy())
    which, qualities = [0, 1, 0], [30, 60, 90]
    sizes = torch.tensor([image.shape[:2] for image in images])
    out = batched_recode(x, torch.tensor(which), torch.tensor(qualities), sizes)
    for place, image in enumerate(images):
        one = out[place, : image.shape[0], :, : image.shape[1]].permute(0, 2, 1).numpy()
        np.testing.assert_array_equal(one, recode(image, CODECS[which[place]], qualities[place]))


@pytest.mark.parametrize('in_threads', [False, True])
def test_threads_keep_the_order(in_threads):
    assert codecs._all(lambda place: place**2, 20, in_threads) == [place**2 for place in range(20)]


def test_a_codec_that_pillow_lacks_is_one_clear_line(photo, monkeypatch):
    monkeypatch.setattr(codecs, 'is_available', lambda codec: False)
    with pytest.raises(ValueError, match='expected a Pillow with AVIF, got one without; install Pillow 11'):
        recode(photo, 'avif', 50)
