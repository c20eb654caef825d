"""``provisioner explain``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from provisioner.cli import parameters
from provisioner.cli.options import common
from provisioner.cli.output import say, say_json
from provisioner.cli.table import terminal_width
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 100
HTTP_STATUS = "HTTP status"
"""The name of the page about every HTTP status, which is the code of a reply that has none."""


class Page:
    """One page.

    Attributes:
        kind: of what it explains: an exit code, a state, an error code and so on.
        names: that it explains; the first is the one to show.
        means, why: sentences.
        next: what to do; commands begin with ``provisioner``.
    """

    def __init__(self, kind: str, names: Sequence[str], means: str, why: str, next: Sequence[str]) -> None:  # noqa: A002  the keys of the file
        self.kind = kind
        self.names = names
        self.means = means
        self.why = why
        self.next = next


def pages() -> list[Page]:
    """All pages, in order."""
    import tomllib
    from importlib.resources import files

    text = files("provisioner.cli").joinpath("pages.toml").read_text(encoding="utf-8")
    return [Page(**page) for page in tomllib.loads(text)["page"]]


@click.command("explain")
@parameters.argument("code", required=False)
@common("output")
def command(*, code: str | None, output: str) -> None:
    """CODE is an exit code, a state, an outcome, an action of a plan, or an error code, as commands print them.

    Says what it means, why it happens, and what to type. Without CODE, lists all that can be explained.
    """
    found = pages() if code is None else _about(code)
    if output == "json":
        import json

        say_json(json.dumps({"pages": [vars(page) for page in found], "exit_code": 0}, ensure_ascii=False))
    elif code is None:
        say("\n".join(_index(found)))
    else:
        say("\n\n".join("\n".join(_lines(page, code)) for page in found))


def _about(code: str) -> list[Page]:
    """The pages about ``code``, whose case does not matter.

    Raises:
        UsageError: there is none.
    """
    wanted = code.casefold()
    every = pages()
    found = [page for page in every if wanted in {name.casefold() for name in page.names}]
    if not found and wanted.isascii() and wanted.isdecimal() and 300 <= int(wanted[:9]) < 600:  # noqa: PLR2004
        found = [page for page in every if HTTP_STATUS in page.names]
    if not found:
        from provisioner.config.tables import nearest

        names = {name.casefold(): name for page in every for name in page.names}
        hint = nearest(wanted, list(names), "`provisioner explain` lists all", prefix="provisioner explain ")
        for folded, name in names.items():
            hint = hint.replace(f"explain {folded}?", f"explain {name}?")
        raise UsageError(f"there is nothing called {code!r} to explain", hint=hint)
    return found


def _index(every: list[Page]) -> list[str]:
    lines = []
    for kind in dict.fromkeys(page.kind for page in every):
        lines.append(kind)
        names = ", ".join(page.names[0] for page in every if page.kind == kind)
        lines += _wrapped(names, "  ", "  ")
    return lines


def _lines(page: Page, code: str) -> list[str]:
    typed = next((name for name in page.names[1:] if name.casefold() == code.casefold()), "")
    lines = [f"{page.names[0]}{typed and f', {typed}'} ({page.kind})", *_wrapped(page.means, "  ", "  ")]
    lines += _wrapped(page.why, "  why   ", "        ")
    before = "  next  "
    for step in page.next:
        # A command stays on one line, so that it can be copied.
        lines += [before + step] if _is_command(step) else _wrapped(step, before, "        ")
        before = "        "
    return lines


def _is_command(step: str) -> bool:
    return not step.endswith((".", ":"))


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    width = min(terminal_width() or WIDTH, WIDTH)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
