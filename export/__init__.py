"""From a trained checkpoint to a detector folder that has proved itself."""
