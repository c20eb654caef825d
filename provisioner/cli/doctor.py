"""``provisioner doctor``."""

from __future__ import annotations

import codecs
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click
import msgspec

from provisioner.cli import loop, parameters
from provisioner.cli.local import local_endpoint
from provisioner.cli.options import common, loaded, manifest_argument
from provisioner.cli.output import say, say_json
from provisioner.cli.program import current
from provisioner.config.tables import nearest
from provisioner.core.checks import NAMES, Check, Status, failed
from provisioner.errors import ConfigurationError, ProvisionerError, UsageError, printable_lines
from provisioner.exit_codes import ADVICE, ExitCode, code_for

if TYPE_CHECKING:
    from provisioner.config.settings import Settings

SIGNS = {Status.OK: "✓", Status.WARN: "!", Status.FAIL: "✗", Status.SKIPPED: "-"}
WORDS = {Status.OK: "ok", Status.WARN: "warn", Status.FAIL: "FAIL", Status.SKIPPED: "skip"}
"""The same where the signs might not be shown, and where a program may read them."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options, as click parsed them."""

    manifest: tuple[str, ...]
    config: str | None
    ledger: str | None
    targets: tuple[str, ...]
    endpoint_url: str | None
    local: bool
    skip: tuple[str, ...]
    output: str


@click.command("doctor")
@manifest_argument(required=False)
@common("config", "ledger", "target", "endpoint-url", "local")
@parameters.option(
    "--skip", metavar="CHECK", multiple=True, help=f"Leave a check out; can be repeated. Checks: {', '.join(NAMES)}."
)
@common("output", "quiet")
def command(**given: object) -> ExitCode:
    """Reads only. With MANIFEST, also what its definitions need: room in the quota, roles, images, keys.

    The exit code is the one that a run would end with, as far as it can be foreseen. Warnings do not count, and a check
    without the permission to look is skipped.
    """
    options = msgspec.convert(given, Options)
    for name in options.skip:
        if name not in NAMES:
            raise UsageError(f"there is no check {name!r}", hint=nearest(name, NAMES, "The checks are {}"))
    if options.local and options.endpoint_url:
        raise UsageError("--local and --endpoint-url exclude each other", hint="Leave one of them out")
    try:
        settings = loaded(options.config).override("run", ledger=options.ledger)
    except ConfigurationError as error:
        return _report([failed("configuration", error)], options.output)
    return _report(loop.run(_examine, options, settings), options.output)


async def _examine(options: Options, settings: Settings) -> list[Check]:
    from provisioner.commands.doctor import Visit, doctor
    from provisioner.commands.organization import Asked, with_known, with_organization

    try:
        asked = Asked(await with_known(settings)) if options.local else await with_organization(settings)
    except ProvisionerError as error:
        return [failed("organizations", error)]
    settings = asked.settings
    async with AsyncExitStack() as stack:
        if options.local:
            settings = await stack.enter_async_context(local_endpoint(settings, options.config))
        elif options.endpoint_url:
            settings = settings.with_endpoint(options.endpoint_url)
        visit = Visit(
            sources=options.manifest,
            settings=settings,
            config=options.config or "",
            targets=settings.select(options.targets),
            skip=frozenset(options.skip),
            embedded=options.local,
            stdin=current().streams.stdin,
            asked=asked.check,
        )
        return await doctor(visit)


def _report(found: list[Check], output: str) -> ExitCode:
    code = code_for(check.reason for check in found if check.reason)
    if current().unattended.hides(code):
        return code
    if output == "json":
        say_json(msgspec.json.encode({"checks": check_records(found), "exit_code": int(code)}))
    else:
        say(printable_lines([*check_lines(found), _last_line(found, code)]))
    return code


def check_records(found: list[Check]) -> list[dict[str, str]]:
    """The checks as objects of JSON."""
    fields = ("name", "target", "status", "message", "hint")
    return [{name: str(getattr(check, name)) for name in fields} for check in found]


def check_lines(found: list[Check]) -> list[str]:
    """The checks for people."""
    signs = SIGNS if _shows_signs() else WORDS
    width = max(map(len, signs.values()))
    several = len({check.target for check in found if check.target}) > 1
    lines, target = [], ""
    for check in found:
        if several and check.target != target:
            target = check.target
            lines.append(f"target {target}")
        lines.append(f"{signs[check.status]:{width}s} {check.name:14s}{check.message}")
        if check.hint:
            lines.append(f"{'':{width}s} {'':14s}{check.hint}")
    return lines


def _last_line(found: list[Check], code: ExitCode) -> str:
    counts = {status: sum(check.status is status for check in found) for status in Status}
    parts = [f"{number} {status}" for status, number in counts.items() if number]
    return f"{', '.join(parts)}; a run would end with {int(code)}: {ADVICE[code]}"


def _shows_signs() -> bool:
    """Whether a person reads stdout on a terminal that is set to UTF-8; its encoding is that of stderr."""
    try:
        encoding = codecs.lookup(sys.stderr.encoding or "").name
    except LookupError:
        return False
    return sys.stdout.isatty() and encoding == "utf-8"
