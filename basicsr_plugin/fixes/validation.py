"""Fixes of BasicSR's validation: names of output images, and images that are too small for a metric."""

from __future__ import annotations

from typing import Any

from basicsr_plugin.errors import UserError
from basicsr_plugin.fixes.source import contains, replace_everywhere

__all__ = ['fix_output_names', 'fix_small_images']

#: Sides of the smallest image that a metric can compare, without borders.
_SMALLEST = {'calculate_ssim': 11, 'calculate_niqe': 96}


class _TooSmallError(UserError):
    """An image is too small for a metric."""


def fix_output_names() -> bool:
    """Output images of photos with one name replace each other in silence."""
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    if not contains(BaseModel.validation, 'dist_validation'):
        return False
    from basicsr_plugin.output_names import check_output_names

    validate, build = BaseModel.validation, basicsr.train.create_train_val_dataloader

    def validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        if save_img:
            check_output_names(dataloader.dataset)
        path, feed = '', self.feed_data

        def feed_data(data: Any) -> None:
            nonlocal path
            path = str((data.get('lq_path') or ['an image'])[0])
            feed(data)

        self.feed_data = feed_data
        try:
            validate(self, dataloader, current_iter, tb_logger, save_img)
        except _TooSmallError as error:
            raise UserError(f"'{path}': {error}") from None
        except RuntimeError as error:
            if 'adding size should be less than' not in str(error):
                raise
            raise UserError(
                f"'{path}': expected a larger image, got one that the network cannot mirror; remove it"
            ) from None
        finally:
            del self.feed_data

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple[Any, ...]:
        built = build(opt, logger)
        if (opt.get('val') or {}).get('save_img'):  # not as late as the first validation
            for loader in built[2]:
                check_output_names(loader.dataset)
        return built

    BaseModel.validation = validation
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    return True


def fix_small_images() -> bool:
    """The metric of an image that is smaller than its window or its borders is NaN, and so is that of the data set."""
    from basicsr import metrics

    calculate = metrics.calculate_metric
    if not contains(calculate, 'METRIC_REGISTRY.get(metric_type)(**data, **opt)'):
        return False

    def calculate_metric(data: dict[str, Any], opt: dict[str, Any]) -> Any:
        border = int(opt.get('crop_border') or 0)
        height, width = data['img'].shape[:2]
        least = _SMALLEST.get(opt['type'], 1) + 2 * border
        if min(height, width) < least:
            raise _TooSmallError(
                f'expected at least {least} x {least} pixels for {opt["type"]} with crop_border {border}, got '
                f'{height} x {width} in the output; remove it, or leave the metric out'
            )
        return calculate(data, opt)

    replace_everywhere('calculate_metric', calculate, calculate_metric)
    return True
