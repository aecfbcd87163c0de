"""Sub-commands of `basicsr` that make data."""
