"""The ports on Amazon's parts: S3, SQS, EC2. The only place that knows boto3."""
