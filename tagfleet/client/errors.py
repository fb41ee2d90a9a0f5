"""What can go wrong in a call, each as a sentence. `ClientError` is the base of all."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of this client; its text is written for the person who meets it."""


class Unreachable(ClientError):
    """Nothing answers at the service's address."""

    def __init__(self, url: str) -> None:
        super().__init__(f"no Tagfleet at {url}: start it with `tagfleet up`")
        self.url = url


class ConnectionLost(ClientError):
    """The connection broke, again and again, for as long as the client's patience lasts."""


class BadAnswer(ClientError):
    """What answers at the address does not speak Tagfleet's API."""


class Disconnected(ClientError):
    """The call was given up because `Client.disconnect` was called."""

    def __init__(self) -> None:
        super().__init__("the client was disconnected")


class UnreadableFile(ClientError):
    """A file that should be uploaded cannot be read."""

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
    """404: there is no such batch, image or page."""


class Denied(Refused):
    """401 or 403: the service asks for a key, or this one does not open that."""


class Conflict(Refused):
    """409: the batch's state does not allow this, it is closed for instance."""


def refusal(status: int, title: str, detail: str, request_id: str) -> Refused:
    kind = {401: Denied, 403: Denied, 404: Missing, 409: Conflict}.get(status, Refused)
    return kind(status, title, detail, request_id)
