"""Stage 1: an adaptor of CLIP learns to estimate how a photo was degraded."""

from __future__ import annotations

import math
from typing import Any

import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import LOSS_REGISTRY, MODEL_REGISTRY
from torch import Tensor

from basicsr_plugin.errors import OptionError, UserError
from deplsr_arch.degradation_adaptor_arch import AdaptorOutput, DegradationAdaptor
from deplsr_model.base import Batch, ParameterGroup
from deplsr_model.consistency import check_tokens
from deplsr_model.degradation_contrastive_loss import ContrastiveLoss
from deplsr_model.estimator_model import EstimatorModel
from deplsr_model.estimator_options import AdaptorOptions, AdaptorTrainOptions
from deplsr_model.functional import ContrastiveBatch
from deplsr_model.gathering import gather_batch
from deplsr_model.level_text import LevelEstimator, PriorForm, TextCache, embed_levels
from deplsr_model.options import required
from deplsr_model.precision import autocast

__all__ = ['DegradationAdaptorModel']

MAX_LOGIT_SCALE = math.log(100)


@MODEL_REGISTRY.register()
class DegradationAdaptorModel(EstimatorModel):
    """Trains ``network_da`` against the text embeddings of captions that describe how the photo was degraded.

    Option file: :class:`~deplsr_model.estimator_options.AdaptorOptions`. Only the control tower, its heads, scale and
    bias are optimised; CLIP itself is frozen. Validation estimates the levels of each photo and reports, for each
    degradation type, the share of correct estimates and that of the best constant answer.

    Source: Sci. Rep. 15, 28837 (2025), Degradation Adaptor.

    Raises:
        OptionError: A key is unknown, its value is out of range, or the data sets do not fit the adaptor.
    """

    options_class = AdaptorOptions
    options: AdaptorOptions

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt.get('find_unused_parameters'):
            raise OptionError('find_unused_parameters: expected false in stage 1, got true; leave it out')
        super().__init__(opt)
        net: DegradationAdaptor = self.get_bare_model(self.net_da)
        self.encode_text = TextCache(net.encode_text)
        self.level_estimator = LevelEstimator(net, self.table, self._estimate_form(), self.options.val.template or '{}')
        if self.is_train:
            self._start_training(net, required(self.options.train))

    def _estimate_form(self) -> PriorForm:
        """How levels are estimated follows the loss; without a loss, that is in a test, ``val.template``."""
        template = self.options.val.template
        if self.options.train is None:
            return 'mixture' if template is None else 'embedding'
        name = self.options.train.contrastive_opt.get('type')
        loss = dict(iter(LOSS_REGISTRY)).get(name)
        if not (isinstance(loss, type) and issubclass(loss, ContrastiveLoss)):
            raise OptionError(
                f'train.contrastive_opt.type: expected a loss of stage 1, got {name}; take DegradationOrdinalLoss, '
                'DegradationSigmoidLoss or DegradationSoftmaxLoss'
            )
        if template is not None and loss.estimate_form == 'mixture':
            raise OptionError(
                f"val.template: expected with the published losses only, got '{template}' with {name}, where it has no "
                'effect; remove it'
            )
        return loss.estimate_form

    def _start_training(self, net: DegradationAdaptor, train: AdaptorTrainOptions) -> None:
        check_tokens(self.options.datasets, ['train'], net)
        self.vocabulary = embed_levels(net, self.table)
        self.net_da.train()
        self.cri_contrastive = build_loss(dict(train.contrastive_opt)).to(self.device)
        settings = dict(train.optim_da)
        groups = parameter_groups(net, settings.pop('weight_decay', 0))
        self.start_optimizer(groups, settings)

    def feed_data(self, data: Batch) -> None:
        """Takes a batch with ``lq`` (B, 3, h, w), ``tokens`` (B, 2 + K, L) and ``levels`` (B, K)."""
        if 'tokens' not in data or 'levels' not in data:
            raise UserError(
                'datasets: expected photos with captions and levels in stage 1, got a data set without; '
                'take CaptionedDegradationDataset or CaptionedPairDataset'
            )
        data = self.degraded(data)
        self.lq = self.image_to_device(data['lq'])
        # on the CPU, where the cache looks them up; a prefetcher may have moved them
        self.tokens = data['tokens'].cpu()[:, : 2 + self.num_types]
        self.levels = data['levels'][:, : self.num_types].to(self.device, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        """Trains on a batch."""
        self.begin_step(current_iter)
        net = self.get_bare_model(self.net_da)
        text = self.encode_text(self.tokens, self.device)
        with autocast(self.device, self.options.amp):
            output = self.net_da(self.lq)
        output = AdaptorOutput(*map(gather_batch, output))
        text, levels = gather_batch(text), gather_batch(self.levels)
        losses = self.cri_contrastive(
            ContrastiveBatch(output, text, net.logit_scale.exp(), net.logit_bias, levels, self.vocabulary)
        )
        total = losses['l_total']
        if self.opt['dist']:  # DistributedDataParallel waits for a gradient of every parameter, needed or not
            total = total + 0.0 * sum(p.sum() for p in net.trainable_parameters())
        self.step_da.backward(total)
        if self.step_da.step(self.is_last(current_iter)):
            with torch.no_grad():
                net.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        self.log_step(losses)
        self.log_dict['scale'] = net.logit_scale.exp().item()

    def estimate_levels(self, lq: Tensor) -> Tensor:
        """Estimates levels from the fine embeddings in the way that suits their loss."""
        return self.level_estimator.estimate(self.get_bare_model(self.net_da)(lq).fine_degradation)


def parameter_groups(net: DegradationAdaptor, weight_decay: float) -> list[ParameterGroup]:
    """Splits the trained parameters: matrices decay; gains, biases, scale and bias of the logits do not."""
    trained = list(net.trainable_parameters())
    return [
        {'params': [p for p in trained if p.ndim >= 2], 'weight_decay': weight_decay},
        {'params': [p for p in trained if p.ndim < 2], 'weight_decay': 0.0},
    ]
