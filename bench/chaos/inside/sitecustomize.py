"""Change the clock and the decoder inside the processes of a chaos run.

Python imports a module of this name at its start if the folder is on PYTHONPATH. Two variables select what it does:

1. CLOCK_AHEAD_S sets the clock of the process and its children ahead by that many seconds.
2. IMAGE_TRAPS makes a worker and its decoding children hang, or end, on an image that contains one of two marks, as a
   codec's unknown bug would.
"""

import os
import sys
import time
from typing import Any

_DECODES = {"worker", "isolation", "sandbox"}
"""Words in the command lines of processes that decode for a worker."""

if ahead := int(os.environ.get("CLOCK_AHEAD_S", "0")):
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + ahead
    time.time_ns = lambda: _time_ns() + ahead * 1_000_000_000

if os.environ.get("IMAGE_TRAPS") and any(_DECODES & set(it.split(".")) for it in sys.orig_argv):
    from PIL import Image

    _open = Image.open

    def _trapped(file: Any, *arguments: Any, **options: Any) -> Any:
        data = file.getvalue() if hasattr(file, "getvalue") else b""
        while b"this image hangs its decoder" in data:
            time.sleep(1)
        if b"this image ends its process" in data:
            os._exit(139)
        return _open(file, *arguments, **options)

    Image.open = _trapped  # type: ignore[assignment]  # it passes on all arguments
