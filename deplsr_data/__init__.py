"""Degradations that are data, and the BasicSR data sets made with them; importing it registers the data sets."""

from __future__ import annotations

from basicsr_plugin.compat import mend

mend()

from deplsr_data.captioned_degradation_dataset import CaptionedDegradationDataset  # noqa: E402  needs the mends above

__all__ = ['CaptionedDegradationDataset']
