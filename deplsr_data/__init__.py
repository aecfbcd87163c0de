"""Degradations that are data, and the BasicSR data sets made with them; importing it registers the data sets."""

from __future__ import annotations

from basicsr_plugin.compat import apply_fixes

apply_fixes()

from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset  # noqa: E402  after the fixes
from deplsr_data.captioned_pair_dataset import CaptionedPairDataset  # noqa: E402

__all__ = ['CaptionedDegradationDataset', 'CaptionedPairDataset']
