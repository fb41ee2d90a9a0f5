"""Files of a batch's results. Each format is written while it is read, page by page, in flat memory."""
