"""The Python API: what the commands do, for a program with an event loop of its own. docs/api.md shows how to use it.

``from provisioner import apply`` loads this module when the name is first used; ``import provisioner`` alone loads
nothing. Nothing here prints, configures logging, handles signals, reads the command line's environment variables, or
keeps state between two calls.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, TypedDict, Unpack

import anyio
import msgspec

from provisioner.commands.apply import apply as apply_command
from provisioner.commands.finding import find_run_id
from provisioner.commands.organization import with_organization
from provisioner.commands.plan import PlanCommand
from provisioner.commands.run import Order, Run, policy_of
from provisioner.commands.validate import Validation
from provisioner.commands.verify import Finding, Marks
from provisioner.commands.verify import verify as verify_command
from provisioner.config.settings import Settings
from provisioner.core.entry import State
from provisioner.core.selection import Selection
from provisioner.errors import ManifestError, UsageError
from provisioner.ledger.jobs import AUTO
from provisioner.ledger.location import locate, printable_location
from provisioner.manifest.definition import Definition
from provisioner.report.events import run_finished, run_started
from provisioner.report.summary import Summary  # noqa: TC001  its annotation is looked up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
    from typing import Any, BinaryIO

    from provisioner.config.settings import Adopt, OnChange, ReplaceOrder
    from provisioner.core.entry import Entry
    from provisioner.core.problem import Problem
    from provisioner.ledger import Ledger as Store
    from provisioner.ledger import RunRecord
    from provisioner.report.plan import Plan

StrPath: TypeAlias = str | os.PathLike[str]
Sources: TypeAlias = StrPath | Iterable[StrPath | Definition]
"""A path, a glob or ``s3://bucket/key``, or any number of these and of definitions; ``-`` is standard input."""
EVERYTHING = Selection()
"""Leaves nothing out."""


class Rules(TypedDict, total=False):
    """What :func:`apply` may do, and :func:`plan` predicts. Without a rule, the settings or the default decide.

    Attributes:
        adopt: whether to take over an algorithm of the same name that no ledger created: ``never``, ``same`` (only if
            its definition is the same; the default), or ``any``.
        take_over: id of another ledger, 16 hex digits, whose algorithms of the same names are taken over.
        retry_failed: try definitions again that an earlier run recorded as failed.
        on_change: ``fail`` or ``replace``: what to do with a change that only a new algorithm can express.
        replace_order: ``create-first`` or ``delete-first``.
        keep: so many older versions of a name are kept when they are replaced.
        prune: delete algorithms that this ledger created and whose definition left the manifest.
        max_delete: delete nothing if it would be more than that; 0 is no bound.
        own_tags: remove tags that others added, where tags are changed or :func:`verify` has recorded them.
        adopted: delete algorithms that were taken over, too.
        max_create: most creates in each target; the rest is left to the next run. 0 is no bound.
        max_failures: a target stops when so many definitions have failed for the same cause; 0 is no bound.
        max_failures_share: the same as a share of those that are to be sent, 0 to 1.
    """

    adopt: Adopt
    take_over: str
    retry_failed: bool
    on_change: OnChange
    replace_order: ReplaceOrder
    keep: int
    prune: bool
    max_delete: int
    own_tags: bool
    adopted: bool
    max_create: int
    max_failures: int
    max_failures_share: float


async def apply(  # noqa: PLR0913  a keyword for each option of the command
    manifest: Sources,
    *,
    settings: Settings | None = None,
    ledger: StrPath | None = None,
    targets: Sequence[str] = (),
    selection: Selection = EVERYTHING,
    strict: bool = False,
    yes: bool = False,
    wait: bool = True,
    lock_timeout_s: float = 0.0,
    **rules: Unpack[Rules],
) -> Summary:
    """Make AWS match ``manifest``: register what is not registered yet, exactly once, and change what the rules allow.

    It may be run again at any time: what is registered is not sent again. When the task is cancelled, nothing more is
    sent, the replies to what is in flight are awaited for up to 25 seconds, and then ``CancelledError`` is raised; a
    second cancellation ends the wait. In either case the ledger is true, and the next run continues from there.

    On a ledger in PostgreSQL, runs that do the same at the same time share the targets; the summary is then about the
    targets of this one, and its ``exit_code`` about all (docs/workers.md).

    Args:
        manifest: paths and globs of JSONL files (also .gz and .zst), ``s3://bucket/key``, ``-``, or definitions;
            problems of definitions have the source ``-`` and count lines from 1.
        settings: the configuration; None is every default. ``settings.run.deadline`` ends the run early.
        ledger: path or URL of the ledger; None is ``settings.run.ledger``.
        targets: names of targets in the settings; () is all of them.
        selection: what the run is about; anything else is left alone, and not pruned either.
        strict: send nothing if any line is invalid.
        yes: whether algorithms may be deleted, where the rules delete some; look at :func:`plan` first.
        wait: whether to wait, at the end, until creates without an answer can be resolved.
        lock_timeout_s: seconds to wait for another run to release the ledger.
        rules: what may be done, each as a keyword; see :class:`Rules`.

    Returns:
        What was done. Look at ``exit_code``: 0 means that everything is registered. Invalid lines, failed definitions
        and targets that were halted (credentials, a quota) are in the summary, and never raised.

    Raises:
        ManifestError: a source does not exist or cannot be read.
        ProvisionerError: an object in S3 cannot be read, for another reason.
        ConfigurationError: the settings are wrong, or contradict each other or the ledger.
        UsageError: there is no such target or run, the selection is malformed, or the ledger is no path of a file.
        UnconfirmedError: something would be deleted, and ``yes`` is not set. Nothing was done.
        DeletionsRefusedError: that is more than ``max_delete``. Nothing was done.
        LedgerLockedError: another run holds the ledger.
        LedgerError: the ledger cannot be opened or written.
    """
    sources, stdin = _sources(manifest)
    order = _ruled(await _order(settings, ledger, targets, selection), rules)
    policy = msgspec.structs.replace(order.policy, wait=wait)
    run = Run(
        msgspec.structs.replace(
            order, sources=sources, policy=policy, strict=strict, yes=yes, lock_timeout_s=lock_timeout_s, job=AUTO
        )
    )
    return await _finished(run, "apply", apply_command(run, stdin=stdin))


async def plan(
    manifest: Sources,
    *,
    settings: Settings | None = None,
    ledger: StrPath | None = None,
    targets: Sequence[str] = (),
    selection: Selection = EVERYTHING,
    offline: bool = False,
    **rules: Unpack[Rules],
) -> Plan:
    """What :func:`apply` with the same rules would do, and why. It changes neither AWS nor the ledger.

    It needs no lock, and the ledger need not exist.

    Args:
        manifest: as for :func:`apply`.
        settings: the configuration; None is every default.
        ledger: path or URL of the ledger; None is ``settings.run.ledger``.
        targets: names of targets in the settings; () is all of them.
        selection: as for :func:`apply`.
        offline: plan by the ledger alone, without reading the account.
        rules: as for :func:`apply`.

    Returns:
        The plan. Its ``exit_code`` is that of ``provisioner plan``; a target that could not be planned is in
        ``halted``.

    Raises:
        ManifestError: a source does not exist or cannot be read.
        ConfigurationError: the settings are wrong, or contradict each other or the ledger.
        UsageError: there is no such target or run, the selection is malformed, or the ledger is no path of a file.
        LedgerError: the ledger cannot be read.
    """
    sources, stdin = _sources(manifest)
    run = Run(
        msgspec.structs.replace(_ruled(await _order(settings, ledger, targets, selection), rules), sources=sources)
    )
    command = PlanCommand(run, offline=offline)
    await _finished(run, "plan", command.plan(stdin))
    assert command.made is not None  # noqa: S101  there was no error
    return command.made


class Verification(msgspec.Struct, frozen=True):
    """What :func:`verify` found.

    Attributes:
        findings: where ledger, AWS and manifest disagree, and tags that others added; ``summary.exit_code`` is 0 if
            they agree.
        summary: of the run. A target that could not be read is in ``summary.targets`` with the reason in ``halted``.
    """

    findings: tuple[Finding, ...]
    summary: Summary


async def verify(  # noqa: PLR0913  a keyword for each option of the command
    manifest: Sources | None = None,
    *,
    settings: Settings | None = None,
    ledger: StrPath | None = None,
    targets: Sequence[str] = (),
    selection: Selection = EVERYTHING,
    prune_duplicates: bool = False,
    mark_missing: bool = False,
    mark_drifted: bool = False,
    mark_unrecorded: bool = False,
) -> Verification:
    """Compare the ledger with AWS, and with a manifest. Nothing is deleted or changed unless you ask for it.

    A cancelled task ends as with :func:`apply`.

    Args:
        manifest: as for :func:`apply`; None compares only ledger and AWS.
        settings: the configuration; None is every default.
        ledger: path or URL of the ledger; None is ``settings.run.ledger``.
        targets: names of targets in the settings; () is all of them.
        selection: which findings are reported and acted on.
        prune_duplicates: delete duplicates that this ledger created.
        mark_missing: record missing algorithms as deleted, so that the next :func:`apply` creates them again.
        mark_drifted: record that tags were changed in AWS, so that the next :func:`apply` sets them again, or, with
            ``own_tags``, removes those that others added.
        mark_unrecorded: record algorithms that this ledger created and no entry names.

    Raises:
        ManifestError: there is no source, or one does not exist or cannot be read.
        ProvisionerError: an object in S3 cannot be read, for another reason.
        ConfigurationError: the settings are wrong, or contradict each other or the ledger.
        UsageError: there is no such target or run, the selection is malformed, or the ledger is no path of a file.
        LedgerLockedError: another run holds the ledger.
        LedgerError: there is no ledger, or it cannot be opened or written.
    """
    sources, stdin = ((), None) if manifest is None else _sources(manifest)
    if manifest is not None and not sources:
        raise ManifestError("no manifest given", hint="Pass None to compare only ledger and AWS")
    run = Run(msgspec.structs.replace(await _order(settings, ledger, targets, selection), sources=sources))
    findings: list[Finding] = []
    marks = Marks(missing=mark_missing, drifted=mark_drifted, unrecorded=mark_unrecorded)
    work = verify_command(run, findings, marks, prune_duplicates=prune_duplicates, stdin=stdin)
    summary = await _finished(run, "verify", work)
    return Verification(tuple(findings), summary)


def validate(manifest: Sources, *, settings: Settings | None = None, targets: Sequence[str] = ()) -> Validation:
    """Check a manifest offline, without credentials.

    The problems come from ``async for`` over what it returns; docs/api.md has an example.

    Args:
        manifest: as for :func:`apply`.
        settings: the configuration, whose defaults are laid under every definition; None is every default.
        targets: names of targets in the settings; () is all of them.

    Returns:
        An object to iterate over, which counts lines meanwhile. Errors of the manifest are raised by the iteration.

    Raises:
        UsageError: there is no such target.
    """
    sources, stdin = _sources(manifest)
    settings = settings or Settings()
    return Validation(sources, settings, settings.select(targets), stdin=stdin)


class Ledger:
    """A ledger, opened for reading by :meth:`open`; a run may be using it meanwhile.

    Every method raises :class:`LedgerError` when the ledger cannot be read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    @asynccontextmanager
    async def open(cls, path: StrPath) -> AsyncIterator[Ledger]:
        """The ledger at ``path``, closed at the end: ``async with Ledger.open("ledger.db") as ledger``.

        A PostgreSQL ledger is named by its URL.

        Raises:
            LedgerError: there is none, or it cannot be read, is damaged, or was made by a newer version.
            UsageError: it cannot be the path of a file.
        """
        async with locate(os.fspath(path)).read() as store:
            yield cls(store)

    @property
    def ledger_id(self) -> str:
        """16 hex digits that name this ledger in ownership tags."""
        return self._store.ledger_id

    async def entries(
        self,
        *,
        target: str | None = None,
        states: Collection[State] | None = None,
        selection: Selection = EVERYTHING,
    ) -> AsyncIterator[Entry]:
        """Entries in order of (target, name), streamed in constant memory: ``async for entry in ledger.entries()``.

        Args:
            target: only this one; None is all of them.
            states: only these, such as ``{"created"}``; None is all of them.
            selection: only these, as ``provisioner list`` selects them.

        Raises:
            UsageError: from the iteration: the selection is malformed, or there is no such run.
        """
        chosen = _checked(selection)
        if chosen.run:
            chosen = msgspec.structs.replace(chosen, run=await find_run_id(self._store, chosen.run))
        async for entry in self._store.entries(target=target, states=states):
            if chosen.matches(entry):
                yield entry

    async def counts(self) -> Mapping[str, Mapping[State, int]]:
        """How many entries each target has in each state."""
        return await self._store.counts()

    async def runs(self, limit: int = 10) -> list[RunRecord]:
        """The latest runs, newest first, times in seconds since the epoch."""
        return await self._store.runs(limit)

    def problems(self, run_id: str) -> AsyncIterator[Problem]:
        """All problems of a run, of which a summary has the first 100. Those of the last 20 runs are kept."""
        return self._store.problems(run_id)


def _sources(manifest: Sources) -> tuple[tuple[str, ...], BinaryIO | None]:
    """Paths, and what ``-`` reads: the definitions, where there are any.

    Raises:
        UsageError: both definitions and standard input are asked for.
    """
    items = [manifest] if isinstance(manifest, str | os.PathLike) else list(manifest)
    paths = tuple(os.fspath(item) for item in items if not isinstance(item, Definition))
    lines = [msgspec.json.encode(item) for item in items if isinstance(item, Definition)]
    if not lines:
        return paths, None
    if "-" in paths:
        raise UsageError("definitions and standard input exclude each other", hint="Pass only one of the two")
    return (*paths, "-"), io.BytesIO(b"\n".join(lines))


async def _order(
    settings: Settings | None, ledger: StrPath | None, targets: Sequence[str], selection: Selection
) -> Order:
    given = (settings or Settings()).override("run", ledger=None if ledger is None else os.fspath(ledger))
    asked = await with_organization(given.in_shard(os.environ))
    return Order(
        sources=(),
        selection=_checked(selection),
        settings=asked.settings,
        targets=asked.settings.select(targets),
        patterns=tuple(targets),
        policy=policy_of(given),
        listing=asked.fresh,
    )


def _checked(selection: Selection) -> Selection:
    """``selection``, whose states may be text.

    Raises:
        UsageError: it would select something else than was meant.
    """
    if selection.targets:
        raise UsageError("a selection has no targets here", hint="Pass `targets` beside it")
    names: object = selection.names  # to a type checker it is a tuple; not every caller has one
    if isinstance(names, str):  # its characters would be globs, and `*` matches everything
        raise UsageError(f"the names of a selection are text, {names!r}", hint="Pass a tuple of globs")
    try:
        states = frozenset(map(State, selection.states))
    except ValueError as error:
        raise UsageError(f"{error} of entries", hint=f"The states are {', '.join(State)}") from error
    return msgspec.structs.replace(selection, states=states)


_OF_LIFECYCLE = frozenset({"on_change", "replace_order", "keep", "prune", "max_delete"})
"""Rules that stand in the settings, too."""


def _ruled(order: Order, rules: Rules) -> Order:
    """``order`` with ``rules`` in place of what the settings say.

    Raises:
        ConfigurationError: a rule is out of bounds.
        TypeError: there is no such rule.
    """
    settings = order.settings.override("lifecycle", **{key: rules[key] for key in _OF_LIFECYCLE if key in rules})  # type: ignore[literal-required]
    others = {key: value for key, value in rules.items() if key not in _OF_LIFECYCLE}
    policy = msgspec.structs.replace(policy_of(settings), **others)
    return msgspec.structs.replace(order, settings=settings, policy=policy)


async def _finished(run: Run, command: str, work: Coroutine[Any, Any, Summary]) -> Summary:
    """The summary of ``work``, which is drained when the caller is cancelled.

    Raises:
        ProvisionerError: it ended the run.
    """
    # A task of its own, because a cancellation must not reach the creates in flight: each would be left without an
    # answer, and the next run would have to wait for the settle time.
    task = asyncio.create_task(work)
    run_started(run.run_id, command, printable_location(run.order.settings.run.ledger), [*run.statistics])
    try:
        summary = await asyncio.shield(task)
    except asyncio.CancelledError:
        run.stop.request("the task was cancelled")
        # The shield is against a cancel scope of anyio, which would cancel again at once. A second cancellation by
        # asyncio reaches the task itself.
        with anyio.CancelScope(shield=True):
            run_finished(await task, command)
        raise
    run_finished(summary, command)
    if run.error:
        raise run.error
    return summary
