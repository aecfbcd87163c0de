"""Weights of a CLIP: find them by tag or path, load them strictly or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from basicsr_plugin.checkpoint import check_finite, mismatches, read_state_dict
from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.names import nearest

if TYPE_CHECKING:  # imported where it is used: it takes half as long as torch
    import open_clip

__all__ = ['Weights', 'find_weights', 'load_strictly']


class Weights(NamedTuple):
    """Where a CLIP's weights are stored, and how pixels were normalised in their training.

    Attributes:
        path: A file on this machine; None for random weights.
        mean: Mean of R, G, B for pixels in 0..1.
        std: Standard deviation of R, G, B for pixels in 0..1.
    """

    path: Path | None
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # open_clip.OPENAI_DATASET_MEAN
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)  # open_clip.OPENAI_DATASET_STD


def find_weights(name: str | None, pretrained: str | None, quick_gelu: bool) -> Weights:
    """Finds the weights that ``pretrained`` names, and fetches them if it is a tag that is not in the cache yet.

    Args:
        name: open_clip's name of the model; None for an inline config, which has no tags.
        pretrained: A tag of that model, the path of a local file, or None.
        quick_gelu: Whether the model is built with QuickGELU.

    Raises:
        UserError: There is no such tag or file, the tag cannot be fetched, or it was trained with the other activation.
    """
    import open_clip

    if pretrained is None:
        return Weights(None)
    tag = open_clip.get_pretrained_cfg(name, pretrained) if name else None
    if not name or not tag:
        return Weights(_find_file(name, pretrained))
    if tag.get('quick_gelu', False) != quick_gelu:
        # open_clip only warns; the features would be those of another network
        other = name.removesuffix('-quickgelu') if quick_gelu else f'{name}-quickgelu'
        raise UserError(
            f"pretrained: expected weights for the activation of '{name}' (quick_gelu: {quick_gelu}), "
            f"got '{pretrained}', trained with the other; set clip: {other}"
        )
    return Weights(_download(tag, f'{name}:{pretrained}'), tuple(tag['mean']), tuple(tag['std']))


def _find_file(name: str | None, pretrained: str) -> Path:
    import open_clip

    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    tags = open_clip.list_pretrained_tags_by_model(name) if name else []
    if path.suffix or len(path.parts) > 1 or not tags:
        raise UserError(
            f"pretrained: expected a weights file, got '{pretrained}', which does not exist; check the path"
        )
    hint = nearest(pretrained, tags) or f'; one of {", ".join(tags)}'
    raise UserError(f"pretrained: expected a tag of {name} or a file, got '{pretrained}'{hint}")


def _download(tag: dict[str, object], label: str) -> Path:
    import open_clip

    try:
        return Path(open_clip.download_pretrained(tag))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"pretrained: expected to fetch '{label}', got {first_line(error, with_type=True)}; "
            f'check the network, or name a local file'
        ) from error


def load_strictly(model: open_clip.CLIP, path: Path) -> None:
    """Loads weights that fit the model in every name and shape.

    Raises:
        UserError: The file cannot be read as plain tensors, or fits only in part.
    """
    weights, own = read_state_dict(path, 'state_dict', 'pretrained'), model.state_dict()
    for key in ('logit_scale', 'logit_bias'):
        if key in weights and key in own and weights[key].numel() == own[key].numel():
            weights[key] = weights[key].reshape(own[key].shape)  # a scalar in some files, one element in others
    problems = mismatches(model, weights)
    if problems:
        raise UserError(
            f"pretrained: expected the weights of clip, got '{path}' with {'; '.join(problems)}; name the model they "
            f'belong to'
        )
    check_finite(weights, path, 'pretrained', 'name another file')
    model.load_state_dict(weights)
