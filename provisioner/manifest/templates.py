"""Templates: ``{name}`` in the strings of a definition stands for a value of the target; ``{{`` and ``}}`` are braces.

The names and the regular expressions of metrics are left as they are: braces have a meaning of their own there. Keys
are no templates either. ``provisioner discover --placeholders`` writes what is read here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provisioner.config.tables import nearest
from provisioner.config.target import OWN_VARIABLES
from provisioner.errors import printable
from provisioner.manifest.json_scanner import JsonNode, member_path
from provisioner.manifest.placeholders import UNTOUCHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_SHOWN = 60


class TemplateError(ValueError):
    """A string has a brace that stands alone, or a name that has no value; says what to do."""


def fill(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with the values of its names.

    Raises:
        TemplateError: a name has no value, or a brace stands alone.
    """
    if "{" not in text and "}" not in text:
        return text

    def part(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            if len(match[0]) == 1:
                raise TemplateError(f"a single {match[0]} is not a template; write {match[0] * 2} for a literal brace")
            return match[0][0]
        if name not in variables:
            raise TemplateError(_unknown(name, variables))
        return variables[name]

    return _PART.sub(part, text)


def _unknown(name: str, variables: Mapping[str, str]) -> str:
    shown = printable(name, _SHOWN)
    if name in OWN_VARIABLES:
        key = "region" if name == "partition" else name
        return f"{{{shown}}} has no value, because the target's configuration has no `{key}`; set it there"
    hint = nearest(name, sorted(variables), "Known names: {}")
    return f"{{{shown}}} is unknown to this target; write {{{{ for a literal brace. {hint}"


def filled(value: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401  any JSON value
    """A JSON value with its strings filled.

    Raises:
        TemplateError: see :func:`fill`.
    """
    if isinstance(value, str):
        return fill(value, variables)
    if isinstance(value, dict):
        return {key: inner if key == UNTOUCHED else filled(inner, variables) for key, inner in value.items()}
    return [filled(inner, variables) for inner in value] if isinstance(value, list) else value


def fill_nodes(node: JsonNode, variables: Mapping[str, str], path: str = "") -> Iterator[tuple[str, int, str]]:
    """Fill the strings of a scanned value in place; yields path, column and message of each that cannot be."""
    if node.kind == "string":
        try:
            node.text = fill(node.text, variables)
        except TemplateError as error:
            yield path, node.column, str(error)
    for key, inner in node.members.items():
        if key != UNTOUCHED:
            yield from fill_nodes(inner, variables, member_path(path, key))
    for index, inner in enumerate(node.items):
        yield from fill_nodes(inner, variables, f"{path}[{index}]")
