"""``provisioner validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli.options import common, manifest_argument, settings_of, with_known_targets
from provisioner.cli.output import say
from provisioner.cli.program import current
from provisioner.errors import counted
from provisioner.exit_codes import ExitCode

if TYPE_CHECKING:
    from provisioner.commands.validate import Counts
    from provisioner.core.problem import Problem


@click.command("validate")
@manifest_argument(required=True)
@common("config", "target", "output")
def command(manifest: tuple[str, ...], config: str | None, targets: tuple[str, ...], output: str) -> ExitCode:
    """Nothing is sent, and no credentials are needed, except for S3. The exit code is 65 when there are problems.

    Each problem is one line: file:line:column, the name, and what to do. Notices do not count as problems. Targets
    whose defaults differ are checked one after the other.
    """
    from provisioner.commands.validate import Validation

    settings = with_known_targets(settings_of(config, None))
    validation = Validation(manifest, settings, settings.select(targets), stdin=current().streams.stdin)
    printer = _Json() if output == "json" else _Text()
    for problem in validation:
        printer.report(problem)
    exit_code = ExitCode.DONE if validation.valid else ExitCode.INVALID
    printer.end(validation.counts, exit_code)
    return exit_code


FEW = 3
"""So many targets with the same counts have a line each; more of them share one."""


class _Text:
    """A line for each problem on stdout, the counts on stderr."""

    def report(self, problem: Problem) -> None:
        of = f" (target {problem.target})" if problem.target else ""
        notice = " notice:" if problem.severity == "notice" else ""
        say(f"{problem.where}{notice} {problem.message}{of}")

    def end(self, counts: list[Counts], _exit_code: ExitCode) -> None:
        alike: dict[str, list[str]] = {}
        for count in counts:
            repeated = f", {count.repeated} repeated" if count.repeated else ""
            lines = counted(count.lines, "line", "lines")
            alike.setdefault(f"{lines}, {count.valid} valid, {count.invalid} invalid{repeated}", []).append(
                count.target
            )
        for line, targets in alike.items():
            for of in [f"{len(targets)} targets"] if len(targets) > FEW else [f"target {one}" for one in targets]:
                click.echo(f"{of}: {line}" if targets != [""] else line, err=True)


class _Json:
    """One object, written problem by problem, so that a million problems need no memory."""

    def __init__(self) -> None:
        # Nothing is printed before the manifest is open: an error then is one JSON object of its own.
        self._before = '{"problems": [\n'

    def report(self, problem: Problem) -> None:
        say(self._before, end="")
        say(msgspec.json.encode(msgspec.structs.asdict(problem)), end="")
        self._before = ",\n"

    def end(self, counts: list[Counts], exit_code: ExitCode) -> None:
        if self._before != ",\n":
            say(self._before, end="")
        worst = max(counts, key=lambda count: count.invalid)
        summed = {"lines": worst.lines, "valid": worst.valid, "invalid": worst.invalid}
        rest = {**summed, "targets": counts} if len(counts) > 1 else summed
        say(b"],\n" + msgspec.json.encode({**rest, "exit_code": exit_code})[1:])
