"""The stages between the job queue and the results, and what bounds them. Start reading in `pipeline.py`."""
