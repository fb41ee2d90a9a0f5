"""What a service calls a download."""

from __future__ import annotations

import re
from urllib.parse import unquote

_EXTENDED = re.compile(r"filename\*=utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_PLAIN = re.compile(r'filename="([^"\\]+)"', re.IGNORECASE)
_NO_NAME = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')


def suggested_name(disposition: str, otherwise: str) -> str:
    """Return the file name in a header Content-Disposition (RFC 6266), `otherwise` where it has none.

    It names no other folder, whatever the service says.
    """
    if found := _EXTENDED.search(disposition):
        name = unquote(found[1])
    else:
        plain = _PLAIN.search(disposition)
        name = plain[1] if plain else ""
    return _NO_NAME.sub("_", name).strip().lstrip(".").rstrip(". ") or otherwise
