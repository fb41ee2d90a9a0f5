"""Turns a stranger's bytes into a small picture: the only decoder, for workers, their child processes and thumbnails.

1. `formats` recognises the format by the first bytes and reads the header without any decoder: size, memory, time, and
   the bytes to give to a decoder. It refuses files that are too large, too slow or make no sense.
2. `decode` decodes the others, at a reduced scale if the format allows it, and makes them upright, sRGB, on white.
3. `sandbox` does the same in a child process with limited memory and time.

No other package opens strangers' images.
"""
