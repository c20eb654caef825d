"""``provisioner validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli.options import common, settings_of
from provisioner.cli.output import say
from provisioner.cli.program import current
from provisioner.exit_codes import ExitCode

if TYPE_CHECKING:
    from provisioner.core.problem import Problem
    from provisioner.manifest.reader import Manifest


@click.command("validate")
@click.argument("manifest", nargs=-1, required=True)
@common("config", "target", "output")
def command(manifest: tuple[str, ...], config: str | None, targets: tuple[str, ...], output: str) -> ExitCode:
    """Nothing is sent, and no credentials are needed. Ends with 65 when there are problems.

    Each problem is one line: file:line:column, the name, and what to do. Notices do not count as problems. Targets
    whose defaults differ are checked one after the other.
    """
    from provisioner.commands.apply import once_per_rules, rules_for
    from provisioner.manifest.reader import Manifest

    settings = settings_of(config, None)
    rules = {target.name: rules_for(settings, target) for target in settings.select(targets)}
    first = Manifest(manifest, next(iter(rules.values())), stdin=current().streams.stdin)
    if len(rules) > 1:
        first = first.spooled()
    manifests = once_per_rules({name: first.under(rule) for name, rule in rules.items()})
    printer = _Json() if output == "json" else _Text()
    counts = [_check(one, printer, name if len(manifests) > 1 else "") for name, one in manifests.items()]
    printer.end(counts)
    return ExitCode.INVALID if any(count.invalid for count in counts) else ExitCode.DONE


class Counts(msgspec.Struct, omit_defaults=True):
    """Counts of a manifest's lines; ``target`` is the one whose defaults apply, where those of targets differ."""

    lines: int = 0
    valid: int = 0
    invalid: int = 0
    repeated: int = 0
    target: str = ""


def _check(manifest: Manifest, printer: _Text | _Json, target: str) -> Counts:
    from provisioner.manifest.metric_regexes import RegexCheck

    counts = Counts(target=target)
    with RegexCheck() as check:
        for batch in manifest.batches():
            counts.lines += batch.lines
            counts.valid += len(batch.rows)
            counts.invalid += batch.invalid
            counts.repeated += batch.repeated
            for problem in sorted([*batch.problems, *check.notices(batch.rows)], key=lambda one: one.line):
                printer.report(problem, target)
    return counts


class _Text:
    """A line for each problem on stdout, the counts on stderr."""

    def report(self, problem: Problem, target: str) -> None:
        of = f" (target {target})" if target else ""
        notice = " notice:" if problem.severity == "notice" else ""
        say(f"{problem.where}{notice} {problem.message}{of}")

    def end(self, counts: list[Counts]) -> None:
        for count in counts:
            of = f"target {count.target}: " if count.target else ""
            repeated = f", {count.repeated} repeated" if count.repeated else ""
            click.echo(f"{of}{count.lines} lines, {count.valid} valid, {count.invalid} invalid{repeated}", err=True)


class _Json:
    """One object, written problem by problem, so that a million problems need no memory."""

    def __init__(self) -> None:
        self._any = False
        say('{"problems": [', end="")

    def report(self, problem: Problem, target: str) -> None:
        of = {"target": target} if target else {}
        say(",\n" if self._any else "\n", end="")
        say(msgspec.json.encode({**msgspec.structs.asdict(problem), **of}), end="")
        self._any = True

    def end(self, counts: list[Counts]) -> None:
        worst = max(counts, key=lambda count: count.invalid)
        summed = {"lines": worst.lines, "valid": worst.valid, "invalid": worst.invalid}
        rest = {**summed, "targets": counts} if len(counts) > 1 else summed
        say(b"],\n" + msgspec.json.encode(rest)[1:])
