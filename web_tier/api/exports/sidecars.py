"""Write results as XMP sidecars, which photo programs read beside the photos: a zip file, streamed while it is made."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from config.labels.hierarchy import above
from web_tier.api.exports.file_names import UniqueNames, safe_path
from web_tier.api.exports.source import Source
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

    Only the archive's table of contents grows with the batch, by some hundred bytes for each image.
    """
    sink = _Sink()
    name = UniqueNames()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for image in source.images():
            if not image.tags and not image.caption:
                continue
            entry = zipfile.ZipInfo(name(safe_path(image.name)) + ".xmp", _written_at(image))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, sidecar(image))
            if sink.size >= _PIECE:
                yield sink.take()
    yield sink.take()


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


def _written_at(image: Image) -> tuple[int, int, int, int, int, int]:
    at = datetime.fromtimestamp(image.finished_at or image.created_at, UTC)
    return max(_EARLIEST, (at.year, at.month, at.day, at.hour, at.minute, at.second))


class _Sink(io.RawIOBase):
    """The file that zipfile writes to. It can't be rewound, so each entry's length and checksum follow the entry."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes
        self._pieces.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = b"".join(self._pieces)
        self._pieces = []
        self.size = 0
        return taken
