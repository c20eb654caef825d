"""Which entries a command selects. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from provisioner.core.entry import Entry, State
from provisioner.core.versions import Role, Version


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--target``, ``--name``, ``--state``, ``--run``, ``--since`` and ``--code`` say together.

    Everything that is given must agree; of several values of one option, one must.

    Attributes:
        targets: names of targets; none are all.
        names: globs, as of a shell, case-sensitive; none are all names.
        states: of entries, or the role ``superseded`` of older versions; none are all states of entries.
        run: the id of the run that made the last change; "" is any.
        since: when the last change was made at the earliest, seconds since the epoch; None is any time.
        code: of the last error, or how the ARN was found; "" is any.
    """

    targets: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    states: frozenset[State | Role] = frozenset()
    run: str = ""
    since: float | None = None
    code: str = ""

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()

    @property
    def by_record(self) -> bool:
        """Whether it asks for what the ledger has, and not for names and targets alone."""
        return bool(self.states or self.run or self.code or self.since is not None)

    @property
    def entry_states(self) -> frozenset[State] | None:
        """The states of entries among ``states``; None for all of them."""
        return frozenset(state for state in self.states if isinstance(state, State)) if self.states else None

    @property
    def superseded(self) -> bool:
        """Whether superseded versions are asked for."""
        return Role.SUPERSEDED in self.states

    def covers(self, one: Entry | Version) -> bool:
        """Whether its target and its name are selected, whatever happened to it."""
        return (not self.targets or one.target in self.targets) and self.names_match(one.name)

    def names_match(self, name: str) -> bool:
        """Whether ``name`` is selected, as far as names decide."""
        return not self.names or any(fnmatchcase(name, glob) for glob in self.names)

    def matches(self, one: Entry | Version) -> bool:
        """Whether an entry or an older version is selected."""
        state = one.state if isinstance(one, Entry) else one.role
        return (
            self.covers(one)
            and (not self.states or state in self.states)
            and self.run in ("", one.run_id)
            and self.code in ("", one.code)
            and (self.since is None or one.updated_at >= self.since)
        )
