"""A manifest that several targets read: once for all of them, and each at its own speed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from provisioner.errors import ManifestChangedError, ManifestError
from provisioner.manifest import shared
from provisioner.manifest.audience import Audience, Known
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import BATCH_LINES, Manifest
from provisioner.manifest.shared import SharedManifest
from tests.definition_lines import LEAST, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.manifest.reader import Batch


def written(path: Path, count: int) -> Manifest:
    """A manifest of so many lines, and one that is invalid."""
    path.write_bytes(lines_of(*({**LEAST, "name": f"n{number}"} for number in range(count)), {"name": ""}))
    return Manifest([str(path)], Rules())


def read(manifest: Manifest) -> tuple[list[str], int, str]:
    """Names, invalid lines and fingerprint."""
    fingerprint = Fingerprint(manifest.rules)
    batches = list(manifest.batches(fingerprint=fingerprint))
    names = [row.name for batch in batches for row in batch.rows]
    return names, sum(batch.invalid for batch in batches), fingerprint.hexdigest()


@pytest.mark.parametrize("count", [1, BATCH_LINES, 3 * BATCH_LINES + 1])
@pytest.mark.parametrize("kept", [40, 2])
def test_every_reader_sees_the_whole_manifest(
    tmp_path: Path, count: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one target reads is what each reads, whether it is kept in memory or read on by each."""
    monkeypatch.setattr(shared, "KEPT", kept)
    alone = written(tmp_path / "m.jsonl", count)
    several = SharedManifest(alone)

    assert [read(several) for _ in range(3)] == [read(alone)] * 3
    assert several.fingerprint() == alone.fingerprint()


def test_lines_are_parsed_once(tmp_path: Path) -> None:
    """The second reader gets the very objects of the first, so that memory does not grow with the targets."""
    several = SharedManifest(written(tmp_path / "m.jsonl", 1000))

    first, second = list(several.batches()), list(several.batches())

    assert [id(batch) for batch in first] == [id(batch) for batch in second]


def test_what_one_has_read_is_at_hand_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch and the end need no thread by then; beyond what is kept, each target reads for itself."""
    monkeypatch.setattr(shared, "KEPT", 3)
    short = SharedManifest(written(tmp_path / "short.jsonl", BATCH_LINES))
    long = SharedManifest(written(tmp_path / "long.jsonl", 3 * BATCH_LINES))
    before = [manifest.holds(0) for manifest in (short, long)]
    for manifest in (short, long):
        read(manifest)

    assert before == [False, False]
    assert [short.for_target("t").holds(number) for number in range(4)] == [True, True, True, True]
    assert [long.for_target("t").holds(number) for number in range(4)] == [True, True, True, False]


def test_readers_in_several_threads_see_the_same(tmp_path: Path) -> None:
    """Each target reads in a thread."""
    alone = written(tmp_path / "m.jsonl", 2000)
    several, begin = SharedManifest(alone), threading.Barrier(4)

    def reader(_: int) -> tuple[list[str], int, str]:
        begin.wait()
        return read(several)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reader, range(4))) == [read(alone)] * 4


def test_a_manifest_that_changes_meanwhile_is_not_taken_for_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a target reads on by itself and finds other lines than those before, it says so and ends."""
    monkeypatch.setattr(shared, "KEPT", 1)
    several = SharedManifest(written(tmp_path / "m.jsonl", 1000))
    batches = several.batches()
    next(batches)
    written(tmp_path / "m.jsonl", 900)

    with pytest.raises(ManifestChangedError):
        next(batches)


def test_lines_for_some_targets_reach_these_alone(tmp_path: Path) -> None:
    """Where lines name their targets, each target reads what it would read by itself."""
    names = ["east", "west"]
    lines = [{**LEAST, "name": f"n{number}"} for number in range(2 * BATCH_LINES)]
    lines[BATCH_LINES + 9]["targets"] = ["east"]  # type: ignore[assignment]  # of a line, which may have any JSON
    (tmp_path / "m.jsonl").write_bytes(lines_of(*lines))
    alone = Manifest([str(tmp_path / "m.jsonl")], Rules()).under(
        Rules(), Audience(Known({name: {} for name in names}), names)
    )
    several = SharedManifest(alone)

    found = [read(several.for_target(name)) for name in names]

    assert found == [read(alone.for_target(name)) for name in names]
    assert [len(names) for names, _, _ in found] == [2 * BATCH_LINES, 2 * BATCH_LINES - 1]


def test_an_error_of_reading_is_everybodys(tmp_path: Path) -> None:
    """A manifest that cannot be read fails for each target that reads it, with the same message."""

    class Broken(Manifest):
        def batches(self, size: int = BATCH_LINES, fingerprint: Fingerprint | None = None) -> Iterator[Batch]:
            yield next(super().batches(size, fingerprint))
            raise ManifestError("cannot be read", where="m.jsonl")

    written(tmp_path / "m.jsonl", 1000)
    several = SharedManifest(Broken([str(tmp_path / "m.jsonl")], Rules()))

    for _ in range(2):
        batches = several.batches()
        assert len(next(batches).rows) == BATCH_LINES
        with pytest.raises(ManifestError, match="cannot be read"):
            next(batches)
