"""The worker: takes jobs off a queue, tags their images, and stores and sends the results.

From top to bottom: `worker` runs a worker's life, `pipeline` moves images through it, `taggers` turn images into tags,
`engines` run networks, `adaptive` learns from people, `models` finds networks and their weights. `model_tools`, beside
`worker`, prepares models for the registry.
"""
