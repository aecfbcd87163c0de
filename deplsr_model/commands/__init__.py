"""Sub-commands of `basicsr` that use trained models."""
