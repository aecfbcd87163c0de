"""What the option file of each training stage may say, outside of data sets and networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from deplsr_model.reading import PriorForm
from deplsr_model.recipe import RecipeName

Positive = Annotated[int, Field(gt=0)]
Section = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class LoggerOptions:
    """Section ``logger``: what is printed and how often checkpoints are written, in iterations."""

    print_freq: Positive = 100
    save_checkpoint_freq: Annotated[float, Field(gt=0)] = 5000
    use_tb_logger: bool = False
    wandb: Section | None = None


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """Keys of section ``path`` that both stages know; BasicSR adds the folders of the run."""

    pretrain_network_da: str | None = None
    param_key_da: str = 'params'
    resume_state: str | None = None
    ignore_resume_networks: list[str] | None = None
    experiments_root: str | None = None
    results_root: str | None = None
    models: str | None = None
    training_states: str | None = None
    log: str | None = None
    visualization: str | None = None


@dataclass(frozen=True, kw_only=True)
class SRPathOptions(PathOptions):
    """Section ``path`` of stage 2."""

    pretrain_network_g: str | None = None
    param_key_g: str = 'params'
    strict_load_g: bool = True


@dataclass(frozen=True, kw_only=True)
class EstimatorTrainOptions:
    """Section ``train`` of stage 1, whatever reads."""

    total_iter: Annotated[float, Field(gt=0)]
    optim_da: Section
    scheduler: Section
    warmup_iter: int = -1


@dataclass(frozen=True, kw_only=True)
class AdaptorTrainOptions(EstimatorTrainOptions):
    """Section ``train`` of the adaptor."""

    contrastive_opt: Section


@dataclass(frozen=True, kw_only=True)
class SRTrainOptions:
    """Section ``train`` of stage 2.

    Attributes:
        prior_dropout: Share of photos whose content prior is zeroed in training, and likewise the degradation prior, so
            that one network serves with either, with both, and without.
    """

    total_iter: Annotated[float, Field(gt=0)]
    optim_g: Section
    scheduler: Section
    pixel_opt: Section | None = None
    perceptual_opt: Section | None = None
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0
    prior_dropout: Annotated[float, Field(ge=0, le=1)] = 0
    warmup_iter: int = -1

    def __post_init__(self) -> None:
        if not self.pixel_opt and not self.perceptual_opt:
            raise ValueError('expected pixel_opt or perceptual_opt, got neither; add pixel_opt: {type: L1Loss}')


@dataclass(frozen=True, kw_only=True)
class ValOptions:
    """Keys of section ``val`` that both stages know."""

    val_freq: Annotated[float, Field(gt=0)] = 5000
    save_img: bool = False
    pbar: bool = True
    suffix: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdaptorValOptions(ValOptions):
    """Section ``val`` of stage 1.

    Attributes:
        template: With the published losses, what a level is asked with; ``{}`` stands for the fine caption; published:
            ``A photo with {}``.
        batch: Photos of one size that are read at once.
    """

    template: str = '{}'
    batch: Positive = 32

    def __post_init__(self) -> None:
        if self.template.count('{}') != 1 or self.template.count('{') != 1 or self.template.count('}') != 1:
            raise ValueError(f"expected a template with one {{}} such as 'A photo with {{}}', got '{self.template}'")


@dataclass(frozen=True, kw_only=True)
class SRValOptions(ValOptions):
    """Section ``val`` of stage 2.

    Attributes:
        tile: Side of a tile in LR pixels; 0 for the whole image at once.
        tile_overlap: LR pixels that neighbouring tiles share.
    """

    metrics: Section | None = None
    tile: Annotated[int, Field(ge=0)] = 0
    tile_overlap: Annotated[int, Field(ge=0)] = 16

    def __post_init__(self) -> None:
        if 0 < self.tile <= self.tile_overlap:
            raise ValueError(f'expected a tile above tile_overlap ({self.tile_overlap}), got {self.tile}; enlarge it')


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Top-level keys that both stages know; those in the second half are set by BasicSR.

    Attributes:
        queue_size: Samples in the training-pair pool (:class:`~deplsr_model.pair_pool.TrainingPairPool`); 0 for none.
        recipe: What losses, adaptor, prior and fusion are where the file leaves it open: as ``measured``, or as in the
            ``paper`` (:mod:`deplsr_model.recipe`).
    """

    name: str
    model_type: str
    num_gpu: int
    datasets: Section
    scale: Positive = 4
    manual_seed: int | None = None
    queue_size: Annotated[int, Field(ge=0)] = 0
    recipe: RecipeName = 'measured'
    plugins: list[str] = field(default_factory=list)
    logger: LoggerOptions = field(default_factory=LoggerOptions)
    dist_params: Section | None = None
    find_unused_parameters: bool = False
    # set by BasicSR while it reads the file
    dist: bool = False
    rank: int = 0
    world_size: int = 1
    auto_resume: bool = False
    is_train: bool = True
    root_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class EstimatorOptions(RunOptions):
    """Option file of stage 1, whatever reads; that of :class:`LevelRegressorModel`."""

    network_da: Section
    path: PathOptions = field(default_factory=PathOptions)
    train: EstimatorTrainOptions | None = None
    val: AdaptorValOptions = field(default_factory=AdaptorValOptions)


@dataclass(frozen=True, kw_only=True)
class AdaptorOptions(EstimatorOptions):
    """Option file of :class:`DegradationAdaptorModel`."""

    train: AdaptorTrainOptions | None = None


@dataclass(frozen=True, kw_only=True)
class SROptions(RunOptions):
    """Option file of stage 2, :class:`DePLSRModel`.

    Attributes:
        prior: Where the prior comes from, see :class:`~deplsr_model.prior.Prior`. ``adaptor``: read off the LR photo.
            ``none``: zeros, the same network without knowledge of the degradation. Else words, such as ``jpeg with
            quality factor:40.0``. To compare with: ``captions`` and ``levels``, what is true, in words and in numbers;
            ``clip``, what the frozen CLIP sees.
        prior_form: How what is read or said comes to the SR network. ``words``: as a mixture of texts that keeps the
            order of levels (:class:`~deplsr_model.level_words.LevelEmbeddings`). ``embedding``: as it is, as published.
    """

    network_g: Section
    network_da: Section | None = None
    prior: str = 'adaptor'
    prior_form: PriorForm = 'words'
    path: SRPathOptions = field(default_factory=SRPathOptions)
    train: SRTrainOptions | None = None
    val: SRValOptions = field(default_factory=SRValOptions)


@dataclass(frozen=True, kw_only=True)
class GANPathOptions(SRPathOptions):
    """Section ``path`` of stage 2 with a discriminator."""

    pretrain_network_d: str | None = None
    param_key_d: str = 'params'
    strict_load_d: bool = True


@dataclass(frozen=True, kw_only=True)
class GANTrainOptions(SRTrainOptions):
    """Section ``train`` of stage 2 with a discriminator."""

    optim_d: Section
    gan_opt: Section
    net_d_iters: Positive = 1
    net_d_init_iters: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class StockDegradationOptions:
    """Top-level keys of a Real-ESRGAN option file whose data set is RealESRGANDataset; needed for that one only."""

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
        l1_gt_usm: Whether the target of the pixel loss is sharpened.
        percep_gt_usm: The same of the perceptual loss.
        gan_gt_usm: The same of what the discriminator takes for real.
        high_order_degradation: Known from Real-ESRGAN; here the data set decides.
    """

    network_d: Section
    l1_gt_usm: bool = True
    percep_gt_usm: bool = True
    gan_gt_usm: bool = True
    high_order_degradation: bool = True
    path: GANPathOptions = field(default_factory=GANPathOptions)
    train: GANTrainOptions | None = None
