"""The KMS key that S3 encrypts a bucket's new objects with, for those who have to read them."""

from __future__ import annotations

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.errors import NotFound

_MANAGED = "alias/aws/s3"
"""AWS's own key for S3: whoever in the account may read an object may use it through S3, without a right to the key.

https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk
"""


def key_of(clients: Clients, bucket: str) -> str:
    """Return the ARN of the key that readers of `bucket` need `kms:Decrypt` on; empty where they need none.

    Objects that were written with another key than the bucket's are not looked at. Raises NotFound where there
    is no such bucket, Unavailable, Misconfigured among it, where it may not be seen.
    """
    with translate_errors(f"see how bucket {bucket} is encrypted", "s3"):
        try:
            answer = clients.s3.get_bucket_encryption(Bucket=bucket)
        except ClientError as error:
            if code_of(error) == "ServerSideEncryptionConfigurationNotFoundError":
                return ""
            if code_of(error) == "NoSuchBucket":
                raise NotFound(f"s3://{bucket}") from None
            raise
    for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
        by_default = rule.get("ApplyServerSideEncryptionByDefault")
        if by_default and by_default["SSEAlgorithm"].startswith("aws:kms"):
            return _arn(clients, bucket, by_default.get("KMSMasterKeyID", _MANAGED))
    return ""


def _arn(clients: Clients, bucket: str, key: str) -> str:
    """Policies of IAM name a key by its ARN; a bucket may name it by its id or an alias."""
    if key.endswith(_MANAGED):
        return ""
    if key.startswith("arn:") and ":key/" in key:
        return key
    with translate_errors(f"look at key {key} of bucket {bucket}", "kms"):
        found = clients.of("kms").describe_key(KeyId=key)["KeyMetadata"]
    return "" if found.get("KeyManager") == "AWS" else str(found["Arn"])
