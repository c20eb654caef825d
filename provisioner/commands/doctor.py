"""``doctor``: looks at everything that a run needs, and changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, BinaryIO

import anyio
import anyio.to_thread
import msgspec

from provisioner.commands.examination import Examination, Subject
from provisioner.commands.manifests import manifests_for
from provisioner.core import checks
from provisioner.errors import ProvisionerError, counted
from provisioner.fleet.places import Claims
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.config.settings import Settings
    from provisioner.config.target import Target
    from provisioner.core.checks import Check
    from provisioner.core.pause import Pause
    from provisioner.core.place import Place
    from provisioner.manifest.reader import Manifest

TARGETS_AT_ONCE = 16
"""Each opens up to five clients of the SDK, at 60 to 80 ms of CPU each."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What ``doctor`` is to look at.

    Attributes:
        sources: the manifest's, none to look at the rest only.
        settings: the configuration.
        config: its file, "" for none.
        targets: those that were selected.
        skip: names of checks to leave out.
        embedded: whether all targets use the embedded endpoint.
        stdin: read for ``-``.
        services_url: endpoint of IAM, ECR, KMS and Service Quotas; "" is AWS's own.
        asked: what came of asking AWS Organizations for the targets; None if it was not asked.
    """

    sources: tuple[str, ...]
    settings: Settings
    config: str
    targets: tuple[Target, ...]
    skip: frozenset[str] = frozenset()
    embedded: bool = False
    stdin: BinaryIO | None = None
    services_url: str = ""
    asked: Check | None = None


class Examined(msgspec.Struct, frozen=True):
    """What was found in a target.

    Attributes:
        checks: in their order.
        quota: how many algorithms may exist; None if that was not asked, or is not known.
    """

    checks: list[Check]
    quota: float | None


async def doctor(visit: Visit) -> list[Check]:
    """Make every check of ``visit``: those of the whole run first, then target by target.

    Raises:
        ManifestError: the manifest does not exist or cannot be read.
        ConfigurationError: the defaults of the configuration are wrong.
    """
    manifests = await anyio.to_thread.run_sync(_manifests, visit, abandon_on_cancel=True)
    found = [_configuration(visit)]
    ledger, places, pauses = await _ledger(visit)
    found.append(ledger)
    if visit.asked is not None:
        found.append(visit.asked)
    now = time.time()
    found += [
        checks.paused(target.name, pause)
        for target in visit.targets
        if (pause := pauses.get(target.name)) is not None and pause.until > now
    ]
    examined = await examine(visit, manifests, Claims(places, visit.settings.targets))
    of_run = [check for check in found if check.name not in visit.skip]
    return of_run + [check for target in visit.targets for check in examined[target.name].checks]


async def examine(visit: Visit, manifests: Mapping[str, Manifest], claims: Claims) -> dict[str, Examined]:
    """Make the checks of every target of ``visit``, side by side.

    Args:
        visit: what to look at.
        manifests: by target; what they need is looked at as well.
        claims: the places of all targets.
    """
    by_target: dict[str, Examined] = {}
    limiter = anyio.CapacityLimiter(TARGETS_AT_ONCE)

    async def one(target: Target) -> None:
        async with limiter:
            subject = Subject(
                target=target,
                embedded=visit.embedded,
                manifest=manifests.get(target.name),
                skip=visit.skip,
                read_timeout_s=visit.settings.run.read_timeout_s,
                services_url=visit.services_url,
            )
            examination = Examination(subject, claims)
            by_target[target.name] = Examined(await examination.checks(), examination.quota)

    async with anyio.create_task_group() as group:
        for target in visit.targets:
            group.start_soon(one, target)
    return by_target


def _manifests(visit: Visit) -> dict[str, Manifest]:
    """The manifest by target; none if no source was named."""
    if not visit.sources:
        return {}
    return manifests_for(visit.sources, visit.settings, visit.targets, stdin=visit.stdin)


def _configuration(visit: Visit) -> Check:
    names = [target.name for target in visit.targets]
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")  # noqa: PLR2004  what fits into a line
    number = "target" if len(names) == 1 else f"{len(names)} targets:"
    return checks.ok("configuration", f"{visit.config or 'no file, the defaults'}; {number} {shown}")


async def _ledger(visit: Visit) -> tuple[Check, Mapping[str, Place], Mapping[str, Pause]]:
    """The check of the ledger, the places that it knows, and the pauses."""
    contents = "does not exist yet"
    places: dict[str, Place] = {}
    pauses: dict[str, Pause] = {}
    try:
        location = locate(visit.settings.run.ledger)
        condition = await location.condition([target.name for target in visit.targets])
        if condition.exists:
            async with location.read() as ledger:
                entries = sum(sum(states.values()) for states in (await ledger.counts()).values())
                contents, places = counted(entries, "entry", "entries"), dict(await ledger.places())
                pauses = dict(await ledger.pauses())
    except ProvisionerError as error:
        return checks.failed("ledger", error), places, pauses
    check = checks.ledger(
        location.name,
        contents,
        holder=condition.holder,
        job=condition.job,
        free_bytes=condition.free_bytes,
        storage=condition.storage,
    )
    return check, places, pauses
