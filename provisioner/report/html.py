"""The page as one HTML file: styles, program and contents inside, and a policy that lets a browser load nothing else.

The charts are drawn by uPlot (MIT), which is in ``assets/uplot`` with its licence: 50 kB without dependencies, the
library behind Grafana's time series. Contents are JSON in a block that no browser executes; the program writes texts as
text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.errors import printable_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNSAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
"""What could end the block of data, in JSON. Line separators and the like are not printable, and escaped, too."""


def document(page: Mapping[str, Any]) -> str:
    """The page as HTML."""
    styles = f"{_asset('uplot/uPlot.min.css')}\n{_asset('page.css')}"
    program = f"{_asset('uplot/uPlot.iife.min.js')}\n{_asset('page.js')}"
    data = printable_json(msgspec.json.encode(page).decode()).translate(_UNSAFE)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(program)}",
            f"style-src {_source(styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return Template(_asset("page.html")).substitute(
        policy=escape(policy),
        title=escape(f"provisioner: {page['title']}"),
        heading=escape(page["title"]),
        licence=_asset("uplot/LICENSE").replace("-->", ""),
        styles=styles,
        program=program,
        data=data,
    )


def _asset(name: str) -> str:
    return files("provisioner.report").joinpath("assets", *name.split("/")).read_text(encoding="utf-8").strip()


def _source(text: str) -> str:
    """The hash by which a policy allows exactly this script or style."""
    digest = hashlib.sha256(f"\n{text}\n".encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
