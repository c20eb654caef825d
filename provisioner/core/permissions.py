"""Which API operations each command calls, as actions of IAM: the one table behind ``provisioner iam-policy``. Pure."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """An action of IAM. GetCallerIdentity of STS, which an account guard calls, needs none."""

    LIST = "cleanrooms-ml:ListConfiguredModelAlgorithms"
    GET = "cleanrooms-ml:GetConfiguredModelAlgorithm"
    CREATE = "cleanrooms-ml:CreateConfiguredModelAlgorithm"
    TAG = "cleanrooms-ml:TagResource"
    DELETE = "cleanrooms-ml:DeleteConfiguredModelAlgorithm"
    PASS_ROLE = "iam:PassRole"  # noqa: S105  an action, no password
    GET_RESOURCES = "tag:GetResources"
    LIST_QUOTAS = "servicequotas:ListServiceQuotas"
    GET_QUOTA = "servicequotas:GetServiceQuota"


ADOPTED = "--adopted"
"""The option with which a command also deletes what it adopted."""

_NOTHING = frozenset[Action]()
_READ = frozenset({Action.LIST, Action.GET})
_PACED = frozenset({Action.LIST_QUOTAS})
"""Of what opens a target with its rate limiter, where ``[pace] service_quotas`` asks for it."""
_DELETE = frozenset({Action.LIST, Action.GET, Action.GET_RESOURCES, Action.DELETE})

NEEDS: dict[str, dict[str, frozenset[Action]]] = {
    # A create with tags, and every create has the ownership tag, needs the permission to tag.
    "apply": {
        "": _READ | _PACED | {Action.CREATE, Action.TAG, Action.PASS_ROLE},
        "--on-change replace": _DELETE,
        "--prune": _DELETE,
        ADOPTED: _NOTHING,
    },
    "plan": {"": _READ | {Action.GET_RESOURCES}},
    "validate": {"": _NOTHING},
    "verify": {"": _READ | _PACED, "--prune-duplicates": frozenset({Action.DELETE})},
    "adopt": {"": _READ | {Action.TAG}},
    "discover": {"": _READ},
    "destroy": {"": _DELETE, ADOPTED: _NOTHING},
    "forget": {"": _NOTHING},
    "reconcile": {"": _READ | _PACED},
    "rebuild": {"": _READ | _PACED},
    "status": {"": _NOTHING},
    "list": {"": _NOTHING},
    "show": {"": _NOTHING},
    "runs": {"": _NOTHING},
    "export": {"": _NOTHING},
    "ledger": {"": _NOTHING},
    "doctor": {"": frozenset({Action.LIST, Action.GET_QUOTA})},
    "iam-policy": {"": _NOTHING},
    "emulate": {"": _NOTHING},
    "schema": {"": _NOTHING},
}
"""By command and option: what the command always calls is under "", and an option adds its own."""
