"""The errors of the client. `ClientError` is the base of all; the text of each is a sentence for a person."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of this client."""


class Unreachable(ClientError):
    """Nothing answers at the service's address."""

    def __init__(self, url: str) -> None:
        super().__init__(f"no Tagfleet at {url}: start it with `tagfleet up`")
        self.url = url


class ConnectionLost(ClientError):
    """The connection kept breaking for as long as the client's `Patience` lasts."""


class BadAnswer(ClientError):
    """The server at this address does not speak Tagfleet's API."""


class Disconnected(ClientError):
    """`Client.disconnect` ended the call."""

    def __init__(self) -> None:
        super().__init__("the client was disconnected")


class UnreadableFile(ClientError):
    """A file to upload cannot be read."""

    def __init__(self, name: str, why: str, file: object = None) -> None:
        super().__init__(f"{name}: cannot be read: {why}")
        self.name = name
        self.why = why
        self.file = file


class Refused(ClientError):
    """The service answered with an error (RFC 9457); `status` is the HTTP status."""

    def __init__(self, status: int, title: str, detail: str = "", request_id: str = "") -> None:
        sentence = f"{title}: {detail}" if detail and detail != title else title
        super().__init__(f"{sentence} (HTTP {status}{f', request {request_id}' if request_id else ''})")
        self.status = status
        self.title = title
        self.detail = detail
        self.request_id = request_id


class Missing(Refused):
    """404: no such batch, image or page."""


class Denied(Refused):
    """401 or 403: the service asks for a key, or the key lacks the scope."""


class Conflict(Refused):
    """409: the state of the batch does not allow this; for example, it is closed."""


def to_refused(status: int, title: str, detail: str, request_id: str) -> Refused:
    """Return the error for an HTTP status."""
    kind = {401: Denied, 403: Denied, 404: Missing, 409: Conflict}.get(status, Refused)
    return kind(status, title, detail, request_id)
