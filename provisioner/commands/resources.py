"""The roles, images and keys that a manifest names: makes the calls; ``core/checks.py`` says what the answers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.aws.faces import CallError
from provisioner.core import checks
from provisioner.core.arns import iam_name, part
from provisioner.core.images import read_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.aws.inspection import Caller, Inspection
    from provisioner.core.checks import Check

PULL = ("ecr:BatchGetImage", "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer")
"""What the role of a definition needs to pull an image (AWS Clean Rooms User Guide, roles for custom models)."""


class Resources:
    """Checks what definitions name.

    Args:
        account: where to look.
        caller: whose the credentials are, None if that is not known.
    """

    def __init__(self, account: Inspection, caller: Caller | None) -> None:
        self._account = account
        self._caller = caller

    async def check_role(self, arn: str, pulls: Mapping[str, str]) -> Check:
        """Whether the service and the caller may use a role, and the role may pull an image of each repository.

        Args:
            arn: of the role.
            pulls: repository to image URI.
        """
        if self._caller and part(arn, "account") != self._caller.account_id:
            return checks.foreign_role(arn, self._caller.account_id)
        try:
            found, trust = await self._account.role(iam_name(arn))
        except CallError as error:
            return checks.no_role(arn, error.reply)
        if found != arn:
            return checks.role_elsewhere(arn, found)
        passing = await self._may_pass(arn)
        return checks.role(arn, trust, passing, await self._may_pull(arn, pulls))

    async def check_image(self, uri: str) -> Check:
        """Whether an image is in its registry."""
        image = read_image(uri)
        if image is None:
            return checks.skipped("image", f"{uri}: not in a private registry of Amazon ECR")
        try:
            await self._account.find_image(image)
        except CallError as error:
            return checks.no_image(uri, error.reply)
        return checks.image(uri)

    async def check_key(self, arn: str) -> Check:
        """Whether a KMS key can be used in the target's Region."""
        if part(arn, "region") != self._account.region:
            return checks.key_elsewhere(arn, self._account.region)
        try:
            state = await self._account.key_state(arn)
        except CallError as error:
            return checks.no_key(arn, error.reply)
        return checks.key(arn, state)

    async def _may_pass(self, role: str) -> str:
        """How IAM decides whether the caller may pass ``role``; "" if that cannot be known."""
        if self._caller is None:
            return ""
        principal = self._caller.arn
        if principal.endswith(":root"):
            return "allowed"
        try:
            if ":assumed-role/" in principal:
                # The ARN of a session lacks the path of its role.
                principal, _ = await self._account.role(principal.split("/")[1])
            return (await self._account.simulate(principal, ["iam:PassRole"], role)).get("iam:PassRole", "")
        except CallError:
            return ""

    async def _may_pull(self, role: str, pulls: Mapping[str, str]) -> dict[str, str]:
        """How IAM decides each action of a pull: the worst decision over all repositories, "" if it is not known."""
        worst: dict[str, str] = {}
        partition = part(role, "partition")
        for uri in pulls.values():
            image = read_image(uri)
            if image is None:
                continue
            try:
                decisions = await self._account.simulate(role, PULL, image.repository_arn(partition))
            except CallError:
                decisions = {}
            for action in PULL:
                decision = decisions.get(action, "")
                worst[action] = min(worst.get(action, decision), decision, key=_SEVERITY.index)
        return worst


_SEVERITY = ("explicitDeny", "implicitDeny", "", "allowed")
