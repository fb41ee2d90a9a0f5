"""The worker: takes jobs off a queue, tags their images, stores the results."""
