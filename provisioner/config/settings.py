"""The configuration: frozen values, loaded from TOML and checked once, before anything else happens.

Options override the file, and the file overrides the defaults below. A relative path in the file is relative to the
file. Unknown keys are errors that name the nearest known key, so that a misspelt safety setting never goes unnoticed.
"""

from __future__ import annotations

import math
import os
import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from provisioner.config.accounts import read_accounts
from provisioner.config.choice import select
from provisioner.config.tables import struct_of
from provisioner.config.target import Target, place_of, refuse_twin, target_of
from provisioner.config.texts import Regions, RoleName, check_account_ids, check_members, check_units, text
from provisioner.config.toml_file import tables_of
from provisioner.config.values import (
    MAX_RATE,
    Duration,
    Key,
    OptionalDuration,
    Rate,
    Share,
    TimeOfDay,
    Url,
    check_endpoint_if_set,
    seconds,
)
from provisioner.core.hours import share_at
from provisioner.core.ledger_names import NO_PATH
from provisioner.core.shard import PATTERN, SAYS, shard_of
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.config.accounts import Account
    from provisioner.core.shard import Shard

Names = Literal["unknown", "unique", "duplicates", "same"]
Adopt = Literal["never", "same", "any"]
OnChange = Literal["fail", "replace"]
ReplaceOrder = Literal["create-first", "delete-first"]
ADOPT: Adopt = "same"
"""What ``apply`` does with an algorithm of the same name that is not ours, unless `--adopt` says otherwise."""

TEMPLATES = "templates"
"""The key of ``[defaults]`` that makes the strings of defaults and definitions templates."""
_A_BOUND = 'a number of targets in quotes, such as "10", or a share such as "5%"'


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class RunSettings(Section, frozen=True, kw_only=True):
    """``[run]``: the ledger and the bounds of a run.

    Attributes:
        ledger: path of the ledger, or the URL of a PostgreSQL database.
        max_in_flight: most creates in flight, for each target.
        deadline: drain and stop after this long, a duration; "" is never.
        read_timeout: how long to wait for a response. At most 23 s, so that a drain ends within 25 s.
    """

    ledger: str = "ledger.db"
    max_in_flight: Annotated[int, Meta(ge=1, le=4096)] = 256
    deadline: OptionalDuration = ""
    read_timeout: Duration = "20s"

    def __post_init__(self) -> None:
        """Check durations and ranges."""
        if self.deadline:
            seconds(self.deadline)
        if not 0 < seconds(self.read_timeout) <= 23:  # noqa: PLR2004  a drain must end within 25 s
            raise ValueError("read_timeout must be more than 0s and at most 23s, so that a run can stop within 25 s")

    @property
    def deadline_s(self) -> float | None:
        """Seconds after which a run drains; None is never."""
        return seconds(self.deadline) if self.deadline else None

    @property
    def read_timeout_s(self) -> float:
        """Seconds to wait for a response."""
        return seconds(self.read_timeout)


class PaceSettings(Section, frozen=True, kw_only=True):
    """``[pace]``: creates per second, for each target.

    Attributes:
        initial_rate: until the account's limit is learned.
        max_rate: never more than this; 0 is no limit.
        share: fraction of the learned limit to use, to leave room for other clients of the account.
        hours: the share by local time of day, each from its time to the next; in place of share.
        service_quotas: ask Service Quotas for the initial rate, where nothing is learned yet.
    """

    initial_rate: Annotated[float, Meta(gt=0, le=MAX_RATE)] = 5.0
    max_rate: Rate = 0.0
    share: Share = 1.0
    hours: dict[TimeOfDay, Share] = {}
    service_quotas: bool = False

    def __post_init__(self) -> None:
        """One of two rules has to apply at any time."""
        if self.hours and self.share != 1.0:
            raise ValueError("share and hours exclude each other: hours names the share at any time; remove share")

    def share_at(self, wall: float) -> float:
        """The fraction of the learned limit to use at that wall-clock time, epoch seconds."""
        return share_at(self.hours, wall) if self.hours else self.share


class ReconcileSettings(Section, frozen=True, kw_only=True):
    """``[reconcile]``: what is known about the service, and how ownership is proven.

    Attributes:
        settle: the settle time: after it, an unanswered create can no longer take effect or be missing from List.
        list_lag: how long a new algorithm may be missing from List; two sweeps that prove absence are this far apart.
        names: whether names are unique in an account and Region.
        ownership_tag: key of the tag that proves ownership; "" writes none.
    """

    settle: Duration = "6m"
    list_lag: Duration = "60s"
    names: Names = "unknown"
    ownership_tag: Key = "provisioner:origin"

    def __post_init__(self) -> None:
        """Check durations and the tag's key."""
        seconds(self.settle)
        seconds(self.list_lag)
        if self.ownership_tag.lower().startswith("aws:"):
            raise ValueError("ownership_tag cannot begin with aws:, which is reserved for AWS")
        if not re.fullmatch(r"[\w +\-=.:/@]*", self.ownership_tag):
            raise ValueError("ownership_tag may only contain letters, digits, spaces and + - = . _ : / @")

    @property
    def settle_s(self) -> float:
        """The settle time in seconds."""
        return seconds(self.settle)

    @property
    def list_lag_s(self) -> float:
        """Seconds between the two sweeps that prove absence."""
        return seconds(self.list_lag)


class LifecycleSettings(Section, frozen=True, kw_only=True):
    """``[lifecycle]``: what ``apply`` does with algorithms that exist.

    Attributes:
        on_change: what becomes of a definition that changed in what only a new algorithm can express. Tags are always
            changed in place.
        replace_order: whether a replacement is created before the old algorithm is deleted, or after.
        keep: how many of the older versions of a name are kept when they are replaced.
        prune: delete algorithms that this ledger created and whose definition left the manifest.
        max_delete: refuse to delete more than this in one run; 0 is no bound besides --yes.
    """

    on_change: OnChange = "fail"
    replace_order: ReplaceOrder = "create-first"
    keep: Annotated[int, Meta(ge=0, le=1000)] = 0
    prune: bool = False
    max_delete: Annotated[int, Meta(ge=0)] = 0


class OrganizationsSettings(Section, frozen=True, kw_only=True):
    """``[fleet.organizations]``: targets from AWS Organizations, asked with the usual credentials.

    Attributes:
        units: ids of organizational units, or of the root, whose accounts are targets; with all units below them.
        include: ids of further accounts.
        exclude: ids of accounts and units that are left out, whatever names them.
        regions: a target for each of them in each account; none are those of ``[fleet]``.
        role_name: of the role to assume in each account.
        tags: read the tags of each account, one call for each; targets and templates then have them.
        endpoint_url: of AWS Organizations; "" is the SDK's own.
    """

    units: Annotated[tuple[str, ...], Meta(extra={"check": check_units})] = ()
    include: Annotated[tuple[str, ...], Meta(extra={"check": check_account_ids})] = ()
    exclude: Annotated[tuple[str, ...], Meta(extra={"check": check_members})] = ()
    regions: Regions = ()
    role_name: RoleName = ""
    tags: bool = False
    endpoint_url: Url = ""

    def __post_init__(self) -> None:
        """Without a role every target would have the same credentials."""
        if self.asked and not self.role_name:
            raise ValueError("role_name is missing: the role to assume in each account")
        check_endpoint_if_set(self.endpoint_url)

    @property
    def asked(self) -> bool:
        """Whether AWS Organizations is asked at all."""
        return bool(self.units or self.include)


class FleetSettings(Section, frozen=True, kw_only=True):
    """``[fleet]``: many targets, and where they are kept.

    Attributes:
        max_active_targets: how many targets are open at once; the others wait, so that memory stays bounded.
        canary: this many targets go first; the others begin only if all of these end without a failure.
        max_failed_targets: no other target begins once more than this have failed, a number or a share of all targets.
        sources: files that list accounts: CSV, or the accounts.yml of c7n-org. Each account is a target in each Region.
        regions: of accounts for which a source names none.
        organizations: targets from AWS Organizations.
        shard: do only this part of the targets, such as 2/5, or `auto` in a task of an array job; "" is all.
    """

    max_active_targets: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    canary: Annotated[int, Meta(ge=0)] = 0
    max_failed_targets: Annotated[str, text(r"([0-9]{1,6}|[0-9]{1,3}(\.[0-9]+)?%)", _A_BOUND)] = "100%"
    sources: tuple[str, ...] = ()
    regions: Regions = ()
    organizations: OrganizationsSettings = OrganizationsSettings()
    shard: Annotated[str, text(f"({PATTERN.pattern})?", SAYS)] = ""

    def failures_allowed(self, targets: int) -> int:
        """How many of so many targets may fail while others begin."""
        number, percent, _ = self.max_failed_targets.partition("%")
        return math.floor(targets * float(number) / 100) if percent else int(number)


class Settings(Section, frozen=True, kw_only=True):
    """The whole configuration.

    Attributes:
        run, pace, reconcile, lifecycle, fleet: see the sections.
        defaults: laid under every definition of every target, by the API's names; beside them ``templates``.
        targets: by name; always at least one.
        local: options of the embedded endpoint of ``--local``, as ``provisioner emulate`` has them.
    """

    run: RunSettings = RunSettings()
    pace: PaceSettings = PaceSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    fleet: FleetSettings = FleetSettings()
    defaults: dict[str, Any] = {}
    targets: dict[str, Target] = msgspec.field(default_factory=lambda: {"default": Target()})
    local: dict[str, Any] = {}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Settings:
        """The settings of the TOML file at ``path``, with the targets of its sources.

        A relative ledger, as the default is one, lies beside that file; so does a relative source.

        Raises:
            ConfigurationError: the file cannot be read, is not TOML, or has an unknown key or a wrong value.
        """
        name = os.fspath(path)
        return _settings(tables_of(name), name)

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Settings:
        """The settings of ``tables``, which have the keys and values of the TOML file, checked in the same way.

        Raises:
            ConfigurationError: an unknown key or a wrong value.
        """
        return _settings(deepcopy(dict(tables)), "the settings")

    def __post_init__(self) -> None:
        """Check the switch that stands beside the defaults."""
        if not isinstance(self.defaults.get(TEMPLATES, False), bool):
            raise ValueError(f"defaults.{TEMPLATES} must be true or false")  # noqa: TRY004  as all wrong values

    @property
    def templates(self) -> bool:
        """Whether strings of defaults and definitions are templates."""
        return bool(self.defaults.get(TEMPLATES, False))

    @property
    def general_defaults(self) -> dict[str, Any]:
        """The defaults of all targets, without the switch beside them."""
        return {key: value for key, value in self.defaults.items() if key != TEMPLATES}

    @property
    def tags(self) -> dict[str, dict[str, str]]:
        """The tags of every target, by its name."""
        return {name: target.tags for name, target in self.targets.items()}

    def select(self, patterns: Sequence[str]) -> tuple[Target, ...]:
        """The targets that ``patterns`` select, in the order of the configuration; all of them without a pattern.

        Raises:
            UsageError: no target matches one of the patterns, or none is left.
            ConfigurationError: there are no targets, because AWS Organizations has named none.
        """
        if not self.targets:
            hint = "`provisioner apply` asks, and the ledger keeps the answer; `provisioner plan` only asks"
            raise ConfigurationError("AWS Organizations has not been asked for the targets yet", hint=hint)
        names = select(patterns, self.tags)
        shard = self.shard
        return tuple(self.targets[name] for name in names if shard is None or shard.has(name))

    @property
    def shard(self) -> Shard | None:
        """The part of the targets that is done; None for all, and where the environment is still to be asked."""
        return shard_of(self.fleet.shard, {}) if self.fleet.shard[:1].isdigit() else None

    def in_shard(self, environment: Mapping[str, str]) -> Settings:
        """These settings for one task of an array job, if they ask for that: with its targets and its ledger.

        Args:
            environment: of the process, which says which task it is.

        Raises:
            UsageError: there is no such shard, or the process is no task of an array job.
        """
        shard = shard_of(self.fleet.shard, environment)
        if shard is None:
            return self
        return self.override("run", ledger=shard.ledger(self.run.ledger)).override("fleet", shard=str(shard))

    def with_accounts(self, accounts: Iterable[Account]) -> Settings:
        """These settings with a target more for each Region of each account.

        Raises:
            ConfigurationError: two targets have one name, or are in one place; an account has no Region.
        """
        targets = dict(self.targets)
        places = {place_of(target): target for target in targets.values() if target.account_id and target.region}
        for account in accounts:
            regions = account.regions or self.fleet.regions
            if not regions:
                hint = "Name them in the source, or set [fleet] regions for all such accounts"
                raise ConfigurationError("this account has no Regions", where=account.origin, hint=hint)
            for region in regions:
                target = target_of(account, region)
                refuse_twin(target, places.get(place_of(target)) or targets.get(target.name))
                targets[target.name] = places[place_of(target)] = target
        return msgspec.structs.replace(self, targets=targets)

    def override(self, section: str, **values: object) -> Settings:
        """These settings with ``values`` in ``section``; None leaves a value unchanged.

        Raises:
            ConfigurationError: a value is out of bounds.
        """
        given = {key: value for key, value in values.items() if value is not None}
        old = getattr(self, section)
        new = struct_of(msgspec.to_builtins(old) | given, type(old), "the command line")
        return msgspec.structs.replace(self, **{section: new})

    def with_endpoint(self, endpoint_url: str, *, sts_endpoint_url: str = "", region: str = "") -> Settings:
        """These settings with every target at ``endpoint_url``; ``region`` where a target names none.

        Raises:
            ConfigurationError: the URL is not allowed; see :func:`check_endpoint`.
        """
        try:
            targets = {
                name: msgspec.structs.replace(
                    target,
                    endpoint_url=endpoint_url,
                    sts_endpoint_url=sts_endpoint_url or target.sts_endpoint_url,
                    region=target.region or region,
                )
                for name, target in self.targets.items()
            }
        except ValueError as error:
            # Without what may be a secret: a password before the host, a token after it.
            where = endpoint_url.rpartition("@")[2].partition("?")[0]
            raise ConfigurationError(str(error), where=where) from error
        return msgspec.structs.replace(self, targets=targets)


def _settings(raw: dict[str, Any], path: str) -> Settings:
    targets = raw.get("targets")
    for name, table in targets.items() if isinstance(targets, dict) else ():
        if isinstance(table, dict):
            _refuse_keys(table, name, path)
            table["name"] = name
    settings = struct_of(raw, Settings, path)
    if raw.get("pace", {}).get("hours") == {}:
        raise ConfigurationError('pace.hours names no time of day, such as "08:00" = 0.3', where=path)
    folder = Path(path).parent if Path(path).is_file() else Path()  # that of a pipe is none of the user's
    if settings.fleet.sources:
        found = [one for name in settings.fleet.sources for one in read_accounts(folder / name, name)]
        own = settings.targets if targets else {}
        settings = msgspec.structs.replace(settings, targets=own).with_accounts(found)
    if settings.fleet.organizations.asked and not targets and not settings.fleet.sources:
        settings = msgspec.structs.replace(settings, targets={})
    elif not settings.targets:
        settings = msgspec.structs.replace(settings, targets={"default": Target()})
    ledger = settings.run.ledger
    if not NO_PATH.match(ledger):
        ledger = os.path.normpath(folder / ledger)
    return settings.override("run", ledger=ledger)


def _refuse_keys(table: dict[str, Any], name: str, path: str) -> None:
    """A target's name is that of its table, and its origin the file."""
    for key in {"name", "origin"} & table.keys():
        hint = "The name of the table is the name of the target" if key == "name" else "It is set by the program"
        raise ConfigurationError(f"unknown key targets.{name}.{key}", where=path, hint=hint)
