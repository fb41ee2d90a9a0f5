"""Turns errors of AWS, and of the connection to it, into ours: one line with what happened, to what, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from core.errors import Misconfigured, Unavailable

THROTTLED = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "OverLimit",
        "AWS.SimpleQueueService.OverLimit",
        "EC2ThrottledException",
    }
)
_PASSING = frozenset(
    {"RequestTimeout", "RequestTimeoutException", "InternalError", "InternalFailure", "ServiceUnavailable"}
    | {"OperationAborted", "ConditionalRequestConflict", "IncompleteBody", "BadDigest"}
)
_NOT_THERE = frozenset({"NotImplemented", "MethodNotAllowed"})
"""Codes of servers that implement only a part of AWS's protocols. No retry helps."""
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_UNKNOWN_KEY = frozenset(
    {"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "InvalidToken"}
    | {"SignatureDoesNotMatch", "MissingAuthenticationToken", "IncompleteSignature", "InvalidSecurity"}
)
_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess", "AllAccessDisabled"}
    | {"403", "Forbidden", "KmsAccessDenied", "KMS.AccessDeniedException", "AuthorizationError"}
)
_CLOCK = frozenset({"RequestTimeTooSkewed", "InvalidSignatureException"})
_NO_BUCKET = frozenset({"NoSuchBucket"})
_NO_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "QueueDeletedRecently"})
ELSEWHERE = frozenset(
    {"301", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"}
)

_ACTIONS = {
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "DeleteObjects": "DeleteObject",
    "CopyObject": "GetObject on the source and s3:PutObject on the target",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
"""Operation → IAM's action, where the two have different names."""

_RENEW = "renew them (sign in again, or see the role of this machine)"


class BrokenOff(BotoCoreError):
    """The bytes of an object stopped coming, each time that it was asked for."""

    fmt = "{error}"


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def attempts_of(error: ClientError) -> int:
    """Return how often botocore sent the request that got this answer."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) + 1


@contextmanager
def translate_errors(doing: str, service: str = "") -> Iterator[None]:
    """Turn boto3's errors in the block into ours. `doing` says what was attempted: `put objects into bucket photos`.

    Raises Unavailable if waiting helps, Misconfigured if somebody has to fix something. Our own errors, and calls with
    invalid parameters, pass unchanged.
    """
    try:
        yield
    except ClientError as error:
        raise translate_error(error, doing, service) from error
    except BotoCoreError as error:
        if isinstance(error, boto.ParamValidationError):
            raise
        raise _translate_no_answer(error, doing) from error
    except ResponseParserError as error:  # of botocore, but not a BotoCoreError
        raise Unavailable(
            f"cannot {doing}: the server does not speak AWS's protocol; it is safe to try again. "
            "If that does not help, is there a proxy, or AWS_ENDPOINT_URL?"
        ) from error


def translate_error(error: ClientError, doing: str, service: str = "") -> Unavailable:
    """Return our error for an error answer of AWS that the caller does not handle itself."""
    code, status = code_of(error), status_of(error)
    cannot = f"cannot {doing}: "
    if code in THROTTLED or status == 429:
        return Unavailable(f"{cannot}AWS asks for fewer requests ({code}); it is safe to try again in a while")
    if status == 501 or code in _NOT_THERE:
        said = _message(error)
        return Misconfigured(f"{cannot}the server does not support that ({code or status}{': ' if said else ''}{said})")
    if status >= 500 or code in _PASSING:
        return Unavailable(f"{cannot}AWS has a problem ({code or status}); it is safe to try again")
    for codes, advice in _ADVICE:
        if code in codes:
            return Misconfigured(cannot + advice(error, service))
    return Misconfigured(f"{cannot}AWS refuses it: {code}: {_message(error)}")


def _message(error: ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]


def _translate_no_answer(error: BotoCoreError, doing: str) -> Unavailable:
    cannot = f"cannot {doing}: "
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return Misconfigured(
            f"{cannot}no AWS credentials were found; give this machine a role, set AWS_PROFILE, or run `aws configure`"
        )
    if isinstance(error, boto.NoRegionError | boto.InvalidRegionError):
        return Misconfigured(f"{cannot}no AWS region is known; set aws.region, or AWS_REGION")
    if isinstance(error, boto.ProfileNotFound | boto.ConfigParseError | boto.ConfigNotFound):
        return Misconfigured(f"{cannot}{_one_line(error)}; look at AWS_PROFILE and ~/.aws")
    if isinstance(error, _CREDENTIALS):
        return Misconfigured(f"{cannot}the AWS credentials cannot be renewed ({_one_line(error)}); {_RENEW}")
    if isinstance(error, boto.SSLError):
        return Misconfigured(
            f"{cannot}no trusted connection ({_one_line(error)}); look at AWS_CA_BUNDLE and this host's CAs"
        )
    if isinstance(error, boto.ConnectTimeoutError | boto.ReadTimeoutError):
        return Unavailable(f"{cannot}no answer in time ({_one_line(error)}); it is safe to try again")
    if isinstance(error, BrokenOff):
        return Unavailable(f"{cannot}the connection broke off again and again ({_one_line(error)})")
    return Unavailable(f"{cannot}the connection failed ({_one_line(error)}); it is safe to try again")


_CREDENTIALS = (
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.MetadataRetrievalError,
)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200]


def _advise_on_denial(error: ClientError, service: str) -> str:
    operation = error.operation_name
    action = f"{service}:{_ACTIONS.get(operation, operation)}" if service else operation
    said = str(error.response.get("Error", {}).get("Message", ""))
    who = re.search(r"User: (\S+) is not authorized", said)
    hint = ", or there is no such object and s3:ListBucket is missing too" if operation == "GetObject" else ""
    return f"{who[1] if who else 'these credentials'} may not {action}{hint}; add that to the policy of the role"


def _advise_on_region(error: ClientError, service: str) -> str:
    answer: Mapping[str, Any] = error.response
    region = answer.get("Error", {}).get("Region") or answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get(
        "x-amz-bucket-region"
    )
    return f"it is in {f'region {region}' if region else 'another region'}; set aws.region accordingly"


_ADVICE: tuple[tuple[frozenset[str], Callable[[ClientError, str], str]], ...] = (
    (_EXPIRED, lambda error, service: f"the AWS credentials have expired; {_RENEW}"),
    (_UNKNOWN_KEY, lambda error, service: f"AWS does not accept the credentials ({code_of(error)}); {_RENEW}"),
    (
        _CLOCK,
        lambda error, service: f"AWS does not accept the signature ({code_of(error)}); is this host's clock right?",
    ),
    (_DENIED, _advise_on_denial),
    (
        _NO_BUCKET,
        lambda error, service: (
            "there is no such bucket; see aws.input_bucket and aws.output_bucket, or run `tagfleet aws up`"
        ),
    ),
    (
        _NO_QUEUE,
        lambda error, service: (
            "there is no such queue in this region; see aws.deployment and aws.region, or run `tagfleet aws up`"
        ),
    ),
    (ELSEWHERE, _advise_on_region),
)
