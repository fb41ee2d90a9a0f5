"""AWS's price of one request in $, from `config/request-prices.toml`, which names its sources.

Estimates of runs, the tables of docs/aws.md and `python -m bench requests` use it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import config

TABLE: dict[str, dict[str, float]] = tomllib.loads(
    Path(config.__file__).with_name("request-prices.toml").read_text(encoding="utf-8")
)
"""All prices by section: requests, network, storage."""

GET = TABLE["requests"]["get"]
PUT = TABLE["requests"]["put"]
LIST = TABLE["requests"]["list"]
SQS = TABLE["requests"]["sqs"]

_S3 = {
    "GetObject": GET,
    "HeadObject": GET,
    "HeadBucket": GET,
    "PutObject": PUT,
    "CopyObject": PUT,
    "CreateMultipartUpload": PUT,
    "UploadPart": PUT,
    "CompleteMultipartUpload": PUT,
    "ListObjectsV2": LIST,
    "DeleteObject": 0.0,
    "DeleteObjects": 0.0,
    "AbortMultipartUpload": 0.0,
}


def price_of(operation: str) -> float:
    """Return $ for one request, such as `s3.GetObject` or `sqs.ReceiveMessage`. Raises KeyError for an unknown one."""
    service, _, name = operation.partition(".")
    return SQS if service == "sqs" else _S3[name]
