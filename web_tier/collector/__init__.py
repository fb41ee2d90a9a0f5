"""The collector process: brings results into the catalogue, sweeps up what was left behind, and sends webhooks."""
