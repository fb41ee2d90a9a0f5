"""A self-contained HTML page: it needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2733 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #d5dbe3; padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
tr.strong { font-weight: bold }
svg { max-width: 100%; height: auto }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
figure img { height: 9rem; margin-right: .5rem }
.bad { color: #a3261b }
"""


def build_page(title: str, body: Iterable[str]) -> str:
    """Return the page. `title` is text, and also the heading; `body` is HTML."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    lines = "\n".join(body)
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n{lines}\n</body></html>\n'
    )
