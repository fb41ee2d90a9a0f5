"""Small tools without any knowledge of Tagfleet: files, back-off, processes, names, CSV."""
