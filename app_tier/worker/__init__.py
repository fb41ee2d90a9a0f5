"""A worker's life: it chooses a tagger, runs the pipeline, reports heartbeats, and drains."""
