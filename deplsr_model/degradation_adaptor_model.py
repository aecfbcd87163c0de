"""Stage 1: an adaptor of CLIP learns to read how a photo was degraded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from tqdm import tqdm

from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.options import read_options
from deplsr_data.captions import KIND_NAMES, KINDS

from .base import DePLSRBaseModel
from .options import AdaptorOptions
from .reading import DegradationReader, PriorForm
from .reading_accuracy_metric import calculate_reading_accuracy
from .recipe import apply_recipe
from .text_cache import TextCache
from .vocabulary import TRAINING_LEVELS, embed_levels

__all__ = ['DegradationAdaptorModel', 'reading_metrics', 'same_size_batches']

MAX_LOGIT_SCALE = math.log(100)


@MODEL_REGISTRY.register()
class DegradationAdaptorModel(DePLSRBaseModel):
    """Trains ``network_da`` against the text embeddings of captions that say how the photo was degraded.

    Option file: :class:`~deplsr_model.options.AdaptorOptions`. Only the control tower, its heads, scale and bias are
    optimised; CLIP itself is frozen. Validation reads each photo's levels back and reports, for each kind, the share
    that is right beside the share that the best constant answer would get.

    Source: Sci. Rep. 15, 28837 (2025), Degradation Adaptor.

    Raises:
        OptionError: A key is unknown or its value is out of range.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        apply_recipe(opt, ('network_da', 'train') if opt.get('train') else ('network_da',))
        self.options = read_options(AdaptorOptions, opt, '')
        if self.options.find_unused_parameters:
            raise OptionError('find_unused_parameters: expected false in stage 1, got true; leave it out')
        super().__init__(opt)
        net = build_network(opt['network_da'])
        path = self.options.path
        if path.pretrain_network_da is not None:
            self.load_network(net, path.pretrain_network_da, param_key=path.param_key_da)
        self.net_da = self.model_to_device(net)
        self._log_sizes(net)
        self.encode_text = TextCache(net.encode_text)
        tokenizer = next(iter(opt['datasets'].values())).get('tokenizer', 'ViT-B-32')
        self.reader = DegradationReader(net, tokenizer, self.options.val.template, self._reading_form())
        if self.is_train:
            self.vocabulary = embed_levels(net, TRAINING_LEVELS, tokenizer, '{}', self.device)
            self._init_training()

    def _reading_form(self) -> PriorForm:
        """Says how the loss wants its embeddings to be read; without a loss, as the recipe has it."""
        loss = (self.opt.get('train') or {}).get('contrastive_opt')
        if loss is None:
            return 'embedding' if self.options.recipe == 'paper' else 'words'
        return 'words' if loss.get('type') == 'DegradationOrdinalLoss' and loss.get('spread', True) else 'embedding'

    def _log_sizes(self, net: nn.Module) -> None:
        trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
        total = sum(p.numel() for p in net.parameters())
        get_root_logger().info(f'Network: {type(net).__name__}, {total:,d} parameters, {trained:,d} of them trained')

    def _init_training(self) -> None:
        if self.options.train is None:
            raise OptionError(
                "train: missing section; expected 'total_iter', 'optim_da', 'scheduler', 'contrastive_opt'"
            )
        self.net_da.train()
        self.cri_contrastive = build_loss(self.opt['train']['contrastive_opt']).to(self.device)
        settings = dict(self.options.train.optim_da)
        groups = parameter_groups(self.get_bare_model(self.net_da), settings.pop('weight_decay', 0))
        self.optimizer_da = self.get_optimizer(settings.pop('type', 'AdamW'), groups, **settings)
        self.optimizers.append(self.optimizer_da)
        self.setup_schedulers()

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

    def dist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Validates on the first process."""
        if self.opt['rank'] == 0:
            self.nondist_validation(dataloader, current_iter, tb_logger, save_img)

    @torch.no_grad()
    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Reads every photo of the set and reports the accuracy for each kind."""
        net = self.get_bare_model(self.net_da).eval()
        progress = tqdm(dataloader, unit='photo', desc='reading', disable=not self.options.val.pbar, leave=False)
        read, true = [], []
        for lq, levels in same_size_batches(progress, self.options.val.batch):
            read.append(self.reader.read(net(lq.to(self.device)).fine).cpu())
            true.append(levels)
        net.train(self.is_train)
        if not read:
            raise UserError(f'datasets: {dataloader.dataset.opt["name"]} has no photo to validate on')
        metrics = reading_metrics(torch.cat(read), torch.cat(true))
        self._report(metrics, current_iter, dataloader.dataset.opt['name'], tb_logger)

    def _report(self, metrics: dict[str, float], current_iter: int | str, dataset: str, tb_logger: Any) -> None:
        lines = [f'Validation {dataset}: share read right (share of the best constant answer)']
        lines += [f'\t # {name:<9} {metrics[name]:.3f} ({metrics[f"{name}_constant"]:.3f})' for name in KIND_NAMES]
        get_root_logger().info('\n'.join(lines))
        self.record_metrics(current_iter, dataset, metrics)
        if tb_logger:
            for name, value in metrics.items():
                tb_logger.add_scalar(f'metrics/{dataset}/{name}', value, current_iter)

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes the adaptor, CLIP included, and the state of training."""
        self.save_network(self.net_da, 'net_da', current_iter)
        self.save_training_state(epoch, current_iter)


def parameter_groups(net: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Splits the trained parameters: matrices decay; gains, biases, scale and bias of the logits do not."""
    trained = list(net.trainable_parameters())
    return [
        {'params': [p for p in trained if p.ndim >= 2], 'weight_decay': weight_decay},
        {'params': [p for p in trained if p.ndim < 2], 'weight_decay': 0.0},
    ]


def reading_metrics(read: Tensor, true: Tensor) -> dict[str, float]:
    """Accuracy of each kind, that of the best constant answer, and the mean accuracy, from levels (N, 5)."""
    metrics = {}
    for kind, answers, truth in zip(KINDS, read.unbind(1), true.unbind(1), strict=True):
        metrics[kind.name] = calculate_reading_accuracy(answers, truth, kind.tolerance)
        metrics[f'{kind.name}_constant'] = max(
            calculate_reading_accuracy(torch.full_like(truth, level), truth, kind.tolerance)
            for level in kind.evaluation_levels
        )
    metrics['mean'] = sum(metrics[name] for name in KIND_NAMES) / len(KIND_NAMES)
    return metrics


def same_size_batches(data: Iterable[dict[str, Any]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Joins neighbouring samples of one picture size; BasicSR's validation loader gives one at a time."""
    lq: list[Tensor] = []
    levels: list[Tensor] = []
    for sample in data:
        if lq and (len(lq) == size or sample['lq'].shape != lq[0].shape):
            yield torch.cat(lq), torch.cat(levels)
            lq, levels = [], []
        lq.append(sample['lq'])
        levels.append(sample['levels'])
    if lq:
        yield torch.cat(lq), torch.cat(levels)
