"""Stage 2 as Real-ESRGAN trains: pixel, perceptual and adversarial loss, with the prior."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import fields
from typing import Any

import torch
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor
from torch.utils.data import DataLoader

from basicsr_plugin.errors import OptionError
from deplsr_data.ops.usm import sharpen_batch
from deplsr_model.base import Batch
from deplsr_model.deplsr_model import DePLSRModel
from deplsr_model.options import required
from deplsr_model.prior import PriorInputs
from deplsr_model.sr_options import GANOptions, SROptions, StockDegradationOptions

__all__ = ['DePLSRGANModel']


@MODEL_REGISTRY.register()
class DePLSRGANModel(DePLSRModel, RealESRGANModel):
    """BasicSR's RealESRGANModel whose generator also takes the prior.

    Option file: :class:`~deplsr_model.sr_options.GANOptions`, which is Real-ESRGAN's with ``network_da``. Data sets:
    ours, plain pairs, and RealESRGANDataset, whose batches BasicSR degrades and pools as it always does; the prior is
    estimated from the result. VGG weights for the perceptual loss come from
    ``experiments/pretrained_models/vgg19-dcbb9e9d.pth`` if that file exists, else from torchvision.

    Source: Real-ESRGAN (ICCVW 2021) and Sci. Rep. 15, 28837 (2025).

    Raises:
        OptionError: A key is unknown, missing or out of range, or there is no trained estimator.
        UserError: The VGG weights are not found and cannot be downloaded.
    """

    options_class = GANOptions
    options: GANOptions

    @classmethod
    def typed_options(cls, opt: dict[str, Any]) -> SROptions:
        """Reads and checks the option file."""
        _check_stock_degradation(opt)
        return super().typed_options(opt)

    def feed_data(self, data: Batch) -> None:
        """Takes a batch of our data sets, of pairs, or of RealESRGANDataset, and computes its prior."""
        if 'kernel1' in data:
            RealESRGANModel.feed_data(self, data)
            self.remember_files(data)
            self.prior = self.prior_source(PriorInputs(self.lq, at_use=self.at_use))
        else:
            DePLSRModel.feed_data(self, data)

    def optimize_parameters(self, current_iter: int) -> None:
        """Trains the generator and the discriminator on a batch."""
        self.begin_step(current_iter)
        options = required(self.options.train)
        last = self.is_last(current_iter)
        self.output = self.compute(self.net_g, self.lq, *self._training_prior(current_iter))
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if current_iter % options.net_d_iters == 0 and current_iter > options.net_d_init_iters:
            self.net_d.requires_grad_(False)
            losses.update(self._generator_losses())
            self.step_g.backward(torch.stack(list(losses.values())).sum())
            self.net_d.requires_grad_(True)
        self.step_g.step(last)
        losses.update(self._discriminator_losses())
        stepped = self.step_d.step(last)
        self.log_step(losses)
        if stepped and self.ema_decay > 0:  # also where net_d_iters left the generator out, as BasicSR does
            self.model_ema(decay=self.ema_decay)

    def setup_optimizers(self) -> None:
        """Builds the optimizers as BasicSR does, and the training steps of both networks."""
        super().setup_optimizers()
        self.step_d = self.add_step('d', self.optimizer_d, required(self.options.train))

    def _generator_losses(self) -> OrderedDict[str, Tensor]:
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if self.cri_pix:
            losses['l_g_pix'] = self.cri_pix(self.output, self._target(self.options.l1_gt_usm))
        if self.cri_perceptual:
            losses.update(self.perceptual_losses(self._target(self.options.percep_gt_usm), 'l_g'))
        losses['l_g_gan'] = self.cri_gan(self.compute(self.net_d, self.output), True, is_disc=False)
        return losses

    def _discriminator_losses(self) -> OrderedDict[str, Tensor]:
        """Computes the discriminator's gradients; one pass at a time, as its spectral norm changes in each."""
        losses: OrderedDict[str, Tensor] = OrderedDict()
        for name, images in (('real', self._target(self.options.gan_gt_usm)), ('fake', self.output.detach())):
            answer = self.compute(self.net_d, images)
            loss = self.cri_gan(answer, name == 'real', is_disc=True)
            self.step_d.backward(loss)
            losses[f'l_d_{name}'], losses[f'out_d_{name}'] = loss, answer.detach().mean()
        return losses

    def _target(self, sharpened: bool) -> Tensor:
        if not sharpened:
            return self.gt
        if self.gt_usm is None:
            self.gt_usm = sharpen_batch(self.gt)
        return self.gt_usm

    def nondist_validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: object, save_img: bool
    ) -> None:
        """Validates as BasicSR's SRModel does."""
        SRModel.nondist_validation(self, dataloader, current_iter, tb_logger, save_img)


def _check_stock_degradation(opt: dict[str, Any]) -> None:
    """Checks that the option file has the keys by which BasicSR degrades the batches of RealESRGANDataset.

    Raises:
        OptionError: One is missing.
    """
    train = opt['datasets'].get('train') or {}
    if train.get('type') != 'RealESRGANDataset':
        return
    for one in fields(StockDegradationOptions):
        if opt.get(one.name) is None:
            raise OptionError(f"missing key '{one.name}', by which the batches of RealESRGANDataset are degraded")
