"""``validate``: checks a manifest offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.commands.manifests import manifests_for, once_per_rules
from provisioner.core.place import Place, real_region
from provisioner.manifest.metric_regexes import RegexCheck
from provisioner.manifest.place_notices import PlaceCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from provisioner.config.settings import Settings
    from provisioner.config.target import Target
    from provisioner.core.problem import Problem
    from provisioner.manifest.reader import Manifest


class Counts(msgspec.Struct, omit_defaults=True):
    """Lines of a manifest, as far as it was read; blank ones do not count.

    Attributes:
        lines: all of them; each is valid, invalid, or repeats an earlier one.
        valid, invalid, repeated: how many there are of each.
        target: whose defaults apply, where those of several targets differ; otherwise "".
    """

    lines: int = 0
    valid: int = 0
    invalid: int = 0
    repeated: int = 0
    target: str = ""


class Validation:
    """A check of a manifest, made while it is iterated over; it needs no credentials and sends nothing.

    Problems come in the order of the lines, in constant memory; those with ``severity`` ``notice`` do not make a line
    invalid. Where the defaults of targets differ, the manifest is checked for one target after the other, and each
    problem names its target.

    ``async for`` reads in a thread. ``for`` blocks, also while standard input has nothing to read yet.

    Attributes:
        counts: for each way of reading the manifest, complete after the iteration. At least one.

    Raises:
        ManifestError: from the iteration: a source does not exist or cannot be read.
        ConfigurationError: from the iteration: the defaults of the configuration are wrong.
        ScratchError: from the iteration: standard input or a pipe cannot be copied to disk for several targets.
    """

    def __init__(
        self, sources: Sequence[str], settings: Settings, targets: Sequence[Target], *, stdin: BinaryIO | None = None
    ) -> None:
        self._sources = sources
        self._settings = settings
        self._targets = targets
        self._stdin = stdin
        self.counts: list[Counts] = []

    @property
    def valid(self) -> bool:
        """Whether no line was invalid, as far as the manifest was read."""
        return not any(count.invalid for count in self.counts)

    def __iter__(self) -> Iterator[Problem]:
        for problems in self._batches():
            yield from problems

    async def __aiter__(self) -> AsyncIterator[Problem]:
        batches = self._batches()
        # A reader that is cancelled leaves its thread behind: a read of a pipe cannot be interrupted.
        while (problems := await anyio.to_thread.run_sync(next, batches, None, abandon_on_cancel=True)) is not None:
            for problem in problems:
                yield problem

    def _batches(self) -> Iterator[list[Problem]]:
        of_targets = manifests_for(self._sources, self._settings, self._targets, stdin=self._stdin)
        manifests = once_per_rules(of_targets)
        self.counts = [Counts(target=name if len(manifests) > 1 else "") for name in manifests]
        for manifest, counts in zip(manifests.values(), self.counts, strict=True):
            targets = [target for target in self._targets if of_targets[target.name].rules == manifest.rules]
            yield from _check(manifest.for_target(None), counts, _place_check(targets, named=len(of_targets) > 1))


def _place_check(targets: Iterable[Target], *, named: bool) -> PlaceCheck:
    """The check of what definitions name against the places of ``targets``, as the configuration states them."""
    return PlaceCheck(
        {
            target.name if named else "": Place("aws", real_region(target.region), target.account_id)
            for target in targets
        }
    )


def _check(manifest: Manifest, counts: Counts, places: PlaceCheck) -> Iterator[list[Problem]]:
    with RegexCheck() as regexes:
        for batch in manifest.batches():
            counts.lines += batch.lines
            counts.valid += len(batch.rows)
            counts.invalid += batch.invalid
            counts.repeated += batch.repeated
            found = [*batch.problems, *regexes.notices(batch.rows), *places.notices(batch.rows)]
            yield [
                msgspec.structs.replace(one, target=one.target or counts.target)
                for one in sorted(found, key=lambda one: one.line)
            ]
