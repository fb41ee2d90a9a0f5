"""A request that a deployment under test has received."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.formparser import parse_form_data


@dataclass(frozen=True)
class Request:
    """One request as it was received. Header names are in title case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, Any], body: bytes) -> Request:
        """Return the request of a WSGI environment whose body has been read."""
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").title(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        return cls(
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO", ""),
            query=environ.get("QUERY_STRING", ""),
            headers=headers | {"Content-Type": environ.get("CONTENT_TYPE", "")},
            body=body,
        )

    @property
    def json(self) -> Any:
        """The body as JSON; None without a body."""
        return json.loads(self.body) if self.body else None

    @property
    def file_names(self) -> list[str]:
        """The names of an upload's files, in order."""
        environ = {
            "wsgi.input": io.BytesIO(self.body),
            "CONTENT_LENGTH": str(len(self.body)),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "REQUEST_METHOD": self.method,
        }
        files = parse_form_data(environ)[2].getlist("files")
        for one in files:
            one.close()
        return [one.filename or "" for one in files]
