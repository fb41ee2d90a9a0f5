"""`python -m bench growth`: how the time of every read and write grows with the catalogue.

1. `catalogues` fills three catalogues, of a hundredth, a tenth and all of the images, or finds those of an earlier run.
2. `service` opens the web tier over a copy of each, with messages that wait and dead letters in the same proportion.
3. `reads` and `writes` name the operations; `timing` calls them, in this process and without HTTP connections.
4. `table` prints their times side by side, and by what factor they grew.
"""
