"""A process that reads the sizes of pictures on its input, each preceded by its length.

An answer is width and height (pixels), both 0 where it is no picture.
"""

from __future__ import annotations

import resource
import signal
import struct
import sys
import warnings

LENGTH = struct.Struct(">I")
SIZE = struct.Struct(">II")

_MAX_MEMORY = 1 << 30


def main() -> None:
    from core.imaging.picture_size import upright_size

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our input
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        sink.write(SIZE.pack(*(upright_size(source.read(*LENGTH.unpack(head))) or (0, 0))))
        sink.flush()


if __name__ == "__main__":
    main()
