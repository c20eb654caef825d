"""``iam-policy``: the least IAM policy for some commands, as the configuration and the ledger confine them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.config.tables import nearest
from provisioner.core.objects import ObjectName, object_name
from provisioner.core.permissions import ADOPTED, NEEDS, OF_ORGANIZATIONS, PRUNE, REPLACE, Action
from provisioner.core.place import real_region
from provisioner.core.roles import SERVICE_PRINCIPAL
from provisioner.errors import UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.config.settings import LifecycleSettings, Settings
    from provisioner.config.target import Target

_OF_ALGORITHMS = (Action.GET, Action.TAG, Action.UNTAG)
"""Actions on one algorithm, which an ARN confines; a create makes its ARN, and a list has none."""
_READ, _WRITE = (Action.GET_OBJECT,), (Action.PUT_OBJECT, Action.ABORT_UPLOAD)
_OBJECT = re.compile(r"(?:(-o|--out|--summary-file|--plan)[\s=]+)?(s3://\S+)")
"""An object in S3 in the text of a command, with the option that names it; without one it is the manifest."""


class Wanted(msgspec.Struct, frozen=True):
    """What the given commands need.

    Attributes:
        actions: all of them, but for those on objects in S3.
        adopted: whether they also delete what a ledger adopted.
        read, written: objects in S3; a key may have wildcards.
    """

    actions: frozenset[Action]
    adopted: bool
    read: frozenset[ObjectName] = frozenset()
    written: frozenset[ObjectName] = frozenset()


def wanted(commands: Sequence[str], lifecycle: LifecycleSettings) -> Wanted:
    """What ``commands`` need, such as ``apply`` or ``verify --prune-duplicates``; the leading word may be left out.

    The manifest is left out too, unless it is in S3: ``apply s3://bucket/key``.

    Args:
        commands: as they are typed.
        lifecycle: what the configuration has deleted without an option.

    Raises:
        UsageError: there is no such command, or no permission depends on an option.
    """
    actions: set[Action] = set()
    options: set[str] = set()
    read, written = set[ObjectName](), set[ObjectName]()
    for text in commands:
        for option, found in _OBJECT.findall(text):
            (read if option in {"", "--plan"} else written).add(object_name(found))
        name, _, rest = (
            _OBJECT.sub("", text).replace("=", " ").strip().removeprefix("provisioner ").strip().partition(" ")
        )
        if name not in NEEDS:
            hint = nearest(name, list(NEEDS), "The commands are {}")
            raise UsageError(f"there is no command {name!r}", hint=hint)
        chosen = {"", *_options(name, " ".join(rest.split())), *_configured(name, lifecycle)}
        options |= chosen
        actions = actions.union(*(NEEDS[name][option] for option in chosen))
    return Wanted(frozenset(actions), ADOPTED in options, frozenset(read), frozenset(written))


def _options(name: str, text: str) -> set[str]:
    """The options in ``text`` that the table has for the command ``name``."""
    known = [option for option in NEEDS[name] if option]
    found = {option for option in known if f" {option} " in f" {text} "}
    for option in found:
        text = f" {text} ".replace(f" {option} ", " ").strip()
    if text:
        hint = f"Give only {', '.join(known)}, in quotes: '{name} {known[0]}'" if known else f"Give only {name!r}"
        raise UsageError(f"no permission of {name!r} depends on {text!r}", hint=hint)
    return found


def _configured(name: str, lifecycle: LifecycleSettings) -> list[str]:
    """The options of the command ``name`` that the configuration sets."""
    configured = {REPLACE: lifecycle.on_change == "replace", PRUNE: lifecycle.prune}
    return [option for option, is_set in configured.items() if is_set and option in NEEDS[name]]


async def ledger_id(settings: Settings) -> str:
    """The id of the ledger; "" while there is none.

    Raises:
        LedgerError: it cannot be read.
    """
    location = locate(settings.run.ledger)
    if not await location.exists():
        return ""
    async with location.read() as ledger:
        return ledger.ledger_id


def policy(need: Wanted, settings: Settings, targets: Iterable[Target], ledger: str) -> dict[str, Any]:
    """The policy document. Pure.

    Args:
        need: what the commands need.
        settings: the key of the ownership tag, and whether Service Quotas and AWS Organizations are asked.
        targets: whose accounts and Regions confine the ARNs, where the configuration states them.
        ledger: id of the ledger that Delete is confined to; "" for those of every ledger.
    """
    actions = need.actions if settings.pace.service_quotas else need.actions - {Action.LIST_QUOTAS}
    places = sorted({(real_region(target.region) or "*", target.account_id or "*") for target in targets})
    kind = "configured-model-algorithm"
    algorithms = [f"arn:aws:cleanrooms-ml:{region}:{account}:{kind}/*" for region, account in places]
    roles = [f"arn:aws:iam::{account}:role/*" for account in sorted({account for _, account in places})]
    of_algorithms = [action for action in _OF_ALGORITHMS if action in actions]
    anywhere = sorted(actions - {*_OF_ALGORITHMS, Action.PASS_ROLE, Action.DELETE})
    passed = {"StringEquals": {"iam:PassedToService": SERVICE_PRINCIPAL}}
    statements = [
        _statement("Account", anywhere, ["*"]),
        _statement("Organizations", _of_organizations(settings) if actions else (), ["*"]),
        _statement("Algorithms", of_algorithms, algorithms),
        _statement("PassRole", [Action.PASS_ROLE] if Action.PASS_ROLE in actions else [], roles, passed),
        _statement(
            "Delete",
            [Action.DELETE] if Action.DELETE in actions else [],
            algorithms,
            _deletable(settings.reconcile.ownership_tag, ledger, adopted=need.adopted),
        ),
        _statement("ReadObjects", _READ if need.read else [], sorted(map(_object_arn, need.read))),
        _statement("WriteObjects", _WRITE if need.written else [], sorted(map(_object_arn, need.written))),
    ]
    return {"Version": "2012-10-17", "Statement": [one for one in statements if one["Action"]]}


def _of_organizations(settings: Settings) -> tuple[Action, ...]:
    organizations = settings.fleet.organizations
    if not organizations.asked:
        return ()
    return (*OF_ORGANIZATIONS, Action.LIST_ACCOUNT_TAGS) if organizations.tags else OF_ORGANIZATIONS


def _object_arn(name: ObjectName) -> str:
    """The ARN of an object, or of one behind an access point."""
    return (
        f"{name.bucket}/object/{name.key}"
        if name.bucket.startswith("arn:")
        else f"arn:aws:s3:::{name.bucket}/{name.key}"
    )


def _deletable(ownership_tag: str, ledger: str, *, adopted: bool) -> dict[str, Any]:
    """The condition that an algorithm has the tag of the ledger. Without a tag there is nothing to hold on to."""
    if not ownership_tag:
        return {}
    key, ours = f"aws:ResourceTag/{ownership_tag}", f"v1/{ledger}/*" if ledger else "v1/*"
    condition = {"StringLike": {key: ours}}
    return condition if adopted else {**condition, "StringNotLike": {key: f"{ours}/adopted-*"}}


def _statement(
    sid: str, actions: Sequence[Action], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": [action.value for action in actions], "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement
