"""Links of the docs that lead out of docs/, made absolute for the site.

A hook of mkdocs (mkdocs.yml). BITPARITY_REPOSITORY is the address of the repository's files, for example that of its
`blob/main`; without it such links are shown as code, since a page of the site cannot reach them.
"""

from __future__ import annotations

import os
import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page's text with its links to files outside docs/ rewritten."""
    base = os.environ.get("BITPARITY_REPOSITORY", "").rstrip("/")
    if not base:
        return _OUTSIDE.sub(r"\1 (`\2`)", markdown)
    return _OUTSIDE.sub(rf"[\1]({base}/\2)", markdown)
