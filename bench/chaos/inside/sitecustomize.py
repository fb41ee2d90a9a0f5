"""What a run of chaos changes inside the processes it looks at.

Python imports a module of this name before anything else, where its folder is on PYTHONPATH.

1. CLOCK_AHEAD_S: the process's clock is so many seconds ahead, as are those of the processes that it starts.
2. IMAGE_TRAPS: in a worker and its decoding children, an image whose bytes hold one of two marks hangs the decoder, or
   ends its process, as a flaw of a codec that no estimate foresees would.
"""

import os
import sys
import time
from typing import Any

_DECODES = {"worker", "isolation", "sandbox"}
"""Parts of the command lines of processes that decode for a worker."""

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

    Image.open = _trapped  # type: ignore[assignment]  # it takes what the original takes
