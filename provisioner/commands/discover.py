"""``discover``: writes a manifest of what exists in a target. It needs no ledger."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.commands.session import looking
from provisioner.core.problem import Problem
from provisioner.engine.inventory import IncompleteListError, Inventory, definition_of
from provisioner.errors import ProvisionerError, Reason, printable
from provisioner.manifest.parser import Rules, parse
from provisioner.manifest.placeholders import with_placeholders
from provisioner.manifest.problems import InvalidDefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.aws.faces import Described
    from provisioner.commands.run import Run
    from provisioner.core.place import Place
    from provisioner.core.problem import Severity
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.report.summary import Summary


class Discovered(msgspec.Struct):
    """What was found.

    Attributes:
        lines: the manifest: a definition each, sorted by name.
        problems: algorithms that no line can represent, and notices.
        complete: whether everything was read. If not, there are no lines.
    """

    lines: list[bytes] = []
    problems: list[Problem] = []
    complete: bool = False


class UnreadError(ProvisionerError):
    """Algorithms that List shows cannot be read, so that a manifest would lack them."""

    reason = Reason.UNFINISHED

    def __init__(self, target: str, arns: frozenset[str]) -> None:
        what = f"List shows what Get cannot read, so no manifest is written: {min(arns)}"
        more = f"and {len(arns) - 1} more" if len(arns) > 1 else ""
        super().__init__(what, where=target, why=more, hint="Run again")


async def discover(run: Run, found: Discovered, *, names: Sequence[str], placeholders: bool) -> Summary:
    """Read what exists in the one target of ``run``, and add its manifest to ``found``.

    Args:
        run: with one target.
        found: gets lines and problems.
        names: globs; an algorithm is read if its name matches one of them, or if there are none.
        placeholders: write the target's account and Region as placeholders.
    """
    (target,) = run.order.targets
    tag = run.order.policy.ownership_tag

    async def work(fleet: Fleet) -> None:
        with run.stop.ends():
            async with fleet.open(target) as opened:
                algorithms, problems = await read(opened, tag, names)
                place = opened.place.place
            _write(found, algorithms, problems, tag, place if placeholders else None)
        found.problems = [msgspec.structs.replace(one, target=target.name) for one in found.problems]
        for problem in found.problems:
            run.observers[target.name].problem_found(problem)
        if any(problem.severity == "problem" for problem in found.problems):
            run.reasons.add(Reason.FAILED)

    return await looking(run, work, blank=True)


def _write(
    found: Discovered, algorithms: Iterable[Described], notices: Iterable[Problem], tag: str, lifted: Place | None
) -> None:
    """Add the lines of ``algorithms`` to ``found``, or why there is none of one."""
    found.problems += notices
    for algorithm in algorithms:
        try:
            found.lines.append(line_of(algorithm, tag, lifted))
        except InvalidDefinitionError as error:
            found.problems += [
                _problem(algorithm, one.code, f"{algorithm.arn} cannot be a line of a manifest: {one.text}")
                for one in error.problems
            ]
    found.complete = True


async def read(
    target: OpenTarget, ownership_tag: str, names: Sequence[str] = ()
) -> tuple[list[Described], list[Problem]]:
    """The newest algorithm of each name that matches, sorted by name; and a notice for each older one.

    Raises:
        IncompleteListError: List broke off.
        UnreadError: an algorithm could not be read.
        CallError: a call is denied.
        IntegrityError: an algorithm is in another account or Region.
    """
    inventory = Inventory(target, ownership_tag)
    listing = await inventory.listing(
        lambda item: not names or any(fnmatchcase(item.name, pattern) for pattern in names)
    )
    if not listing.complete:
        raise IncompleteListError(target.name, listing.failure)
    algorithms = await inventory.descriptions([item.arn for item in listing.items])
    # What List shows and Get does not know may be new as well as gone: one of them lags.
    if missing := algorithms.unread | algorithms.gone:
        raise UnreadError(target.name, missing)
    return _newest(algorithms.found)


def _newest(algorithms: Iterable[Described]) -> tuple[list[Described], list[Problem]]:
    newest: dict[str, Described] = {}
    notices = []
    for one in sorted(algorithms, key=lambda one: (one.name, one.created_at, one.arn), reverse=True):
        kept = newest.setdefault(one.name, one)
        if kept is not one:
            message = f"{one.arn} has this name too; the manifest has the newer {kept.arn}"
            notices.append(_problem(one, "duplicate", message, "notice"))
    return [*reversed(newest.values())], [*reversed(notices)]


def line_of(algorithm: Described, ownership_tag: str, lifted: Place | None) -> bytes:
    """The line of a manifest that defines ``algorithm``: its canonical form, with the user's tags.

    Args:
        algorithm: as Get returns it.
        ownership_tag: key of the ownership tag, which is left out.
        lifted: the place whose account and Region become placeholders, None for no placeholders.

    Raises:
        InvalidDefinitionError: it breaks a rule of definitions.
    """
    written = msgspec.json.encode(_without_empty(definition_of(algorithm, ownership_tag)))
    line = parse(written, Rules(ownership_tag=ownership_tag)).canonical().request({})
    if lifted is None:
        return line
    values = {"account_id": lifted.account_id, "region": lifted.region}
    return msgspec.json.encode(with_placeholders(msgspec.json.decode(line), values))


def _without_empty(definition: dict[str, Any]) -> dict[str, Any]:
    """Without empty fields, which the service may return for absent ones; the empty value of a tag is a value."""
    filled = {
        key: _without_empty(value) if isinstance(value, dict) and key != "tags" else value
        for key, value in definition.items()
    }
    return {key: value for key, value in filled.items() if value not in ("", [], {})}


def _problem(algorithm: Described, code: str, message: str, severity: Severity = "problem") -> Problem:
    return Problem("", 0, printable(algorithm.name), code, message, severity=severity)
