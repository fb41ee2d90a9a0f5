"""The ports on Amazon's services: S3, SQS, EC2, CloudWatch.

Of the tiers' code, only this package uses boto3 and obstore (`ami.aws`, which deploys, uses boto3 too).
"""
