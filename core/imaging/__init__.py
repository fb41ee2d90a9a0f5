"""From a stranger's bytes to a small picture: the one decoder of workers, isolation and thumbnails.

1. `formats` names the format by the first bytes and walks its header, without any decoder: size, memory, time, and
   the bytes that a decoder is to see. What is too large, too slow or senseless is refused there.
2. `decode` opens what is left, at a reduced scale where the format allows it, and makes it upright, sRGB, on white.
3. `sandbox` does the same in a child process with limited memory and time.

Only this package opens images of strangers.
"""
