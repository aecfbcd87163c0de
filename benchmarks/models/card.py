"""The text of a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from benchmarks.models.attribution import ATTRIBUTION
from deplsr_model.checkpoint import ESTIMATOR_PREFIX

__all__ = ['card_of', 'table']

_MISUSE = """\
- **Faces**: nobody is to be identified, judged or shown in public by an enlarged face. Features come from the average
  of the training photos, not from the person.
- **Medical, forensic and other evidence**: an enlarged image proves nothing that the photo does not show.
- **Text and number plates**: characters that cannot be read in the photo may come out as other characters.
"""
_SR_LIMITS = """\
- Trained for fidelity (L1): it removes noise, blocks and ringing and sharpens what is there. It adds no texture on
  purpose, so strongly degraded photos stay soft; under very strong noise, smears and streaks appear that are not in the
  scene.
- Trained on {photos} photos. Subjects that they do not show (documents, screens, drawings, microscopy) may look worse.
- Degradations beyond the recipe (strong motion blur, lens flare, scratches, film damage) are not removed. Where a
  photo is far from those of the training, the prior fades out.
- One estimate for each photo: parts that were degraded in different ways need `--local-prior`.
"""
_ESTIMATOR_LIMITS = """\
- A level is estimated from the image alone. The intervals hold the true level of 90% of the photos that are degraded as
  in training, on average; of other degradations they may hold fewer.
- A photo that is enlarged, cropped or saved again after the degradation shows other levels than before.
- Smooth photos show little of blur and compression: their intervals are wide.
- Outside of the training range most, but not all, photos are marked.
"""


def card_of(preset: Path, facts: Mapping[str, Any]) -> str:
    """Returns the card of a preset.

    Args:
        preset: ``FOLDER/NAME.safetensors``.
        facts: ``training``, ``licences_of_photos`` and ``measured``.
    """
    with safe_open(preset, 'pt') as file:
        stated: dict[str, str] = file.metadata()
        sizes = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    is_sr = 'network_g' in stated
    photos = sum(facts['licences_of_photos'].values())
    parts = [
        f'# {preset.stem}',
        _purpose(preset.stem, stated),
        table([['fact', 'value'], *_network(stated, sizes, preset)]),
        '## Measured',
        _measured(facts['measured']),
        '## Limits',
        (_SR_LIMITS if is_sr else _ESTIMATOR_LIMITS).format(photos=photos).rstrip(),
        '## Not to be used for',
        _MISUSE.rstrip(),
        '## Training',
        table([['fact', 'value'], *([name, _text(value)] for name, value in facts['training'].items())]),
        '## Photos',
        f'{photos} photographs published as free; crops of one photo count once. `{ATTRIBUTION}` next to this card '
        'lists each with author, source and licence, as the sources state them. No test image is among them.',
        table([['licence', 'photos'], *([name, str(count)] for name, count in facts['licences_of_photos'].items())]),
        '## Licence',
        f'The weights: {stated["license"]}. Whether weights are a work derived from the photos is not settled. Some of '
        'the photos are under CC BY-SA, so the weights are too: a cautious choice, not legal advice. Name this '
        f'project and keep `{ATTRIBUTION}` with the weights. The code has a licence of its own (Apache-2.0).',
    ]
    return '\n\n'.join(parts) + '\n'


def _purpose(name: str, stated: Mapping[str, str]) -> str:
    if 'network_g' not in stated:
        return (
            'Estimates how a photo was degraded: a level with a 90% interval for each of '
            f'{json.loads(stated["network_da"])["num_degradation_types"]} degradation types.\n\n'
            f'```bash\nbasicsr describe photo.jpg -m {name}\n```'
        )
    condition = (
        'The network is conditioned on what its degradation estimator finds in the photo (blur, noise, compression and '
        'others), and can be steered from there.'
        if 'network_da' in stated
        else 'Trained without a prior, to compare with.'
    )
    return (
        f'Enlarges photos x{stated["scale"]} and removes blur, noise and traces of compression. {condition}\n\n'
        f'```bash\nbasicsr upscale photo.jpg -o large -m {name}\n```'
    )


def _network(stated: Mapping[str, str], sizes: Mapping[str, int], preset: Path) -> Iterable[list[str]]:
    estimator = sum(size for name, size in sizes.items() if name.startswith(ESTIMATOR_PREFIX))
    own = sum(sizes.values()) - estimator
    if 'network_g' in stated:
        yield ['SR network', f'`{stated["network_g"]}`']
        yield ['weights of the SR network', f'{own:,d}']
    if 'network_da' in stated:
        yield ['degradation estimator', f'`{stated["network_da"]}`']
        yield ['weights of the estimator', f'{estimator or own:,d}']
        yield ['levels', stated['levels']]
    yield ['prior', stated.get('prior', 'none')]
    yield ['file', f'{preset.stat().st_size / 1e6:.1f} MB, float32']
    yield ['licence of the weights', stated['license']]
    yield ['source', stated['source']]


def _measured(rows: Sequence[Mapping[str, str]]) -> str:
    return table([[*rows[0]], *([*row.values()] for row in rows)]) if rows else '*Not measured yet.*'


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {_text(one)}' for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_text, value))
    return f'{value:,d}' if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table; the first row is its head."""
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], ['---'] * len(rows[0]), *rows[1:]])
