"""The formats of ``provisioner export``. Each entry is written as it is read; nothing in a name leaves its quotes."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from provisioner.cli.identifiers import CLOUDFORMATION, TERRAFORM, Identifiers
from provisioner.errors import printable, printable_json
from provisioner.report.summary import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.cli.output import Write
    from provisioner.core.entry import Entry

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula (OWASP, "CSV Injection")."""

MAX_CELL = 32_767
"""Most characters in a cell of a spreadsheet; names and ARNs are far shorter."""

MOST_IMPORTS = 200
"""Resources that CloudFormation imports with one change set (``ResourcesToImport`` of ``CreateChangeSet``)."""


def _created_at(entry: Entry) -> str:
    """When the create of an existing algorithm was sent; of an adopted one the ledger does not know it."""
    return iso(entry.sent.wall) if entry.exists and entry.sent and not entry.adopted else ""


def _of_arn(place: int) -> Callable[[Entry], str]:
    """The part of an entry's ARN at ``place``; "" where there is no ARN."""

    def part(entry: Entry) -> str:
        parts = entry.arn.split(":", 5)
        return parts[place] if len(parts) > place else ""

    return part


region_of, account_of = _of_arn(3), _of_arn(4)

COLUMNS: dict[str, Callable[[Entry], str]] = {
    "target": lambda entry: entry.target,
    "name": lambda entry: entry.name,
    "arn": lambda entry: entry.arn,
    "state": lambda entry: entry.state.value,
    "code": lambda entry: entry.code,
    "message": lambda entry: entry.message,
    "created_at": _created_at,
    "updated_at": lambda entry: iso(entry.updated_at),
    "run": lambda entry: entry.run_id,
    "account": account_of,
    "region": region_of,
    "attempt": lambda entry: entry.attempt,
    "request_id": lambda entry: entry.request_id,
    "digest": lambda entry: entry.digest,
    "tags_digest": lambda entry: entry.tags_digest,
}
"""What ``--columns`` may name."""

USUAL = ("target", "name", "arn", "state")
"""The columns without ``--columns``."""


class Order(msgspec.Struct, frozen=True):
    """How to write.

    Attributes:
        write: takes the text.
        columns: of jsonl and csv.
        several: whether entries of several targets may come.
    """

    write: Write
    columns: tuple[str, ...]
    several: bool


class Format(Protocol):
    """A format, given an :class:`Order`."""

    def add(self, entry: Entry) -> None:
        """Write an entry."""

    def end(self) -> str:
        """Write what is left; what a person must know about the result, "" if nothing."""


class Jsonl:
    """An object for each entry, on a line of its own."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def add(self, entry: Entry) -> None:
        """See :class:`Format`."""
        row = {column: COLUMNS[column](entry) for column in self._order.columns}
        self._order.write(_json(row) + "\n")

    def end(self) -> str:
        """See :class:`Format`."""
        return ""


class Json:
    """One object that maps names to ARNs, by target if there are several."""

    def __init__(self, order: Order) -> None:
        self._write = order.write
        self._found: dict[str, dict[str, str]] = {}

    def add(self, entry: Entry) -> None:
        """See :class:`Format`."""
        self._found.setdefault(entry.target, {})[entry.name] = entry.arn

    def end(self) -> str:
        """See :class:`Format`."""
        only = next(iter(self._found.values()), {})
        shown: dict[str, Any] = self._found if len(self._found) > 1 else only
        self._write(_json(shown, indent=2) + "\n")
        return ""


class Csv:
    """A table for spreadsheets, without formulas and terminal control characters."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._line(order.columns)

    def add(self, entry: Entry) -> None:
        """See :class:`Format`."""
        self._line(tuple(self._cell(COLUMNS[column](entry)) for column in self._order.columns))

    def end(self) -> str:
        """See :class:`Format`."""
        return ""

    def _line(self, cells: tuple[str, ...]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._order.write(line.getvalue())

    @staticmethod
    def _cell(value: str) -> str:
        return printable(f"'{value}" if value.startswith(FORMULA) else value, MAX_CELL)


TERRAFORM_TYPE = "awscc_cleanroomsml_configured_model_algorithm"
TERRAFORM_HEAD = """\
# {version}. `terraform plan -generate-config-out=algorithms.tf` writes the resources.
"""


class Terraform:
    """Import blocks. Where several targets may come, each block says which account and Region it is about."""

    def __init__(self, order: Order) -> None:
        self._write = order.write
        self._several = order.several
        self._identifiers = Identifiers(TERRAFORM)
        version = "Terraform 1.12 or later" if order.several else "Terraform 1.5 or later"
        self._write(TERRAFORM_HEAD.format(version=version))

    def add(self, entry: Entry) -> None:
        """See :class:`Format`."""
        # A target's name has no slash, so no two entries make the same label.
        label = f"{entry.target}/{entry.name}" if self._several else entry.name
        lines = [
            "",
            f"# {_json(label)}",
            "import {",
            f"  to = {TERRAFORM_TYPE}.{self._identifiers.of(label)}",
        ]
        if self._several:
            lines += [
                "  identity = {",
                f"    configured_model_algorithm_arn = {hcl(entry.arn)}",
                f"    account_id                     = {hcl(account_of(entry))}",
                f"    region                         = {hcl(region_of(entry))}",
                "  }",
            ]
        else:
            lines.append(f"  id = {hcl(entry.arn)}")
        self._write("\n".join([*lines, "}", ""]))

    def end(self) -> str:
        """See :class:`Format`."""
        return ""


class CloudFormation:
    """The list of resources to import that a change set of the type IMPORT takes."""

    def __init__(self, order: Order) -> None:
        self._write = order.write
        self._identifiers = Identifiers(CLOUDFORMATION)
        self._count = 0

    def add(self, entry: Entry) -> None:
        """See :class:`Format`."""
        self._write(",\n" if self._count else "[\n")
        self._count += 1
        resource = {
            "ResourceType": "AWS::CleanRoomsML::ConfiguredModelAlgorithm",
            "LogicalResourceId": self._identifiers.of(entry.name),
            "ResourceIdentifier": {"ConfiguredModelAlgorithmArn": entry.arn},
        }
        self._write(f"  {_json(resource)}")

    def end(self) -> str:
        """See :class:`Format`."""
        self._write("\n]\n" if self._count else "[]\n")
        if self._count <= MOST_IMPORTS:
            return ""
        return (
            f"{self._count} resources, and CloudFormation imports at most {MOST_IMPORTS} at a time: select with --name"
        )


FORMATS: dict[str, Callable[[Order], Format]] = {
    "jsonl": Jsonl,
    "json": Json,
    "csv": Csv,
    "terraform": Terraform,
    "cloudformation": CloudFormation,
}

_HCL = re.compile(r'["\\]|[$%](?=\{)')


def hcl(text: str) -> str:
    """``text`` as a quoted template of HCL that is nothing but text, on one line."""

    # The escape of a template is $${, which parsers read differently behind another $; a numeric escape is never one.
    def escaped(found: re.Match[str]) -> str:
        character = found.group()
        return _unicode_escape(character) if character in "$%" else f"\\{character}"

    quoted = _HCL.sub(escaped, text)
    return '"' + "".join(c if c.isprintable() else _unicode_escape(c) for c in quoted) + '"'


def _unicode_escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004  the last of four digits


def _json(value: object, indent: int | None = None) -> str:
    return printable_json(json.dumps(value, ensure_ascii=False, indent=indent))
