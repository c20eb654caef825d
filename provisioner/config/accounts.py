"""Accounts that targets are made of, one target for each Region, read from files that list them: CSV and YAML.

The YAML is that of c7n-org, the multi-account runner of Cloud Custodian (``CONFIG_SCHEMA`` in its ``cli.py``), read as
c7n-org reads it and with the same library, so that one file serves both. The columns of a CSV file have the same names.
"""

from __future__ import annotations

import csv
import io
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.config.tables import nearest, struct_of
from provisioner.config.texts import (  # noqa: TC001  msgspec reads these types at run time
    AccountId,
    ExternalId,
    Profile,
    Regions,
    Role,
)
from provisioner.core.place import partition_of
from provisioner.errors import DISTRIBUTION, ConfigurationError, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LONGEST_NAME = 64
"""Characters in the name of a target."""
MOST_NESTED = 100
"""Depth of a YAML file. The C library recurses, and a file of a hundred thousand brackets would overflow its stack."""
DIGITS = 12
"""Of an account id."""
DELIMITERS = ",;\t"
"""What separates columns: a comma, and what spreadsheets write in its place."""
YAML_MISSING = f"PyYAML is not installed; install it with: pip install '{DISTRIBUTION}[yaml]'"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a source.

    Attributes:
        account_id: guards against any other account.
        name: that targets are called by; "" for the account id.
        regions: a target for each; none are those of ``[fleet] regions``.
        role: to assume, its ARN or its name in the account; "" for none.
        profile: of the AWS configuration files, "" for the usual environment.
        external_id: for the role.
        tags, vars: of its targets.
        origin: where it is listed, for messages.
    """

    account_id: AccountId
    name: str = ""
    regions: Regions = ()
    role: Role = ""
    profile: Profile = ""
    external_id: ExternalId = ""
    tags: dict[str, str] = {}
    vars: dict[str, str] = {}
    origin: str = ""

    def target_name(self, region: str) -> str:
        """The name of its target in ``region``: that of the account and the Region, as far as a name may have it.

        It depends on nothing else, so that another Region or another account renames no target.
        """
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-._") or self.account_id
        room = LONGEST_NAME - len(region) - 1
        if len(plain) > room:
            plain = f"{plain[: room - 7]}-{sha256(self.name.encode()).hexdigest()[:6]}"
        return f"{plain}-{region}"

    def role_arn(self, region: str) -> str:
        """The ARN of its role for the target in ``region``, "" for none."""
        if not self.role or self.role.startswith("arn:"):
            return self.role
        return f"arn:{partition_of(region)}:iam::{self.account_id}:role/{self.role}"


def read_accounts(path: Path, name: str) -> list[Account]:
    """The accounts that the file at ``path`` lists, in its order.

    Args:
        path: of the file.
        name: of the file in messages.

    Raises:
        ConfigurationError: it cannot be read, or a line of it is wrong.
    """
    reader = {".csv": _from_csv, ".yml": _from_yaml, ".yaml": _from_yaml}.get(path.suffix.lower())
    if reader is None:
        hint = "Name it .csv, or .yml if it is an accounts file of c7n-org"
        raise ConfigurationError("this is not a source of targets", where=name, why="its suffix is unknown", hint=hint)
    accounts = reader(_text_of(path, name), name)
    if not accounts:
        hint = "Check the program that writes it, or leave it out of [fleet] sources"
        raise ConfigurationError("this source lists no accounts", where=name, hint=hint)
    return accounts


def _text_of(path: Path, name: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        hint = "Save the file as UTF-8 (in a spreadsheet: CSV UTF-8)"
        raise ConfigurationError("this source is not valid UTF-8", where=f"{name}:{line}", hint=hint) from error
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        hint = "A relative path in [fleet] sources is relative to the configuration file"
        raise ConfigurationError("cannot read a source of targets", where=name, why=why, hint=hint) from error


def _account(values: dict[str, Any], origin: str) -> Account:
    """An account, its values checked.

    Raises:
        ConfigurationError: one is wrong.
    """
    account_id = values.get("account_id", "")
    if not account_id:
        raise ConfigurationError("this account has no account_id", where=origin)
    if isinstance(account_id, int):
        hint = f'Write account_id: "{account_id:0{DIGITS}d}", in quotes, if that is the account'
        raise ConfigurationError("account_id is a number, not a string of 12 digits", where=origin, hint=hint)
    if isinstance(account_id, str) and account_id.isdecimal() and len(account_id) < DIGITS:
        why = f"{account_id!r} has {counted(len(account_id), 'digit', 'digits')}"
        hint = f"Did a spreadsheet drop the leading zeros of {account_id.zfill(DIGITS)}?"
        raise ConfigurationError("account_id must be a string of 12 digits", where=origin, why=why, hint=hint)
    account = struct_of(values, Account, origin)
    return msgspec.structs.replace(account, origin=origin)


# CSV

COLUMNS = ("account_id", "name", "region", "regions", "role", "external_id", "profile", "tags", "vars")


def _from_csv(text: str, name: str) -> list[Account]:
    rows = _rows(text, name)
    first = next(rows, None)
    if first is None:
        return []
    origin, cells = first
    header = [cell.strip().lower() for cell in cells]
    _check_header(header, origin)
    accounts = []
    for origin, cells in rows:
        if len(cells) != len(header):
            what = f"this row has {counted(len(cells), 'column', 'columns')}, but the header has {len(header)}"
            raise ConfigurationError(what, where=origin, hint="Quote a value that has a separator or a line break")
        row = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
        accounts.append(_account(_values(row, origin), origin))
    return accounts


def _rows(text: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """The rows that are neither blank nor a comment, each with its place.

    Raises:
        ConfigurationError: a quote is not closed, or has more after it.
    """
    head = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    delimiter = next((one for one in DELIMITERS if one in head), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not cells[0].startswith("#"):
                yield f"{name}:{line}", cells
            line = reader.line_num + 1
    except csv.Error as error:
        why = str(error)
        raise ConfigurationError("this is not valid CSV", where=f"{name}:{line}", why=why) from error


def _check_header(header: Sequence[str], origin: str) -> None:
    """Refuse columns that are unknown, named twice or missing: a misspelt one would be left out unnoticed.

    Raises:
        ConfigurationError: there is one.
    """
    for column in header:
        if column not in COLUMNS:
            hint = nearest(column, COLUMNS, "The columns are {}")
            raise ConfigurationError(f"there is no column {column!r}", where=origin, hint=hint)
        if header.count(column) > 1:
            raise ConfigurationError(f"there are two columns {column!r}", where=origin, hint="Remove one of them")
    if "account_id" not in header:
        hint = f"The first line names the columns: {', '.join(COLUMNS)}"
        raise ConfigurationError("there is no column account_id", where=origin, hint=hint)
    if {"region", "regions"} <= set(header):
        raise ConfigurationError("region and regions are the same column", where=origin, hint="Remove one of them")


def _values(row: dict[str, str], origin: str) -> dict[str, Any]:
    """The values of a row, lists and maps read."""
    values: dict[str, Any] = {column: cell for column, cell in row.items() if column not in {"region", "regions"}}
    values["regions"] = tuple(re.findall(r"[^\s,;]+", row.get("regions", row.get("region", ""))))
    for column in {"tags", "vars"} & row.keys():
        values[column] = _pairs(row[column], column, origin)
    return values


def _pairs(cell: str, column: str, origin: str) -> dict[str, str]:
    """``key=value; key=value`` as a map."""
    pairs: dict[str, str] = {}
    for item in filter(str.strip, cell.split(";")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key:
            hint = "Write key=value pairs, with ; between them"
            raise ConfigurationError(f"{column}: {item.strip()!r} is not a key=value pair", where=origin, hint=hint)
        if key in pairs:
            raise ConfigurationError(f"{column}: the key {key!r} occurs twice", where=origin, hint="Remove one of them")
        pairs[key] = value
    return pairs


# YAML, as c7n-org has it


def _from_yaml(text: str, name: str) -> list[Account]:
    whole, lines = _load(text, name)
    if not isinstance(whole, dict) or not isinstance(whole.get("accounts"), list):
        hint = "An accounts file of c7n-org has a list `accounts`"
        raise ConfigurationError("there is no list of accounts", where=name, hint=hint)
    general = _scalars(whole.get("vars"))
    return [
        _account(_of_c7n(entry, general, f"{name}:{line}"), f"{name}:{line}")
        for entry, line in zip(whole["accounts"], lines, strict=True)
    ]


def _of_c7n(entry: object, general: dict[str, str], origin: str) -> dict[str, Any]:
    """The values of an account of c7n-org, in our form; keys that we do not know are c7n-org's own."""
    if not isinstance(entry, dict):
        raise ConfigurationError("this account is not a map", where=origin, hint="Write - account_id: ..., name: ...")
    kept = {key: entry[key] for key in ("account_id", "name", "profile", "external_id") if entry.get(key) is not None}
    role = entry.get("role") or ""
    if isinstance(role, list):
        if len(role) > 1:
            hint = "List the account with a role that its caller may assume directly"
            raise ConfigurationError("a chain of roles is not supported", where=origin, hint=hint)
        role = role[0] if role else ""
    regions = _strings(entry, "regions", origin)
    if "all" in regions:
        hint = "Name the Regions: Clean Rooms ML is not available in all of them"
        raise ConfigurationError("regions: 'all' is not supported", where=origin, hint=hint)
    # As c7n-org does, an item may be several, with commas between them.
    split = [one.strip() for item in regions for one in item.split(",")]
    tags = dict(_tag(item) for item in _strings(entry, "tags", origin))
    more = {"role": role, "regions": tuple(dict.fromkeys(filter(None, split))), "tags": tags}
    return {**kept, **more, "vars": {**general, **_scalars(entry.get("vars"))}}


def _tag(item: str) -> tuple[str, str]:
    """``key:value``; an item without a colon is a key without a value. Of a repeated key the last counts."""
    key, _, value = item.partition(":")
    return key, value


def _strings(entry: dict[str, Any], key: str, origin: str) -> list[str]:
    items = entry.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ConfigurationError(f"{key} must be a list of strings", where=origin, hint="Quote each of them")
    return items


def _scalars(given: object) -> dict[str, str]:
    """The variables that are single values; lists and maps are for c7n-org's policies."""
    found = given.items() if isinstance(given, dict) else ()
    return {
        str(key): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in found
        if isinstance(value, str | int | float)
    }


def _load(text: str, name: str) -> tuple[Any, list[int]]:
    """The content of a YAML file by the safe loader, which makes plain values only, and the lines of its accounts.

    Raises:
        ConfigurationError: PyYAML is missing, or the text is not YAML.
    """
    try:
        import yaml
    except ImportError as error:
        hint = "Or list the accounts in a CSV file"
        raise ConfigurationError("cannot read a YAML file", where=name, why=YAML_MISSING, hint=hint) from error
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where the package has it
    try:
        _check_depth(yaml.parse(text, Loader=kind), name)
        loader = kind(text)
        try:
            node = loader.get_single_node()
            lines = _lines(node, name)
            return loader.construct_document(node) if node is not None else None, lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        why = str(error.problem or error)
        raise ConfigurationError("this is not valid YAML", where=where, why=why) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a control character, a date that does not exist
        raise ConfigurationError("this is not valid YAML", where=name, why=str(error)) from error


def _check_depth(events: Iterator[Any], name: str) -> None:
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MOST_NESTED:
            where = f"{name}:{event.start_mark.line + 1}"
            raise ConfigurationError("this is nested too deeply for a list of accounts", where=where)


def _lines(node: Any, name: str) -> list[int]:  # noqa: ANN401  PyYAML has no types
    """The line of each account, from 1. A key that is there twice is refused: of two, YAML would drop one.

    Raises:
        ConfigurationError: there is one.
    """
    if getattr(node, "id", "") != "mapping":
        return []
    _check_keys(node, name)
    items = [
        item for key, value in node.value if key.value == "accounts" and value.id == "sequence" for item in value.value
    ]
    for item in items:
        if item.id == "mapping":
            _check_keys(item, name)
    return [item.start_mark.line + 1 for item in items]


def _check_keys(node: Any, name: str) -> None:  # noqa: ANN401  PyYAML has no types
    seen: set[str] = set()
    for key, _ in node.value:
        if key.id != "scalar" or key.value not in seen:
            seen.add(str(key.value))
            continue
        where = f"{name}:{key.start_mark.line + 1}"
        raise ConfigurationError(f"the key {key.value!r} occurs twice", where=where, hint="Remove one of them")
