"""Algorithms that this ledger created and that no entry names: once found, they are reported until they are gone.

A run finds one by chance: a name has two algorithms, or the one to be deleted is gone and another has its name. The
next run has no reason to look there, and would end with 0 although the algorithm still exists. So the ledger keeps what
was found, and the runs that follow look at it again, at the cost of a Get each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.aws.faces import CallError
from provisioner.core.problem import Problem
from provisioner.engine.inventory import Inventory
from provisioner.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.engine.problems import ProblemLog
    from provisioner.engine.target import OpenTarget
    from provisioner.ledger import Ledger

FAMILY = "strays"
"""The ledger keeps them under this name, beside what pacers learned: the problem of each, by ARN."""
MOST = 100
"""The most that are kept for a target: a Get for each is as many calls as a List of 10,000. `verify` finds all."""
_known = msgspec.json.Decoder(dict[str, Problem])


async def known(ledger: Ledger, target: str) -> dict[str, Problem]:
    """Those that runs have found in ``target``."""
    kept = await ledger.learned(target, FAMILY)
    return _known.decode(kept) if kept else {}


async def keep(ledger: Ledger, target: str, strays: Mapping[str, Problem]) -> None:
    """Replace those that are kept."""
    await ledger.learn(target, FAMILY, msgspec.json.encode(dict(list(strays.items())[:MOST])))


async def left(target: OpenTarget, ownership_tag: str, strays: Mapping[str, Problem]) -> dict[str, Problem]:
    """Those of ``strays`` that may still exist, and that the ledger still does not name. May be cancelled."""
    if not strays:
        return {}
    try:
        details = await Inventory(target, ownership_tag).details(list(strays))
    except (CallError, IntegrityError, ConfigurationError):
        return dict(strays)
    ledger = target.ledger
    there = details.unread | {one.arn for one in details.found if one.is_of(ledger.ledger_id)}
    return {arn: problem for arn, problem in strays.items() if arn in there and not await ledger.named(arn)}


async def report_again(
    target: OpenTarget, ownership_tag: str, problems: ProblemLog, before: Mapping[str, Problem]
) -> None:
    """Report those of ``before``, which were known when the run began, that are left; the others are forgotten.

    May be cancelled at any point.
    """
    if not before:
        return
    still = await left(target, ownership_tag, before)
    await problems.add(list(still.values()))
    now = await known(target.ledger, target.name)
    await keep(target.ledger, target.name, {arn: one for arn, one in now.items() if arn in still or arn not in before})
