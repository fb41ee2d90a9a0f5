"""Fit a network to images: networks, losses, sampling, the loop of epochs, checkpoints and runs."""
