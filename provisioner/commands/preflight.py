"""``plan --preflight``: what ``doctor`` checks of a manifest's definitions, before they are planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.commands.doctor import Examined, Visit, examine
from provisioner.core.checks import NAMES
from provisioner.fleet.places import Claims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.commands.run import Run
    from provisioner.manifest.reader import Manifest

CHECKS = frozenset({"quota", "role", "image", "key"})
"""The others are made by planning itself."""


async def look_first(run: Run, manifests: Mapping[str, Manifest], *, services_url: str = "") -> dict[str, Examined]:
    """Check the roles, images and keys of ``manifests``, and ask for the quota, by target.

    A missing permission to look is no failure.

    Args:
        run: with the targets.
        manifests: by target.
        services_url: endpoint of IAM, ECR, KMS and Service Quotas; "" is AWS's own.
    """
    order = run.order
    visit = Visit(
        sources=order.sources,
        settings=order.settings,
        config="",
        targets=order.targets,
        skip=frozenset(NAMES) - CHECKS,
        embedded=order.embedded,
        services_url=services_url,
    )
    for observer in run.observers.values():
        observer.waiting_began("checking roles, images and keys", 0.0)
    try:
        return await examine(visit, manifests, Claims({}, order.settings.targets))
    finally:
        for observer in run.observers.values():
            observer.waiting_ended()
