"""The calls to AWS that a deployment needs: account, stack, images, buckets, hosts. With `core.aws`, the only boto3."""
