"""One module a command: `earshot export`, and those that need finished detectors and hand the trainer an exporter."""
