"""`tagfleet tag s3://…`: tag the objects of a bucket in place, millions of them, in constant memory."""
