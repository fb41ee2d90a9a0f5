"""The controller starts and stops workers as the queues fill and empty.

`main` runs it as a process, `loop` is one tick after the other. Below them are `actions` (launches), `events` (what is
recorded, and in which words), `policy` (the decision, pure) and `state` (what is observed and stored). `simulation` is
above them all: a virtual cloud for the real controller.
"""
