"""Stage 1: an adaptor of CLIP learns to read how a photo was degraded."""

from __future__ import annotations

import math
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.options import read_options
from deplsr_model.estimator_model import EstimatorModel
from deplsr_model.options import AdaptorOptions
from deplsr_model.reading import LevelEstimator, PriorForm
from deplsr_model.recipe import apply_recipe
from deplsr_model.text_cache import TextCache
from deplsr_model.vocabulary import TRAINING_LEVELS, embed_levels

__all__ = ['DegradationAdaptorModel']

MAX_LOGIT_SCALE = math.log(100)


@MODEL_REGISTRY.register()
class DegradationAdaptorModel(EstimatorModel):
    """Trains ``network_da`` against the text embeddings of captions that say how the photo was degraded.

    Option file: :class:`~deplsr_model.options.AdaptorOptions`. Only the control tower, its heads, scale and bias are
    optimised; CLIP itself is frozen. Validation reads each photo's levels back and reports, for each degradation type, the share
    that is right beside the share that the best constant answer would get.

    Source: Sci. Rep. 15, 28837 (2025), Degradation Adaptor.

    Raises:
        OptionError: A key is unknown or its value is out of range.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        apply_recipe(opt, ('network_da', 'train'))
        self.options = read_options(AdaptorOptions, opt, '')
        if self.options.find_unused_parameters:
            raise OptionError('find_unused_parameters: expected false in stage 1, got true; leave it out')
        super().__init__(opt)
        net = self.get_bare_model(self.net_da)
        self.encode_text = TextCache(net.encode_text)
        tokenizer = next(iter(opt['datasets'].values())).get('tokenizer', 'ViT-B-32')
        self.reader = LevelEstimator(net, tokenizer, self.options.val.template, self._reading_form())
        if self.is_train:
            self.vocabulary = embed_levels(net, TRAINING_LEVELS, tokenizer, '{}', self.device)
            self._init_training()

    def _reading_form(self) -> PriorForm:
        """Says how the loss wants its embeddings to be read; without a loss, as the recipe has it."""
        loss = (self.opt.get('train') or {}).get('contrastive_opt')
        if loss is None:
            return 'embedding' if self.options.recipe == 'paper' else 'words'
        return 'words' if loss.get('type') == 'DegradationOrdinalLoss' and loss.get('spread', True) else 'embedding'

    def _init_training(self) -> None:
        if self.options.train is None:
            raise OptionError(
                "train: missing section; expected 'total_iter', 'optim_da', 'scheduler', 'contrastive_opt'"
            )
        self.net_da.train()
        self.cri_contrastive = build_loss(self.opt['train']['contrastive_opt']).to(self.device)
        settings = dict(self.options.train.optim_da)
        groups = parameter_groups(self.get_bare_model(self.net_da), settings.pop('weight_decay', 0))
        self.start_optimizer(groups, settings)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Takes a batch with ``lq`` (B, 3, h, w), ``tokens`` (B, 7, L) and ``levels`` (B, 5)."""
        if 'tokens' not in data or 'levels' not in data:
            raise UserError(
                'datasets: expected photos with captions and levels in stage 1, got a data set without; '
                'take CaptionedDegradationDataset or CaptionedPairDataset'
            )
        context = self.get_bare_model(self.net_da).context_length
        if data['tokens'].shape[-1] != context:
            raise UserError(
                f'datasets.*.context_length: expected the {context} tokens that network_da reads, '
                f'got {data["tokens"].shape[-1]}; set it to {context}'
            )
        data = self.degraded(data)
        self.lq = data['lq'].to(self.device, non_blocking=True)
        self.tokens = data['tokens'].cpu()  # a prefetcher may have moved them; the cache looks them up on the CPU
        self.levels = data['levels'].to(self.device, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        """Does one training step."""
        net = self.get_bare_model(self.net_da)
        self.optimizer_da.zero_grad()
        text = self.encode_text(self.tokens, self.device)
        losses = self.cri_contrastive(
            self.net_da(self.lq),
            text,
            net.logit_scale.exp(),
            net.logit_bias,
            levels=self.levels,
            vocabulary=self.vocabulary,
        )
        total = losses['l_total']
        if self.opt['dist']:  # DistributedDataParallel waits for a gradient of every parameter, needed or not
            total = total + 0.0 * sum(p.sum() for p in net.trainable_parameters())
        total.backward()
        self.optimizer_da.step()
        with torch.no_grad():
            net.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        self.log_dict = self.reduce_loss_dict(losses)
        self.log_dict['scale'] = net.logit_scale.exp().item()

    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Reads the fine embeddings back as their loss means them."""
        return self.reader.read(self.get_bare_model(self.net_da)(lq).fine_degradation)


def parameter_groups(net: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Splits the trained parameters: matrices decay; gains, biases, scale and bias of the logits do not."""
    trained = list(net.trainable_parameters())
    return [
        {'params': [p for p in trained if p.ndim >= 2], 'weight_decay': weight_decay},
        {'params': [p for p in trained if p.ndim < 2], 'weight_decay': 0.0},
    ]
