"""Number and order of the degradation types of the published networks; deplsr_data names the same ones."""

from __future__ import annotations

__all__ = ['NUM_DEGRADATION_TYPES']

#: Fine embeddings, in this order: blur, gaussian noise, poisson noise, jpeg, ringing.
NUM_DEGRADATION_TYPES = 5
