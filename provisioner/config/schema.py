"""The JSON Schema of the configuration file, made from the settings themselves, for editors that check TOML with it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from provisioner.config.settings import TEMPLATES, Settings

_ATTRIBUTE = re.compile(r"^    ([a-z_, ]+): (.*(?:\n        .*)*)", re.MULTILINE)


def json_schema(local: type[msgspec.Struct], defaults: dict[str, Any]) -> dict[str, Any]:
    """The schema (draft 2020-12).

    Args:
        local: what ``[local]`` may contain.
        defaults: the schemas of ``[defaults]`` and its parts, by name; ``Definition`` is the table itself.
    """
    made = msgspec.json.schema_components([Settings, local], ref_template="#/$defs/{name}")
    tables: dict[str, Any] = made[1]
    whole = tables.pop("Settings")
    whole["properties"]["local"] = {"$ref": f"#/$defs/{local.__name__}"}
    # The name of a target is that of its table, and its origin is found out.
    name = tables["Target"]["properties"].pop("name")
    del tables["Target"]["properties"]["origin"]
    whole["properties"]["targets"]["propertyNames"] = {"pattern": name["pattern"]}
    for table in (whole, *tables.values()):
        _describe(table)
    whole.pop("description")
    for table in (whole, tables["Target"]):
        says = table["properties"]["defaults"]["description"]
        table["properties"]["defaults"] = {"description": says, "$ref": "#/$defs/Definition"}
    general = dict(defaults["Definition"])
    switch = {"type": "boolean", "description": "Whether strings of defaults and definitions are templates."}
    general["properties"] = {TEMPLATES: switch, **general["properties"]}
    whole["properties"]["defaults"]["$ref"] = "#/$defs/Defaults"
    defaults = {**defaults, "Defaults": general}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "title": "Configuration of provisioner",
        "$defs": {**tables, **defaults},
    }
    return {key: _portable(value) for key, value in schema.items()}


def _describe(table: dict[str, Any]) -> None:
    """Put the docstring of a table into its description and those of its keys."""
    text = inspect.cleandoc(table.get("description", ""))
    head, _, attributes = text.partition("\n\nAttributes:\n")
    table["description"] = head.partition("\n")[0].replace("``", "")
    del table["title"]
    for names, says in _ATTRIBUTE.findall(attributes):
        for key in names.split(", "):
            if key in table["properties"] and "$ref" not in table["properties"][key]:
                plain = re.sub(r":attr:`(\w+)`", r"\1", re.sub(r"\s+", " ", says)).replace("``", "")
                table["properties"][key].setdefault("description", plain)


def _portable(schema: Any) -> Any:  # noqa: ANN401  any JSON
    r"""Patterns with ``$`` in place of Python's ``\Z``, which other languages do not have."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" else _portable(value) for key, value in schema.items()
        }
    return [_portable(one) for one in schema] if isinstance(schema, list) else schema
