"""The daily case: a digest may answer "nothing to do" only where a look at every line would say the same."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.commands.finished import RunRules, finished_before, keep_finished
from provisioner.config.settings import LifecycleSettings
from provisioner.core.entry import Event, Fact, Outcome
from provisioner.manifest.fingerprint import Fingerprint
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.report.statistics import Statistics
from tests.definition_lines import manifest_of
from tests.fakes import ROLE
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from provisioner.ledger import Ledger

RULES = Rules(ownership_tag="provisioner:origin")
RUN = RunRules(LifecycleSettings())


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """A real ledger with one entry, so that its count of changes is not zero."""
    async with open_ledger(str(tmp_path / "l.db")) as opened:
        await opened.record([Fact("here", "first", Event.PLAN, digest="d", tags_digest="t")])
        yield opened


def manifest(tmp_path: Path, names: str, rules: Rules = RULES) -> Manifest:
    """A manifest with a definition for each letter of ``names``."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(manifest_of(*names))
    return Manifest([str(path)], rules)


def finished(manifest: Manifest) -> tuple[Statistics, str]:
    """The statistics and the fingerprint of a run that found all of ``manifest`` registered."""
    statistics = Statistics("here")
    fingerprint = Fingerprint(manifest.rules)
    for batch in manifest.batches(fingerprint=fingerprint):
        statistics.batch_read(batch, None)
    statistics.outcomes[Outcome.UNCHANGED] = statistics.valid
    statistics.whole = True
    return statistics, fingerprint.hexdigest()


async def test_an_unchanged_manifest_over_an_unchanged_ledger_is_finished(tmp_path: Path, ledger: Ledger) -> None:
    """Nothing changed: every line is known to be registered as it is."""
    await keep_finished(ledger, *finished(manifest(tmp_path, "abc")), RUN)

    assert await finished_before(ledger, manifest(tmp_path, "abc"), "here", RUN) == 3


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
    """Other bytes, other defaults, another tag: every line is looked at again."""
    await keep_finished(ledger, *finished(manifest(tmp_path, "abc")), RUN)

    assert await finished_before(ledger, manifest(tmp_path, names, rules), "here", RUN) is None


@pytest.mark.parametrize(
    "change",
    [{"prune": True}, {"on_change": "replace"}, {"keep": 1}, {"replace_order": "delete-first"}, {"own_tags": True}],
)
async def test_other_rules_call_for_a_look(tmp_path: Path, ledger: Ledger, change: dict[str, Any]) -> None:
    """What is finished under one set of rules may have something to do under another."""
    await keep_finished(ledger, *finished(manifest(tmp_path, "abc")), RUN)
    own_tags = change.pop("own_tags", False)
    other = RunRules(LifecycleSettings(**change), own_tags=own_tags)

    assert await finished_before(ledger, manifest(tmp_path, "abc"), "here", other) is None


async def test_a_fact_about_the_target_calls_for_a_look(tmp_path: Path, ledger: Ledger) -> None:
    """A commit about the target ends it; one about another target does not."""
    await keep_finished(ledger, *finished(manifest(tmp_path, "abc")), RUN)
    await ledger.record([Fact("elsewhere", "x", Event.PLAN, digest="d", tags_digest="t")])
    still = await finished_before(ledger, manifest(tmp_path, "abc"), "here", RUN)
    await ledger.record([Fact("here", "x", Event.PLAN, digest="d", tags_digest="t")])

    assert still == 3
    assert await finished_before(ledger, manifest(tmp_path, "abc"), "here", RUN) is None


@pytest.mark.parametrize("spoil", ["invalid", "failed", "open", "half"])
async def test_only_a_manifest_without_any_rest_is_kept(tmp_path: Path, ledger: Ledger, spoil: str) -> None:
    """What had an invalid line, a failure, an unanswered create or was not read to its end is never finished."""
    statistics, fingerprint = finished(manifest(tmp_path, "abc"))
    match spoil:
        case "invalid":
            statistics.lines += 1
        case "failed":
            statistics.outcome_changed(Outcome.FAILED, Outcome.UNCHANGED)
        case "open":
            statistics.open = 1
        case _:
            statistics.whole = False

    await keep_finished(ledger, statistics, fingerprint, RUN)

    assert await finished_before(ledger, manifest(tmp_path, "abc"), "here", RUN) is None


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
