"""The program around the commands: their list, the handling of every error, and the end of the process."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from provisioner import __version__
from provisioner.cli.output import UnwritableError, say_json, talk
from provisioner.cli.unattended import Unattended
from provisioner.errors import ProvisionerError, Reason, UsageError, printable
from provisioner.exit_codes import ExitCode, code_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.cli.signals import Signals
    from provisioner.cli.streams import Streams

COMMANDS = {
    "apply": "Make AWS match the manifest: create, change tags, and on request replace and delete.",
    "plan": "Show what apply would do, and why; change nothing.",
    "validate": "Check manifests offline and report every problem of every line.",
    "pause": "Send nothing to a target for a time, in the run under way and in later ones.",
    "resume": "End the pause of a target.",
    "status": "Show what the ledger holds: counts by state, unanswered creates, learned paces.",
    "list": "List entries with state, ARN and reason; what failed, by cause.",
    "show": "Show one entry: state, ARN, attempts, earlier algorithms, history.",
    "runs": "List past runs; show one run's summary and all of its problems.",
    "report": "Write an HTML page about a run or the fleet: charts, heat map, incidents, table.",
    "export": "Print names and ARNs: JSON, CSV, Terraform import blocks, CloudFormation list.",
    "adopt": "Take over existing algorithms that the manifest names.",
    "destroy": "Delete algorithms that this ledger created.",
    "forget": "Remove entries from the ledger; AWS keeps their algorithms.",
    "reconcile": "Find out now what became of unanswered creates.",
    "verify": "Compare ledger, AWS and a manifest: missing, drifted, duplicate, changed.",
    "rebuild": "Rebuild a lost ledger from AWS, by the ownership tags.",
    "discover": "Write a manifest of the algorithms that exist in a target.",
    "doctor": "Check everything that a run needs, from the credentials to the quota; changes nothing.",
    "ledger": "Move, back up or check the ledger, or rename a target in it.",
    "config": "Show the configuration and where each value comes from; write one, or its JSON Schema.",
    "iam-policy": "Print the least IAM policy for the commands that you use.",
    "emulate": "Run the embedded Clean Rooms ML endpoint.",
    "schema": "Print the JSON Schema of a definition.",
    "explain": "Explain an exit code, a state or an error code, and say what to do.",
    "completion": "Print the completion script for bash, zsh or fish.",
    "version": "Print the versions of the program and of what it depends on.",
}
"""Commands with their one-line help, so that the list is printed without loading any."""
GROUPS = {"ledger", "config"}
"""Those of them whose next word is a command as well."""

EXAMPLES = {
    "apply": (
        "provisioner apply definitions.jsonl --local",
        "provisioner apply 'definitions/*.jsonl' --ledger prod.db --deadline 55m",
        "generate | provisioner apply - --target prod --output json",
        "provisioner apply definitions.jsonl --quiet --summary-file /var/lib/provisioner/summary.json",
        "provisioner apply definitions.jsonl --metrics-file /var/lib/node_exporter/provisioner.prom",
        "provisioner apply definitions.jsonl --on-change replace --prune --yes",
        "provisioner apply s3://bucket/definitions.jsonl.gz --summary-file s3://bucket/summary.json",
    ),
    "plan": (
        "provisioner plan definitions.jsonl",
        "provisioner plan definitions.jsonl --on-change replace --prune --detailed-exitcode",
    ),
    "validate": ("provisioner validate definitions.jsonl", "generate | provisioner validate - --output json"),
    "pause": (
        "provisioner pause prod --for 2h --reason 'quota increase under way'",
        "provisioner pause 'prod-*' '!prod-eu' --until 2026-11-27T06:00Z",
    ),
    "resume": ("provisioner resume prod", "provisioner resume '*'"),
    "status": ("provisioner status", "provisioner status --ledger prod.db --output json"),
    "list": ("provisioner list --state failed --since 2h", "provisioner list --by code --run last"),
    "show": ("provisioner show 'lookalike 1'", "provisioner show arn:aws:cleanrooms-ml:... --output json"),
    "runs": ("provisioner runs", "provisioner runs last", "provisioner runs --job 2026-11-26 --output json"),
    "report": (
        "provisioner report",
        "provisioner report 20261123T2019 --out monday.html",
        "provisioner report --fleet --ledger prod.db",
    ),
    "export": (
        "provisioner export --format csv --columns name,arn,created_at",
        "provisioner export --target prod --format terraform --out imports.tf",
    ),
    "adopt": ("provisioner adopt definitions.jsonl", "provisioner adopt definitions.jsonl --adopt any --target prod"),
    "destroy": ("provisioner destroy --name 'old *'", "provisioner destroy --all --yes --ledger prod.db"),
    "forget": ("provisioner forget --name 'old *' --yes",),
    "reconcile": ("provisioner reconcile --ledger prod.db",),
    "verify": (
        "provisioner verify",
        "provisioner verify definitions.jsonl",
        "provisioner verify --prune-duplicates --yes",
    ),
    "rebuild": (
        "provisioner rebuild --ledger new.db",
        "provisioner rebuild --ledger new.db --ledger-id 0123456789abcdef",
    ),
    "discover": (
        "provisioner discover --out definitions.jsonl",
        "provisioner discover --name 'lookalike*' --placeholders",
        "provisioner discover | provisioner apply - --ledger new.db",
    ),
    "doctor": (
        "provisioner doctor",
        "provisioner doctor definitions.jsonl --target prod",
        "provisioner doctor --skip quota --output json",
    ),
    "ledger": (
        "provisioner ledger rename-target default prod --ledger prod.db",
        "provisioner ledger copy ledger.db postgresql://provisioner@db.example.com/provisioner",
        "provisioner ledger backup backup.db",
        "provisioner ledger check --ledger prod.db",
    ),
    "config": (
        "provisioner config show --max-rate 3",
        "provisioner config init",
        "provisioner config schema > provisioner.schema.json",
    ),
    "iam-policy": (
        "provisioner iam-policy apply verify",
        "provisioner iam-policy apply 'verify --prune-duplicates' --ledger prod.db --target prod",
    ),
    "emulate": ("provisioner emulate --port 8080 --state accounts.db", "provisioner emulate --rate 5 --burst 10"),
    "schema": ("provisioner schema > definition.schema.json",),
    "explain": ("provisioner explain 75", "provisioner explain other_ledger"),
    "completion": (
        "provisioner completion bash > ~/.local/share/bash-completion/completions/provisioner",
        "provisioner completion zsh > ~/.zfunc/_provisioner",
        "provisioner completion fish > ~/.config/fish/completions/provisioner.fish",
    ),
    "version": ("provisioner version --output json",),
}
"""Examples at the end of each command's help."""


class Group(click.Group):
    """A group of commands; a mistyped one gets the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names.

        Raises:
            UsageError: there is none of that name.
        """
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            from provisioner.config.tables import nearest

            words = ctx.command_path.removeprefix("provisioner").lstrip()
            hint = nearest(args[0], known, "The commands are {}", prefix=f"{ctx.command_path} ")
            raise UsageError(f"there is no command {f'{words} {args[0]}'.lstrip()!r}", hint=hint)
        return super().resolve_command(ctx, args)


class Commands(Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the table."""
        del ctx
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; the program keeps the others."""
        found = super().resolve_command(ctx, args)
        if isinstance(ctx.obj, Program):
            ctx.obj.command = found[0] or ""
            ctx.obj.arguments = tuple(found[2])
        return found

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from the module of its name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        from provisioner.cli.options import add_variables

        module = importlib.import_module(f"provisioner.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        command.help = f"{COMMANDS[cmd_name]}\n\n{inspect.cleandoc(command.help or '')}"
        _show_examples(command, cmd_name, EXAMPLES[cmd_name])
        add_variables(command, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  as in click
        """Run the command; an interrupt becomes an error of this package."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if not interrupted(error):
                raise
            raise CancelledError(current().signals.received[0]) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="provisioner")
def provisioner() -> None:
    """Register many AWS Clean Rooms ML algorithms: none lost, none twice, at the account's hidden rate limit.

    Start with `provisioner apply configs/example.jsonl --local`, which needs no AWS account.

    Every option can be set by an environment variable: PROVISIONER_APPLY_MAX_RATE is `apply --max-rate`,
    PROVISIONER_LEDGER is the `--ledger` of every command. A flag overrides the variable, and the variable overrides the
    configuration file.
    """


def _show_examples(command: click.Command, words: str, examples: Sequence[str]) -> None:
    """Put the examples of a command at the end of its help; of a command in a group, those that call it."""
    command.epilog = "\n".join(("\b", "Examples:", *(f"  {line}" for line in examples)))
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        called = f"{words} {name}"
        _show_examples(inner, called, [line for line in examples if f"provisioner {called}" in line])


def interrupted(error: BaseException) -> bool:
    """Whether ``error`` is an interrupt, or what was made of one.

    Python 3.11 turns whatever is raised while it creates a class, as an import does, into a RuntimeError.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(interrupted(part) for part in error.exceptions)
    return isinstance(error, KeyboardInterrupt) or (error.__cause__ is not None and interrupted(error.__cause__))


HURRY_S = 0.5
"""How long a process that a signal asks to end may take for its last output: the reader may have stopped without
closing the pipe."""


class CancelledError(ProvisionerError):
    """A signal ended the command before it changed anything."""

    reason = Reason.INTERRUPTED

    def __init__(self, signal: str) -> None:
        super().__init__(f"interrupted by {signal}; nothing was sent", hint="Run again")


class InternalError(ProvisionerError):
    """A bug, or a lack of memory. The traceback is printed only with PROVISIONER_DEBUG."""

    reason = Reason.INTERNAL

    def __init__(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        trace = traceback.extract_tb(error.__traceback__, -1)
        where = f"{Path(trace[-1].filename).name}:{trace[-1].lineno}" if trace else "unknown"
        hint = "Please report this; PROVISIONER_DEBUG=1 shows the traceback"
        if isinstance(error, MemoryError):
            hint = "Give the process more memory, then run again"
        what = f"internal error at {where}: {type(error).__name__}"
        super().__init__(what, why=printable(str(error)), hint=hint)
        if os.environ.get("PROVISIONER_DEBUG"):
            traceback.print_exception(error)


class Program:
    """One run of the command line.

    Args:
        signals: whose handlers are installed.
        streams: of the process.

    Attributes:
        signals, streams, unattended: for the command.
        command: its name, "" until it is known.
        arguments: what follows the name of the command.
    """

    def __init__(self, signals: Signals, streams: Streams) -> None:
        self.signals = signals
        self.streams = streams
        self.unattended = Unattended(lambda: signals.first_at)
        self.command = ""
        self.arguments: Sequence[str] = ()

    def main(self, arguments: Sequence[str] | None) -> NoReturn:
        """Run the command that ``arguments`` name, and exit with its code."""
        given = list(sys.argv[1:] if arguments is None else arguments)
        try:
            with self.signals.reaction(_interrupt, missed=True):
                code = self._run(given)
        except KeyboardInterrupt:
            with self.signals.reaction(hurry):
                code = self._failed(CancelledError(self.signals.received[0]), given)
        self._leave(code)

    def _run(self, given: list[str]) -> int:
        if instruction := os.environ.get("_PROVISIONER_COMPLETE"):
            from provisioner.cli.completion import complete

            return complete(instruction)
        try:
            return int(provisioner.main(given, prog_name="provisioner", standalone_mode=False, obj=self) or 0)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.exceptions.NoArgsIsHelpError as error:
            talk(error.format_message())
            return ExitCode.USAGE
        except BaseException as error:  # noqa: BLE001  the last resort; what is not an error is raised again
            return self._failed(self._shown(error), given)

    def _shown(self, error: BaseException) -> ProvisionerError:
        """What a user sees of ``error``.

        Raises:
            BaseException: it is an interrupt, or another way to end the process.
        """
        if isinstance(error, ProvisionerError):
            return error
        if isinstance(error, click.Abort):  # click's form of an interrupt
            raise KeyboardInterrupt
        if isinstance(error, click.ClickException):
            return UsageError(error.format_message(), hint=_hint(error))
        if isinstance(error, OSError) and error is self.streams.stdout.failure:
            return UnwritableError("the result cannot be written to stdout", why=str(error.strerror))
        if isinstance(error, Exception):
            return InternalError(error)
        raise error

    def _failed(self, error: ProvisionerError, given: list[str]) -> ExitCode:
        """Report ``error`` on stderr; with ``--output json`` also as the one object on stdout."""
        talk(f"provisioner: {error}", "error")
        code = code_for([error.reason])
        if wants_json(given, os.environ) and not self.streams.stdout.used:
            with contextlib.suppress(UnwritableError):
                say_json(_as_json(error))
        return self._reported(error, code)

    def _reported(self, error: ProvisionerError, code: ExitCode) -> ExitCode:
        """Let a scheduler know of ``error`` as well, unless the command has reported its end; returns the exit code."""
        self.unattended.line = f"error: {error}"
        self.unattended.log_failure(code, error)
        if self.unattended.written:
            return code
        try:
            self.unattended.write(_as_json(error) if self.unattended.summary_file else "")
        except ProvisionerError as unwritten:
            talk(f"provisioner: {unwritten}", "error")
            return code_for([error.reason, unwritten.reason])
        return code

    def _leave(self, code: int) -> NoReturn:
        """Exit, even while a thread is blocked in a read that cannot be interrupted, such as of an idle pipe."""
        self.signals.ignore()
        self.unattended.end(self.command, code)
        written = self.unattended.close_log()
        if code:
            self.streams.stderr.release()
        written = self.streams.close() and written
        waiting = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        if not written or any(not thread.daemon for thread in waiting):
            os._exit(code)
        sys.exit(code)


def _hint(error: click.ClickException) -> str:
    """Where the refused value comes from, if that is not obvious, or the help to read."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return "See `provisioner --help`"
    param = error.param if isinstance(error, click.BadParameter) else None
    names = param.envvar if param and isinstance(param.envvar, list) else []
    if param and context.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
        return f"The value comes from the environment variable {next(name for name in names if os.environ.get(name))}"
    return f"See `{context.command_path} --help`"


def current() -> Program:
    """The program that runs the current command."""
    program = click.get_current_context().find_object(Program)
    assert program is not None  # noqa: S101  Program.main hands itself to click
    return program


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def hurry() -> None:
    """End the process soon, even if its output has not been read by then."""
    timer = threading.Timer(HURRY_S, os._exit, (ExitCode.INTERRUPTED,))
    timer.daemon = True
    timer.start()


def wants_json(given: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a command line asks for JSON, even one that could not be parsed."""
    if "--output=json" in given or ("--output", "json") in itertools.pairwise(given):
        return True
    if any(argument.startswith("--output") for argument in given):
        return False
    words = itertools.dropwhile(lambda argument: argument not in COMMANDS, given)
    command = next(words, "")
    if command in GROUPS:
        command = f"{command}_{next(words, '')}"
    own = environment.get(f"PROVISIONER_{command}_OUTPUT".replace("-", "_").upper())
    return (own or environment.get("PROVISIONER_OUTPUT")) == "json"


def _as_json(error: ProvisionerError) -> bytes | str:
    """The summary of a run that ``error`` prevented; only code and error if that fails too."""
    try:
        from provisioner.cli.running import never_begun

        return never_begun(error).json()
    except Exception:  # noqa: BLE001  the cause (no memory, a broken installation) may persist
        import json

        return json.dumps({"exit_code": int(code_for([error.reason])), "error": str(error)})
