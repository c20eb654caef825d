"""``provisioner config``."""

from __future__ import annotations

import json
import os
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource

from provisioner.cli import parameters
from provisioner.cli.options import CONFIG_NAME, common, with_known_targets
from provisioner.cli.output import UnwritableError, say, say_json
from provisioner.cli.program import Group, provisioner
from provisioner.cli.table import Table, terminal_width
from provisioner.config.tables import dotted
from provisioner.core.ledger_names import NO_PATH
from provisioner.errors import UsageError
from provisioner.ledger.location import printable_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.config.settings import Settings

KEYS = {
    "ledger": "run.ledger",
    "shard": "fleet.shard",
    "max_in_flight": "run.max_in_flight",
    "deadline": "run.deadline",
    "max_rate": "pace.max_rate",
    "on_change": "lifecycle.on_change",
    "replace_order": "lifecycle.replace_order",
    "keep": "lifecycle.keep",
    "prune": "lifecycle.prune",
    "max_delete": "lifecycle.max_delete",
}
"""Options of ``apply``, and the key of the configuration that each overrides."""


class Value(msgspec.Struct, frozen=True):
    """A setting.

    Attributes:
        key: dotted.
        value: that applies.
        origin: ``flag``, ``environment``, ``file``, ``source`` (of targets) or ``default``.
        source: the option, the variable, the file, or the place in a source; "" for a default.
    """

    key: str
    value: Any
    origin: str
    source: str = ""


@click.group("config", cls=Group)
def command() -> None:
    """AWS is not called. A configuration is optional: every setting has a default."""


@command.command(
    "show", context_settings={"ignore_unknown_options": True}, options_metavar="[OPTIONS] [OPTIONS OF apply]"
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
@common("output")
def show(*, options: tuple[str, ...], output: str) -> None:
    """Show each setting that `apply` would use, and where it comes from.

    Takes the options of `apply`, and reads its environment variables: a flag overrides a variable, which overrides the
    file, which overrides the default. The file is the one in --config, or PROVISIONER_CONFIG, or else
    ./provisioner.toml, or else the one in your configuration directory.
    """
    from provisioner.cli.apply import ApplyOptions

    apply = provisioner.get_command(click.get_current_context(), "apply")
    assert apply is not None  # noqa: S101  it is in the table
    given = apply.make_context("provisioner apply", list(options))
    settings = with_known_targets(ApplyOptions(**given.params).settings())
    path: str | None = given.params["config"]
    values = list(_values(settings, _Origins(given, path)))
    if output == "json":
        say_json(msgspec.json.encode({"config": path, "values": values, "exit_code": 0}))
        return
    lines: list[str] = []
    table = Table(lines.append, ("KEY", "VALUE", "ORIGIN"), terminal_width())
    for one in values:
        table.add((one.key, json.dumps(one.value, ensure_ascii=False), f"{one.origin} {one.source}".rstrip()))
    table.end()
    say("".join(lines), end="")


class _Origins:
    """Where the value of a key comes from.

    Args:
        given: the context of ``apply``.
        path: of the file, None for none.
    """

    def __init__(self, given: click.Context, path: str | None) -> None:
        from provisioner.config.toml_file import tables_of

        self._path = path or ""
        self._tables = tables_of(path) if path else {}
        self._options = {KEYS[one.name]: one for one in given.command.params if one.name in KEYS}
        self._given = given
        self._sources: dict[str, str] = {}

    def note(self, target: str, origin: str) -> None:
        """Note where a target comes from, "" for the file."""
        self._sources[target] = origin

    def of(self, *key: str) -> tuple[str, str]:
        """The origin and the source."""
        option = self._options.get(".".join(key))
        source = option and self._given.get_parameter_source(option.name or "")
        if option and source is ParameterSource.COMMANDLINE:
            return "flag", max(option.opts, key=len)
        if option and source is ParameterSource.ENVIRONMENT:
            names = option.envvar if isinstance(option.envvar, list) else []
            return "environment", next(name for name in names if os.environ.get(name))
        if key[0] == "targets" and (source_of_target := self._sources[key[1]]):
            return "source", source_of_target
        table: Any = self._tables
        for part in key:
            if not isinstance(table, dict) or part not in table:
                return "default", ""
            table = table[part]
        return "file", self._path


def _values(settings: Settings, origins: _Origins) -> Iterator[Value]:
    """Every setting, table by table."""
    from provisioner.cli.local import RATE
    from provisioner.config.target import Target

    whole = msgspec.to_builtins(settings)
    if NO_PATH.match(settings.run.ledger):
        whole["run"]["ledger"] = printable_location(settings.run.ledger)
    whole["local"] = {**RATE, **settings.local}
    unset = msgspec.to_builtins(Target())
    for name, table in whole["targets"].items():
        origins.note(name, table.pop("origin"))
        del table["name"]
        if settings.targets[name].origin:  # a thousand of them would be lost among what is not set
            whole["targets"][name] = {key: value for key, value in table.items() if value != unset[key]}
    for key, value in _leaves(whole):
        yield Value(reduce(dotted, key, ""), value, *origins.of(*key))


def _leaves(table: dict[str, Any], *before: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, *before, name)
        else:
            yield (*before, name), value


@command.command("init")
@parameters.argument("file", default=CONFIG_NAME)
@common("output")
def init(*, file: str, output: str) -> None:
    """Write a configuration file with every setting at its default and a comment.

    FILE is ./provisioner.toml unless you say otherwise. A file that exists is not replaced.
    """
    from importlib.resources import files

    text = files("provisioner.cli").joinpath("provisioner.toml").read_text(encoding="utf-8")
    try:
        with Path(file).open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError as error:
        raise UsageError("the file exists already", where=file, hint="Name another one, or remove it first") from error
    except (OSError, ValueError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else str(error)
        raise UnwritableError("the file cannot be written", where=file, why=why, hint="Check its directory") from error
    if output == "json":
        say_json(json.dumps({"file": file, "exit_code": 0}))
    else:
        say(f"{file} written; `provisioner config show -c {file}` shows what applies")


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration file (draft 2020-12), for editors that check TOML with it."""
    from provisioner.config.schema import json_schema
    from provisioner.emulator.behaviour import Behaviour
    from provisioner.manifest.definition import schemas_of_defaults

    say(json.dumps(json_schema(Behaviour, schemas_of_defaults()), indent=2, ensure_ascii=False))
