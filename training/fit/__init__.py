"""Train multi-label networks: options, run folder, losses, training loop, checkpoints and metrics."""
