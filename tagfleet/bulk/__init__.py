"""What `tagfleet tag s3://…` does: objects of a bucket are tagged where they lie, millions of them, in flat memory."""
