"""Fixes of how BasicSR saves: checkpoints, output images, and the folder of an earlier run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basicsr_plugin.fixes.source import contains, replace_everywhere
from basicsr_plugin.lock import hold_folder

if TYPE_CHECKING:
    import numpy as np

__all__ = ['fix_archive', 'fix_image_files', 'fix_saving']


def fix_saving() -> bool:
    """A checkpoint that cannot be saved is left out with a warning, one being saved can be cut off, NaN is saved.

    With this fix the disk is also checked for space before the first iteration, and ``logger.keep_last_n`` limits the
    number of checkpoints.
    """
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    if not contains(BaseModel.save_network, 'Just ignore it'):
        return False
    BaseModel.save_network = _save_network
    BaseModel.save_training_state = _save_training_state
    build = basicsr.train.build_model

    def build_model(opt: dict[str, Any]) -> Any:
        model = build(opt)
        if opt['rank'] == 0:
            from basicsr_plugin.run_files import check_space

            check_space(model)
        return model

    basicsr.train.build_model = build_model
    return True


def _save_network(
    self: Any, net: Any, net_label: str, current_iter: int, param_key: str | list[str] = 'params'
) -> None:
    """Saves networks as BasicSR does, under the same names and keys."""
    if self.opt['rank'] != 0:
        return
    from basicsr_plugin.atomic import save_tensors
    from basicsr_plugin.checkpoint import check_finite
    from basicsr_plugin.run_files import save_hint

    nets, keys = (value if isinstance(value, list) else [value] for value in (net, param_key))
    content = {}
    for one, key in zip(nets, keys, strict=True):
        state = self.get_bare_model(one).state_dict()
        content[key] = {name.removeprefix('module.'): tensor.cpu() for name, tensor in state.items()}
    path = Path(self.opt['path']['models'], f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth')
    for state in content.values():
        check_finite(state, path, 'not saved', save_hint(self.opt))
    save_tensors(content, path, save_hint(self.opt))


def _save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Saves what BasicSR saves and what else an exact resume needs; completes a checkpoint."""
    if current_iter == -1:
        return
    from basicsr_plugin.atomic import save_tensors
    from basicsr_plugin.checkpoint import check_finite
    from basicsr_plugin.run_files import prune, rank_file, save_hint
    from basicsr_plugin.training_loop import current_loop
    from basicsr_plugin.training_state import own_state, shared_state

    path, hint = Path(self.opt['path']['training_states'], f'{current_iter}.state'), save_hint(self.opt)
    if self.opt['dist']:
        from torch import distributed

        if self.opt['rank'] != 0:
            save_tensors(own_state(self), rank_file(path, self.opt['rank']), hint)
        distributed.barrier()
    loop = current_loop(self)
    if loop is not None:
        loop.saved = current_iter
    if self.opt['rank'] != 0:
        return
    optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': optimizers,
        'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        'own': own_state(self),
        **shared_state(self, epoch, current_iter),
    }
    for number, optimizer in enumerate(optimizers):
        for values in optimizer['state'].values():
            check_finite(values, path, f'not saved: optimizer {number}', hint)
    save_tensors(state, path, hint)
    prune(self.opt)


def fix_image_files() -> bool:
    """An output image can be cut off by a kill, and a full disk may leave one without an error."""
    from basicsr.utils import img_util

    if not contains(img_util.imwrite, 'cv2.imwrite('):
        return False
    import cv2

    from basicsr_plugin.atomic import write_file, writing

    def imwrite(img: np.ndarray, file_path: str, params: Sequence[int] | None = None, auto_mkdir: bool = True) -> bool:
        folder = os.path.abspath(os.path.dirname(file_path))
        if auto_mkdir:
            with writing(folder):
                os.makedirs(folder, exist_ok=True)
        done, encoded = cv2.imencode(os.path.splitext(file_path)[1], img, params or [])
        if not done:
            raise OSError('Failed in writing images.')
        write_file(file_path, encoded.tobytes(), single_writer=True)
        return True

    replace_everywhere('imwrite', img_util.imwrite, imwrite)
    return True


def fix_archive() -> bool:
    """A run that starts within the second in which another of its name was archived fails: both get one name.

    With this fix a second test on the folder of one that still runs is refused.
    """
    import basicsr.test
    from basicsr.utils import misc

    if not contains(misc.mkdir_and_rename, "'_archived_' + get_time_str()"):
        return False
    make_folders = basicsr.test.make_exp_dirs

    def lock_and_make_folders(opt: dict[str, Any]) -> None:
        if opt['rank'] == 0:
            hold_folder(opt['path']['results_root'], 'name')
        make_folders(opt)

    basicsr.test.make_exp_dirs = lock_and_make_folders

    def mkdir_and_rename(path: str) -> None:
        if os.path.exists(path):
            archived = stem = f'{path}_archived_{misc.get_time_str()}'
            number = 1
            while os.path.exists(archived):
                number += 1
                archived = f'{stem}_{number}'
            print(f'Path already exists. Rename it to {archived}', flush=True)
            os.rename(path, archived)
        os.makedirs(path, exist_ok=True)

    replace_everywhere('mkdir_and_rename', misc.mkdir_and_rename, mkdir_and_rename)
    return True
