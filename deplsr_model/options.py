"""Options that both training stages have, except for data sets and networks.

docs/options.md and the JSON schema are generated from the dataclasses of the options and their docstrings.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import Field

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import SetWhenRead
from basicsr_plugin.stock_sections import MAX_SKIPPED_STEPS
from deplsr_data.degradation.level_tables import LevelName
from deplsr_model.compilation import Compile
from deplsr_model.precision import Amp

__all__ = [
    'LoggerOptions',
    'PathOptions',
    'Positive',
    'RunOptions',
    'Section',
    'TrainOptions',
    'ValOptions',
    'refuse_old_options',
    'required',
]

Positive = Annotated[int, Field(gt=0)]
Section = Mapping[str, Any]
_FolderOfRun = Annotated[str | None, SetWhenRead()]
T = TypeVar('T')


#: Values of version 0.1 by key, with what replaces them.
_OLD_VALUES = {
    'prior': {
        'adaptor': "did you mean 'estimated'?",
        'levels': 'it is in benchmarks/prior, with plugins: [benchmarks.prior.controls]',
        'clip': 'it is in benchmarks/prior, with plugins: [benchmarks.prior.controls]',
    },
    'prior_form': {'words': "did you mean 'mixture'?"},
}


def refuse_old_options(opt: Mapping[str, Any], registered: Container[str] = ()) -> None:
    """Refuses options of version 0.1 that have another name now.

    Args:
        opt: The option file.
        registered: Names of priors that plug-ins have registered; these are not refused.

    Raises:
        OptionError: One line that states what to write instead.
    """
    if 'recipe' in opt:
        raise OptionError(
            f"recipe: expected no such key at the top level, got '{opt['recipe']}'; remove it: the measured form is "
            'the default, and the published form is in the option files paper/*.yml (basicsr options)'
        )
    for key, values in _OLD_VALUES.items():
        value = opt.get(key)
        if isinstance(value, str) and value in values and value not in registered:
            raise OptionError(f"{key}: '{value}' is an option of version 0.1; {values[value]}")


def required(train: T | None) -> T:
    """Returns section ``train``, which may be missing in an option file for testing only.

    Raises:
        OptionError: It is missing.
    """
    if train is None:
        raise OptionError("train: missing section; expected 'total_iter', 'scheduler' and an optimizer")
    return train


@dataclass(frozen=True, kw_only=True)
class LoggerOptions:
    """Section ``logger``.

    Attributes:
        print_freq: Iterations between two log lines.
        save_checkpoint_freq: Iterations between two checkpoints.
        keep_last_n: How many of the newest checkpoints are kept, from 2; all if not set.
        use_tb_logger: Whether to log to TensorBoard too.
        wandb: Block with ``project`` and ``resume_id`` of Weights & Biases; none without a project.
    """

    print_freq: Positive = 100
    save_checkpoint_freq: Annotated[float, Field(gt=0)] = 5000
    keep_last_n: Annotated[int, Field(ge=2)] | None = None
    use_tb_logger: bool = False
    wandb: Section | None = None


@dataclass(frozen=True, kw_only=True)
class PathOptions:
    """Keys of section ``path`` that both stages have.

    Attributes:
        pretrain_network_da: Checkpoint of the degradation estimator (``.pth`` or ``.safetensors``).
        param_key_da: Key of the weights in that file.
        resume_state: Training state (``.state``) to resume from.
        ignore_resume_networks: Names of networks (such as ``network_da``) whose checkpoint is not looked for on resume.
        experiments_root: Folder in which training makes the run's folder; ``experiments`` if not set.
        results_root: Folder in which a test makes the run's folder; ``results`` if not set.
        models: Folder of the checkpoints.
        training_states: Folder of the training states.
        log: Folder of the log and of ``metrics.jsonl``.
        visualization: Folder of the output images.
    """

    pretrain_network_da: str | None = None
    param_key_da: str = 'params'
    resume_state: str | None = None
    ignore_resume_networks: list[str] | None = None
    experiments_root: str | None = None
    results_root: str | None = None
    models: _FolderOfRun = None
    training_states: _FolderOfRun = None
    log: _FolderOfRun = None
    visualization: _FolderOfRun = None


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Keys of section ``train`` that both stages have.

    Attributes:
        total_iter: Iterations of the training; an iteration is one batch.
        scheduler: Block of the learning rate schedule, ``type`` and its arguments.
        warmup_iter: Iterations in which the learning rate rises linearly from 0; -1 for none.
        accumulate: Batches whose gradients are averaged for a step of the optimizer. Only every so many-th iteration
            then changes the weights and their average; learning rates, logs and checkpoints still count iterations.
            The last step takes the batches that are left.
        clip_grad_norm: Largest norm of an optimizer's gradients; greater ones are scaled down to it. The norm before
            that is logged as ``grad_norm_*``.
        max_skipped_steps: A step whose loss or gradients are not finite is skipped, with a warning that names the
            photos of its batch; the training ends after so many in a row.
    """

    total_iter: Annotated[float, Field(gt=0)]
    scheduler: Section
    warmup_iter: int = -1
    accumulate: Positive = 1
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    max_skipped_steps: Positive = MAX_SKIPPED_STEPS


@dataclass(frozen=True, kw_only=True)
class ValOptions:
    """Keys of section ``val`` that both stages have.

    Attributes:
        val_freq: Iterations between two validations.
        save_img: Whether to write the output images.
        pbar: Whether to show a progress bar.
        suffix: Added to the names of the output images; the name of the run if not set.
    """

    val_freq: Annotated[float, Field(gt=0)] = 5000
    save_img: bool = False
    pbar: bool = True
    suffix: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Top-level keys that both stages have.

    Attributes:
        name: Name of the run and of its folder.
        model_type: Registered model class.
        num_gpu: Number of GPUs, ``auto`` for all; 0 for the CPU.
        datasets: Blocks of the data sets by phase: ``train``, ``val``, ``test``, or ``val_2`` and so on.
        scale: Enlargement.
        manual_seed: Seed of all random numbers; drawn if not set.
        levels: What levels and captions describe, and which degradation types there are: ``effective``, what the LR
            image shows, 8 types; ``nominal``, what was set at the steps, 5 types, as published. The data sets and the
            checkpoint of the degradation estimator must have the same.
        amp: Precision in which networks compute, in training, validation and test: ``bf16``, or ``fp16`` on a GPU with
            scaled losses; float32 if not set. Weights, checkpoints, losses, metrics and the degradation of batches stay
            in float32, and so do estimates of levels, in the validation of stage 1 and as the prior of stage 2. What
            bf16 gains depends on the CPU: one without fast bf16 instructions gets slower
            (``python -m benchmarks.precision --speed-only`` measures it).
        channels_last: Whether images and convolutions are stored with channels last in memory; the same results except
            for rounding.
        compile: Whether to compile the networks that are trained (torch.compile): for the size of the training crops,
            and once for images of any size. The first steps take minutes; checkpoints are the same. ``reduce-overhead``
            also replays the kernels of a pass as a CUDA graph: for a GPU that waits for the CPU, as with small batches
            (not for the discriminator, nor with ``train.accumulate``).
        queue_size: Samples in the training-pair pool (:class:`~deplsr_model.pair_pool.TrainingPairPool`); 0 for none.
        plugins: Modules to import, whose classes the file can name; also from the working directory.
        logger: What is logged, and how often checkpoints are saved.
        dist_params: Block of distributed training: ``timeout``, seconds after which a process that does not answer ends
            the run (1800); with ``--launcher slurm``, ``backend`` and ``port``.
        find_unused_parameters: Needed for distributed training if parts of a network get no gradient.
        dist: Whether training is distributed.
        rank: Number of this process.
        world_size: Number of processes.
        auto_resume: Whether to resume from the latest complete checkpoint.
        is_train: Whether the run trains.
        root_path: Folder that holds ``experiments`` and ``results``.
    """

    name: str
    model_type: str
    num_gpu: int
    datasets: Section
    scale: Positive = 4
    manual_seed: int | None = None
    levels: LevelName = 'effective'
    amp: Amp | None = None
    channels_last: bool = True
    compile: Compile = False
    queue_size: Annotated[int, Field(ge=0)] = 0
    plugins: list[str] = field(default_factory=list)
    logger: LoggerOptions = field(default_factory=LoggerOptions)
    dist_params: Section | None = None
    find_unused_parameters: bool = False
    dist: Annotated[bool, SetWhenRead()] = False
    rank: Annotated[int, SetWhenRead()] = 0
    world_size: Annotated[int, SetWhenRead()] = 1
    auto_resume: Annotated[bool, SetWhenRead()] = False
    is_train: Annotated[bool, SetWhenRead()] = True
    root_path: Annotated[str | None, SetWhenRead()] = None
