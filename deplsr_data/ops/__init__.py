"""Image operators with given parameters, for one image or a batch; nothing here knows what DePLSR is."""
