"""Image operators with given parameters, for one image or a batch; independent of DePLSR."""
