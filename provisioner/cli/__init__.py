"""The command line. One file per command, loaded when it is called, so that ``--help`` stays quick."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import click

from provisioner import __version__
from provisioner.cli.output import UnwritableError, open_standard_streams, say
from provisioner.errors import ProvisionerError, UsageError, printable
from provisioner.exit_codes import ExitCode, code_for

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "apply": "Register everything in the manifest that is not registered yet.",
    "validate": "Check manifests offline; every problem of every line.",
    "status": "What the ledger holds: counts, open ambiguities, learned paces.",
    "export": "Print name and ARN of every registered algorithm.",
    "reconcile": "Resolve creates whose reply was lost, now.",
    "verify": "Compare the ledger with AWS: missing, drifted, duplicates.",
    "rebuild": "Rebuild a lost ledger from AWS, by the ownership tags.",
    "ledger": "Work on the ledger itself: rename-target.",
    "emulate": "Run the embedded Clean Rooms ML endpoint.",
    "schema": "Print the JSON Schema of a definition.",
}
"""Commands with their one-line help, which is known without loading them."""


class Commands(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a user meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from the module of its name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"provisioner.cli.{cmd_name}")
        command: click.Command = module.command
        command.help = f"{COMMANDS[cmd_name]}\n\n{inspect.cleandoc(command.help or '')}"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without loading any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="provisioner")
def provisioner() -> None:
    """Register many AWS Clean Rooms ML algorithms: none lost, none twice, at the account's hidden rate limit.

    Start with `provisioner apply configs/example.jsonl --local`: it needs no AWS account.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; no traceback reaches a user, except for a bug."""
    open_standard_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = provisioner.main(given, prog_name="provisioner", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = ExitCode.USAGE
    except click.ClickException as error:
        code = _tell(UsageError(error.format_message(), hint="See `provisioner --help`"), given)
    except (click.Abort, KeyboardInterrupt):
        click.echo("provisioner: interrupted before the run began", err=True)
        code = ExitCode.INTERRUPTED
    except ProvisionerError as error:
        code = _tell(error, given)
    except OSError as error:
        code = _tell(UnwritableError("stdout cannot be written", why=str(error)), given)
    except Exception as error:  # noqa: BLE001  the last line of defence: a bug is told in one line
        code = _bug(error)
    _leave(int(code or 0))


def _leave(code: int) -> NoReturn:
    """Exit, also while a thread still waits in a read that nothing interrupts: of a pipe that nobody writes to."""
    waiting = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in waiting):
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _tell(error: ProvisionerError, given: Sequence[str]) -> ExitCode:
    """An error on stderr; with ``--output json`` also as the one object on stdout."""
    click.echo(f"provisioner: {error}", err=True)
    if "--output=json" in given or ("--output", "json") in itertools.pairwise(given):
        from provisioner.cli.running import never_begun

        with contextlib.suppress(UnwritableError):
            say(never_begun(error).json())
    return code_for([error.reason])


def _bug(error: Exception) -> ExitCode:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else "unknown"
    if os.environ.get("PROVISIONER_DEBUG"):
        raise error
    what = f"internal error at {where}: {type(error).__name__}: {printable(str(error))}"
    click.echo(f"provisioner: {what}. Please report this; PROVISIONER_DEBUG=1 shows the traceback", err=True)
    return ExitCode.INTERNAL
