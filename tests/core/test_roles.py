"""Which roles a caller may pass, and the hint when it may not."""

from __future__ import annotations

import pytest

from provisioner.core.roles import managed_policy_passes, pass_role_hint


@pytest.mark.parametrize(
    ("role", "passes"),
    [
        ("cleanrooms-ml", True),
        ("cleanrooms-ml-access", True),
        ("access", False),
        ("Cleanrooms-ML-access", False),
        ("service-role/cleanrooms-ml-access", False),
        ("cleanrooms-ml/access", True),
    ],
)
def test_the_managed_policy_passes_roles_by_what_follows_role(role: str, *, passes: bool) -> None:
    """Its pattern is role/cleanrooms-ml*: case counts, and so does the path of the role."""
    arn = f"arn:aws:iam::123456789012:role/{role}"

    assert managed_policy_passes(arn) is passes
    assert ("AWSCleanRoomsMLFullAccess" in pass_role_hint(arn)) is not passes
    assert arn in pass_role_hint(arn)
