"""Roles of definitions: what a role's ARN says of them, and who may pass them to the service. Pure."""

from __future__ import annotations

SERVICE_PRINCIPAL = "cleanrooms-ml.amazonaws.com"
"""Who assumes the role, and so must be trusted by it."""

MANAGED_POLICY = "AWSCleanRoomsMLFullAccess"
PASSED_BY_MANAGED_POLICY = "cleanrooms-ml"
"""What the policy allows to pass is ``arn:aws:iam::*:role/cleanrooms-ml*`` (AWS Managed Policy Reference,
AWSCleanRoomsMLFullAccess, statement PassServiceRole). The path of a role counts, so one in a path is not passed."""


def managed_policy_passes(role_arn: str) -> bool:
    """Whether a caller with the managed policy, and no other, may pass this role."""
    return role_arn.partition(":role/")[2].startswith(PASSED_BY_MANAGED_POLICY)


def pass_role_hint(role_arn: str) -> str:
    """What to do for a caller that may not pass this role."""
    hint = f"Allow iam:PassRole on {role_arn} with iam:PassedToService = {SERVICE_PRINCIPAL}"
    if managed_policy_passes(role_arn):
        return hint
    return f"{hint}: the managed policy {MANAGED_POLICY} passes only roles named {PASSED_BY_MANAGED_POLICY}*"
