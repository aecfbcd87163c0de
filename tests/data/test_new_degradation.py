"""The steps of CONTRIBUTING, "A new degradation", followed with the example in colour_cast.py."""

from __future__ import annotations

from pathlib import Path

import colour_cast
import numpy as np
import pytest
import torch
from colour_cast import ColourCast, ColourCastRecipe
from PIL import Image
from skimage import data
from torch.utils.data import DataLoader, default_collate

from basicsr_plugin import cli
from basicsr_plugin.errors import UserError
from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset
from deplsr_data.captioned_pair_dataset import CaptionedPairDataset, read_captions
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.deferred import degrade_deferred
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.operators import OPERATORS, Filter, register_operator
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipes import RECIPES, draw, read_recipe, register_recipe
from deplsr_data.degradation.records import Jpeg, Noise, Record, Resize, from_json, to_json
from deplsr_data.degradation.types import NOMINAL_TYPES, REGISTERED_TYPES, DegradationType, register_degradation_type

NOMINAL, EFFECTIVE = level_table('nominal'), level_table('effective')
CAST = Record(4, (Resize(24, 32), ColourCast(12.5), Jpeg(80.0)))


@pytest.fixture(autouse=True)
def _restored_tables():
    """Registers the example for one test and restores the tables afterwards."""
    before = dict(OPERATORS), dict(RECIPES), list(REGISTERED_TYPES)
    colour_cast.register()
    yield
    for table, content in zip((OPERATORS, RECIPES), before, strict=False):
        table.clear()
        table.update(content)
    REGISTERED_TYPES[:] = before[2]


@pytest.fixture
def root(tmp_path):
    for name in ('astronaut', 'chelsea', 'coffee'):
        Image.fromarray(getattr(data, name)()[:100, :120]).save(tmp_path / f'{name}.png')
    return tmp_path


def options(root, **changes):
    own = {'recipe': {'type': 'colour_cast', 'red_range': [20, 30]}, **changes}
    return {'name': 'x', 'type': 'x', 'phase': 'train', 'scale': 4, 'dataroot_gt': str(root), 'gt_size': 64, **own}


def test_the_example_has_fewer_than_60_lines_of_code():
    lines = Path(colour_cast.__file__).read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) < 60


def test_a_record_survives_its_text():
    assert from_json(to_json(CAST)) == CAST
    with pytest.raises(ValueError, match='green'):
        from_json('{"scale": 1, "steps": [{"op": "colour_cast", "red": 1.0, "green": 1.0}]}')


def test_captions_and_levels_of_both_tables_have_one_more_entry():
    levels = NOMINAL.levels(CAST)
    texts = NOMINAL.captions(levels)
    assert levels == (0, 0, 0, 80, 0, 12.5)
    assert texts[1] == 'jpeg with quality factor:80.0, colour cast of red:12.5'
    assert texts[7:] == ['colour cast of red:12.5']
    shown = EFFECTIVE.levels(CAST)
    assert len(shown) == 9
    assert (shown[3], shown[8]) == (80, 12.5)
    assert EFFECTIVE.captions(shown)[10:] == ['colour cast of red:12.5']
    cells = ['', '', 'colour cast of red:3.0', '', '', '', '']
    for table in (NOMINAL, EFFECTIVE):
        assert table.names[-1] == 'cast'
        assert table.parse_caption('colour cast of red:12.5') == ('cast', 12.5)
        assert read_captions(cells, table)[1] == (*table.zero_levels[:-1], 3)


def test_one_image_and_a_batch_agree(photo):
    others = Record(4, (Noise('gaussian', 9.0, False, 1), Resize(24, 32), Jpeg(60.0), ColourCast(30.0)))
    records = [CAST, Record(4, (Resize(24, 32),)), others]
    packed = default_collate([pack(record, (96, 128)) for record in records])
    gt = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))).expand(3, -1, -1, -1)
    for record, out in zip(records, apply_batch(packed, gt), strict=True):
        difference = np.abs(out.permute(1, 2, 0).numpy() - apply(record, photo)) * 255
        assert (difference > 0.5).mean() < 0.02
        assert difference.mean() < 0.1
    assert apply(CAST, photo)[..., 0].mean() > apply(records[1], photo)[..., 0].mean() + 0.02


def test_the_recipe_is_read_and_drawn_from():
    recipe = read_recipe({'type': 'colour_cast', 'red_range': [5, 6]}, 'recipe')
    assert recipe == ColourCastRecipe(red_range=(5, 6))
    record = draw(recipe, 4, np.random.default_rng(0), (64, 64))
    assert record == draw(recipe, 4, np.random.default_rng(0), (64, 64))
    assert 5 <= NOMINAL.levels(record)[5] <= 6
    with pytest.raises(UserError, match=r"recipe: unknown key 'red_rang'; did you mean 'red_range'\?"):
        read_recipe({'type': 'colour_cast', 'red_rang': [5, 6]}, 'recipe')


def test_the_data_set_delivers_it_in_the_worker_and_on_the_device(root):
    worker, device = (
        next(iter(DataLoader(CaptionedDegradationDataset(options(root, degrade_on=place)), batch_size=3)))
        for place in ('worker', 'device')
    )
    assert 'lq' not in device
    device = degrade_deferred(device, torch.device('cpu'))
    assert device['record'] == worker['record']
    assert float((device['lq'] - worker['lq']).square().mean()) < 1e-4
    for batch in (worker, device):
        assert batch['levels'].shape == (3, 9)
        assert batch['tokens'].shape[:2] == (3, 11)
        assert ((batch['levels'][:, 8] >= 20) & (batch['levels'][:, 8] <= 30)).all()


def test_a_written_set_holds_its_captions_and_is_read(root):
    (root / 'recipe.yml').write_text('type: colour_cast\n')
    out = root.parent / f'{root.name}_set'
    shared = ['synthesize', '--input', str(root), '--output', str(out), '--scale', '4']
    assert cli.main([*shared, '--recipe', str(root / 'recipe.yml'), '--plugin', 'colour_cast']) == 0
    opt = {'name': 'x', 'type': 'x', 'phase': 'val', 'scale': 4, 'meta_info': str(out / 'captions.tsv')}
    item = CaptionedPairDataset({**opt, 'dataroot_lq': str(out / 'lq'), 'dataroot_gt': str(out / 'gt')})[0]
    assert item['levels'][8] == pytest.approx(NOMINAL.levels(from_json(item['record']))[5])
    assert item['captions'][2:] == list(EFFECTIVE.fine_captions(item['levels'].tolist()))


def test_without_a_batch_form_degrade_on_device_is_refused_in_one_line(root):
    register_operator(ColourCast, colour_cast.apply_to_image)
    item = CaptionedDegradationDataset(options(root))[0]
    assert item['levels'][8] >= 20
    with pytest.raises(UserError) as caught:
        CaptionedDegradationDataset(options(root, degrade_on='device'))[0]
    assert str(caught.value) == (
        "datasets.train.degrade_on: device: expected operators with a batch form, got 'colour_cast', which has none; "
        'set degrade_on: worker'
    )


def test_a_step_that_is_not_registered_is_refused(photo):
    del OPERATORS['colour_cast']
    with pytest.raises(TypeError, match='register_operator'):
        apply(CAST, photo)
    with pytest.raises(ValueError, match='colour_cast'):
        from_json('{"scale": 4, "steps": [{"op": "colour_cast", "red": 1.0}]}')


def test_names_that_are_taken_are_refused():
    class Jpeg2(Jpeg):
        pass

    class Recipe2(ColourCastRecipe):
        pass

    with pytest.raises(ValueError, match="'jpeg', which is taken"):
        register_operator(Jpeg2, colour_cast.apply_to_image)
    with pytest.raises(ValueError, match="'colour_cast', which is taken"):
        register_recipe(Recipe2, colour_cast.draw)
    with pytest.raises(ValueError, match='new name and prompt'):
        register_degradation_type(NOMINAL_TYPES[0])
    with pytest.raises(ValueError, match='letters a to z'):
        register_degradation_type(
            DegradationType(
                name='new',
                prompt='no: colour',
                zero_level=0,
                evaluation_levels=(0,),
                training_levels=(0, 1),
                tolerance=1,
                level_of=colour_cast.level_of,
            )
        )


@pytest.mark.parametrize('training_levels', [(), (1.0,), (0.0, 0.1, 1.0), (1.0, 0.5, 0.0)])
def test_training_levels_that_are_not_evenly_spaced_are_refused(training_levels):
    # a level between unevenly spaced texts would become a token of zeros
    with pytest.raises(ValueError, match='evenly spaced training_levels'):
        register_degradation_type(
            DegradationType(
                name='new',
                prompt='new with strength',
                zero_level=0,
                evaluation_levels=(0,),
                training_levels=training_levels,
                tolerance=1,
                level_of=colour_cast.level_of,
            )
        )


def test_a_step_without_a_name_is_refused():
    with pytest.raises(TypeError, match='op'):
        register_operator(Filter, colour_cast.apply_to_image)
    with pytest.raises(TypeError, match='type'):
        register_recipe(Filter, colour_cast.draw)
