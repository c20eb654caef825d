"""The daily case: a digest may answer "nothing to do" only where a look at every line would say the same."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from provisioner.commands.finished import finished_before, keep_finished
from provisioner.core.entry import Event, Fact, Outcome
from provisioner.engine.tally import Tally
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from tests.fakes import ROLE
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from provisioner.ledger import Ledger

RULES = Rules(ownership_tag="provisioner:origin")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A real ledger with one entry, so that its count of changes is not zero."""
    async with open_ledger(str(tmp_path / "l.db")) as opened:
        await opened.record([Fact("here", "first", Event.PLAN, digest="d", tags_digest="t")])
        yield opened


def manifest(tmp_path: Path, names: str, rules: Rules = RULES) -> Manifest:
    """A manifest with a definition for each letter of ``names``."""
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps({"name": name, "roleArn": ROLE}) + "\n" for name in names))
    return Manifest([str(path)], rules)


def told(manifest: Manifest) -> Tally:
    """The tally of a run that found all of ``manifest`` registered."""
    tally = Tally("here")
    fingerprint = Fingerprint(manifest.rules)
    for batch in manifest.batches(fingerprint=fingerprint):
        tally.read(batch, None)
    tally.outcomes[Outcome.UNCHANGED] = tally.valid
    tally.whole = True
    tally.fingerprint = fingerprint.hexdigest()
    return tally


async def test_an_unchanged_manifest_over_an_unchanged_ledger_is_finished(tmp_path: Path, ledger: Ledger) -> None:
    """Nothing changed: the tally tells of every line, all of them unchanged."""
    await keep_finished(ledger, told(manifest(tmp_path, "abc")))

    tally = Tally("here")
    known = await finished_before(ledger, manifest(tmp_path, "abc"), tally)

    assert known
    assert (tally.lines, tally.valid, tally.outcomes[Outcome.UNCHANGED], tally.whole) == (3, 3, 3, True)


@pytest.mark.parametrize(
    ("names", "rules"),
    [
        ("abd", RULES),
        ("abcd", RULES),
        ("ab", RULES),
        ("abc", Rules(defaults={"description": "new"}, ownership_tag="provisioner:origin")),
        ("abc", Rules(ownership_tag="another:tag")),
    ],
)
async def test_whatever_a_plan_depends_on_is_looked_at(
    tmp_path: Path, ledger: Ledger, names: str, rules: Rules
) -> None:
    """Other bytes, other defaults, another tag: every line is looked at again, and the tally is left alone."""
    await keep_finished(ledger, told(manifest(tmp_path, "abc")))

    tally = Tally("here")
    known = await finished_before(ledger, manifest(tmp_path, names, rules), tally)

    assert not known
    assert tally.lines == 0


async def test_a_fact_about_the_target_calls_for_a_look(tmp_path: Path, ledger: Ledger) -> None:
    """A commit about the target ends it; one about another target does not."""
    await keep_finished(ledger, told(manifest(tmp_path, "abc")))
    await ledger.record([Fact("elsewhere", "x", Event.PLAN, digest="d", tags_digest="t")])
    still = await finished_before(ledger, manifest(tmp_path, "abc"), Tally("here"))
    await ledger.record([Fact("here", "x", Event.PLAN, digest="d", tags_digest="t")])

    assert still
    assert not await finished_before(ledger, manifest(tmp_path, "abc"), Tally("here"))


@pytest.mark.parametrize("spoil", ["invalid", "failed", "open", "half"])
async def test_only_a_manifest_without_any_rest_is_kept(tmp_path: Path, ledger: Ledger, spoil: str) -> None:
    """What had an invalid line, a failure, an unanswered create or was not read to its end is never finished."""
    tally = told(manifest(tmp_path, "abc"))
    match spoil:
        case "invalid":
            tally.lines += 1
        case "failed":
            tally.move(Outcome.UNCHANGED, Outcome.FAILED)
        case "open":
            tally.open = 1
        case _:
            tally.whole = False

    await keep_finished(ledger, tally)

    assert not await finished_before(ledger, manifest(tmp_path, "abc"), Tally("here"))


def test_the_pass_that_reads_and_the_pass_that_plans_see_the_same_bytes(tmp_path: Path) -> None:
    """The digest of reading alone equals the one that planning takes in, plain and compressed, for several sources."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(b'\xef\xbb\xbf{"name": "a", "roleArn": "' + ROLE.encode() + b'"}\r\n\n')
    packed.write_bytes(gzip.compress(b'{"name": "b", "roleArn": "' + ROLE.encode() + b'"}'))
    both = Manifest([str(plain), str(packed)], RULES)
    swapped = Manifest([str(packed), str(plain)], RULES)
    fingerprint = Fingerprint(RULES)

    lines = sum(batch.lines for batch in both.batches(fingerprint=fingerprint))

    assert lines == 2
    assert fingerprint.hexdigest() == both.fingerprint()
    assert swapped.fingerprint() != both.fingerprint()
