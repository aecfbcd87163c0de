"""Suggests the closest known name in place of a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ['nearest']


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` with the candidate most like ``name``, or an empty string."""
    candidates = sorted(candidates)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    name = str(name).lower()
    match = difflib.get_close_matches(name, lowered, n=1, cutoff=0.6)
    if not match:  # rl for lr
        match = [candidate for candidate in lowered if sorted(candidate) == sorted(name)]
    if not match and len(name) > 1:  # L1 for L1Loss, psnr for calculate_psnr
        match = sorted((candidate for candidate in lowered if name in candidate), key=len)
    return f"; did you mean '{lowered[match[0]]}'?" if match else ''
