"""Which API operations each command calls, as actions of IAM: the one table behind ``provisioner iam-policy``. Pure."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """An action of IAM. GetCallerIdentity of STS, which an account guard calls, needs none."""

    LIST = "cleanrooms-ml:ListConfiguredModelAlgorithms"
    GET = "cleanrooms-ml:GetConfiguredModelAlgorithm"
    CREATE = "cleanrooms-ml:CreateConfiguredModelAlgorithm"
    TAG = "cleanrooms-ml:TagResource"
    UNTAG = "cleanrooms-ml:UntagResource"
    DELETE = "cleanrooms-ml:DeleteConfiguredModelAlgorithm"
    PASS_ROLE = "iam:PassRole"  # noqa: S105  an action, no password
    GET_RESOURCES = "tag:GetResources"
    LIST_QUOTAS = "servicequotas:ListServiceQuotas"
    GET_QUOTA = "servicequotas:GetServiceQuota"
    GET_DEFAULT_QUOTA = "servicequotas:GetAWSDefaultServiceQuota"
    GET_ROLE = "iam:GetRole"
    SIMULATE = "iam:SimulatePrincipalPolicy"
    DESCRIBE_IMAGES = "ecr:DescribeImages"
    DESCRIBE_KEY = "kms:DescribeKey"
    GET_OBJECT = "s3:GetObject"
    PUT_OBJECT = "s3:PutObject"
    ABORT_UPLOAD = "s3:AbortMultipartUpload"
    LIST_ACCOUNTS = "organizations:ListAccountsForParent"
    LIST_UNITS = "organizations:ListOrganizationalUnitsForParent"
    DESCRIBE_ACCOUNT = "organizations:DescribeAccount"
    LIST_ACCOUNT_TAGS = "organizations:ListTagsForResource"


REPLACE, PRUNE = "--on-change replace", "--prune"
"""The options with which a command deletes; the configuration may ask for the same."""
ADOPTED = "--adopted"
"""The option with which a command also deletes what it adopted."""

PREFLIGHT = "--preflight"
"""The option with which ``plan`` looks at what ``doctor`` looks at."""

MANIFEST = "MANIFEST"
"""What stands for the manifest of a command that needs more with one."""

OF_ORGANIZATIONS = (Action.LIST_ACCOUNTS, Action.LIST_UNITS, Action.DESCRIBE_ACCOUNT)
"""What a command that opens targets calls where the configuration takes them from AWS Organizations; with their tags,
it calls ``LIST_ACCOUNT_TAGS``, too."""

_NOTHING = frozenset[Action]()
_READ = frozenset({Action.LIST, Action.GET, Action.LIST_QUOTAS})
"""Of what opens a target and reads it; Service Quotas is asked only where ``[pace] service_quotas`` says so."""
_DELETE = frozenset({Action.DELETE})
_GET_QUOTA = frozenset({Action.GET_QUOTA, Action.GET_DEFAULT_QUOTA})
_LOOK_CLOSELY = _GET_QUOTA | {Action.GET_ROLE, Action.SIMULATE, Action.DESCRIBE_IMAGES, Action.DESCRIBE_KEY}

NEEDS: dict[str, dict[str, frozenset[Action]]] = {
    # A create with tags, and every create has the ownership tag, needs the permission to tag.
    "apply": {
        "": _READ | {Action.CREATE, Action.TAG, Action.UNTAG, Action.PASS_ROLE},
        REPLACE: _DELETE,
        PRUNE: _DELETE,
        ADOPTED: _NOTHING,
    },
    "plan": {"": _READ, PREFLIGHT: _LOOK_CLOSELY},
    "adopt": {"": _READ | {Action.TAG, Action.UNTAG}},
    "destroy": {"": _READ | _DELETE, ADOPTED: _NOTHING},
    "forget": {"": _NOTHING},
    "validate": {"": _NOTHING},
    "status": {"": _NOTHING},
    "list": {"": _NOTHING},
    "show": {"": _NOTHING},
    "runs": {"": _NOTHING},
    "report": {"": _NOTHING},
    "export": {"": _NOTHING},
    "reconcile": {"": _READ},
    "pause": {"": _NOTHING},
    "resume": {"": _NOTHING},
    "verify": {"": _READ | {Action.GET_RESOURCES}, "--prune-duplicates": _DELETE},
    "rebuild": {"": _READ | {Action.GET_RESOURCES}},
    "discover": {"": _READ},
    "doctor": {"": _GET_QUOTA | {Action.LIST, Action.GET_RESOURCES}, MANIFEST: _LOOK_CLOSELY - _GET_QUOTA},
    "ledger": {"": _NOTHING},
    "iam-policy": {"": _NOTHING},
    "config": {"": _NOTHING},
    "explain": {"": _NOTHING},
    "version": {"": _NOTHING},
    "completion": {"": _NOTHING},
    "emulate": {"": _NOTHING},
    "schema": {"": _NOTHING},
}
"""By command and option: what the command always calls is under "", and an option adds its own."""
