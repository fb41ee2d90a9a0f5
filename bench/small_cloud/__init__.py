"""A stand-in for S3 and SQS in memory, in a process of its own, fast enough not to limit a measurement.

`process.py` starts and controls it. `http.py` speaks HTTP/1.1 on an event loop, `cloud.py` delays, counts and disturbs
answers, `s3.py` and `sqs.py` answer.
"""
