"""Options of BasicSR 1.4.2's data sets, which it reads without checks of its own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from basicsr_plugin.options import SetWhenRead

__all__ = [
    'DATASETS',
    'IOBackendOptions',
    'LoaderOptions',
    'PairedImageOptions',
    'RealESRGANDatasetOptions',
    'RealESRGANPairedOptions',
    'SingleImageOptions',
]

Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


def _check_path_name(name: str) -> str:
    if not name.strip() or os.path.isabs(name) or '..' in re.split(r'[/\\]', name) or '\0' in name:
        raise ValueError(f'expected a name, which becomes that of a folder of images, got {name!r}; choose another')
    return name


def _check_range(values: tuple[float, float]) -> tuple[float, float]:
    if not 0 < values[0] <= values[1]:
        raise ValueError(f'expected 0 < low <= high, got {list(values)}; correct them')
    return values


_Name = Annotated[str, AfterValidator(_check_path_name)]
Range = Annotated[tuple[float, float], AfterValidator(_check_range)]
Colours = Annotated[list[float], Field(min_length=1, max_length=3)]
_Kernel = Literal['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']


@dataclass(frozen=True, kw_only=True)
class IOBackendOptions:
    """Where images are read from.

    Attributes:
        type: ``disk``, ``lmdb`` or ``memcached``.
        readonly: Of LMDB: refuse any change.
        lock: Of LMDB: lock the file against other processes.
        readahead: Of LMDB: let the system read ahead.
        max_readers: Of LMDB: most processes that read at once.
        meminit: Of LMDB: clear memory before it is used.
        map_size: Of LMDB: largest size in bytes.
        server_list_cfg: Of memcached: file with the list of servers.
        client_cfg: Of memcached: file with the settings of the client.
        sys_path: Of memcached: folder of the Python module ``mc``.
        db_paths: Set by the data set.
        client_keys: Set by the data set.
    """

    type: Literal['disk', 'lmdb', 'memcached']
    readonly: bool | None = None
    lock: bool | None = None
    readahead: bool | None = None
    max_readers: Positive | None = None
    meminit: bool | None = None
    map_size: int | None = None
    server_list_cfg: str | None = None
    client_cfg: str | None = None
    sys_path: str | None = None
    db_paths: Annotated[Any, SetWhenRead()] = None
    client_keys: Annotated[Any, SetWhenRead()] = None

    def __post_init__(self) -> None:
        of_lmdb = ('readonly', 'lock', 'readahead', 'max_readers', 'meminit', 'map_size')
        of_memcached = ('server_list_cfg', 'client_cfg', 'sys_path')
        for owner, keys in (('lmdb', of_lmdb), ('memcached', of_memcached)):
            given = [key for key in keys if getattr(self, key) is not None]
            if given and self.type != owner:
                raise ValueError(f'expected {given[0]} with type: {owner} only, got type: {self.type}; remove it')


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """Keys of the loader, which every data set has, also one of a plug-in.

    Attributes:
        name: Name of the data set in logs and results.
        batch_size_per_gpu: Samples in a batch of training.
        num_worker_per_gpu: Worker processes of the loader in training.
        dataset_enlarge_ratio: How often an epoch visits each image.
        use_shuffle: A key of BasicSR's files without effect: training is always in random order.
        pin_memory: Load batches into pinned memory.
        persistent_workers: Keep the workers from one epoch to the next.
        prefetch_mode: ``cpu`` or ``cuda`` loads batches ahead of time.
        num_prefetch_queue: Length of the queue of ``prefetch_mode: cpu``.
        worker_timeout: Seconds to wait for a batch until the training saves and ends; 0: for ever.
    """

    name: _Name
    batch_size_per_gpu: Positive | None = None
    num_worker_per_gpu: Annotated[int, Field(ge=0, le=1024)] | None = None
    dataset_enlarge_ratio: Annotated[float, Field(gt=0, le=1_000_000)] = 1
    use_shuffle: bool | None = None
    pin_memory: bool = False
    persistent_workers: bool = False
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: Positive = 1
    worker_timeout: Annotated[float, Field(ge=0)] = 600


@dataclass(frozen=True, kw_only=True)
class _StockOptions(LoaderOptions):
    """Keys that all data sets of BasicSR have.

    Attributes:
        type: Name of the data set's class.
        phase: ``train``, ``val`` or ``test``, from the name of the block.
        scale: Size of GT over that of LQ; BasicSR sets it from the top level.
        io_backend: Where images are read from: ``type`` and its arguments.
        mean: Mean of each channel, subtracted from the images.
        std: Standard deviation of each channel, by which the images are divided.
    """

    type: str
    phase: Annotated[str, SetWhenRead()] = ''
    scale: Annotated[Positive | None, SetWhenRead()] = None
    io_backend: IOBackendOptions
    mean: Colours | None = None
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=3)] | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError('expected mean and std, got only one of them; set both or none')


@dataclass(frozen=True, kw_only=True)
class _PairOptions(_StockOptions):
    """Keys of pairs of images.

    Attributes:
        dataroot_gt: Folder of the GT images, or an LMDB.
        dataroot_lq: Folder of the LQ images, or an LMDB.
        filename_tmpl: Name of an LQ image, without its suffix; ``{}`` is that of the GT image: ``'{}x4'``.
        gt_size: Side of the crop in GT pixels, a multiple of scale; required in training.
        use_hflip: In training, flip left and right half of the time; required in training.
        use_rot: In training, flip up and down and turn by 90 degrees; required in training.
    """

    dataroot_gt: Text
    dataroot_lq: Text
    filename_tmpl: str = '{}'
    gt_size: Positive | None = None
    use_hflip: bool | None = None
    use_rot: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            names = {self.filename_tmpl.format(name) for name in 'ab'}
        except (IndexError, KeyError, ValueError, AttributeError):
            names = set()
        if len(names) < 2:
            raise ValueError(f"expected filename_tmpl with one {{}}, such as '{{}}x4', got '{self.filename_tmpl}'")


@dataclass(frozen=True, kw_only=True)
class PairedImageOptions(_PairOptions):
    """Keys of a PairedImageDataset.

    Attributes:
        meta_info_file: File with the name of a GT image in each line; default: all images.
        color: ``y`` for images of one channel, luma.
    """

    meta_info_file: Text | None = None
    color: Literal['y', 'rgb'] | None = None


@dataclass(frozen=True, kw_only=True)
class RealESRGANPairedOptions(_PairOptions):
    """Keys of a RealESRGANPairedDataset.

    Attributes:
        meta_info: File with the paths of a GT image and its LQ image in each line, separated by a comma and a space;
            default: all images.
    """

    meta_info: Text | None = None


@dataclass(frozen=True, kw_only=True)
class SingleImageOptions(_StockOptions):
    """Keys of a SingleImageDataset.

    Attributes:
        dataroot_lq: Folder of the images, or an LMDB.
        meta_info_file: File with the name of an image in each line; default, without the key: all images.
        color: ``y`` for images of one channel, luma.
    """

    dataroot_lq: Text
    meta_info_file: Text | None = None
    color: Literal['y', 'rgb'] | None = None


@dataclass(frozen=True, kw_only=True)
class RealESRGANDatasetOptions(_StockOptions):
    """Keys of a RealESRGANDataset; those that end in 2 are of the second order.

    Attributes:
        dataroot_gt: Folder of the GT images, or an LMDB.
        meta_info: File with the path of a GT image in each line; required with ``io_backend: {type: disk}``.
        blur_kernel_size: A key of Real-ESRGAN's files without effect: kernels have 7 to 21 taps.
        kernel_list: Shapes of blur kernels.
        kernel_prob: Probability of each of them.
        sinc_prob: Probability of a sinc filter in their place.
        blur_sigma: Lowest and highest sigma of the blur.
        betag_range: Lowest and highest shape parameter of generalized kernels.
        betap_range: Lowest and highest shape parameter of plateau kernels.
        blur_kernel_size2: As ``blur_kernel_size``.
        kernel_list2: As ``kernel_list``.
        kernel_prob2: As ``kernel_prob``.
        sinc_prob2: As ``sinc_prob``.
        blur_sigma2: As ``blur_sigma``.
        betag_range2: As ``betag_range``.
        betap_range2: As ``betap_range``.
        final_sinc_prob: Probability of a sinc filter at the end.
        gt_size: A key of Real-ESRGAN's files without effect here: that of the top level counts.
        use_hflip: Flip left and right half of the time.
        use_rot: Flip up and down and turn by 90 degrees.
    """

    dataroot_gt: Text
    meta_info: Text | None = None
    blur_kernel_size: Positive
    kernel_list: Annotated[list[_Kernel], Field(min_length=1)]
    kernel_prob: list[Share]
    sinc_prob: Share
    blur_sigma: Range
    betag_range: Range
    betap_range: Range
    blur_kernel_size2: Positive
    kernel_list2: Annotated[list[_Kernel], Field(min_length=1)]
    kernel_prob2: list[Share]
    sinc_prob2: Share
    blur_sigma2: Range
    betag_range2: Range
    betap_range2: Range
    final_sinc_prob: Share
    gt_size: Positive | None = None
    use_hflip: bool
    use_rot: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.io_backend.type == 'disk' and self.meta_info is None:
            raise ValueError('expected meta_info, a file with the path of a GT image in each line, got none')
        for end in ('', '2'):
            shapes, chances = getattr(self, f'kernel_list{end}'), getattr(self, f'kernel_prob{end}')
            if len(shapes) != len(chances) or not sum(chances) > 0:
                raise ValueError(f'expected kernel_prob{end} with a probability for each of {shapes}, got {chances}')


#: Options by name of the class.
DATASETS: dict[str, Any] = {
    'PairedImageDataset': PairedImageOptions,
    'RealESRGANDataset': RealESRGANDatasetOptions,
    'RealESRGANPairedDataset': RealESRGANPairedOptions,
    'SingleImageDataset': SingleImageOptions,
}
