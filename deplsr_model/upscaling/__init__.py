"""Enlarging and describing photos with a trained model: what is behind `basicsr upscale`, `describe` and `replay`."""
