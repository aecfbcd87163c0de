"""Number and order of the degradation types of the published networks: the nominal ones of deplsr_data."""

from __future__ import annotations

__all__ = ['NUM_DEGRADATION_TYPES']

#: Fine embeddings, in this order: blur, gaussian noise, poisson noise, jpeg, ringing. Of effective levels (8 types)
#: such networks have the first five.
NUM_DEGRADATION_TYPES = 5
