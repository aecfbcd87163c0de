"""Stage 2: an SR network that is conditioned on how the photo was degraded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.options import read_options
from deplsr_arch.protocols import Estimator, is_conditioned, is_estimator, is_text_estimator
from deplsr_data.degradation.level_tables import level_table
from deplsr_model.base import Batch, DePLSRBaseModel
from deplsr_model.compilation import check_compile
from deplsr_model.consistency import check_checkpoint_levels, check_levels, check_tokens, check_type_count
from deplsr_model.options import refuse_old_options, required
from deplsr_model.precision import autocast
from deplsr_model.prior import PRIORS, PriorInputs, PriorSetup, build_prior, check_source, needs_estimator
from deplsr_model.prior_dropout import drop_prior
from deplsr_model.sr_options import SROptions
from deplsr_model.tiling import upscale_tiled

__all__ = ['DePLSRModel']


@MODEL_REGISTRY.register()
class DePLSRModel(DePLSRBaseModel, SRModel):
    """BasicSR's SRModel whose network also takes the prior that a frozen estimator finds in the LR photo.

    Option file: :class:`~deplsr_model.sr_options.SROptions`. ``network_g`` is a network whose forward takes
    ``(lq, content, degradation)``, such as FusedDAT or Fused; ``network_da`` with ``path.pretrain_network_da`` is the
    degradation estimator of stage 1. A photo's prior is computed once, from the complete photo, also where the network
    runs in tiles.

    Source: Sci. Rep. 15, 28837 (2025).

    Raises:
        OptionError: A key is unknown or its value is out of range, or there is no trained estimator of the
            run's levels.
    """

    options_class: type[SROptions] = SROptions
    options: SROptions
    gt_usm: Tensor | None = None

    def __init__(self, opt: dict[str, Any]) -> None:
        self.options = self.typed_options(opt)
        self.table = level_table(self.options.levels)
        super().__init__(opt)
        net_g = self.get_bare_model(self.net_g)
        if not is_conditioned(net_g):
            raise OptionError(
                f'network_g.type: expected a network that takes a prior, got {opt["network_g"]["type"]}; '
                'take FusedDAT, FusedRRDBNet, FusedSwinIR or Fused, or a model_type of BasicSR'
            )
        count = check_type_count(net_g, 'network_g', self.table)
        _check_scale(self.options, getattr(net_g, 'scale', None))
        estimator = self._frozen_estimator() if needs_estimator(self.options.prior) else None
        estimated = getattr(estimator, 'num_degradation_types', count)
        if hasattr(net_g, 'num_degradation_types') and estimated != count:
            raise OptionError(
                f'network_g.num_degradation_types: expected {estimated}, that of network_da, got {count}; set it'
            )
        setup = PriorSetup(estimator, net_g.prior_dim, self.table, self.options.prior_form, estimated)
        self.prior_source = build_prior(self.options.prior, setup)

    @classmethod
    def typed_options(cls, opt: dict[str, Any]) -> SROptions:
        """Reads and checks the option file."""
        if 'prior' in opt and opt['prior'] is None:  # how --force_yml prior=none is parsed
            opt['prior'] = 'none'
        refuse_old_options(opt, PRIORS)
        options = read_options(cls.options_class, opt, '')
        check_levels(options.datasets, options.levels)
        _check_prior(options)
        _check_scale(options)
        check_compile(options.compile, options.train.accumulate if options.train else 1)
        if options.train and 'type' not in options.train.optim_g:
            raise OptionError("train.optim_g: missing key 'type'; expected an optimizer such as Adam")
        return options

    def _frozen_estimator(self) -> Estimator:
        net = build_network(self.opt['network_da'])
        if not is_estimator(net):
            raise OptionError(
                f'network_da.type: expected a degradation estimator, got {type(net).__name__}; take DegradationAdaptor '
                'or LevelRegressor'
            )
        check_type_count(net, 'network_da', self.table)
        if self.options.prior == 'captions' and self.options.prior_form == 'embedding' and is_text_estimator(net):
            check_tokens(self.options.datasets, self.options.datasets, net)
        path = self.opt['path']['pretrain_network_da']
        check_checkpoint_levels(path, self.options.levels)
        self.load_network(net, path, param_key=self.options.path.param_key_da)
        return net.requires_grad_(False).eval().to(self.device, memory_format=self.memory_format)

    def feed_data(self, data: Batch) -> None:
        """Takes a batch with ``lq`` (B, 3, h, w) and, except in a test without metrics, ``gt``; computes its prior.

        Where GT is sharpened in training (``gt_usm``), the sharpened one is the target; where there is a ``context``
        around ``lq``, the prior is estimated from that.
        """
        data = self.degraded(data)
        if 'lq' not in data:
            raise UserError(
                'datasets: expected a data set that returns lq, got one that leaves the degradation to the model; take '
                'CaptionedDegradationDataset with recipe: {type: realesrgan}, or model_type: DePLSRGANModel'
            )
        self.lq = self.image_to_device(data['lq'])
        if 'gt' in data:
            self.gt = self.image_to_device(data['gt'])
            self.gt_usm = self.image_to_device(data['gt_usm']) if 'gt_usm' in data else None
        # outside autocast: in bf16 an adaptor's levels moved by up to 0.18 (noise) and 0.44 (JPEG quality) of 0..30 and
        # 30..95 at a logit scale of 14, and more at greater scales, while the estimate is a small part of a step
        seen = data['context'].to(self.device, non_blocking=True) if 'context' in data else self.lq
        self.prior = self.prior_source(PriorInputs(seen, data.get('tokens'), data.get('levels'), self.at_use))

    def optimize_parameters(self, current_iter: int) -> None:
        """Trains on a batch."""
        self.begin_step(current_iter)
        self.output = self.compute(self.net_g, self.lq, *self._training_prior(current_iter))
        losses = self._losses()
        self.step_g.backward(torch.stack(list(losses.values())).sum())
        stepped = self.step_g.step(self.is_last(current_iter))
        self.log_step(losses)
        if stepped and self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def init_training_settings(self) -> None:
        """Builds losses, optimizers and the averaged network as BasicSR does."""
        super().init_training_settings()
        if self.ema_decay > 0:
            self.net_g_ema.to(memory_format=self.memory_format)

    def setup_optimizers(self) -> None:
        """Builds the optimizers as BasicSR does, and the training step of the generator."""
        super().setup_optimizers()
        self.step_g = self.add_step('g', self.optimizer_g, required(self.options.train))

    @property
    def at_use(self) -> bool:
        """Whether photos are those of a validation or a test."""
        return self._validating or not self.is_train

    def _training_prior(self, current_iter: int) -> tuple[Tensor, Tensor]:
        key = (self.options.manual_seed or 0, self.options.rank, current_iter)
        return drop_prior(self.prior, self.options.train.prior_dropout if self.options.train else 0, key)

    def _losses(self) -> OrderedDict[str, Tensor]:
        target = self.gt if self.gt_usm is None else self.gt_usm
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if self.cri_pix:
            losses['l_pix'] = self.cri_pix(self.output, target)
        if self.cri_perceptual:
            losses.update(self.perceptual_losses(target, 'l'))
        return losses

    def perceptual_losses(self, target: Tensor, prefix: str) -> dict[str, Tensor]:
        """Returns the perceptual and the style loss, those that are in use.

        VGG computes in the precision of the networks, except for a style loss: its sums over all pixels overflow fp16.
        """
        style_weight = getattr(self.cri_perceptual, 'style_weight', 0)
        with autocast(self.device, None if style_weight else self.options.amp):
            perceptual, style = self.cri_perceptual(self.output, target)
        named = {f'{prefix}_percep': perceptual, f'{prefix}_style': style}
        return {name: loss.float() for name, loss in named.items() if loss is not None}

    @torch.no_grad()
    def test(self) -> None:
        """Enlarges the batch, in blended tiles if ``val.tile`` is set, with the averaged weights if there are any.

        Raises:
            UserError: The output is not finite.
        """
        averaged = getattr(self, 'net_g_ema', None)
        # without its DDP wrapper, whose forward would wait for the other processes
        net: nn.Module = self.get_bare_model(self.net_g) if averaged is None else averaged
        net.eval()
        self.output = upscale_tiled(
            lambda tile: self.compute(net, tile, *self.prior),
            self.lq,
            self.options.scale,
            self.options.val.tile,
            self.options.val.tile_overlap,
        )
        if averaged is None:
            net.train(self.is_train)
        if not self.output.isfinite().all():
            raise UserError(
                f'network_g: expected finite values, got others in the image of {self.files_of_batch()}; its weights '
                'are damaged or too large, or they overflow with amp; take an earlier checkpoint or leave amp out'
            )

    def _log_validation_metric_values(self, current_iter: int | str, dataset_name: str, tb_logger: object) -> None:
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        self.record_metrics(current_iter, dataset_name, self.metric_results)

    def print_network(self, net: nn.Module) -> None:
        """Logs the size of a network; its full listing would fill pages."""
        net = self.get_bare_model(net)
        count = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, with parameters: {count:,d}')


def _check_prior(options: SROptions) -> None:
    check_source(options.prior, level_table(options.levels))
    if not needs_estimator(options.prior):
        return
    if options.network_da is None:
        raise OptionError("missing key 'network_da'; expected the adaptor's options of stage 1, or prior: none")
    if options.path.pretrain_network_da is None:
        raise OptionError(
            "path.pretrain_network_da: expected the adaptor's checkpoint of stage 1, got none; train one with "
            '-opt train_degradation_adaptor.yml, or set prior: none'
        )


def _check_scale(options: SROptions, built: int | None = None) -> None:
    """Compares the scale of the network with that of the run, before and after it is built."""
    network = options.network_g.get('backbone', options.network_g)
    key = 'scale' if 'scale' in network else 'upscale'
    scale = built or network.get(key, options.scale)
    if scale != options.scale:
        raise OptionError(f'network_g.{key}: expected {options.scale}, the scale of the run, got {scale}; change one')
