"""Fixes of BasicSR's validation: names of output images, and images that a metric cannot measure."""

from __future__ import annotations

from typing import Any

from basicsr_plugin.errors import UserError
from basicsr_plugin.fixes.source import contains, replace_everywhere

__all__ = ['fix_metrics', 'fix_output_names']


class _MetricError(UserError):
    """A metric cannot measure an image."""


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
        except _MetricError as error:
            raise UserError(f"val.metrics: '{path}': {error}") from None
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


def fix_metrics() -> bool:
    """A metric of an image below its window or its borders, or of another size than GT, is NaN or a traceback."""
    from basicsr import metrics

    calculate = metrics.calculate_metric
    if not contains(calculate, 'METRIC_REGISTRY.get(metric_type)(**data, **opt)'):
        return False
    from basicsr_plugin.stock_parts import smallest_side, too_small  # pydantic is slow to import

    def calculate_metric(data: dict[str, Any], opt: dict[str, Any]) -> Any:
        sizes = {key: image.shape[:2] for key, image in data.items() if hasattr(image, 'shape')}
        needed = smallest_side(opt['type'], int(opt.get('crop_border') or 0))
        for side in (min(size) for size in sizes.values()):
            if side < needed:
                raise _MetricError(too_small(opt['type'], int(opt.get('crop_border') or 0), side))
        if len(set(sizes.values())) > 1:
            (height, width), (gt_height, gt_width) = sizes['img'], sizes['img2']
            raise _MetricError(
                f'expected an output of {gt_width}x{gt_height} pixels, the size of GT, got {width}x{height} for '
                f'{opt["type"]}; check scale and the pairs of the data set'
            )
        return calculate(data, opt)

    replace_everywhere('calculate_metric', calculate, calculate_metric)
    return True
