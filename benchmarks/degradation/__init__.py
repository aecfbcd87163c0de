"""How fast batches are degraded, and what the degradations look like."""
