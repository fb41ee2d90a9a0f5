"""A virtual cloud for the real controller: instances, queues, a store and their faults, all in virtual time.

It has two uses. `tagfleet simulate` compares policies over hours of arrivals (`run`, `compare`, `report`). The
controller's own tests build a `world.World` in a few lines and break it at will. No I/O, and no clock but `timeline`.
"""
