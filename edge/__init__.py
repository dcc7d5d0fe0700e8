"""The device: it listens, scores and publishes. It never imports torch, `trainer` or `export`."""

__version__ = "0.1.0"
