"""Turns a stranger's bytes into a small picture: the one decoder of workers, isolation and thumbnails.

1. `formats` recognises the format by the first bytes and reads the header without any decoder: size, memory, time, and
   the bytes that a decoder is to see. It refuses what is too large, too slow or makes no sense.
2. `decode` opens the rest, at a reduced scale where the format allows it, and makes it upright, sRGB, on white.
3. `sandbox` does the same in a child process with limited memory and time.

No other package opens images of strangers.
"""
