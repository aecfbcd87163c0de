"""Weights of a CLIP: which are found, loaded and refused."""

from __future__ import annotations

import pickle

import open_clip
import pytest
import torch
from clip_cases import config, refusal
from safetensors.torch import save_file

from deplsr_arch import clip_backbone
from deplsr_arch.clip_backbone import build_backbone


def test_the_error_for_an_unknown_tag_suggests_the_nearest_one(offline):
    assert "did you mean 'laion2b_s34b_b79k'" in refusal('ViT-B-32', 'laion2b_s34b_b79')


def test_a_missing_file_is_named(tmp_path):
    path = str(tmp_path / 'absent.pt')
    assert f"got '{path}', which does not exist" in refusal('ViT-B-32', path)
    assert 'which does not exist' in refusal(config(), 'laion2b_s34b_b79k')


def test_a_tag_that_cannot_be_fetched_is_an_error_in_one_line(offline):
    assert "expected to fetch 'ViT-B-32:laion2b_s34b_b79k', got OSError" in refusal('ViT-B-32', 'laion2b_s34b_b79k')


def test_a_tag_trained_with_the_other_activation_is_refused(offline, monkeypatch):
    assert refusal('ViT-B-32', 'openai').endswith('set clip: ViT-B-32-quickgelu')
    monkeypatch.setattr(open_clip, 'get_pretrained_cfg', lambda name, tag: {'quick_gelu': False})
    assert refusal('ViT-B-32-quickgelu', 'openai').endswith('set clip: ViT-B-32')


def test_a_tag_has_its_own_pixel_statistics(monkeypatch):
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda tag: 'fetched.pt')
    monkeypatch.setattr(clip_backbone, 'load_strictly', lambda model, path: None)
    with torch.device('meta'):
        assert build_backbone('ViT-L-14', 'laion2b_s32b_b82k').mean == (0.5, 0.5, 0.5)
        assert build_backbone('ViT-B-32', 'laion2b_s34b_b79k').mean == open_clip.OPENAI_DATASET_MEAN


def test_statistics_without_a_tag_are_those_of_clip():
    backbone = build_backbone(config())
    assert (backbone.mean, backbone.std) == (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


@pytest.mark.parametrize('form', ['plain', 'training checkpoint', 'safetensors', 'logit scale of one element'])
def test_a_local_file_is_loaded_completely(tmp_path, form):
    source = open_clip.CLIP(**config())
    state = source.state_dict()
    path = tmp_path / ('weights.safetensors' if form == 'safetensors' else 'weights.pt')
    if form == 'safetensors':
        save_file(state, path)
    elif form == 'training checkpoint':
        wrapped = {f'module.{key}': value for key, value in state.items()}
        torch.save({'epoch': 3, 'name': 'run', 'state_dict': wrapped}, path)
    elif form == 'plain':
        torch.save(state, path)
    else:
        torch.save({**state, 'logit_scale': state['logit_scale'].reshape(1)}, path)
    loaded = build_backbone(config(), str(path)).clip.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_file_of_another_model_is_an_error_that_counts_what_does_not_fit(tmp_path):
    path = tmp_path / 'weights.pt'
    torch.save(open_clip.CLIP(**config(image_size=64)).state_dict(), path)
    assert '1 of another shape: visual.positional_embedding (file (17, 32), network (10, 32))' in refusal(
        config(), str(path)
    )
    torch.save(open_clip.CLIP(**config(layers=3)).state_dict(), path)
    assert '12 unexpected: visual.transformer.resblocks.2.ln_1.weight, ' in refusal(config(), str(path))
    torch.save(open_clip.CLIP(**config(layers=1)).state_dict(), path)
    assert '12 missing: visual.transformer.resblocks.1.ln_1.weight, ' in refusal(config(), str(path))


class _RunsCode:
    def __reduce__(self):
        return exec, ('import pathlib; pathlib.Path("ran").touch()',)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'weights': _RunsCode()}, 'archive.pt')
    (tmp_path / 'bare.pt').write_bytes(pickle.dumps(_RunsCode()))
    for name in ('archive.pt', 'bare.pt'):
        assert 'cannot be read as a checkpoint of plain tensors' in refusal(config(), f'./{name}')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('name', ['noise.pt', 'noise.safetensors', 'empty.pt'])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'' if name.startswith('empty') else b'no checkpoint at all')
    message = refusal(config(), str(path))
    assert message.startswith('pretrained: ')
    assert message.endswith(
        f'expected a checkpoint, got {path}, which is empty; copy or download it again'
        if name.startswith('empty')
        else f'{path} cannot be read as a checkpoint of plain tensors (it is a text); check the path, or download the '
        'file itself'
    )


def test_a_file_with_other_content_is_refused(tmp_path):
    for content, line in (([1, 2, 3], 'expected a state dict in '), ({'epoch': 3}, 'got epoch of type int')):
        torch.save(content, tmp_path / 'other.pt')
        assert line in refusal(config(), str(tmp_path / 'other.pt'))
