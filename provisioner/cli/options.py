"""Options that several commands share, and the environment variable of every option."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from provisioner.cli import parameters
from provisioner.cli.choice import Choice
from provisioner.cli.files import check_writable
from provisioner.cli.output import talk
from provisioner.cli.program import Program
from provisioner.cli.streams import leads_to_stdin
from provisioner.config.settings import Settings
from provisioner.config.values import seconds
from provisioner.errors import UsageError, printable
from provisioner.report.recommended import Recommended

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.cli.parameters import Command

CONFIG_NAME = "provisioner.toml"
"""The name of a configuration file that is found without ``--config``."""


class Duration(click.ParamType[str]):
    """``90s``, ``6m``, ``1h30m``; the value stays text, once it is valid."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Check the text."""
        try:
            seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class ManifestName(click.ParamType[str]):
    """A path, a glob, ``s3://bucket/key`` or ``-``; a path that leads to standard input is ``-``."""

    name = "manifest"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Recognise standard input."""
        del param, ctx
        return "-" if leads_to_stdin(value) else str(value)


class FileName(click.ParamType[str]):
    """The path of a file to read; standard input is for manifests."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """Refuse standard input."""
        if leads_to_stdin(value):
            self.fail("this is standard input, which only a manifest can come from; name a file", param, ctx)
        return str(value)


def manifest_argument(*, required: bool) -> Callable[[Command], Command]:
    """The argument MANIFEST."""
    return parameters.argument("manifest", nargs=-1, required=required, type=ManifestName())


def find_config() -> str | None:
    """The configuration file to use without ``--config``: in the working directory, or else in the user's folder."""
    places = (Path(CONFIG_NAME), Path(click.get_app_dir("provisioner")) / CONFIG_NAME)
    return next((os.fspath(place) for place in places if place.is_file()), None)


def found_config() -> str | None:
    """The configuration file that was found rather than named; None if it was named or there is none."""
    context = click.get_current_context()
    if context.get_parameter_source("config") is not ParameterSource.DEFAULT:
        return None
    path: str | None = context.params["config"]
    return path


def program_of(context: click.Context) -> Program | None:
    """The program that notes what an option says; None where a line is only read, as to complete it."""
    return None if context.resilient_parsing else context.find_object(Program)


def _summary_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and (program := program_of(context)) is not None:
        from provisioner.cli.own_files import refuse_own

        refuse_own(program, context, parameter, value)
        check_writable(value, replace=True)
        program.unattended.summary_file = value


def _log_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and (program := program_of(context)) is not None:
        from provisioner.cli.log_file import LogFile
        from provisioner.cli.own_files import refuse_own

        refuse_own(program, context, parameter, value)
        program.unattended.log_file = LogFile(value)


def _metrics_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and (program := program_of(context)) is not None:
        from provisioner.cli.monitoring import require_extra
        from provisioner.cli.own_files import refuse_own
        from provisioner.core.objects import is_object

        require_extra("--metrics-file")
        if is_object(value):
            raise UsageError("metrics are read by a collector on this machine, not in S3", where=value)
        refuse_own(program, context, parameter, value)
        check_writable(value, replace=True)
        program.unattended.monitoring.file = value


class Listening(click.ParamType[tuple[str, int]]):
    """A port on this machine, or ``ADDRESS:PORT``."""

    name = "port"

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, int]:
        """Read the text."""
        address, _, port = str(value).rpartition(":")
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
            self.fail(f"{value!r} is neither a port from 1 to 65535 nor ADDRESS:PORT", param, ctx)
        return address.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _metrics_port(context: click.Context, _parameter: click.Parameter, value: tuple[str, int] | None) -> None:
    if value is not None and (program := program_of(context)) is not None:
        from provisioner.cli.monitoring import require_extra

        require_extra("--metrics-port")
        program.unattended.monitoring.listen = value


def _out(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (program := program_of(context)) is not None:
        from provisioner.cli.own_files import refuse_own

        refuse_own(program, context, parameter, value)
    return value


def out_option(*names: str, help: str) -> Callable[[Command], Command]:  # noqa: A002  as in click
    """The option that names the file of a command's result."""
    return parameters.option(*names, "--out", metavar="FILE", callback=_out, help=help)


def _report(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (program := program_of(context)) is not None:
        from provisioner.cli.own_files import refuse_own

        refuse_own(program, context, parameter, value)
        check_writable(value, replace=True)
    return value


report_option = parameters.option(
    "--report",
    metavar="FILE",
    callback=_report,
    help="Also write an HTML page about the run to this file, as `provisioner report` makes it.",
)


def _quiet(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  as click calls it
    if value and (program := program_of(context)) is not None:
        program.unattended.quiet = True
        program.streams.stderr.hold()


def common(*names: str) -> Callable[[Command], Command]:
    """The common options called ``names``."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _COMMON[name](command)
        return command

    return decorate


_COMMON: dict[str, Callable[[Any], Any]] = {
    "config": parameters.option(
        "-c",
        "--config",
        metavar="FILE",
        type=FileName(),
        default=find_config,
        help=f"Configuration file (TOML).  [default: ./{CONFIG_NAME}, else the one in your configuration directory]",
    ),
    "ledger": parameters.option(
        "-l",
        "--ledger",
        metavar="LEDGER",
        help="Path of the ledger, or postgresql://...  "
        "[default: ledger.db beside the configuration file, if there is one]",
    ),
    "target": parameters.option(
        "-t",
        "--target",
        "targets",
        metavar="NAME",
        multiple=True,
        help="Only this target: a name, a glob such as 'prod-*', or tag:KEY=VALUE; with ! before it, not these. Can be "
        "repeated.  [default: all]",
    ),
    "shard": parameters.option(
        "--shard",
        metavar="I/N",
        help="Only the targets of the I-th of N shards, with a ledger of its own; `auto` in a task of an array job of "
        "AWS Batch or SLURM, `auto/N` in an Indexed Job of Kubernetes.",
    ),
    "endpoint-url": parameters.option(
        "--endpoint-url", metavar="URL", help="Endpoint of Clean Rooms ML: https, or http on this machine."
    ),
    "local": parameters.option(
        "--local",
        is_flag=True,
        help="Start the embedded endpoint and use it instead of AWS; its state is kept beside the ledger.",
    ),
    "output": parameters.option(
        "--output",
        type=Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Format of the result on stdout.",
    ),
    "progress": parameters.option(
        "--progress",
        type=Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Progress on stderr. auto: a progress bar on a terminal, otherwise a log line every 10 s, and after a "
        "minute every 60 s.",
    ),
    "log-level": parameters.option(
        "--log-level",
        type=Choice(["auto", "debug", "info", "warning", "error"]),
        default="auto",
        show_default=True,
        help="Lowest level to log. auto: warning on a terminal, otherwise info.",
    ),
    "log-format": parameters.option(
        "--log-format",
        type=Choice(["auto", "console", "json"]),
        default="auto",
        show_default=True,
        help="Format of the log on stderr. auto: console on a terminal, otherwise json.",
    ),
    "log-file": parameters.option(
        "--log-file",
        metavar="FILE",
        callback=_log_file,
        is_eager=True,  # before what may be wrong with the other options, which is logged then
        expose_value=False,
        help="Also append the log to this file, one JSON object a line. It may be rotated meanwhile.",
    ),
    "summary-file": parameters.option(
        "--summary-file",
        metavar="FILE",
        callback=_summary_file,
        is_eager=True,  # before what may be wrong with the other options, which the file then says
        expose_value=False,
        help="Also write what --output json prints to this file, whole or not at all; also when the command fails.",
    ),
    "metrics-file": parameters.option(
        "--metrics-file",
        metavar="FILE",
        callback=_metrics_file,
        is_eager=True,  # before what may be wrong with the other options, which its exit code then says
        expose_value=False,
        help="Write metrics to this file, every 15 s and at the end, for Prometheus' textfile collector (*.prom).",
    ),
    "metrics-port": parameters.option(
        "--metrics-port",
        metavar="[ADDRESS:]PORT",
        type=Listening(),
        callback=_metrics_port,
        expose_value=False,
        help="Answer Prometheus at http://127.0.0.1:PORT/metrics during the run.",
    ),
    "quiet": parameters.option(
        "-q",
        "--quiet",
        is_flag=True,
        callback=_quiet,
        is_eager=True,
        expose_value=False,
        help="Print nothing when the exit code is 0, and otherwise at the end what would have been printed.",
    ),
}


def _ledger_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value and not re.fullmatch(r"[0-9a-f]{16}", value):
        raise click.BadParameter("a ledger id has 16 hex digits, as `provisioner status` prints it")
    return value


# Options of several commands whose environment variable is each command's own.
lock_timeout = parameters.option(
    "--lock-timeout",
    type=Duration(),
    default="0s",
    show_default=True,
    help="Wait up to this long for another run to release the ledger.",
)
take_over = parameters.option(
    "--take-over",
    default="",
    metavar="LEDGER_ID",
    callback=_ledger_id,
    help="Take over algorithms of the same name that the ledger with this id created.",
)
deletes_adopted = parameters.option("--adopted", is_flag=True, help="Delete algorithms that were taken over, too.")
max_delete = parameters.option(
    "--max-delete",
    type=click.IntRange(0),
    metavar="N",
    help="Delete nothing if it would be more than N; 0 is no bound.  [default: 0]",
)
deletes_unasked = parameters.option(
    "--yes", is_flag=True, help="Delete without asking; needed where there is no terminal to ask on."
)


def add_variables(command: click.Command, *path: str) -> None:
    """Give every option of ``command`` its environment variables.

    The variable is ``PROVISIONER_<COMMAND>_<OPTION>``; a common option also has ``PROVISIONER_<OPTION>``, which applies
    to all commands and is overridden by the former.

    Args:
        command: a command, or a group of commands.
        path: the words that call it.
    """
    for option in command.params:
        if isinstance(option, click.Option):
            name = max(option.opts, key=len).lstrip("-")
            option.envvar = [_variable(*path, name), *([_variable(name)] if name in _COMMON else [])]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            add_variables(inner, *path, name)


def _variable(*words: str) -> str:
    return "_".join(("provisioner", *words)).replace("-", "_").upper()


def loaded(config: str | None) -> Settings:
    """The configuration in the file ``config``; the defaults when there is none.

    Raises:
        ConfigurationError: the file is wrong.
    """
    return Settings() if config is None else Settings.load(config)


def settings_of(config: str | None, ledger: str | None) -> Settings:
    """The configuration with the ledger of the command line, for a command without logs: it prints the file's name.

    Raises:
        ConfigurationError: the file is wrong.
    """
    if path := found_config():
        talk(f"Configuration: {printable(path)}")
    return loaded(config).override("run", ledger=ledger)


def recommended() -> Recommended:
    """What completes the commands that the present command recommends: the options of its command line.

    Variables of the environment are still set when the next command is typed.
    """
    context = click.get_current_context()
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    from provisioner.ledger.location import printable_location

    ledger, endpoint, manifest = given.get("ledger"), given.get("endpoint_url"), given.get("manifest")
    endpoint_url = f"--endpoint-url {shlex.quote(endpoint)}" if endpoint else ""
    return Recommended(
        config=given.get("config") or "",
        ledger=printable_location(ledger) if ledger else "",
        service="--local" if given.get("local") else endpoint_url,
        manifest=shlex.join(manifest) if manifest and "-" not in manifest else "MANIFEST",
    )


def with_known_targets(settings: Settings) -> Settings:
    """``settings`` with the targets that AWS Organizations named in an earlier run, for a command that calls nothing.

    Raises:
        ConfigurationError: two targets have one name or place.
        LedgerError: the ledger cannot be read.
    """
    if not settings.fleet.organizations.asked:
        return settings
    from provisioner.cli import loop
    from provisioner.commands.organization import with_known

    return loop.run(with_known, settings)
