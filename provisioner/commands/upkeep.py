"""``reconcile``, ``verify`` and ``rebuild``: what keeps ledger and AWS in agreement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import msgspec
import structlog

from provisioner.aws.faces import CallError
from provisioner.commands.session import session
from provisioner.core.entry import Entry, Event, Fact
from provisioner.core.verdict import Verdict, judge
from provisioner.engine.engine import Engine
from provisioner.engine.inventory import Survey
from provisioner.engine.tally import Halt
from provisioner.errors import ProvisionerError, Reason, UsageError
from provisioner.fleet.open import contained, open_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.commands.run import Run
    from provisioner.config.settings import Target
    from provisioner.engine.inventory import Details, Found, Listing
    from provisioner.engine.site import Site
    from provisioner.ledger import Ledger
    from provisioner.ledger.lease import Lease
    from provisioner.report.summary import Summary

RECORD_AT_ONCE = 256
"""Entries that a rebuild commits at once."""

Work = Callable[["Ledger", "Lease", "Target"], Awaitable[None]]

log = structlog.get_logger()


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A disagreement between the ledger and AWS.

    Attributes:
        kind: ``missing``: created by the ledger, gone in AWS. ``drifted``: its definition or tags in AWS are not those
            that the ledger created. ``duplicate``: a second algorithm of ours with the name of an entry.
            ``unrecorded``: an algorithm of ours whose entry does not say that it exists. ``unread``: AWS did not tell.
        target, name: the entry's.
        arn: the algorithm that the finding is about.
        message: for people.
        pruned: whether it was deleted, as asked.
    """

    kind: str
    target: str
    name: str
    arn: str
    message: str
    pruned: bool = False


_REASONS = {
    "missing": Reason.FAILED,
    "drifted": Reason.FAILED,
    "duplicate": Reason.AMBIGUOUS,
    "unrecorded": Reason.AMBIGUOUS,
    "unread": Reason.AMBIGUOUS,
}


def reasons_of(findings: Iterable[Finding]) -> set[Reason]:
    """Why a command with these ``findings`` does not end as asked; a duplicate that is deleted is no reason."""
    return {_REASONS[finding.kind] for finding in findings if not finding.pruned}


def with_findings(summary: Summary, findings: list[Finding]) -> bytes:
    """The summary as JSON, with ``findings``."""
    return msgspec.json.encode({**msgspec.to_builtins(summary), "findings": findings})


async def reconcile(run: Run) -> Summary:
    """Resolve every entry of the selected targets of which nobody knows whether its algorithm exists."""

    async def one(ledger: Ledger, lease: Lease, target: Target) -> None:
        async with open_site(run, ledger, lease, target) as site:
            await Engine(site, run.order.policy, run.tallies[target.name], run.stop, workers=1).run(None)

    async def work(ledger: Ledger, lease: Lease) -> None:
        await _each(run, ledger, lease, one)

    return await session(run, "reconcile", work, makes=False)


async def verify(run: Run, findings: list[Finding], *, prune_duplicates: bool, mark_missing: bool) -> Summary:
    """Compare the ledger with AWS. Nothing is deleted or changed without being asked.

    Args:
        run: whose ledger and targets.
        findings: takes what disagrees.
        prune_duplicates: delete second algorithms of ours.
        mark_missing: record that what is missing is deleted, so that ``apply`` creates it again.
    """

    async def one(ledger: Ledger, lease: Lease, target: Target) -> None:
        async with open_site(run, ledger, lease, target) as site:
            found = await _compare(run, site)
            findings.extend(await _pruned(run, site, found) if prune_duplicates else found)
            if mark_missing:
                gone = [one for one in found if one.kind == "missing"]
                await ledger.record([Fact(one.target, one.name, Event.DELETE, message=one.message) for one in gone])
            run.reasons |= reasons_of(findings)

    async def work(ledger: Ledger, lease: Lease) -> None:
        await _each(run, ledger, lease, one)

    return await session(run, "verify", work, makes=False)


async def rebuild(run: Run, ledger_id: str) -> Summary:
    """Make a new ledger from what AWS holds with our tag.

    Args:
        run: its ledger must not exist yet.
        ledger_id: of the lost ledger; "" finds the only one that the tags name.
    """
    whole = False
    owned: dict[str, list[Found]] = {}

    async def one(ledger: Ledger, lease: Lease, target: Target) -> None:
        async with open_site(run, ledger, lease, target) as site:
            owned[target.name] = await _owned(run, site)

    async def work(ledger: Ledger, lease: Lease) -> None:
        nonlocal whole
        await _each(run, ledger, lease, one)
        if any(tally.halt for tally in run.tallies.values()):
            return
        lost = _lost_ledger(owned, ledger_id)
        await ledger.take_identity(lost)
        for target, found in owned.items():
            await _restore(run, ledger, target, [one for one in found if one.tag and one.tag.ledger_id == lost])
        # Who asked for a stop gets 75, "run again", which a ledger would be in the way of.
        whole = not run.stop.requested

    return await session(run, "rebuild", work, built=lambda: whole)


async def _each(run: Run, ledger: Ledger, lease: Lease, one: Work) -> None:
    async def contain(target: Target) -> None:
        with contained(run.tallies[target.name]):
            await one(ledger, lease, target)

    async with anyio.create_task_group() as group:
        for target in run.order.targets:
            group.start_soon(contain, target)


async def _compare(run: Run, site: Site) -> list[Finding]:
    entries = {entry.name: entry async for entry in site.ledger.entries(target=site.target)}
    survey = Survey(site, run.tallies[site.target], run.order.policy.ownership_tag)
    listing = await survey.listing(lambda item: item.name in entries)
    arns = {item.arn for item in listing.items} | {entry.arn for entry in entries.values() if entry.exists}
    details = await survey.details(sorted(arns))
    return compare(entries, listing, details, site.ledger.ledger_id)


def compare(entries: dict[str, Entry], listing: Listing, details: Details, ledger_id: str) -> list[Finding]:
    """Where the ledger's ``entries`` and AWS disagree. Pure.

    Args:
        entries: of one target, by name.
        listing: what List told of their names; when it broke off, that is a finding of its own.
        details: what Get told of every ARN that is listed or in the ledger.
        ledger_id: whose ownership tags are ours.
    """
    by_arn = {one.arn: one for one in details.found}
    by_name: dict[str, list[Found]] = defaultdict(list)
    for one in details.found:
        if one.tag and one.tag.ledger_id == ledger_id:
            by_name[one.name].append(one)
    findings = [
        finding for entry in entries.values() for finding in _of_entry(entry, by_arn, by_name[entry.name], details)
    ]
    if not listing.complete:
        target = next(iter(entries.values())).target if entries else ""
        findings.append(Finding("unread", target, "", "", "List broke off: there may be more than was seen"))
    return findings


def _of_entry(entry: Entry, by_arn: dict[str, Found], ours: list[Found], details: Details) -> list[Finding]:
    def finding(kind: str, arn: str, message: str) -> Finding:
        return Finding(kind, entry.target, entry.name, arn, message)

    found = by_arn.get(entry.arn)
    others = [one for one in ours if one.arn != entry.arn]
    if not entry.exists:
        message = (
            f"the entry is {entry.state}, and yet our algorithm exists; `provisioner reconcile` takes up open ones"
        )
        return [finding("unrecorded", one.arn, message) for one in ours]
    findings = [finding("duplicate", one.arn, f"a second algorithm of ours; {entry.arn} is the one") for one in others]
    if entry.arn in details.unread:
        findings.append(finding("unread", entry.arn, "AWS did not tell of it"))
    elif found is None:
        findings.append(finding("missing", entry.arn, "the ledger says created, AWS has it no more"))
    elif (found.digest, found.tags_digest) != (entry.digest, entry.tags_digest):
        what = "definition" if found.digest != entry.digest else "tags"
        findings.append(finding("drifted", entry.arn, f"its {what} in AWS: not what the ledger created"))
    return findings


async def _pruned(run: Run, site: Site, findings: list[Finding]) -> list[Finding]:
    """The findings, once what is duplicate is deleted; nothing that an entry of any target names ever is."""
    named = {entry.arn async for entry in site.ledger.entries() if entry.exists}
    return [
        await _deleted(run, site, one) if one.kind == "duplicate" and one.arn not in named else one for one in findings
    ]


async def _deleted(run: Run, site: Site, finding: Finding) -> Finding:
    """The finding, once its algorithm is deleted."""
    site.lease.check()
    run.tallies[site.target].calls["delete"] += 1
    try:
        await site.aws.control.delete_algorithm(finding.arn)
    except CallError as error:
        log.error("prune.failed", arn=finding.arn, why=str(error))  # noqa: TRY400  users see no traceback
        if judge(error.reply) is Verdict.DENIED:
            run.tallies[site.target].halt = Halt(Reason.DENIED, str(error))
        return msgspec.structs.replace(finding, message=f"{finding.message}; {error}")
    return msgspec.structs.replace(finding, pruned=True)


async def _owned(run: Run, site: Site) -> list[Found]:
    """Every algorithm in the target that bears an ownership tag, of whichever ledger."""
    survey = Survey(site, run.tallies[site.target], run.order.policy.ownership_tag)
    listing = await survey.listing(lambda _: True)
    details = await survey.details([item.arn for item in listing.items])
    if not listing.complete or details.unread:
        raise BrokenOffError(site.target)
    return [one for one in details.found if one.tag]


class BrokenOffError(ProvisionerError):
    """AWS could not be read to the end, so that a rebuilt ledger would miss entries."""

    reason = Reason.UNFINISHED

    def __init__(self, target: str) -> None:
        super().__init__("AWS could not be read to the end, so no ledger was made", where=target, hint="Run again")


def _lost_ledger(owned: dict[str, list[Found]], ledger_id: str) -> str:
    """The one ledger that the tags name.

    Raises:
        UsageError: they name none, or several.
    """
    counts: dict[str, int] = defaultdict(int)
    for found in owned.values():
        for one in found:
            if one.tag:
                counts[one.tag.ledger_id] += 1
    if ledger_id:
        counts = {ledger_id: counts[ledger_id]} if ledger_id in counts else {}
    if not counts:
        raise UsageError("no algorithm bears the tag of such a ledger", hint="Check Region, account and ownership_tag")
    if len(counts) > 1:
        several = ", ".join(f"{ledger} ({number} algorithms)" for ledger, number in sorted(counts.items()))
        raise UsageError("the tags name several ledgers", why=several, hint="Choose one with --ledger-id")
    return next(iter(counts))


async def _restore(run: Run, ledger: Ledger, target: str, found: list[Found]) -> None:
    """One entry for each name: the oldest algorithm is kept, as reconcile does."""
    by_name: dict[str, list[Found]] = defaultdict(list)
    for one in sorted(found, key=lambda one: one.age_order):
        by_name[one.name].append(one)
    facts = [_confirmed(target, same[0]) for same in by_name.values()]
    for start in range(0, len(facts), RECORD_AT_ONCE):
        await ledger.record(facts[start : start + RECORD_AT_ONCE])
    run.tallies[target].resolved["rebuilt"] += len(facts)
    for same in by_name.values():
        for one in same[1:]:
            log.error("duplicate.found", target=target, name=one.name, kept=same[0].arn, other=one.arn)


def _confirmed(target: str, found: Found) -> Fact:
    return Fact(
        target,
        found.name,
        Event.CONFIRM,
        digest=found.tag.digest if found.tag else found.digest,
        tags_digest=found.tags_digest,
        arn=found.arn,
        attempt=found.tag.attempt if found.tag else "",
        code="rebuilt",
    )
