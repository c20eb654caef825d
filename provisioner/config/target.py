"""A target of the configuration: a table of its own, or what is made of an account."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.config.texts import (  # noqa: TC001  msgspec reads these types at run time
    AccountId,
    ExternalId,
    Profile,
    Region,
    RoleArn,
    TargetName,
)
from provisioner.config.values import Url, check_endpoint_if_set
from provisioner.core.place import real_region
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from provisioner.config.accounts import Account

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
OWN_VARIABLES = ("account_id", "region", "target", "partition")
"""What templates call the properties of a target."""


def is_variable(name: str) -> bool:
    """Whether a variable of a target may have this name."""
    return bool(_VARIABLE.fullmatch(name)) and name not in OWN_VARIABLES


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[targets.NAME]``: one account + Region, and how to get credentials there.

    Attributes:
        name: name of the table.
        region: "" is the Region of the profile or environment.
        profile: in the AWS configuration files; "" is the usual environment.
        assume_role_arn: role to assume with these credentials.
        external_id: for that role.
        account_id: refuse to run against any other account (calls STS).
        endpoint_url: of Clean Rooms ML; "" is the SDK's own.
        sts_endpoint_url: of STS; "" is the SDK's own.
        tagging_endpoint_url: of the resource groups tagging API; "" is the SDK's own, or none: see :attr:`has_tagging`.
        tags: of your own, for `--target tag:KEY=VALUE`.
        vars: values for templates, by the names that these use.
        defaults: laid under every definition, over the general ``[defaults]``.
        origin: file and line of the account that it was made of; "" for one of the configuration itself.
    """

    name: TargetName = "default"
    region: Region = ""
    profile: Profile = ""
    assume_role_arn: RoleArn = ""
    external_id: ExternalId = ""
    account_id: AccountId = ""
    endpoint_url: Url = ""
    sts_endpoint_url: Url = ""
    tagging_endpoint_url: Url = ""
    tags: dict[str, str] = {}
    vars: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    origin: str = ""

    def __post_init__(self) -> None:
        """Check the endpoints, also those that do not come from a file, and the names of variables."""
        for url in (self.endpoint_url, self.sts_endpoint_url, self.tagging_endpoint_url):
            check_endpoint_if_set(url)
        for name in self.vars:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"vars: {name!r} must consist of letters, digits and underscores")
            if name in OWN_VARIABLES:
                raise ValueError(f"vars: {name!r} is reserved for a property of the target itself; rename it")

    @property
    def has_tagging(self) -> bool:
        """Whether the tagging API is called: beside an endpoint of one's own only where it has one, too."""
        return not self.endpoint_url or bool(self.tagging_endpoint_url)


def target_of(account: Account, region: str) -> Target:
    """The target of an account in a Region.

    Raises:
        ConfigurationError: the account has what no target may have.
    """
    try:
        return Target(
            name=account.target_name(region),
            region=region,
            profile=account.profile,
            assume_role_arn=account.role_arn(region),
            external_id=account.external_id,
            account_id=account.account_id,
            tags=account.tags,
            vars=account.vars,
            origin=account.origin,
        )
    except ValueError as error:
        raise ConfigurationError(str(error), where=account.origin) from error


def place_of(target: Target) -> tuple[str, str, str]:
    """Where a target is: no two targets are in one place."""
    return target.account_id, real_region(target.region), target.endpoint_url


def refuse_twin(target: Target, other: Target | None) -> None:
    """Refuse a target of an account that is there already, by its place or its name.

    Raises:
        ConfigurationError: it is.
    """
    if other is None:
        return
    first = other.origin or f"[targets.{other.name}]"
    if place_of(other) == place_of(target):
        what = f"account {target.account_id} occurs twice in {target.region}"
        hint = "Remove one of them: two targets in one account and Region would create everything twice"
    else:
        what, hint = f"two accounts make a target {target.name!r}", "Give one of the accounts another name"
    raise ConfigurationError(what, where=target.origin, why=f"the first is in {first}", hint=hint)
