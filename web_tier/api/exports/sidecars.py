"""Write results as XMP sidecars, which photo programs read beside the photos: a zip file, streamed while it is made."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from tempfile import gettempdir
from xml.sax.saxutils import escape

from config.labels.hierarchy import above
from core.errors import Unavailable
from web_tier.api.exports.file_names import UniqueNames, safe_path
from web_tier.api.exports.source import Source
from web_tier.api.exports.zip_stream import DateTime, ZipStream
from web_tier.catalog.batches import Image

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOOK_ALIKES = {"|": "\N{DIVIDES}", "/": "\N{DIVISION SLASH}"}
"""Characters that look like the separators in every normal form: `AC/DC` is one tag, and not DC below AC."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_PIECE = 64 << 10
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Tagfleet">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/">
{content}  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def as_sidecars(source: Source) -> Iterator[bytes]:
    """Yield the archive: `holiday/b.jpg.xmp` for `holiday/b.jpg`, nothing for images without tags and caption.

    Raises Unavailable if there is no room for its temporary files, of some hundred bytes for each image.
    """
    try:
        with ZipStream() as archive, closing(UniqueNames()) as name:
            yield from _pieces(source, archive, name)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"an export cannot write its temporary files in {gettempdir()}: {error}") from error


def _pieces(source: Source, archive: ZipStream, name: UniqueNames) -> Iterator[bytes]:
    pending = bytearray()
    for image in source.images():
        if not image.tags and not image.caption:
            continue
        path = name(safe_path(image.name)) + ".xmp"
        pending += archive.add(path, _written_at(image), sidecar(image).encode())
        if len(pending) >= _PIECE:
            yield bytes(pending)
            pending.clear()
    yield bytes(pending)
    yield from archive.end()


def sidecar(image: Image) -> str:
    """Return one XMP packet: the tags as dc:subject (IPTC's keywords), and as paths from their WordNet parents."""
    names = [_text(tag["name"]) for tag in image.tags]
    paths = [(*reversed(above(tag["name"])), tag["name"]) for tag in image.tags]
    content = ""
    if image.caption:
        caption = f'<rdf:li xml:lang="x-default">{_text(image.caption)}</rdf:li>'
        content += f"   <dc:description><rdf:Alt>{caption}</rdf:Alt></dc:description>\n"
    if names:
        content += _list("dc:subject", "Bag", names)
        content += _list("lr:hierarchicalSubject", "Bag", [_hierarchy(path, "|") for path in paths])
        content += _list("digiKam:TagsList", "Seq", [_hierarchy(path, "/") for path in paths])
    return _PACKET.format(content=content)


def _hierarchy(path: Sequence[str], separator: str) -> str:
    """Join names from the top down. Neither format can escape its separator; a look-alike replaces it within a name."""
    return separator.join(_text(name.replace(separator, _LOOK_ALIKES[separator])) for name in path)


def _list(element: str, kind: str, values: list[str]) -> str:
    items = "".join(f"     <rdf:li>{value}</rdf:li>\n" for value in values)
    return f"   <{element}>\n    <rdf:{kind}>\n{items}    </rdf:{kind}>\n   </{element}>\n"


def _text(value: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", value))


def _written_at(image: Image) -> DateTime:
    at = datetime.fromtimestamp(image.finished_at or image.created_at, UTC)
    return max(_EARLIEST, (at.year, at.month, at.day, at.hour, at.minute, at.second))
