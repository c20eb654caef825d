"""Places: where the targets of a run are, compared with the ledger's record.

A target is one account and Region. Two targets in one place would create every algorithm twice; a target that has moved
would confuse the algorithms of its old place with those of the new one. Both are refused before anything is sent.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provisioner.core.place import Place
from provisioner.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioner.config.target import Target
    from provisioner.core.place import Kind
    from provisioner.ledger import Ledger


def kind_of(target: Target, *, embedded: bool) -> Kind:
    """The kind of endpoint that ``target`` uses. A VPC endpoint of AWS leads to the same accounts as the public one.

    Args:
        target: of the configuration.
        embedded: whether the run uses the embedded endpoint.
    """
    if embedded:
        return "embedded"
    host = urlsplit(target.endpoint_url).hostname or ""
    aws = not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
    return "aws" if aws else "custom"


class Claims:
    """The places that targets have. Refuses a target that has moved, and a second one in a place.

    Args:
        known: the places of earlier runs, by target.
        configured: the names of all targets of the configuration.
    """

    def __init__(self, known: Mapping[str, Place], configured: Collection[str]) -> None:
        self._places: dict[str, Place] = {}
        # By kind and Region, then by account: to compare each of ten thousand targets with all others takes a minute.
        self._targets: defaultdict[tuple[Kind, str], defaultdict[str, dict[str, None]]]
        self._targets = defaultdict(lambda: defaultdict(dict))
        self._configured = configured
        self._put(known)

    def add(self, target: str, place: Place) -> tuple[Place, bool]:
        """Note that ``target`` is at ``place``; returns all that is known of the place, and whether that is new.

        Raises:
            ConfigurationError: the target has moved, or another one is there.
        """
        known = self._places.get(target)
        if known is not None:
            _refuse_move(target, known, place)
            place = Place(place.kind, place.region, place.account_id or known.account_id)
        for other in self._may_be_at(place):
            if other != target:
                self._refuse_twin(target, other, place, self._places[other])
        self._put({target: place})
        return place, place != known

    def lose(self, target: str, known: Mapping[str, Place]) -> None:
        """What ``target`` claimed is another target's by now, as is ``known``."""
        self._take(target)
        self._put(known)

    def _put(self, places: Mapping[str, Place]) -> None:
        for target, place in places.items():
            self._take(target)
            self._places[target] = place
            self._targets[place.kind, place.region][place.account_id][target] = None

    def _take(self, target: str) -> None:
        if (place := self._places.pop(target, None)) is not None:
            del self._targets[place.kind, place.region][place.account_id][target]

    def _may_be_at(self, place: Place) -> list[str]:
        """The targets that are at ``place``, or may be: an account that is not known may be any."""
        accounts = self._targets[place.kind, place.region]
        found = (accounts[place.account_id], accounts[""]) if place.account_id else accounts.values()
        return [target for targets in found for target in targets]

    def _refuse_twin(self, target: str, other: str, place: Place, there: Place) -> None:
        sure = bool(place.account_id and there.account_id)
        why = f"{place.region}, account {place.account_id or there.account_id or 'unknown'}"
        verb = "are" if sure else "may be"
        if other in self._configured:
            what = f"the targets {other!r} and {target!r} {verb} the same account and Region"
            hint = "Remove one of them from the configuration"
        else:
            what = f"the ledger has this account and Region under the target {other!r}"
            hint = f"If it was renamed, run `provisioner ledger rename-target {other} {target}`"
        if not sure:
            hint = f"Set account_id of both in the configuration, so that they can be distinguished. {hint}"
        raise ConfigurationError(what, where=target, why=why, hint=hint)


class Places:
    """Claims a place for each target, once in this run and for all runs on this ledger.

    Args:
        ledger: records the places.
        claims: what it has recorded.
    """

    def __init__(self, ledger: Ledger, claims: Claims) -> None:
        self._ledger = ledger
        self._claims = claims

    @classmethod
    async def load(cls, ledger: Ledger, configured: Collection[str]) -> Places:
        """The places that ``ledger`` knows, for targets that are called ``configured``."""
        return cls(ledger, Claims(await ledger.places(), configured))

    async def claim(self, target: str, place: Place) -> Place:
        """Record that ``target`` is at ``place``, before its first intent; returns all that is known of the place.

        Raises:
            ConfigurationError: the target has moved, or another one is there.
        """
        # Noted before the commit, because another target may claim a place while it is under way.
        place, is_new = self._claims.add(target, place)
        if is_new:
            try:
                await self._ledger.set_place(target, place)
            except IntegrityError:
                # Another run has claimed it since this one began.
                self._claims.lose(target, await self._ledger.places())
                self._claims.add(target, place)
                raise
        return place


def _refuse_move(target: str, known: Place, place: Place) -> None:
    before = (known.kind, known.region, known.account_id or place.account_id)
    now = (place.kind, place.region, place.account_id or known.account_id)
    if before != now:
        why = f"the ledger has it in {_text(known)}, and it is now in {_text(place)}"
        hint = "Name another ledger with --ledger, or give the new place a target of its own"
        raise ConfigurationError("the target has moved", where=target, why=why, hint=hint)


def _text(place: Place) -> str:
    endpoint = {"aws": "", "custom": ", a custom endpoint", "embedded": ", the embedded endpoint"}[place.kind]
    return f"{place.region} (account {place.account_id or 'unknown'}{endpoint})"
