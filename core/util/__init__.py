"""Small tools that know nothing of Tagfleet: files, back-off, processes, names, CSV."""
