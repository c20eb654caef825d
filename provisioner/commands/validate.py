"""``validate``: checks a manifest offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

from provisioner.commands.manifests import manifests_for, once_per_rules
from provisioner.manifest.metric_regexes import RegexCheck

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from typing import BinaryIO

    from provisioner.config.settings import Settings, Target
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
        manifests = once_per_rules(manifests_for(self._sources, self._settings, self._targets, stdin=self._stdin))
        self.counts = [Counts(target=name if len(manifests) > 1 else "") for name in manifests]
        for manifest, counts in zip(manifests.values(), self.counts, strict=True):
            yield from _check(manifest, counts)


def _check(manifest: Manifest, counts: Counts) -> Iterator[list[Problem]]:
    with RegexCheck() as check:
        for batch in manifest.batches():
            counts.lines += batch.lines
            counts.valid += len(batch.rows)
            counts.invalid += batch.invalid
            counts.repeated += batch.repeated
            problems = sorted([*batch.problems, *check.notices(batch.rows)], key=lambda one: one.line)
            yield [msgspec.structs.replace(one, target=counts.target) for one in problems]
