"""A manifest that several targets read alike: it is read and checked once, as far as memory allows."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING

from provisioner.errors import ManifestChangedError
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.manifest.reader import BATCH_LINES, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from provisioner.manifest.audience import Audience
    from provisioner.manifest.parser import Rules
    from provisioner.manifest.reader import Batch

KEPT = 40
"""Batches that are kept: 20,480 lines, some 60 MB. A target reads what follows by itself; its quota is 1,000."""


class SharedManifest(Manifest):
    """The same manifest for all targets with the same rules.

    What is kept was read once, so it is the same for all, also where the file changes meanwhile. From the first batch
    on that has a line for some targets only, each target reads for itself. Any thread may read, also at once.

    Args:
        whole: may be read more than once.
        reading: what it shares with the manifests of other targets; None begins it.
    """

    def __init__(self, whole: Manifest, reading: _Reading | None = None) -> None:
        vars(self).update(vars(whole))
        self._whole = whole
        self._reading = reading or _Reading(whole.for_target(None))

    def for_target(self, target: str | None) -> Manifest:
        """See :class:`Manifest`."""
        return SharedManifest(self._whole.for_target(target), self._reading)

    def under(self, rules: Rules, audience: Audience) -> Manifest:
        """See :class:`Manifest`; it shares nothing."""
        return self._whole.under(rules, audience)

    def only(self, names: Collection[str]) -> Manifest:
        """See :class:`Manifest`; it shares nothing."""
        return self._whole.only(names)

    def selecting(self, selects: Callable[[str], bool] | None) -> Manifest:
        """See :class:`Manifest`; a selection shares nothing."""
        return self if selects is None else self._whole.selecting(selects)

    def spooled(self, *, files: bool = False) -> Manifest:
        """See :class:`Manifest`; it shares nothing."""
        return self._whole.spooled(files=files)

    def holds(self, number: int) -> bool:
        """See :class:`Manifest`."""
        return self._reading.holds(number)

    def fingerprint(self) -> str:
        """See :class:`Manifest`."""
        return self._reading.whole_fingerprint()

    def batches(self, size: int = BATCH_LINES, fingerprint: Fingerprint | None = None) -> Iterator[Batch]:
        """See :class:`Manifest`."""
        if size != BATCH_LINES:
            yield from self._whole.batches(size, fingerprint)
            return
        shared = 0
        while (batch := self._reading.batch(shared)) is not None:
            yield batch
            shared += 1
        fingerprint = fingerprint or Fingerprint(self.rules)
        if self._reading.ended:
            fingerprint.follow(self._reading.fingerprint)
            return
        own = self._whole.batches(size, fingerprint)
        if sum(1 for _ in islice(own, shared)) < shared or (shared and fingerprint.hexdigest() != self._reading.kept):
            raise ManifestChangedError(", ".join(source.label for source in self.sources))
        yield from own


class _Reading:
    """Reads a manifest once.

    Attributes:
        fingerprint: of what was read.
        kept: the fingerprint of what is kept.
        ended: whether that is the whole manifest.
    """

    def __init__(self, whole: Manifest) -> None:
        self.fingerprint = Fingerprint(whole.rules)
        self.kept = ""
        self.ended = False
        self._whole = whole
        self._lock = threading.Lock()
        self._batches = whole.batches(fingerprint=self.fingerprint)
        self._list: list[Batch] = []
        self._alike = True
        self._failure: Exception | None = None
        self._of_all = ""

    def whole_fingerprint(self) -> str:
        """The fingerprint of the manifest; see :meth:`Manifest.fingerprint`."""
        with self._lock:
            self._of_all = self._of_all or self._whole.fingerprint()
            return self._of_all

    def holds(self, number: int) -> bool:
        """Whether :meth:`batch` returns at once, and nothing is to be read after it."""
        return self.ended or number < len(self._list)

    def batch(self, number: int) -> Batch | None:
        """The batch with this number; None where nothing more is kept."""
        if self.holds(number):
            # Without the lock, which is held while another thread reads on.
            return self._list[number] if number < len(self._list) else None
        with self._lock:
            if number == len(self._list) < KEPT and self._alike and not self.ended:
                self._read_on()
            return self._list[number] if number < len(self._list) else None

    def _read_on(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            batch = next(self._batches, None)
        except Exception as error:
            self._failure = error
            raise
        if batch is None:
            self.ended = True
        elif self.fingerprint.mark:
            self._alike = False
        else:
            self._list.append(batch)
            self.kept = self.fingerprint.hexdigest()
