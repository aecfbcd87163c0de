"""Options of stage 2, except for data sets and networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from deplsr_model.level_text import PriorForm
from deplsr_model.options import PathOptions, Positive, RunOptions, Section, TrainOptions, ValOptions

__all__ = [
    'GANOptions',
    'GANPathOptions',
    'GANTrainOptions',
    'SROptions',
    'SRPathOptions',
    'SRTrainOptions',
    'SRValOptions',
    'StockDegradationOptions',
]


@dataclass(frozen=True, kw_only=True)
class SRPathOptions(PathOptions):
    """Section ``path`` of stage 2.

    Attributes:
        pretrain_network_g: Checkpoint of the SR network, or of its backbone.
        param_key_g: Key of the weights in that file.
        strict_load_g: Whether the file must have exactly the network's parameter names.
    """

    pretrain_network_g: str | None = None
    param_key_g: str = 'params'
    strict_load_g: bool = True


@dataclass(frozen=True, kw_only=True)
class SRTrainOptions(TrainOptions):
    """Section ``train`` of stage 2.

    Attributes:
        optim_g: Block of the SR network's optimizer, ``type`` and its arguments.
        pixel_opt: Block of the pixel loss; none without it.
        perceptual_opt: Block of the perceptual loss; none without it.
        ema_decay: Decay of the averaged weights per step of the optimizer; 0 for no average.
        prior_dropout: Share of photos whose content prior is zeroed in training, and likewise the degradation prior, so
            that one network serves with either, with both, and without.
    """

    optim_g: Section
    pixel_opt: Section | None = None
    perceptual_opt: Section | None = None
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    prior_dropout: Annotated[float, Field(ge=0, le=1)] = 0

    def __post_init__(self) -> None:
        if not self.pixel_opt and not self.perceptual_opt:
            raise ValueError('expected pixel_opt or perceptual_opt, got neither; add pixel_opt: {type: L1Loss}')


@dataclass(frozen=True, kw_only=True)
class SRValOptions(ValOptions):
    """Section ``val`` of stage 2.

    Attributes:
        metrics: Blocks of the metrics by name, each with ``type`` and its arguments.
        tile: Side of a tile in LR pixels; 0 for the complete image at once.
        tile_overlap: LR pixels that neighbouring tiles share.
    """

    metrics: Section | None = None
    tile: Annotated[int, Field(ge=0)] = 0
    tile_overlap: Annotated[int, Field(ge=0)] = 16

    def __post_init__(self) -> None:
        if 0 < self.tile <= self.tile_overlap:
            raise ValueError(f'expected a tile above tile_overlap ({self.tile_overlap}), got {self.tile}; enlarge it')


@dataclass(frozen=True, kw_only=True)
class SROptions(RunOptions):
    """Option file of stage 2, :class:`DePLSRModel`.

    Attributes:
        network_g: Block of the SR network, ``type`` and its arguments.
        network_da: Block of the degradation estimator, as in stage 1; not needed with ``prior: none``.
        prior: Where the prior comes from (:mod:`deplsr_model.prior`). ``estimated``: from the LR photo. ``none``:
            zeros, the same network without knowledge of the degradation. ``captions``: the true captions of the data
            set. Any other text is parsed as fine captions for all photos, such as ``jpeg with quality factor:40.0``.
        prior_form: How levels are represented for the SR network. ``mixture``: as a mixture of text embeddings that
            keeps the order of levels (:class:`~deplsr_model.level_text.LevelEmbeddings`). ``embedding``: as the
            embedding of the photo or caption itself, as published.
        path: Checkpoints to load, and folders of the run.
        train: Iterations, optimizer, schedule and losses; needed in training only.
        val: Metrics, output images and tiles of the validation or test.
    """

    network_g: Section
    network_da: Section | None = None
    prior: str = 'estimated'
    prior_form: PriorForm = 'mixture'
    path: SRPathOptions = field(default_factory=SRPathOptions)
    train: SRTrainOptions | None = None
    val: SRValOptions = field(default_factory=SRValOptions)


@dataclass(frozen=True, kw_only=True)
class GANPathOptions(SRPathOptions):
    """Section ``path`` of stage 2 with a discriminator.

    Attributes:
        pretrain_network_d: Checkpoint of the discriminator.
        param_key_d: Key of the weights in that file.
        strict_load_d: Whether the file must have exactly the network's parameter names.
    """

    pretrain_network_d: str | None = None
    param_key_d: str = 'params'
    strict_load_d: bool = True


@dataclass(frozen=True, kw_only=True)
class GANTrainOptions(SRTrainOptions):
    """Section ``train`` of stage 2 with a discriminator.

    Attributes:
        optim_d: Block of the discriminator's optimizer, ``type`` and its arguments.
        gan_opt: Block of the adversarial loss, ``type`` and its arguments.
        net_d_iters: Iterations of the discriminator for each one of the generator.
        net_d_init_iters: Iterations in which only the discriminator trains.
    """

    optim_d: Section
    gan_opt: Section
    net_d_iters: Positive = 1
    net_d_init_iters: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class StockDegradationOptions:
    """Top-level keys of a Real-ESRGAN option file whose data set is RealESRGANDataset; needed for that one only.

    Attributes:
        gt_size: Side of the GT crop in pixels.
        resize_prob: Probabilities of enlarging, shrinking and keeping the size, first order.
        resize_range: Lowest and highest factor of the resizing, first order.
        gaussian_noise_prob: Probability of Gaussian in place of Poisson noise, first order.
        noise_range: Lowest and highest sigma of Gaussian noise, of 255, first order.
        poisson_scale_range: Lowest and highest scale of Poisson noise, first order.
        gray_noise_prob: Probability of grey noise, first order.
        jpeg_range: Lowest and highest JPEG quality factor, first order.
        second_blur_prob: Probability of a second blur.
        resize_prob2: As ``resize_prob``, second order.
        resize_range2: As ``resize_range``, second order.
        gaussian_noise_prob2: As ``gaussian_noise_prob``, second order.
        noise_range2: As ``noise_range``, second order.
        poisson_scale_range2: As ``poisson_scale_range``, second order.
        gray_noise_prob2: As ``gray_noise_prob``, second order.
        jpeg_range2: As ``jpeg_range``, second order.
    """

    gt_size: Positive | None = None
    resize_prob: list[float] | None = None
    resize_range: list[float] | None = None
    gaussian_noise_prob: float | None = None
    noise_range: list[float] | None = None
    poisson_scale_range: list[float] | None = None
    gray_noise_prob: float | None = None
    jpeg_range: list[float] | None = None
    second_blur_prob: float | None = None
    resize_prob2: list[float] | None = None
    resize_range2: list[float] | None = None
    gaussian_noise_prob2: float | None = None
    noise_range2: list[float] | None = None
    poisson_scale_range2: list[float] | None = None
    gray_noise_prob2: float | None = None
    jpeg_range2: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class GANOptions(StockDegradationOptions, SROptions):
    """Option file of stage 2 with a discriminator, :class:`DePLSRGANModel`: Real-ESRGAN's keys and the prior's.

    Attributes:
        network_d: Block of the discriminator, ``type`` and its arguments.
        l1_gt_usm: Whether the target of the pixel loss is sharpened.
        percep_gt_usm: Whether the target of the perceptual loss is sharpened.
        gan_gt_usm: Whether the discriminator's real images are sharpened.
        high_order_degradation: A key of Real-ESRGAN's files without effect: here the data set decides.
        path: Checkpoints to load, and folders of the run.
        train: Iterations, optimizer, schedule and losses; needed in training only.
    """

    network_d: Section
    l1_gt_usm: bool = True
    percep_gt_usm: bool = True
    gan_gt_usm: bool = True
    high_order_degradation: bool = True
    path: GANPathOptions = field(default_factory=GANPathOptions)
    train: GANTrainOptions | None = None
