"""How many degradation types the published networks know, and in which order; deplsr_data names the same ones."""

from __future__ import annotations

__all__ = ['NUM_DEGRADATION_TYPES', 'PRIOR_TOKENS']

#: Fine embeddings, in this order: blur, gaussian noise, poisson noise, jpeg, ringing.
NUM_DEGRADATION_TYPES = 5
#: Tokens of a prior: one of content, then one for each degradation type.
PRIOR_TOKENS = 1 + NUM_DEGRADATION_TYPES
