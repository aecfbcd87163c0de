"""Options of stage 1, except for data sets and networks."""

from __future__ import annotations

from dataclasses import dataclass, field

from deplsr_model.options import PathOptions, Positive, RunOptions, Section, TrainOptions, ValOptions

__all__ = [
    'AdaptorOptions',
    'AdaptorTrainOptions',
    'AdaptorValOptions',
    'EstimatorOptions',
    'EstimatorTrainOptions',
    'EstimatorValOptions',
]


@dataclass(frozen=True, kw_only=True)
class EstimatorTrainOptions(TrainOptions):
    """Section ``train`` of stage 1 for any degradation estimator.

    Attributes:
        optim_da: Block of the optimizer, ``type`` (AdamW by default) and its arguments.
    """

    optim_da: Section


@dataclass(frozen=True, kw_only=True)
class AdaptorTrainOptions(EstimatorTrainOptions):
    """Section ``train`` of the adaptor.

    Attributes:
        contrastive_opt: Block of the loss, ``type`` and its arguments; DegradationOrdinalLoss by default.
    """

    contrastive_opt: Section = field(default_factory=lambda: {'type': 'DegradationOrdinalLoss'})


@dataclass(frozen=True, kw_only=True)
class EstimatorValOptions(ValOptions):
    """Section ``val`` of stage 1 for any degradation estimator.

    Attributes:
        batch: Photos of one size that are estimated at once.
    """

    batch: Positive = 32


@dataclass(frozen=True, kw_only=True)
class AdaptorValOptions(EstimatorValOptions):
    """Section ``val`` of the adaptor.

    Attributes:
        template: With the published losses, the text whose embedding a photo is compared with; ``{}`` is replaced by
            the fine caption of a level (``{}`` alone if not set; published: ``A photo with {}``). It has no effect with
            DegradationOrdinalLoss. In an option file without ``train`` it selects the published way to estimate.
    """

    template: str | None = None

    def __post_init__(self) -> None:
        text = self.template
        if text is not None and (text.count('{}') != 1 or text.count('{') != 1 or text.count('}') != 1):
            raise ValueError(f"expected a template with one {{}} such as 'A photo with {{}}', got '{text}'")


@dataclass(frozen=True, kw_only=True)
class EstimatorOptions(RunOptions):
    """Option file of stage 1 for any degradation estimator; that of :class:`LevelRegressorModel`.

    Attributes:
        network_da: Block of the degradation estimator, ``type`` and its arguments.
        path: Checkpoints to load, and folders of the run.
        train: Iterations, optimizer, schedule and losses; needed in training only.
        val: How often and in what batches accuracies are measured.
    """

    network_da: Section
    path: PathOptions = field(default_factory=PathOptions)
    train: EstimatorTrainOptions | None = None
    val: EstimatorValOptions = field(default_factory=EstimatorValOptions)


@dataclass(frozen=True, kw_only=True)
class AdaptorOptions(EstimatorOptions):
    """Option file of :class:`DegradationAdaptorModel`.

    Attributes:
        train: Iterations, optimizer, schedule and losses; needed in training only.
        val: How often and in what batches accuracies are measured.
    """

    train: AdaptorTrainOptions | None = None
    val: AdaptorValOptions = field(default_factory=AdaptorValOptions)
