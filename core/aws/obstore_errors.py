"""Reads obstore's errors, which are text, into botocore's.

Everything else in this package knows only botocore's errors, so a failure reads the same whichever library made the
request. obstore's text names the object first, then the request, then what came of it; a dump of Rust's structures
follows, which says what kind of failure it was if no answer came.
"""

from __future__ import annotations

import re

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import mask_proxy_url
from botocore.parsers import ResponseParserError, create_parser
from obstore.exceptions import BaseError

RAISED = (BaseError, OSError, NotImplementedError)
"""What obstore's requests raise: FileNotFoundError is an object that is not there."""

_BEFORE_REQUEST = (
    "Generic S3 error: ",
    "Object at location {key} not found: ",
    "Object at location {key} already exists: ",
    "Object at location {key} not modified: ",
    "Request precondition failure for path {key}: ",
    "The operation lacked the necessary privileges to complete for path {key}: ",
    "The operation lacked valid authentication credentials for path {key}: ",
)
_REQUEST = re.compile(r"Error performing [A-Z]+ (\S+) in \S+ +- ")
_ANSWER = re.compile(r"Server returned non-2xx status code: (\d{3})[^:]*: ?")
_REDIRECT = "Received redirect without LOCATION"
_DUMP = "\n\nDebug source:\n"
_KIND = re.compile(r"HttpError \{\s+kind: (\w+)")
_CERTIFICATE = re.compile(r"error: (\w+)\(\s*(\w+)")


Failure = ClientError | BotoCoreError | ResponseParserError


def read_error(error: Exception, operation: str, key: str, proxy: str = "") -> Failure:
    """Return botocore's error for what a request for `key` raised: a ClientError if the server answered.

    An answer that obstore cannot make sense of, although its status is a success, becomes a ResponseParserError.
    """
    text, _, dump = str(error).rpartition(_DUMP)
    text = _without_beginning(text or dump, key)
    if (request := _REQUEST.match(text)) is None:
        return _error_after_head(text, dump, key)
    url, outcome = request[1], text[request.end() :]
    if answer := _ANSWER.match(outcome):
        return _client_error(int(answer[1]), outcome[answer.end() :], operation)
    if outcome.startswith(_REDIRECT):
        return _client_error(301, "", operation)
    return _error_without_answer(url, dump, proxy)


def _without_beginning(text: str, key: str) -> str:
    """Cut off what comes before the request. It holds the key, in which anything may be written."""
    before = [form.format(key=key) for form in _BEFORE_REQUEST]
    while found := next((one for one in before if text.startswith(one)), None):
        text = text[len(found) :]
    return text


def _client_error(status: int, body: str, operation: str) -> ClientError:
    """Let botocore read the body, as it would if it had received it: XML, HTML of a proxy, or nothing."""
    answer = {"status_code": status, "headers": {}, "body": body.encode()}
    parsed = create_parser("rest-xml").parse(answer, None)  # type: ignore[arg-type]  # errors need no shape
    return ClientError(parsed, operation)


def _error_after_head(text: str, dump: str, key: str) -> BotoCoreError | ResponseParserError:
    """Return the error of an answer whose head had come. obstore does not say which address it came from."""
    if (kind := _KIND.search(dump)) is None:
        return ResponseParserError(text)
    return (boto.ReadTimeoutError if kind[1] == "Timeout" else boto.ConnectionClosedError)(endpoint_url=key)


def _error_without_answer(url: str, dump: str, proxy: str) -> BotoCoreError:
    kind = _KIND.search(dump)
    connecting = "Connect," in dump
    if kind is not None and kind[1] == "Timeout":
        return (boto.ConnectTimeoutError if connecting else boto.ReadTimeoutError)(endpoint_url=url)
    if not connecting:
        return boto.ConnectionClosedError(endpoint_url=url)
    if "kind: InvalidData" in dump:
        said = _CERTIFICATE.search(dump)
        return boto.SSLError(endpoint_url=url, error=OSError(f"{said[1]}: {said[2]}" if said else "invalid data"))
    if proxy:
        return boto.ProxyConnectionError(proxy_url=mask_proxy_url(proxy))
    return boto.EndpointConnectionError(endpoint_url=url)
