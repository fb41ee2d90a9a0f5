"""What a batch's results look like in a file. Every format is written as it is read, page by page, in flat memory."""
