"""A Python process whose clock is CLOCK_AHEAD_S seconds ahead, as are those that it starts.

Python imports a module of this name before anything else, where its folder is on PYTHONPATH.
"""

import os
import time

_ahead_s = int(os.environ["CLOCK_AHEAD_S"])
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _ahead_s
time.time_ns = lambda: _time_ns() + _ahead_s * 1_000_000_000
