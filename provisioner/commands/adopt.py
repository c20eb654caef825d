"""``adopt``: takes over existing algorithms that the manifest names; creates, changes and deletes nothing else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from provisioner.commands.drafts import draft
from provisioner.commands.manifests import selected
from provisioner.commands.session import session, with_manifests
from provisioner.core.planner import TAGGING, TAGS_REFUSED, Action
from provisioner.engine.engine import Engine
from provisioner.engine.problems import ProblemLog
from provisioner.errors import Reason

if TYPE_CHECKING:
    from typing import BinaryIO

    from provisioner.commands.drafts import Draft
    from provisioner.commands.run import Run
    from provisioner.core.planner import Step
    from provisioner.engine.target import OpenTarget
    from provisioner.fleet.fleet import Fleet
    from provisioner.manifest.reader import Manifest
    from provisioner.report.summary import Summary

TAKEN = frozenset({Action.ADOPT, Action.RECOVER})


class Refused(msgspec.Struct, frozen=True):
    """A definition whose name belongs to an algorithm that is not taken over.

    Attributes:
        target, name, source, line: of the definition.
        code, message: why it is not.
        arn: of the algorithm; the message has all of them if there are several.
    """

    target: str
    name: str
    source: str
    line: int
    code: str
    message: str
    arn: str


class NotTaken(msgspec.Struct):
    """What was not taken over.

    Attributes:
        absent: how many definitions have no algorithm.
        refused: those whose algorithm may not be taken over.
    """

    absent: int = 0
    refused: list[Refused] = []


async def adopt(run: Run, left: NotTaken, *, stdin: BinaryIO | None = None) -> Summary:
    """Take over what the account has under the names of the manifest, as the policy allows, and tag it.

    What another ledger created, what differs, and what has no algorithm stays as it is; of two algorithms of one name
    that no ledger created neither is guessed.

    Args:
        run: whose policy says what may be adopted.
        left: gets what is not taken over.
        stdin: read for ``-``.
    """

    async def write(manifests: dict[str, Manifest]) -> Summary:
        return await session(run, "adopt", partial(carry_out, run, manifests=manifests, left=left))

    return await with_manifests(run, write, stdin=stdin, twice=True)


async def carry_out(run: Run, fleet: Fleet, manifests: dict[str, Manifest], left: NotTaken) -> None:
    """Do that with the ledger and the targets of ``fleet``; see :func:`adopt`."""
    manifests = await selected(manifests, fleet.ledger, run)
    drafts = await draft(run, fleet, manifests)

    async def take(target: OpenTarget) -> None:
        made = drafts[target.name]
        left.absent += sum(one.step.action in {Action.CREATE, Action.RECREATE} for one in made.planned)
        left.refused += await _take(run, target, manifests[target.name], made)

    await fleet.each([target for target in run.order.targets if target.name in drafts], take)


def _is_to_take(step: Step) -> bool:
    """Whether ``step`` takes something over, or goes on with that where a run ended before it was tagged."""
    unfinished = step.entry is not None and step.entry.adopted and step.entry.code in {TAGGING, TAGS_REFUSED}
    return step.action in TAKEN or step.found is not None or unfinished


async def _take(run: Run, target: OpenTarget, manifest: Manifest, made: Draft) -> list[Refused]:
    """Take over what may be; returns what may not."""
    names = {one.row.name for one in made.planned if _is_to_take(one.step)}
    conflicts = [one for one in made.planned if one.step.action is Action.CONFLICT]
    taken = names - {one.row.name for one in conflicts}
    problems = ProblemLog(target.name, target.ledger, target.observer)
    await problems.add_rows([(one.row, one.step.code, one.step.reason) for one in conflicts])
    if conflicts:
        run.reasons.add(Reason.FAILED)
    engine = Engine(target, run.order.policy, run.stop, workers=1, contents=made.contents)
    await engine.run(manifest.only(taken))
    return [
        Refused(
            target=target.name,
            name=one.row.name,
            source=one.row.source,
            line=one.row.line,
            code=one.step.code,
            message=one.step.reason,
            arn=one.step.found.arn if one.step.found else "",
        )
        for one in conflicts
    ]
