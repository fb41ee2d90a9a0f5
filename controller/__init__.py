"""The controller starts and stops workers as the queues fill and empty.

`main` runs it as a process, and `loop` runs its ticks. Below them, `actions` launches workers, `events` words and
records events and decisions, `policy` decides (pure functions), and `state` observes and stores. `simulation` is above
them all: it runs the real controller in a virtual cloud.
"""
