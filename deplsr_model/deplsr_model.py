"""Stage 2: an SR network that is told how the photo was degraded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import read_options

from .base import DePLSRBaseModel
from .options import SROptions
from .tiling import upscale_tiled

__all__ = ['DePLSRModel']


@MODEL_REGISTRY.register()
class DePLSRModel(DePLSRBaseModel, SRModel):
    """BasicSR's SRModel whose network also gets the prior that a frozen adaptor reads off the LR photo.

    Option file: :class:`~deplsr_model.options.SROptions`. ``network_g`` is a network whose forward takes
    ``(lq, content, degradation)``, such as FusedDAT; ``network_da`` with ``path.pretrain_network_da`` is the adaptor of
    stage 1. A photo's prior is read once, from the whole photo, also where the network runs in tiles.

    Source: Sci. Rep. 15, 28837 (2025).

    Raises:
        OptionError: A key is unknown or its value is out of range, or there is no trained adaptor.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.options = read_options(SROptions, opt, '')
        if self.options.prior == 'adaptor' and self.options.path.pretrain_network_da is None:
            raise OptionError(
                "path.pretrain_network_da: expected the adaptor's checkpoint of stage 1, got none; train one with "
                'options/train_degradation_adaptor.yml, or set prior: none'
            )
        self._check_networks()
        super().__init__(opt)
        if not hasattr(self.get_bare_model(self.net_g), 'prior_dim'):
            raise OptionError(
                f'network_g.type: expected a network that takes a prior, got {opt["network_g"]["type"]}; '
                'take FusedDAT, or model_type: SRModel'
            )
        self.net_da = self._frozen_adaptor() if self.options.prior == 'adaptor' else None

    def _check_networks(self) -> None:
        upscale = self.options.network_g.get('upscale', self.options.scale)
        if upscale != self.options.scale:
            raise OptionError(
                f'network_g.upscale: expected {self.options.scale}, the scale of the run, got {upscale}; change one'
            )
        if self.options.train and 'type' not in self.options.train.optim_g:
            raise OptionError("train.optim_g: missing key 'type'; expected an optimizer such as Adam")
        if self.options.prior == 'adaptor' and self.options.network_da is None:
            raise OptionError("missing key 'network_da'; expected the adaptor's options of stage 1, or prior: none")

    def _frozen_adaptor(self) -> Any:
        path = self.opt['path']['pretrain_network_da']
        net_da = build_network(self.opt['network_da'])
        self.load_network(net_da, path, param_key=self.options.path.param_key_da)
        return net_da.requires_grad_(False).eval().to(self.device)

    @torch.no_grad()
    def read_prior(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """Gives the prior of each photo: content (B, 1, D) and degradation (B, 5, D)."""
        if self.net_da is not None:
            return self.net_da.prior(lq)
        dim = self.get_bare_model(self.net_g).prior_dim
        return lq.new_zeros(len(lq), 1, dim), lq.new_zeros(len(lq), 5, dim)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Takes a batch with ``lq`` (B, 3, h, w) and, except for looking, ``gt``; reads its prior."""
        super().feed_data(self.degraded(data))
        self.prior = self.read_prior(self.lq)

    def optimize_parameters(self, current_iter: int) -> None:
        """Does one training step."""
        self.optimizer_g.zero_grad()
        self.output = self.net_g(self.lq, *self.prior)
        losses = self._losses()
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer_g.step()
        self.log_dict = self.reduce_loss_dict(losses)
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def _losses(self) -> OrderedDict[str, Tensor]:
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if self.cri_pix:
            losses['l_pix'] = self.cri_pix(self.output, self.gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(self.output, self.gt)
            losses.update({k: v for k, v in (('l_percep', perceptual), ('l_style', style)) if v is not None})
        return losses

    @torch.no_grad()
    def test(self) -> None:
        """Enlarges the batch, in blended tiles if ``val.tile`` is set, with the averaged weights if there are any."""
        averaged = getattr(self, 'net_g_ema', None)
        # without its DDP wrapper, whose forward would wait for the other processes
        net: Any = self.get_bare_model(self.net_g) if averaged is None else averaged
        net.eval()
        self.output = upscale_tiled(
            lambda tile: net(tile, *self.prior),
            self.lq,
            self.options.scale,
            self.options.val.tile,
            self.options.val.tile_overlap,
        )
        if averaged is None:
            net.train(self.is_train)

    def _log_validation_metric_values(self, current_iter: int | str, dataset_name: str, tb_logger: Any) -> None:
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)
        self.record_metrics(current_iter, dataset_name, self.metric_results)

    def print_network(self, net: torch.nn.Module) -> None:
        """Logs the size of a network; its full listing would fill pages."""
        net = self.get_bare_model(net)
        count = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, with parameters: {count:,d}')
