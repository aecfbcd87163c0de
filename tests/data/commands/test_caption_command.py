from __future__ import annotations

import itertools
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from skimage import data

from basicsr_plugin import cli
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.commands import caption_photos
from deplsr_data.commands.captioner import CoCaCaptioner, beam_search, tidy

TINY = {
    'embed_dim': 16,
    'custom_text': True,
    'multimodal_cfg': {
        **{'context_length': 12, 'vocab_size': 49408, 'width': 16, 'heads': 2, 'layers': 1, 'mlp_ratio': 2},
        **{'dim_head': 8, 'n_queries': 4, 'attn_pooler_heads': 2},
    },
    'vision_cfg': {
        **{'image_size': 32, 'layers': 1, 'width': 16, 'head_width': 8, 'patch_size': 16},
        **{'attentional_pool': True, 'attn_pooler_queries': 4, 'attn_pooler_heads': 2, 'output_tokens': True},
    },
    'text_cfg': {
        **{'context_length': 12, 'vocab_size': 49408, 'layers': 1, 'heads': 2, 'width': 16},
        **{'embed_cls': True, 'output_tokens': True},
    },
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with seven photos, one of which is damaged."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(['a.png', 'b.jpg', 'sub/c.png', 'd.png', 'e.png', 'f.png', 'bad.png']):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.astronaut()[number * 40 :][:70, :101]).save(path)
    (tmp_path / 'photos' / 'bad.png').write_bytes(b'GIF89a')
    return tmp_path


@pytest.fixture
def tiny_coca(tmp_path):
    """The folder of a CoCa of random weights; its captions are noise, but they come from open_clip's own network."""
    folder = tmp_path / 'tiny'
    folder.mkdir()
    (folder / 'open_clip_config.json').write_text(json.dumps({'model_cfg': TINY, 'preprocess_cfg': {}}))
    net = open_clip.create_model(f'local-dir:{folder}')
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(net.state_dict(), folder / 'open_clip_pytorch_model.bin')
    return f'local-dir:{folder}'


class Counting:
    """A captioner that records its batches and writes the mean grey level of a photo."""

    def __init__(self, stop_after=None):
        self.batches = []
        self._stop_after = stop_after

    @staticmethod
    def transform(image):
        return torch.from_numpy(np.array(image.resize((4, 4)))).permute(2, 0, 1).float()

    def __call__(self, batch):
        if self._stop_after is not None and len(self.batches) >= self._stop_after:
            raise KeyboardInterrupt
        self.batches.append(len(batch))
        return ['' if image.mean() < 1 else f'grey level {image.mean():.2f}' for image in batch]


def caption(*arguments, output='titles.tsv'):
    return cli.main(['caption', '--input', 'photos', '--output', output, *arguments])


def titles(path):
    first, *rows = path.read_text(encoding='utf-8').splitlines()
    assert first == 'filepath\ttitle'
    return dict(row.split('\t') for row in rows)


def error_of(capsys):
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('basicsr: error: ')
    return line.removeprefix('basicsr: error: ')


def test_a_template_titles_all_photos_and_the_data_set_reads_the_table(place, capsys):
    assert caption('--template', 'a  photo\tof something') == 0
    assert capsys.readouterr().out == 'titles.tsv: 7 photos captioned, 0 done before, 0 skipped; 7 photos found\n'
    assert titles(place / 'titles.tsv') == dict.fromkeys(
        ['a.png', 'b.jpg', 'bad.png', 'd.png', 'e.png', 'f.png', 'sub/c.png'], 'a photo of something'
    )
    opt = {'name': 'x', 'type': 'x', 'phase': 'val', 'scale': 4, 'dataroot_gt': 'photos', 'meta_info': 'titles.tsv'}
    assert CaptionedDegradationDataset(opt)[0]['captions'][0] == 'a photo of something'


@pytest.mark.parametrize('workers', ['0', '2'])
def test_photos_are_captioned_in_batches_and_bad_photos_are_named(place, capsys, monkeypatch, workers):
    captioner = Counting()
    monkeypatch.setattr(caption_photos, 'make_captioner', lambda args: captioner)
    Image.new('RGB', (9, 9)).save(place / 'photos' / 'black.png')
    assert caption('--batch-size', '3', '--workers', workers) == 0
    found = titles(place / 'titles.tsv')
    assert list(found) == ['a.png', 'b.jpg', 'black.png', 'd.png', 'e.png', 'f.png', 'sub/c.png']
    assert found.pop('black.png') == 'a photo'  # the captioner returned an empty caption
    for name, title in found.items():
        image = Counting.transform(Image.open(place / 'photos' / name))
        assert title == f'grey level {image.mean():.2f}'
    assert captioner.batches == [2, 3, 2]  # batches of three, without bad.png
    out, err = capsys.readouterr()
    assert out == 'titles.tsv: 7 photos captioned, 0 done before, 1 skipped; 8 photos found\n'
    assert err.startswith("basicsr: warning: skipped photo 1 of at most 10: 'photos/bad.png': expected a readable")
    assert err.count('\n') == 1


def test_an_interrupted_run_is_resumed_and_a_later_photo_is_added(place, capsys, monkeypatch):
    monkeypatch.setattr(caption_photos, 'make_captioner', lambda args: Counting())
    assert caption('--batch-size', '2', output='complete.tsv') == 0
    monkeypatch.setattr(caption_photos, 'make_captioner', lambda args: Counting(stop_after=2))
    assert caption('--batch-size', '2') == 130
    assert capsys.readouterr().err.endswith('\nbasicsr: interrupted; run the same command again to resume\n')
    assert not (place / 'titles.tsv').exists()
    with (place / 'titles.tsv.part').open('a') as file:
        file.write('sub/c.p')  # a kill
    rest = Counting()
    monkeypatch.setattr(caption_photos, 'make_captioner', lambda args: rest)
    assert caption('--batch-size', '2') == 0
    assert sum(rest.batches) == 3
    assert (place / 'titles.tsv').read_bytes() == (place / 'complete.tsv').read_bytes()
    assert not (place / 'titles.tsv.part').exists()
    Image.fromarray(data.chelsea()[:64, :64]).save(place / 'photos' / 'new.png')
    rest.batches.clear()
    assert caption() == 0
    assert rest.batches == [1]
    assert len(titles(place / 'titles.tsv')) == 7


def test_sixteen_bits_reach_the_captioner_as_eight(place, monkeypatch):
    deep = np.full((20, 20), 40000, np.uint16)
    Image.fromarray(deep).save(place / 'photos' / 'deep.png')
    monkeypatch.setattr(caption_photos, 'make_captioner', lambda args: Counting())
    assert caption() == 0
    assert titles(place / 'titles.tsv')['deep.png'] == f'grey level {40000 // 257:.2f}'


def test_too_many_bad_photos_stop_the_command(place, capsys, monkeypatch):
    monkeypatch.setattr(caption_photos, 'make_captioner', lambda args: Counting())
    assert caption('--max-bad-images', '0') == 2
    assert error_of(capsys).startswith(
        "--max-bad-images: expected at most 0 unreadable photos of 7, got more, the last: 'photos/bad.png'"
    )


def test_a_name_that_a_table_cannot_contain_is_skipped(place, capsys):
    (place / 'photos' / 'd.png').rename(place / 'photos' / 'd\te.png')
    assert caption('--template', 'x') == 0
    err = capsys.readouterr().err
    assert r"'photos/d\te.png': expected a name without tabs or line ends" in err
    assert len(titles(place / 'titles.tsv')) == 6


def test_a_coca_of_open_clip_captions_photos(place, tiny_coca, capsys):
    arguments = ['--model', tiny_coca, '--beams', '2', '--max-tokens', '6', '--device', 'cpu']
    assert caption(*arguments, '--batch-size', '4') == 0
    assert caption(*arguments, '--batch-size', '1', '--workers', '1', output='single.tsv') == 0
    found = titles(place / 'titles.tsv')
    assert len(found) == 6
    assert all(found.values())
    assert (place / 'titles.tsv').read_bytes() == (place / 'single.tsv').read_bytes()


def test_a_checkpoint_file_of_a_named_model_is_loaded_without_network(place, tiny_coca, monkeypatch, capsys):
    folder = place / 'tiny'
    (folder / 'coca_tiny.json').write_text(json.dumps(TINY))
    (folder / 'open_clip_config.json').rename(place / 'config.json')
    open_clip.add_model_config(folder / 'coca_tiny.json')
    arguments = ['--model', 'coca_tiny', '--max-tokens', '6', '--device', 'cpu']
    assert caption(*arguments, '--pretrained', 'tiny/open_clip_pytorch_model.bin') == 0
    assert len(titles(place / 'titles.tsv')) == 6
    (place / 'none.bin').write_bytes(b'no weights')
    capsys.readouterr()
    assert caption(*arguments, '--pretrained', 'none.bin', output='other.tsv') == 2
    line = error_of(capsys)
    assert line.startswith("--pretrained: cannot load 'none.bin': ")
    assert line.endswith('without network, name a file that was downloaded elsewhere')


def test_greedy_search_takes_the_most_likely_token_at_each_step(tiny_coca):
    captioner = CoCaCaptioner(tiny_coca, None, 'cpu', beams=1, max_tokens=5)
    net = open_clip.create_model(tiny_coca, require_pretrained=True).eval()
    tokenizer = open_clip.get_tokenizer('ViT-B-32')
    images = torch.rand(3, 3, 32, 32)
    for image, title in zip(images, captioner(images), strict=True):
        text = [tokenizer.sot_token_id]
        while len(text) < 6 and text[-1] != tokenizer.eot_token_id:
            with torch.no_grad():
                logits = net(image[None], torch.tensor([text]), output_labels=False)['logits']
            text.append(int(logits[0, -1].argmax()))
        assert title == tidy(tokenizer.decode(text))


def _language(size, seed):
    """Log-probabilities of the next token, of ``size`` ones, that depend on the last two and on the image."""
    table = torch.randn(3, size + 1, size + 1, size, generator=torch.Generator().manual_seed(seed)) * 2

    def step(texts, which):
        last = texts[:, -1]
        before = texts[:, -2] if texts.shape[1] > 1 else torch.full_like(last, size)
        return table[which, before, last]

    return step


@pytest.mark.parametrize('seed', range(5))
def test_a_search_with_enough_beams_finds_the_best_of_all_texts(seed):
    size, length, start, end = 4, 4, 4, 0
    step = _language(size, seed)
    found = beam_search(step, 3, start, end, length, beams=size**length)
    for image in range(3):
        best = None
        for text in itertools.product(range(size), repeat=length):
            text = text[: text.index(end) + 1] if end in text else text
            score, so_far = 0.0, [start]
            for token in text:
                score += step(torch.tensor([so_far]), torch.tensor([image])).log_softmax(-1)[0, token].item()
                so_far.append(token)
            best = max(best or (-1e9, ()), (score / len(text), text))
        assert found[image] == [token for token in best[1] if token != end]


def test_captions_are_tidied():
    assert tidy('<start_of_text>a cat  sitting\non a mat . <end_of_text>') == 'a cat sitting on a mat'


@pytest.mark.parametrize(
    ('arguments', 'line'),
    [
        ([], "--pretrained: expected a file or a tag of a CoCa, got none; name one, or use --template 'a photo'"),
        (
            ['--pretrained', 'no.bin'],
            '--pretrained: expected a checkpoint file or a tag of coca_ViT-B-32 (laion2b_s13b_b90k,',
        ),
        (['--model', 'coca_ViT-B-33', '--pretrained', 'x'], '--model: expected the name of an open_clip model'),
        (['--model', 'local-dir:nowhere'], "--pretrained: cannot load 'local-dir:nowhere': "),
        (['--input', 'nowhere', '--template', 'x'], "--input: expected a folder, got 'nowhere'"),
        (['--output', 'photos.txt', '--template', 'x'], '--output: expected the columns'),
        (['--output', 'set.tsv', '--template', 'x'], "--output: expected a table of filepath and title, got 'set.tsv'"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(place, capsys, arguments, line):
    (place / 'set.tsv').write_text('filepath\ttitle\ttitle2\n')
    (place / 'photos.txt').write_text('no table')
    assert caption(*arguments) == 2
    assert error_of(capsys).startswith(line)


def test_a_clip_without_a_text_decoder_is_refused(place, capsys):
    folder = place / 'clip'
    folder.mkdir()
    config = {key: TINY[key] for key in ('embed_dim', 'vision_cfg', 'text_cfg')}
    config['vision_cfg'] = {key: value for key, value in config['vision_cfg'].items() if 'pool' not in key}
    config = {**config, 'vision_cfg': {**config['vision_cfg'], 'output_tokens': False}}
    config['text_cfg'] = {key: value for key, value in config['text_cfg'].items() if key[0] not in 'eo'}
    (folder / 'open_clip_config.json').write_text(json.dumps({'model_cfg': config, 'preprocess_cfg': {}}))
    torch.save(open_clip.create_model(f'local-dir:{folder}').state_dict(), folder / 'open_clip_pytorch_model.bin')
    assert caption('--model', f'local-dir:{folder}', '--device', 'cpu') == 2
    assert error_of(capsys).startswith("--model: expected a CoCa with CLIP's tokenizer, which writes captions, got ")
