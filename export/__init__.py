"""From a trained checkpoint to a detector folder that has proved itself, and the commands that need such folders."""
