"""``verify``: compares the ledger with what AWS holds, and with what a manifest defines."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.drafts import draft_one, prune_refused
from provisioner.commands.finding import names_of
from provisioner.commands.manifests import LineProblems, selected
from provisioner.commands.session import session, with_manifests
from provisioner.core.entry import Entry, Event, Fact, Outcome, may_lag
from provisioner.core.first_contact import MISSING, current
from provisioner.core.planner import TAGGING, TAGS_ADDED, TAGS_REFUSED, TAGS_REPEATED, Action, Planner, Seen, Situation
from provisioner.core.problem import Problem
from provisioner.core.tags import keys_set, removable
from provisioner.core.verdict import Verdict
from provisioner.core.versions import DUPLICATE
from provisioner.engine.deletions import Deletions
from provisioner.engine.ending import Ending
from provisioner.engine.inventory import Inventory
from provisioner.engine.problems import ProblemLog
from provisioner.errors import Reason
from provisioner.manifest.definition import Definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import BinaryIO

    from provisioner.commands.drafts import Draft
    from provisioner.commands.run import Run
    from provisioner.core.entry import Stamp
    from provisioner.core.inventory import Found
    from provisioner.core.policy import Policy
    from provisioner.core.versions import Version
    from provisioner.engine.inventory import Details, Listing
    from provisioner.engine.planning import Planned
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.ledger import Ledger
    from provisioner.manifest.reader import Manifest
    from provisioner.report.summary import Summary


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A difference between the ledger and AWS, or the manifest. What is ``tagged`` is as it should be.

    Attributes:
        kind: ``missing``: the ledger says created, and it is gone from AWS. ``drifted``: its definition or tags in AWS
            are not those that the ledger created. ``tagged``: others have added tags to it. ``duplicate``: another
            algorithm that this ledger created under the name of an entry. ``unrecorded``: an algorithm that this ledger
            created and no entry names. ``foreign``: an entry names it, and it does not bear this ledger's tag.
            ``unread``: AWS gave no answer. Of a manifest besides: ``unregistered``: it defines what the ledger has no
            algorithm of. ``changed``: its definition or tags are not those that are registered. ``unresolved``: the
            create or replacement of what it defines had no reply. ``orphaned``: its definition left the manifest.
        target, name: the entry's.
        arn: of the algorithm, "" if there is none.
        message: for people.
        pruned: whether it was deleted, as asked.
        marked: whether it is recorded, as asked, for ``apply`` to repair.
        tags: of what has drifted, whether only its tags differ, which can be set again.
        due: of what is orphaned, whether ``apply`` deletes it, as the configuration says.
        source, line: of the definition that is not registered as it stands there.
    """

    kind: str
    target: str
    name: str
    arn: str
    message: str
    pruned: bool = False
    marked: bool = False
    tags: bool = False
    due: bool = False
    source: str = ""
    line: int = 0


class Marks(msgspec.Struct, frozen=True):
    """What ``verify`` records of its findings.

    Attributes:
        missing: what is missing is deleted, so that ``apply`` creates it again.
        drifted: tags were changed in AWS, so that ``apply`` sets them again, or others have added some, so that
            ``apply --own-tags`` removes them.
        unrecorded: what this ledger created is its own again, whether or not the manifest has it.
    """

    missing: bool = False
    drifted: bool = False
    unrecorded: bool = False


TOO_NEW = "not marked: it is so new that AWS may not show it yet; run `provisioner verify` again after the settle time"
RECORDED = "`apply` recovers it if the manifest has it, and `verify --mark-unrecorded` records it in any case"
"""What makes an algorithm of this ledger known to it again."""
_NEXT = {
    "missing": ("with `--mark-missing`, `apply` creates it again", "`apply` creates it again"),
    "drifted": ("with `--mark-drifted`, `apply` sets them again", "`apply` sets them again"),
    "tagged": (
        "they stay, but with `--mark-drifted`, `apply --own-tags` removes them",
        "they stay, but `apply --own-tags` removes them",
    ),
    "unrecorded": (RECORDED, "the ledger has recorded it again"),
}
"""How the message of a finding ends, by its kind: before it is recorded, and once it is."""
_REASONS: dict[str, Reason | None] = {
    "missing": Reason.FAILED,
    "drifted": Reason.FAILED,
    "tagged": None,
    "duplicate": Reason.AMBIGUOUS,
    "unrecorded": Reason.AMBIGUOUS,
    "foreign": Reason.FAILED,
    "unread": Reason.AMBIGUOUS,
    "unregistered": Reason.FAILED,
    "changed": Reason.FAILED,
    "unresolved": Reason.AMBIGUOUS,
    "orphaned": None,
}


def _problem(finding: Finding) -> Problem:
    """What the record of the run has of ``finding``."""
    done = ("deleted" if finding.pruned else "", "marked" if finding.marked else "")
    what = ", ".join(part for part in (finding.arn, *done) if part)
    message = f"{what}: {finding.message}" if what else finding.message
    return Problem(finding.source, finding.line, finding.name, finding.kind, message, target=finding.target)


def _reason(finding: Finding) -> Reason | None:
    return Reason.FAILED if finding.due else _REASONS[finding.kind]


def reasons_of(findings: Iterable[Finding]) -> set[Reason]:
    """Why a command with these ``findings`` does not end with 0; a deleted duplicate is no reason."""
    return {reason for finding in findings if not finding.pruned and (reason := _reason(finding))}


def with_findings(summary: Summary, findings: list[Finding]) -> bytes:
    """The summary as JSON, with ``findings``."""
    return msgspec.json.encode({**msgspec.to_builtins(summary), "findings": findings})


async def verify(
    run: Run, findings: list[Finding], marks: Marks, *, prune_duplicates: bool, stdin: BinaryIO | None = None
) -> Summary:
    """Compare the ledger with AWS, and with the manifest if there is one. Nothing is changed unless requested.

    Args:
        run: with the ledger, the targets and the manifest.
        findings: the list to which differences are added.
        marks: what is recorded in the ledger.
        prune_duplicates: delete duplicates that this ledger created.
        stdin: read for ``-``.
    """

    async def work(fleet: Fleet, manifests: Mapping[str, Manifest]) -> None:
        manifests = await selected(manifests, fleet.ledger, run, asking=run.command)
        problems = LineProblems(manifests)

        async def compare_one(target: OpenTarget) -> None:
            manifest, selection = manifests.get(target.name), run.order.selection
            if manifest:
                selects = manifest.selects
            else:
                selects = await names_of(target.ledger, selection, target.name, own=run.run_id, asking=run.command)
            found = await differences(target, run.order.policy.ownership_tag)
            found = [one for one in found if selects is None or selects(one.name)]
            if manifest:
                found += await deviations(run, target, manifest, problems, found)
            findings.extend(found)
            if prune_duplicates:
                await prune(run, target, findings)
            await mark(target, run.order.policy, findings, marks)

        try:
            await fleet.each(run.order.targets, compare_one, looks=not prune_duplicates)
        finally:
            places = {target.name: place for place, target in enumerate(run.order.targets)}
            findings.sort(key=lambda finding: places[finding.target])
            run.reasons |= reasons_of(findings)
            run.found.update(finding.kind for finding in findings)
        await fleet.ledger.add_problems([_problem(finding) for finding in findings if _reason(finding)])

    async def compare(manifests: Mapping[str, Manifest]) -> Summary:
        return await session(run, "verify", partial(work, manifests=manifests), makes=False)

    if not run.order.sources:
        return await compare({})
    return await with_manifests(run, compare, stdin=stdin, twice=False)


async def deviations(
    run: Run, target: OpenTarget, manifest: Manifest, problems: LineProblems, found: Sequence[Finding]
) -> list[Finding]:
    """Where the ledger does not have what ``manifest`` defines, or has more. AWS is not asked.

    Args:
        run: of the command; its statistics get the lines and their outcomes.
        target: that the manifest is compared in.
        manifest: of the target.
        problems: of the lines, each to be reported once.
        found: the :func:`differences` of the target. Of what is gone from AWS, or not recorded, nothing more is said.
    """
    reported: list[Problem] = []

    def unreported(these: Sequence[Problem]) -> Sequence[Problem]:
        new = problems.unreported(target.name, these)
        reported.extend(new)
        return new

    statistics = run.statistics[target.name]
    statistics.compares = True
    made = await draft_one(run, target, manifest, target.observer, offline=True, unreported=unreported)
    for refused in prune_refused(made):
        target.observer.problem_found(refused)
        reported.append(refused)
        run.reasons.add(Reason.FAILED)
    await target.ledger.add_problems(reported)
    target.observer.outcome_changed(Outcome.UNCHANGED, count=made.unchanged)
    for one in made.planned:
        target.observer.outcome_changed(one.step.outcome)
    # The definition of what seems to have left the manifest may be one of the lines that cannot be read.
    left = [] if statistics.invalid else _left(made)
    said = {one.name for one in found if one.kind in {"missing", "unrecorded"}}
    findings = [deviation(target.name, one) for one in made.planned]
    return [one for one in [*findings, *left] if one is not None and one.name not in said]


def deviation(target: str, planned: Planned) -> Finding | None:
    """How what is registered deviates from a definition, by the step that ``apply`` would take; None if it does not.

    Whether AWS has the tags that the ledger names, :func:`compare` knows better.
    """
    row, step = planned.row, planned.step
    given_up = any(fact.event is Event.REINSTATE for fact in step.facts)
    entry = None if given_up or step.entry is None or not step.entry.exists else step.entry

    def finding(kind: str, message: str) -> Finding:
        return Finding(kind, target, row.name, entry.arn if entry else "", message, source=row.source, line=row.line)

    if step.action is Action.AMBIGUOUS:
        return finding("unresolved", f"{step.reason}; run `provisioner reconcile`")
    if step.action is Action.FAILED:
        message = f"{step.reason}; `apply --retry-failed` tries again"
        return finding("changed" if entry else "unregistered", message)
    if entry is None:
        what = "it was to be deleted" if given_up else step.reason
        return finding("unregistered", f"{what}; `apply` registers it")
    if step.action is Action.UPDATE and entry.tags_digest != row.tags_digest:
        return finding("changed", "its tags in the manifest differ from those that are registered; `apply` sets them")
    if step.action in {Action.DRIFTED, Action.REPLACE}:
        ways = "`apply` replaces it" if step.action is Action.REPLACE else "`apply --on-change replace` replaces it"
        return finding("changed", f"its definition in the manifest differs from the one that is registered; {ways}")
    return None


def _left(made: Draft) -> list[Finding]:
    """What is registered, and whose definition left the manifest."""
    stay = [Finding("orphaned", made.target, one.name, one.arn, one.reason) for one in made.orphaned]
    pruned = [one for one in made.deletions if one.entry is not None]
    return stay + [
        Finding("orphaned", made.target, one.name, one.arn, f"{one.reason}; `apply` deletes it", due=True)
        for one in pruned
    ]


async def mark(target: OpenTarget, policy: Policy, findings: list[Finding], marks: Marks) -> None:
    """Record in the ledger what ``apply`` is to repair, or what the ledger has lost.

    Args:
        target: in which they were found.
        policy: the rules of the run.
        findings: of :func:`differences`; those of ``target`` that are recorded are replaced by what says so.
        marks: which of them.
    """
    here = [one for one in findings if one.target == target.name]
    # A replacement without a reply may take the place of what is missing: `apply` resolves it.
    open_ = {one.name for one in await _unanswered(target)}
    entries = await target.ledger.look_up(target.name, [one.name for one in here if one.kind in {"missing", "tagged"}])
    now = target.clock.stamp()
    new = {name for name, entry in entries.items() if may_lag(entry.sent, entry.updated_at, now, policy.settle_s)}
    facts: list[Fact] = []
    taken: list[Fact] = []
    after: dict[Finding, Finding] = {}
    if marks.unrecorded and (lost := [one for one in here if one.kind == "unrecorded"]):
        missing = {one.name for one in here if one.kind == "missing"} - new
        taken = await _recovered(target, policy, [one.arn for one in lost], missing)
        arns = {fact.arn for fact in taken}
        after |= {one: _marked(one) for one in lost if one.arn in arns}
    replaced = {fact.name for fact in taken}
    for one in here:
        if marks.missing and one.kind == "missing":
            if one.name in replaced:
                continue
            if one.name in open_:
                after[one] = _with(one, "not marked: its replacement had no reply; run `provisioner reconcile` first")
                continue
            if one.name in new:
                after[one] = _with(one, TOO_NEW)
                continue
            facts.append(Fact(one.target, one.name, Event.DELETE, code=MISSING, message="it is gone from AWS"))
        elif marks.drifted and one.tags:
            # Like a change of tags without a reply: they may be anything, so `apply` reads them and sets what differs.
            facts.append(Fact(one.target, one.name, Event.TAG, code=TAGGING, message="its tags were changed in AWS"))
        elif marks.drifted and one.kind == "tagged" and _may_note(entries[one.name], policy, now):
            facts += _added(entries[one.name])
        else:
            continue
        after[one] = _marked(one)
    await target.ledger.record([*facts, *taken])
    findings[:] = [after.get(one, one) for one in findings]


def _marked(finding: Finding) -> Finding:
    """``finding``, once it is recorded: its message no longer says how to record it."""
    before, after = _NEXT[finding.kind]
    return msgspec.structs.replace(finding, message=finding.message.removesuffix(before) + after, marked=True)


def _may_note(entry: Entry, policy: Policy, now: Stamp) -> bool:
    """Whether it may be recorded that others have added tags: not while an earlier change may still take effect."""
    return entry.code != TAGS_REPEATED or entry.sent is None or entry.sent.age_s(now) >= policy.settle_s


def _added(entry: Entry) -> list[Fact]:
    """What records that others have added tags: for ``apply --own-tags`` alone, so the entry is no drifted one."""
    if entry.code in {TAGGING, TAGS_REFUSED, TAGS_ADDED}:
        return []  # its tags are to be changed anyway, or it is recorded already
    fact = entry.fact(Event.TAG, code=TAGS_ADDED, message="others have added tags to it")
    return [fact, msgspec.structs.replace(fact, event=Event.RESTORE)]


class _Made(msgspec.Struct, frozen=True):
    """The definition of an algorithm that exists, as its ownership tag tells it."""

    name: str
    digest: str
    tags_digest: str
    tag_keys: str = ""


async def _recovered(target: OpenTarget, policy: Policy, arns: Sequence[str], missing: AbstractSet[str]) -> list[Fact]:
    """What ``apply`` would record of the algorithms ``arns`` if the manifest had their definitions.

    Args:
        target: that holds them.
        policy: the rules of the run.
        arns: of algorithms that no entry names.
        missing: names of entries whose own algorithms are gone.
    """
    details = await Inventory(target, policy.ownership_tag).details(arns)
    ours: dict[str, list[Found]] = defaultdict(list)
    for one in sorted(details.found, key=lambda one: one.age_order):
        if one.is_of(target.ledger.ledger_id):
            ours[one.name].append(one)
    entries = await target.ledger.look_up(target.name, list(ours))
    incoming = await target.ledger.incoming(target.name)
    planner = Planner(target.name, policy, target.ledger.ledger_id)
    facts: list[Fact] = []
    for name, found in ours.items():
        kept = current(found)
        made = _Made(name, kept.tag.digest if kept.tag else "", kept.tags_digest)
        seen = Seen(name in missing, tuple(found))
        step = planner.plan(made, Situation(entries.get(name), incoming.get(name), seen))
        facts += step.facts if step.action is Action.RECOVER else ()
    return facts


async def _unanswered(target: OpenTarget) -> list[Entry]:
    """The replacements that were sent and had no reply."""
    return [one for one in (await target.ledger.incoming(target.name)).values() if one.unresolved]


async def differences(target: OpenTarget, ownership_tag: str) -> list[Finding]:
    """What of ``target`` differs between ledger and AWS; all of it is proven by Get."""
    entries = {entry.name: entry async for entry in target.ledger.entries(target=target.name)}
    inventory = Inventory(target, ownership_tag)
    account = await inventory.account()
    recorded = {entry.arn for entry in entries.values() if entry.exists}
    account = await inventory.prove(account, account.untagged | (recorded - account.tagged.keys()))
    older = {version.arn for version in await target.ledger.versions(target.name) if version.reason != DUPLICATE}
    unanswered = {one.attempt for one in await _unanswered(target)}
    while True:
        replacements = {one.arn for one in account.details.found if one.tag and one.tag.attempt in unanswered}
        details = _without(account.details, older | replacements)
        found = compare(target.name, entries, account.listing, details, ledger_id=target.ledger.ledger_id)
        findings = [one for one in found if one.kind != "unrecorded" or not await _is_named(target.ledger, one.arn)]
        if ownership_tag:
            findings += not_ours(entries, details, target.ledger.ledger_id)
        # Tags may be out of date: before anything is reported because of them, Get is asked of it and of its entry.
        doubtful = {finding.arn for finding in findings}
        doubtful |= {entries[finding.name].arn for finding in findings if finding.name in entries}
        unproven = account.tagged.keys() & doubtful
        if not unproven:
            break
        account = await inventory.prove(account, unproven)
    return findings


async def _is_named(ledger: Ledger, arn: str) -> bool:
    """Whether an entry of any target names the algorithm ``arn``: two targets may be one place."""
    for target, name in await ledger.named(arn):
        entry = (await ledger.look_up(target, [name])).get(name)
        if entry is not None and entry.exists and entry.arn == arn:
            return True
    return False


def _without(details: Details, older: set[str]) -> Details:
    """``details`` without older versions and what an unanswered replacement made: the ledger accounts for them."""
    found = tuple(one for one in details.found if one.arn not in older)
    return msgspec.structs.replace(details, found=found) if older else details


def not_ours(entries: dict[str, Entry], details: Details, ledger_id: str) -> list[Finding]:
    """Entries of created algorithms that do not bear this ledger's tag, though a create writes it.

    Where a second create of a name is answered with the ARN of the first, this shows that the reply named somebody
    else's algorithm, which List did not show yet.
    """
    found = {one.arn: one for one in details.found}
    message = "it does not bear this ledger's tag: somebody removed it, or the algorithm is not this ledger's own"
    return [
        Finding("foreign", entry.target, entry.name, entry.arn, message)
        for entry in entries.values()
        if entry.exists and not entry.adopted and entry.arn in found and not found[entry.arn].is_of(ledger_id)
    ]


def compare(
    target: str,
    entries: dict[str, Entry],
    listing: Listing,
    details: Details,
    *,
    ledger_id: str,
) -> list[Finding]:
    """The differences between ``entries`` and AWS. Pure.

    Args:
        target: its name.
        entries: of the target, by name.
        listing: what List shows; that it broke off is a finding of its own.
        details: what is known of every ARN that is listed or in the ledger.
        ledger_id: of this ledger, as in its ownership tags.
    """
    listed = {item.arn for item in listing.items}
    by_arn = {one.arn: one for one in details.found}
    ours: dict[str, list[Found]] = defaultdict(list)
    for one in details.found:
        if one.is_of(ledger_id):
            ours[one.name].append(one)
    findings = []
    for entry in entries.values():
        of_name = ours.pop(entry.name, [])
        gone = listing.complete and entry.arn in details.gone and entry.arn not in listed
        findings += _of_entry(entry, by_arn.get(entry.arn), of_name, gone=gone)
    known = {entry.arn for entry in entries.values() if entry.exists}
    message = f"this ledger created it, and no entry names it; {RECORDED}"
    findings += [
        Finding("unrecorded", target, one.name, one.arn, message)
        for many in ours.values()
        for one in many
        if one.arn not in known
    ]
    if not listing.complete:
        why = f" ({listing.failure})" if listing.failure else ""
        message = f"List broke off{why}, so there may be more algorithms; run `provisioner verify` again"
        findings.append(Finding("unread", target, "", "", message))
    return findings


def _other(finding: Callable[[str, str, str], Finding], entry: Entry, found: Found | None, other: Found) -> Finding:
    """The finding about another algorithm of this ledger under the name of ``entry``, which names ``found``."""
    if found is not None and other.tag and other.tag.digest != entry.digest and other.age_order > found.age_order:
        # A ledger that went back in time does not know that this one has taken the place of the other.
        message = f"it is newer than the one that the ledger names, and of another definition; {RECORDED}"
        return finding("unrecorded", other.arn, message)
    return finding("duplicate", other.arn, f"created a second time; the ledger names {entry.arn}")


def _of_entry(entry: Entry, found: Found | None, ours: list[Found], *, gone: bool) -> list[Finding]:
    def finding(kind: str, arn: str, message: str) -> Finding:
        return Finding(kind, entry.target, entry.name, arn, message)

    if not entry.exists:
        what = "run `provisioner reconcile`, or `apply`" if entry.unresolved else RECORDED
        message = f"the entry is {entry.state}, but its algorithm exists; {what}"
        return [finding("unrecorded", one.arn, message) for one in ours]
    others = [one for one in ours if one.arn != entry.arn]
    if gone:
        # A ledger that went back in time does not know that its algorithm was deleted, and made again.
        message = f"{entry.arn}, which the ledger names, is gone; {RECORDED}"
        findings = [finding("unrecorded", one.arn, message) for one in others]
        message = f"the ledger says created, but it is gone from AWS; {_NEXT['missing'][0]}"
        return [*findings, finding("missing", entry.arn, message)]
    findings = [_other(finding, entry, found, one) for one in others]
    if found is None:
        findings.append(finding("unread", entry.arn, "AWS gave no certain answer; run `provisioner verify` again"))
    elif found.digest != entry.digest:
        findings.append(finding("drifted", entry.arn, "its definition in AWS differs from what the ledger created"))
    elif found.tags_digest != entry.tags_digest:
        kept = {key: value for key, value in found.tags if key in keys_set(entry)}
        added = [key for key, value in found.tags if key not in kept and removable(key, value)]
        if Definition.digest_of_tags(kept) != entry.tags_digest:
            message = f"its tags in AWS differ from what the ledger created; {_NEXT['drifted'][0]}"
            findings.append(msgspec.structs.replace(finding("drifted", entry.arn, message), tags=True))
        elif added:
            message = f"others have added tags to it: {', '.join(added)}; {_NEXT['tagged'][0]}"
            findings.append(finding("tagged", entry.arn, message))
    return findings


async def prune(run: Run, target: OpenTarget, findings: list[Finding]) -> None:
    """Delete the duplicates in ``target``, but nothing that an entry of any target names.

    May be cancelled at any point: each finding is replaced as soon as its delete is answered.
    """
    found = [one for one in findings if one.target == target.name]
    doubtful = {one.name for one in found if one.kind in {"missing", "unread", "drifted"}}
    for one in found:
        if one.kind != "duplicate" or one.name in doubtful:
            continue
        if not await _is_named(target.ledger, one.arn):
            findings[findings.index(one)] = await _deleted(run, target, one)


async def _deleted(run: Run, target: OpenTarget, finding: Finding) -> Finding:
    """Delete the algorithm of ``finding``, after reading it and the kept one again; returns the finding."""
    if why := _ended(run, target) or await _kept(run, target, finding):
        return _with(finding, f"not deleted: {why}")
    version = await _superseded(target, finding)
    ending = Ending(target, run.stop)
    problems = ProblemLog(target.name, target.ledger, target.observer)
    policy = msgspec.structs.replace(run.order.policy, deletes=True)
    if await Deletions(target, policy, ending, problems).delete(version) is Verdict.DONE:
        return msgspec.structs.replace(finding, pruned=True)
    return _with(finding, "it could not be deleted")


async def _superseded(target: OpenTarget, finding: Finding) -> Version:
    """Record why the algorithm of ``finding`` is to be deleted, before anything leaves."""
    ledger = target.ledger
    fact = Fact(finding.target, finding.name, Event.SUPERSEDE, arn=finding.arn, code=DUPLICATE, message=finding.message)
    known = await ledger.versions(target.name, names=[finding.name])
    if all(version.arn != finding.arn for version in known):
        await ledger.record([fact])
        known = await ledger.versions(target.name, names=[finding.name])
    return next(version for version in known if version.arn == finding.arn)


def _with(finding: Finding, more: str) -> Finding:
    return msgspec.structs.replace(finding, message=f"{finding.message}; {more}")


def _ended(run: Run, target: OpenTarget) -> str:
    """Why nothing more may be deleted; "" while it may."""
    if run.stop.requested:
        return "the run was asked to stop"
    return "the target has halted" if run.statistics[target.name].halt else ""


async def _kept(run: Run, target: OpenTarget, finding: Finding) -> str:
    """Why the duplicate must stay; "" if both were just read and are this ledger's under that name."""
    entry = (await target.ledger.look_up(finding.target, [finding.name])).get(finding.name)
    if entry is None or not entry.exists or entry.arn == finding.arn:
        return "the ledger no longer names another algorithm for this entry"
    inventory = Inventory(target, run.order.policy.ownership_tag)
    details = await inventory.details([entry.arn, finding.arn])
    ours = {one.arn for one in details.found if one.name == finding.name and one.is_of(target.ledger.ledger_id)}
    if entry.arn not in ours:
        return f"{entry.arn}, which the ledger names, cannot be read, or this ledger did not create it"
    return "" if finding.arn in ours else "it cannot be read any more"
