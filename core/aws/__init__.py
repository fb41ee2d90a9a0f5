"""The ports on Amazon's services: S3, SQS, EC2, CloudWatch. Of the tiers' code, only this package uses boto3
(`ami.aws`, which deploys, uses it too)."""
