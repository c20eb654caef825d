"""A Sphinx extension: the parts of the reference that are read from the program, so that they are always true.

Three directives, without arguments: ``{commands}``, a section for each command; ``{codes}``, all pages of ``provisioner
explain``; and ``{names}``, what ``import provisioner`` offers.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click
from manual import commands_of, program
from sphinx.util.docutils import SphinxDirective

import provisioner as package
from provisioner.cli.explain import Page, pages

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata


class Commands(SphinxDirective):
    """``{commands}``: usage, options with their environment variables, and examples of every command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        text = "\n\n".join(map(_command, commands_of(program())))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Codes(SphinxDirective):
    """``{codes}``: a section for each kind of code, and in it all codes of the kind."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        every = pages()
        kinds = dict.fromkeys(page.kind for page in every)
        text = "\n\n".join(_kind(kind, [page for page in every if page.kind == kind]) for kind in kinds)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Names(SphinxDirective):
    """``{names}``: the docstrings of all that the package offers."""

    def run(self) -> list[nodes.Node]:
        """Return them, in the order of the alphabet."""
        text = "\n\n".join(_documented(name) for name in sorted(package.__all__))
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```")


def _documented(name: str) -> str:
    kind = "class" if inspect.isclass(getattr(package, name)) else "function"
    return f".. auto{kind}:: provisioner.{name}"


def _command(context: click.Context) -> str:
    command = context.command
    words = context.command_path.removeprefix("provisioner ")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    rows = [_row(option, context) for option in command.get_params(context) if isinstance(option, click.Option)]
    examples = (command.epilog or "").replace("\b", "").replace("Examples:", "")
    parts = [
        f"## {words}",
        _markdown(command.help or ""),
        f"```text\n{usage}\n```",
        "\n".join(["| option | meaning | variable |", "|---|---|---|", *rows]),
    ]
    if examples.strip():
        lines = "\n".join(line.strip() for line in examples.strip().splitlines())
        parts.append(f"```shell\n{lines}\n```")
    return "\n\n".join(parts)


def _row(option: click.Option, context: click.Context) -> str:
    names, meaning = option.get_help_record(context) or (", ".join(option.opts), "")
    # The last one holds for every command that has the option.
    variable = f"`{option.envvar[-1]}`" if option.envvar else ""
    return f"| `{_cell(names)}` | {_cell(_markdown(meaning))} | {variable} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown(text: str) -> str:
    """Help text as Markdown: code in it stands in backticks already, but a star or a bracket means itself."""
    outside = text.replace("\b", "").split("`")
    outside[::2] = [re.sub(r"[*_\[<]", r"\\\g<0>", part) for part in outside[::2]]
    return "`".join(outside)


def _kind(kind: str, found: list[Page]) -> str:
    return "\n\n".join([f"## {kind[0].upper()}{kind[1:]}s", *(_page(page) for page in found)])


def _page(page: Page) -> str:
    steps = [step if step.endswith((".", ":")) else f"`{step}`" for step in page.next]
    body = [f"### {', '.join(f'`{name}`' for name in page.names)}", f"{_markdown(page.means)} {_markdown(page.why)}"]
    return "\n\n".join([*body, "\n".join(f"- {step if step.startswith('`') else _markdown(step)}" for step in steps)])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_directive("commands", Commands)
    app.add_directive("codes", Codes)
    app.add_directive("names", Names)
    return {"parallel_read_safe": True}
