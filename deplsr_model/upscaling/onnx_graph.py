"""SR network and degradation estimator as one module that a tracer can follow for images of any size.

Python code that depends on the size of an image is replaced by tensor operations with the same result: borders, the
number of an adaptor's crops.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from deplsr_arch.clip_backbone import JPEG_BLOCK, MAX_CROPS_PER_SIDE
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput, DegradationAdaptor
from deplsr_arch.level_distribution_arch import LevelDistribution, cautious, trust
from deplsr_arch.level_regressor_arch import LevelRegressor
from deplsr_arch.number_tokens import distribution_tokens, number_tokens
from deplsr_arch.protocols import Estimator, TextEstimator, is_conditioned, is_text_estimator
from deplsr_data.degradation.level_tables import LevelTable
from deplsr_model.level_text import (
    LevelEmbeddings,
    LevelEstimator,
    PriorForm,
    embed_levels,
    level_positions,
    neighbour_shares,
    neighbour_target,
    positions_to_levels,
)
from deplsr_model.upscaling.edits import stated_levels
from deplsr_model.upscaling.model_files import LoadedModel
from deplsr_model.upscaling.steering import steered

__all__ = ['OnnxGraph', 'prior_options']


class OnnxGraph(nn.Module):
    """Estimates the degradation of images and enlarges them.

    Args:
        model: A loaded model.

    Shape:
        - image: (B, 3, h, w) RGB in 0..1.
        - levels: (1, K) or (B, K) in the units of the degradation types; NaN for a level that is to be estimated.
        - returns images (B, 3, scale h, scale w), and levels (B, K) if ``estimates_levels``.
    """

    def __init__(self, model: LoadedModel) -> None:
        super().__init__()
        self.net = model.net
        self.scale, self.multiple = model.scale, model.multiple
        self.prior = _prior_of(model)
        self.num_levels: int = getattr(model.estimator, 'num_degradation_types', 0)

    @property
    def takes_levels(self) -> bool:
        """Whether levels can replace those that are estimated."""
        return isinstance(self.prior, (_DistributionPrior, _NumberPrior, _MixturePrior))

    @property
    def estimates_levels(self) -> bool:
        """Whether levels are returned."""
        return self.takes_levels or isinstance(self.prior, _EmbeddingPrior)

    def forward(self, image: Tensor, levels: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Returns enlarged images, and levels if the estimator has some."""
        padded = _mirrored(image, self.multiple)
        size = torch._shape_as_tensor(image)[2:] * self.scale
        found: Tensor | None = None
        if self.prior is None:
            large = self.net(padded)
        else:
            content, degradation, found = self.prior(image, levels)
            large = self.net(padded, content, degradation)
        large = large.index_select(2, _places(size[0])).index_select(3, _places(size[1]))
        return large if found is None else (large, found)


def _prior_of(model: LoadedModel) -> nn.Module | None:
    """Returns the module of a model's prior: (image, levels) to content, degradation and levels."""
    if not is_conditioned(model.net):
        return None
    opt = model.files.opt
    source = str(opt.get('prior') or 'estimated')
    if model.estimator is None or model.table is None or source == 'none':
        count = getattr(model.net, 'num_degradation_types', 1)
        return _ConstantPrior(torch.zeros(1, 1, model.net.prior_dim), torch.zeros(1, count, model.net.prior_dim))
    form, template = prior_options(model)
    if source not in ('estimated', 'captions'):  # photos have no captions
        known = stated_levels(source, (), model.table)
        return _ConstantPrior(*steered(model.estimator, model.table, form, template).stated(known))
    if isinstance(model.estimator, LevelDistribution):
        return _DistributionPrior(model.estimator, model.table)
    if isinstance(model.estimator, LevelRegressor):
        return _NumberPrior(model.estimator, model.table)
    if is_text_estimator(model.estimator):
        if form == 'mixture':
            return _MixturePrior(model.estimator, model.table)
        return _EmbeddingPrior(model.estimator, model.table, template)
    return _OtherPrior(model.estimator)


def prior_options(model: LoadedModel) -> tuple[PriorForm, str]:
    """Returns how levels are represented, and the text in which ``{}`` stands for a caption."""
    opt = model.files.opt
    return opt.get('prior_form') or 'mixture', (opt.get('val') or {}).get('template') or '{}'


class _ConstantPrior(nn.Module):
    """The same prior for all images."""

    def __init__(self, content: Tensor, degradation: Tensor) -> None:
        super().__init__()
        self.register_buffer('content', content)
        self.register_buffer('degradation', degradation)

    def forward(self, image: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor, None]:
        batch = image.shape[0]
        return self.content.expand(batch, -1, -1), self.degradation.expand(batch, -1, -1), None  # type: ignore[operator]


class _DistributionPrior(nn.Module):
    """LevelDistribution; a level that replaces the estimate is certain, and trusted anywhere."""

    def __init__(self, estimator: LevelDistribution, table: LevelTable) -> None:
        super().__init__()
        self.estimator, self._table = estimator, table

    def forward(self, image: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        net = self.estimator
        features = net.features(_at_least(image, net.stride))
        share, weight = net.shares(features), trust(net.distance(features))[:, None]
        if levels is not None:
            given = ~levels.isnan()
            known = neighbour_shares(level_positions(levels, self._table), net.num_levels)
            share = torch.where(given[..., None], known, share)
            weight = torch.where(given, torch.ones_like(weight), weight)
        mean, deviation = net.moments(share)
        wider = cautious(deviation) if levels is None else torch.where(given, deviation, cautious(deviation))
        degradation = weight[..., None] * distribution_tokens(mean, wider, net.prior_dim)
        return _no_content(image, net.prior_dim), degradation, positions_to_levels(mean, self._table)


class _NumberPrior(nn.Module):
    """LevelRegressor."""

    def __init__(self, estimator: LevelRegressor, table: LevelTable) -> None:
        super().__init__()
        self.estimator, self._table = estimator, table

    def forward(self, image: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        net = self.estimator
        at = net(_at_least(image, net.stride))
        if levels is not None:
            at = torch.where(levels.isnan(), at, level_positions(levels, self._table))
        return _no_content(image, net.prior_dim), number_tokens(at, net.prior_dim), positions_to_levels(at, self._table)


class _MixturePrior(nn.Module):
    """An adaptor in the form ``mixture``; the embeddings of its level texts are constants."""

    def __init__(self, estimator: TextEstimator, table: LevelTable) -> None:
        super().__init__()
        self.estimator = cast(nn.Module, estimator)
        self._vocabulary = embed_levels(estimator, table)
        self._embeddings = LevelEmbeddings(self._vocabulary)
        self._scale = estimator.logit_scale.detach().exp()

    def forward(self, image: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        content, fine = _text_prior(self.estimator, image)
        shares = self._embeddings.probabilities(fine, self._scale)
        if levels is not None:
            for k, (known, _) in enumerate(self._vocabulary):
                level = levels[:, k]
                share = neighbour_target(level, known)
                shares[k] = torch.where(level.isnan()[:, None], shares[k], share)
        found = [share @ known for share, (known, _) in zip(shares, self._vocabulary, strict=True)]
        return content, self._embeddings.mix(shares), torch.stack(found, dim=1)


class _EmbeddingPrior(nn.Module):
    """An adaptor in the published form; levels would need its text tower, so they are returned only."""

    def __init__(self, estimator: TextEstimator, table: LevelTable, template: str) -> None:
        super().__init__()
        self.estimator = cast(nn.Module, estimator)
        self._levels = LevelEstimator(estimator, table, 'embedding', template)
        self._levels.estimate(estimator.prior(torch.zeros(1, 3, 32, 32))[1])  # runs the text tower, once

    def forward(self, image: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        content, fine = _text_prior(self.estimator, image)
        return content, fine, self._levels.estimate(fine)


class _OtherPrior(nn.Module):
    """An estimator of another package."""

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.estimator = cast(nn.Module, estimator)

    def forward(self, image: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor, None]:
        content, degradation = self.estimator.prior(image)  # type: ignore[operator]
        return content, degradation, None


def _text_prior(estimator: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(estimator, DegradationAdaptor) and estimator.view == 'native':
        output: AdaptorOutput = estimator.embed_views(*_native_views(image, estimator.image_size))
        return output.content.unsqueeze(1), output.fine_degradation
    return estimator.prior(image)  # type: ignore[operator]


def _no_content(image: Tensor, dim: int) -> Tensor:
    return image.new_zeros(1, 1, dim).expand(image.shape[0], -1, -1)


def _side(image: Tensor, dim: int) -> Tensor:
    """Returns a side of an image as a scalar that a tracer follows."""
    return torch._shape_as_tensor(image)[dim]


def _places(length: Tensor) -> Tensor:
    """Returns 0, 1, ... of a length that is a scalar tensor, so that a tracer follows it."""
    return torch.arange(length)  # type: ignore[call-overload]


def _at_least(image: Tensor, side: int) -> Tensor:
    """Repeats the lower and right border of images until both sides have a length."""
    for dim in (2, 3):
        length = _side(image, dim)
        image = image.index_select(dim, _places(length.clamp(min=side)).clamp(max=length - 1))
    return image


def _mirrored(image: Tensor, multiple: int) -> Tensor:
    """As :func:`deplsr_arch.image_sides.mirrored`."""
    if multiple == 1:
        return image
    sides = [_side(image, dim) for dim in (2, 3)]
    added = [-side % multiple for side in sides]
    reflect = (added[0] < sides[0]) & (added[1] < sides[1])
    for dim, side, more in zip((2, 3), sides, added, strict=True):
        at = _places(side + more)
        last = side - 1
        image = image.index_select(dim, torch.where(reflect, last - (last - at).abs(), at.minimum(last)))
    return image


def _native_views(image: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """As :func:`deplsr_arch.clip_backbone.clip_views`, view ``native``, but always with the largest number of crops.

    A graph by tracing needs a fixed number of them.

    Returns:
        Crops (B, K, 3, size, size), K = ``MAX_CROPS_PER_SIDE ** 2``, and their weights (K,): 1, or 0 for one too many.
    """
    (tops, used_tops), (lefts, used_lefts) = (_starts(_side(image, dim), size) for dim in (2, 3))
    rows = [image.index_select(2, _reflected(top, _side(image, 2), size)) for top in tops.unbind()]
    crops = [row.index_select(3, _reflected(left, _side(image, 3), size)) for row in rows for left in lefts.unbind()]
    return torch.stack(crops, dim=1), (used_tops[:, None] & used_lefts).flatten().float()


def _reflected(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Returns ``size`` places from a start on; the side is mirrored, border pixel included, as often as needed."""
    at = (start + torch.arange(size)) % (2 * length)
    return at.minimum(2 * length - 1 - at)


def _starts(length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """As :func:`deplsr_arch.grid.starts` for the crops of an adaptor; also returns which of the starts are used."""
    length = length.clamp(min=size)
    count = ((length + size - 1) // size).clamp(max=MAX_CROPS_PER_SIDE)
    index = torch.arange(MAX_CROPS_PER_SIDE)
    at = index * (length - size) // (count - 1).clamp(min=1) // JPEG_BLOCK * JPEG_BLOCK
    used = (index < count) & (at > torch.cat([at.new_full((1,), -1), at[:-1]]))  # equal starts: once
    return torch.where(used, at, torch.zeros_like(at)), used
