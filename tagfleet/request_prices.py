"""AWS's price of one request in $: us-east-1, 2026. Estimates of runs and the tables of docs/aws.md use it.

Sources: https://aws.amazon.com/s3/pricing/ and https://aws.amazon.com/sqs/pricing/
"""

GET = 0.4e-6
PUT = 5e-6
LIST = 5e-6
SQS = 0.4e-6
