"""The checks of ``doctor``: what each answer means for a run. Pure.

A check fails where a run would not end with 0 for that reason, and where it could create only what cannot be used: AWS
does not document whether a create looks at the image, the role's trust and the key. What merely looks wrong is a
warning, and what could not be looked at is skipped, with the permission that was missing.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.core.pause import resume_hint
from provisioner.core.roles import (
    MANAGED_POLICY,
    PASSED_BY_MANAGED_POLICY,
    SERVICE_PRINCIPAL,
    managed_policy_passes,
    pass_role_hint,
)
from provisioner.core.verdict import Loss, Reply, Verdict, is_denial, judge, reason_of
from provisioner.errors import ProvisionerError, Reason, counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.core.pause import Pause

NAMES = (
    "configuration",
    "ledger",
    "organizations",
    "credentials",
    "account",
    "place",
    "region",
    "clock",
    "list",
    "tagging",
    "manifest",
    "quota",
    "role",
    "image",
    "key",
)
"""Every check, in the order of the report."""


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a run needs.

    Attributes:
        name: one of :data:`NAMES`.
        status: see :class:`Status`.
        message: what was found.
        hint: what to do about it, "" for nothing.
        target: whose, "" for the whole run.
        reason: why a run would not end with 0; of failed checks only.
    """

    name: str
    status: Status
    message: str
    hint: str = ""
    target: str = ""
    reason: Reason | None = None


def ok(name: str, message: str) -> Check:
    """A check that passed."""
    return Check(name=name, status=Status.OK, message=message)


def warn(name: str, message: str, hint: str = "") -> Check:
    """A check that found something odd, which does not stop a run."""
    return Check(name=name, status=Status.WARN, message=message, hint=hint)


def fail(name: str, reason: Reason, message: str, hint: str = "") -> Check:
    """A check that found why a run would not end with 0."""
    return Check(name=name, status=Status.FAIL, message=message, hint=hint, reason=reason)


def failed(name: str, error: ProvisionerError) -> Check:
    """A check that ended with the error that a run would end with."""
    message = str(ProvisionerError(error.what, where=error.where, why=error.why))
    return fail(name, error.reason, message, error.hint)


def skipped(name: str, message: str, hint: str = "") -> Check:
    """A check that could not be made."""
    return Check(name=name, status=Status.SKIPPED, message=message, hint=hint)


def unanswered(name: str, what: str, permission: str, reply: Reply) -> Check:
    """A check whose call failed: without the permission it is skipped, and any other failure is worth a look."""
    if is_denial(reply.code):
        return skipped(name, f"{what}: not checked, {permission} is missing", f"Allow {permission} to have it checked")
    return warn(name, f"{what}: not checked, {reply}", f"Check that the service of {permission} is reachable")


MIB = 1 << 20
LITTLE_BYTES = 64 * MIB
"""A new ledger of 100,000 entries takes 60 MiB, with its log."""
NOTHING_BYTES = MIB
"""Below this a run cannot commit a batch of intents."""


def paused(target: str, pause: Pause) -> Check:
    """A target to which a run would send nothing."""
    check = fail("ledger", Reason.UNFINISHED, f"paused {pause.text}", resume_hint(target))
    return msgspec.structs.replace(check, target=target)


def ledger(name: str, contents: str, *, holder: str, free_bytes: int | None, storage: str, job: str = "") -> Check:
    """The ledger ``name``, which can be opened and written.

    Args:
        name: of the ledger.
        contents: what it holds, for people.
        holder: the run that holds its lease, "" for none.
        free_bytes: free space where it is kept, None if unknown.
        storage: the file system, "" if unknown.
        job: of which the holder is a worker, "" for none.
    """
    if job:
        hint = "`apply` with the same manifest and options joins it; others end with 6, or wait with --lock-timeout"
        return warn("ledger", f"{name}: a job is under way: {holder}", hint)
    if holder:
        hint = "Run again when it has ended, or end it"
        return fail("ledger", Reason.LOCKED, f"{name}: another run holds it: {holder}", hint)
    free = "" if free_bytes is None else f", {free_bytes / MIB:,.0f} MiB free"
    message = f"{name}: {contents}, no run holds it{free}{f' on {storage}' if storage else ''}"
    if free_bytes is not None and free_bytes < LITTLE_BYTES:
        hint = "Free some space, or name a ledger on another disk with --ledger"
        return (
            fail("ledger", Reason.LEDGER, message, hint)
            if free_bytes < NOTHING_BYTES
            else warn("ledger", message, hint)
        )
    return ok("ledger", message)


SHORT_S = 15 * 60.0
"""The SDK renews credentials that it can renew before they have less than this (botocore, advisory refresh)."""


def organizations(accounts: int, inactive: int, failure: str) -> Check:
    """What AWS Organizations answered, or why an earlier answer has to do."""
    skipped = f"; {counted(inactive, 'account', 'accounts')} not active, so left out" if inactive else ""
    answer = f"{counted(accounts, 'account', 'accounts')}{skipped}"
    if failure:
        return warn("organizations", f"out of reach ({failure}); a run would go on with its last answer: {answer}")
    return ok("organizations", answer)


def credentials(origin: str, *, temporary: bool, left_s: float) -> Check:
    """Credentials that were found.

    Args:
        origin: where the SDK found them.
        temporary: whether they expire.
        left_s: seconds until they do, infinite if unknown or never.
    """
    found = f"found by the SDK ({origin})"
    if math.isinf(left_s):
        return ok("credentials", f"{found}, {'temporary, expiry unknown' if temporary else 'they do not expire'}")
    message = f"{found}, they expire in {left_s / 60:.0f} min"
    if left_s < SHORT_S:
        return warn("credentials", message, "A run longer than that needs fresh ones: renew them first")
    return ok("credentials", message)


def account(account_id: str, arn: str, configured: str) -> Check:
    """The account of the caller ``arn``, against the ``configured`` one, "" for none."""
    caller = f"{account_id}, {arn}"
    if not configured:
        return ok("account", f"{caller}; the configuration has no account_id to compare it with")
    if account_id != configured:
        message = f"the credentials belong to account {account_id}, the configuration says {configured}"
        return fail("account", Reason.DENIED, message, "Use credentials of that account, or correct account_id")
    return ok("account", f"{caller}, as configured")


def no_account(reply: Reply, *, guarded: bool) -> Check:
    """STS did not tell the account; a run asks it only where the account is ``guarded``."""
    what = f"the account is not known: {reply}"
    if reply.concerns_credentials:
        hint = "The credentials are refused: renew them, and check this machine's clock"
        return fail("account", Reason.DENIED, what, hint)
    if not guarded:
        return warn("account", what, "A run needs STS only where account_id or a role is configured")
    return fail("account", reason_of(reply), what, "Check the network and any proxy, then run again")


def region(name: str, notices: tuple[str, ...], reply: Reply | None) -> Check:
    """The Region ``name``, with what is odd about it, and the reply to List if that failed."""
    if reply is not None and reply.loss is Loss.NO_SUCH_HOST:
        message = f"Clean Rooms ML has no host in {name}: {reply}"
        return fail("region", Reason.CONFIGURATION, message, f"Check the Region. {' '.join(notices)}".strip())
    if notices:
        return warn("region", notices[0], "It may be newer than this version; `list` shows whether the service answers")
    return ok("region", name)


SKEW_WARN_S = 60.0
"""From here on a run has to correct its signatures. The service accepts 300 s (AWS General Reference, SigV4)."""


def clock(ahead_s: float | None) -> Check:
    """This machine's clock, so many seconds ahead of the server's; None if no reply told."""
    if ahead_s is None:
        return skipped("clock", "no reply had the server's time")
    message = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's"
    if abs(ahead_s) > SKEW_WARN_S:
        refusal = "AWS refuses signatures that are 5 min off, and a run has to correct each one"
        hint = f"Synchronize it with a time server: {refusal}"
        return warn("clock", message, hint)
    # The Date header has whole seconds.
    return ok("clock", message if abs(ahead_s) > 2 else "agrees with the server's")  # noqa: PLR2004  see above


_RENEW = "Renew the credentials, and check this machine's clock"
_WAIT_FOR_OTHERS = "Other clients use up the account's rate; a run waits for its turn"


def listing(held: int, *, complete: bool) -> Check:
    """List answered, with so many algorithms; ``complete`` if every page was read."""
    number = counted(held, "algorithm", "algorithms")
    return ok("list", number if complete else f"answers; the first page has {number}")


def no_listing(reply: Reply) -> Check:
    """List failed."""
    what = f"List failed: {reply}"
    if reply.is_hopeless:
        hint = "Check the Region, the endpoint URL, certificates and any proxy in between"
        return fail("list", Reason.CONFIGURATION, what, hint)
    verdict = judge(reply)
    if verdict is Verdict.DENIED:
        hint = "Allow cleanrooms-ml:ListConfiguredModelAlgorithms"
        if reply.concerns_credentials:
            hint = _RENEW
        return fail("list", Reason.DENIED, what, hint)
    if verdict is Verdict.THROTTLED:
        return warn("list", what, _WAIT_FOR_OTHERS)
    return fail("list", Reason.UNFINISHED, what, "Check the network and any proxy, then run again")


def tagging() -> Check:
    """GetResources answered."""
    return ok("tagging", "GetResources answers")


def no_tagging(reply: Reply) -> Check:
    """GetResources failed. No run needs it: what it would have shown is read with Get."""
    what = f"GetResources failed: {reply}"
    if judge(reply) is Verdict.THROTTLED:
        return warn("tagging", what, _WAIT_FOR_OTHERS)
    hint = "Check that the endpoint of the resource groups tagging API is reachable"
    if is_denial(reply.code):
        hint = "Allow tag:GetResources to save them"
    elif reply.concerns_credentials:
        hint = _RENEW
    cost = "so verify and rebuild call Get for each algorithm, a hundred calls in place of one"
    return warn("tagging", f"{what}; {cost}", hint)


def manifest(valid: int, invalid: int) -> Check:
    """A manifest with so many valid and invalid lines."""
    message = counted(valid, "definition", "definitions")
    if invalid:
        hint = "`provisioner validate` reports every problem"
        return fail("manifest", Reason.INVALID, f"{message}, {counted(invalid, 'invalid line', 'invalid lines')}", hint)
    return ok("manifest", message)


class Demand(msgspec.Struct, frozen=True):
    """What a quota has to hold.

    Attributes:
        held: algorithms that exist.
        wanted: those that a run would create; None without a manifest.
    """

    held: int
    wanted: int | None


def quota(value: float, demand: Demand, *, region: str, profile: str) -> Check:
    """The quota of algorithms against ``demand``; the command to raise it is for ``region`` and ``profile``."""
    left = max(0, int(value) - demand.held)
    message = f"{demand.held} of {value:g} algorithms exist, room for {left}"
    if demand.wanted is not None:
        message += f", {demand.wanted} to create"
    needed = demand.held + max(demand.wanted or 0, 1)
    if needed <= value:
        return ok("quota", message)
    command = (
        "aws service-quotas request-service-quota-increase --service-code cleanrooms-ml --quota-code L-CDB92F4A"
        f" --desired-value {_round(needed)} --region {region}{f' --profile {profile}' if profile else ''}"
    )
    if demand.wanted is None:
        return warn("quota", message, f"Raise it before something is to be created: {command}")
    return fail("quota", Reason.QUOTA, message, command) if demand.wanted else ok("quota", message)


def quota_alone(value: float) -> Check:
    """The quota of algorithms, where what exists was not counted."""
    return ok("quota", f"{value:g} algorithms may exist")


def no_quota(reply: Reply) -> Check:
    """Service Quotas did not tell the quota."""
    return unanswered("quota", "the quota of algorithms", "servicequotas:GetServiceQuota", reply)


def _round(number: int) -> int:
    """The next full hundred, so that the next few definitions need no other request."""
    return -(-number // 100) * 100


_NOT_PASSED = f"the managed policy {MANAGED_POLICY} passes only roles named {PASSED_BY_MANAGED_POLICY}*"


def foreign_role(arn: str, account_id: str) -> Check:
    """A role of another account than the caller's: iam:PassRole never reaches it (IAM User Guide, "Pass a role")."""
    hint = "Use a role of the account that registers the algorithm"
    return fail("role", Reason.DENIED, f"{arn}: not a role of account {account_id}, so it cannot be passed", hint)


def role_elsewhere(arn: str, found: str) -> Check:
    """A role of that name has another path."""
    message = f"{arn}: there is no such role; {found} has its name and another path"
    return fail("role", Reason.FAILED, message, "Correct roleArn")


def no_role(arn: str, reply: Reply) -> Check:
    """IAM did not describe the role."""
    if reply.code == "NoSuchEntity":
        return fail("role", Reason.FAILED, f"{arn}: there is no such role", "Create it, or correct roleArn")
    check = unanswered("role", arn, "iam:GetRole", reply)
    if managed_policy_passes(arn):
        return check
    return msgspec.structs.replace(check, message=f"{check.message}; {_NOT_PASSED}")


def role(arn: str, trust: Mapping[str, Any], passing: str, pulling: Mapping[str, str]) -> Check:
    """A role that exists.

    Args:
        arn: of the role.
        trust: its trust policy.
        passing: how IAM decides whether the caller may pass it, "" if that is not known.
        pulling: how IAM decides each action on images that the role was simulated for, "" for one that is not known.
    """
    if not trusts_service(trust):
        hint = f"Allow {SERVICE_PRINCIPAL} the action sts:AssumeRole in its trust policy"
        return fail("role", Reason.FAILED, f"{arn}: does not trust {SERVICE_PRINCIPAL}", hint)
    if passing and passing != "allowed":
        return fail("role", Reason.DENIED, f"{arn}: the caller may not pass it ({passing})", pass_role_hint(arn))
    explicit = [action for action, decision in pulling.items() if decision == "explicitDeny"]
    if explicit:
        message = f"{arn}: its policies deny {', '.join(explicit)}"
        return fail("role", Reason.FAILED, message, "Remove the deny: the service pulls the image with this role")
    implicit = [action for action, decision in pulling.items() if decision not in {"allowed", ""}]
    if implicit:
        hint = f"Allow {', '.join(implicit)} on the repository, unless the repository's own policy allows this role"
        return warn("role", f"{arn}: its policies do not allow {', '.join(implicit)}", hint)
    return _usable(arn, passing, pulling)


def _usable(arn: str, passing: str, pulling: Mapping[str, str]) -> Check:
    if not passing and not managed_policy_passes(arn):
        message = f"{arn}: trusts the service; whether the caller may pass it is not known, and {_NOT_PASSED}"
        return warn("role", message, f"Allow iam:SimulatePrincipalPolicy to have it checked. {pass_role_hint(arn)}")
    unknown = [*["iam:PassRole"] * (not passing), *(action for action, decision in pulling.items() if not decision)]
    proven = "trusts the service"
    if passing:
        proven += ", may be passed"
    if pulling and all(pulling.values()):
        proven += ", may pull the images"
    hint = f"Allow iam:SimulatePrincipalPolicy to have {', '.join(unknown)} checked" if unknown else ""
    return Check(name="role", status=Status.OK, message=f"{arn}: {proven}", hint=hint)


def trusts_service(policy: Mapping[str, Any]) -> bool:
    """Whether a trust policy lets Clean Rooms ML assume the role. Conditions are taken to hold."""
    statements = _several(policy.get("Statement"))
    about = [one for one in statements if isinstance(one, dict) and _is_about_service(one)]
    effects = {one.get("Effect") for one in about if one.get("Effect") == "Allow" or not one.get("Condition")}
    return "Allow" in effects and "Deny" not in effects


def _is_about_service(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    services = _several(principal.get("Service")) if isinstance(principal, dict) else _several(principal)
    actions = {str(action).lower() for action in _several(statement.get("Action"))}
    return bool({SERVICE_PRINCIPAL, "*"} & set(services)) and bool(actions & {"sts:assumerole", "sts:*", "*"})


def _several(value: object) -> list[Any]:
    """What a policy may write as one or as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def image(uri: str) -> Check:
    """An image that is in its registry."""
    return ok("image", f"{uri}: exists")


def no_image(uri: str, reply: Reply) -> Check:
    """The registry did not show the image."""
    if reply.code in {"RepositoryNotFoundException", "ImageNotFoundException"}:
        what = "repository" if reply.code.startswith("Repository") else "image"
        return fail("image", Reason.FAILED, f"{uri}: there is no such {what}", "Push it, or correct imageUri")
    return unanswered("image", uri, "ecr:DescribeImages", reply)


def key_elsewhere(arn: str, region: str) -> Check:
    """A KMS key of another Region than the target's."""
    hint = f"Use a key in {region}"
    return fail("key", Reason.FAILED, f"{arn}: not in the target's Region {region}", hint)


def key(arn: str, state: str) -> Check:
    """A KMS key in ``state``."""
    if state == "Enabled":
        return ok("key", f"{arn}: enabled")
    return fail("key", Reason.FAILED, f"{arn}: its state is {state}", "Enable it, or use another key")


def no_key(arn: str, reply: Reply) -> Check:
    """KMS did not describe the key."""
    if reply.code == "NotFoundException":
        return fail("key", Reason.FAILED, f"{arn}: there is no such key", "Create it, or correct kmsKeyArn")
    return unanswered("key", arn, "kms:DescribeKey", reply)
