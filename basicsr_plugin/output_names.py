"""Checks that the images that BasicSR writes in validation and test have different names."""

from __future__ import annotations

import os
from typing import Any

from basicsr_plugin.errors import UserError

__all__ = ['check_output_names']


def check_output_names(dataset: Any) -> None:
    """Refuses a data set of which two images would be written under one name: that of the LQ image without suffix.

    Args:
        dataset: A data set with ``paths`` as those of BasicSR have it: paths, or mappings with ``lq_path``.

    Raises:
        UserError: Two have the same; one line that names both.
    """
    seen: dict[str, str] = {}
    for entry in getattr(dataset, 'paths', None) or ():
        path = str(entry.get('lq_path', '') if isinstance(entry, dict) else entry)
        name = os.path.splitext(os.path.basename(path))[0]
        first = seen.setdefault(name.lower(), path)  # some file systems ignore case
        if name and first != path:
            phase = (getattr(dataset, 'opt', None) or {}).get('phase', 'val')
            raise UserError(
                f"datasets.{phase}: expected images of different names, got '{first}' and '{path}', whose outputs "
                f"would both be called '{name}'; rename one, make them two data sets, or set val.save_img: false"
            )
