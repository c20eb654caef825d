"""Mutants that must turn the suite red: each is applied to a copy of the tree, and the quick tests are run on it.

    python -m tests.faults.mutants            all of them
    python -m tests.faults.mutants settle     those whose name has the word

Ends with 1 when one of them survives, or no longer applies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("provisioner", "tests", "configs", "pyproject.toml")
MATRIX = "tests/faults/test_matrix.py"
LIFECYCLE = "tests/faults/test_matrix_lifecycle.py"
STORY = "tests/e2e/test_story.py"
SCHEDULES = "tests/faults/test_schedule.py"
HOSTILE = "tests/faults/test_hostile.py"
CRASH = "tests/faults/test_crash.py"
LIMIT_S = 300


class Mutant(NamedTuple):
    """A flaw.

    Attributes:
        name: in plain words.
        path: of the module that has it.
        edits: texts that stand in it once, and what stands there instead.
        tests: where it must show; also options of pytest.
    """

    name: str
    path: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


INTENT = "            await target.ledger.record([intent])\n"
SEND = "reply = await operation.call(job, attempt, target.lease.check)"
EARLY = "            early = await operation.call(job, attempt, lambda: None)\n"
UNCHECKED = "reply = await operation.call(job, attempt, lambda: None)"
RESULT = "            await self._target.ledger.record(facts)\n"
FORGOTTEN = ""
DOUBTED = "Verdict.AMBIGUOUS: Conclusion(Verdict.AMBIGUOUS, (Event.DOUBT,), Next.RESOLVE, Outcome.AMBIGUOUS)"
RESENT = "Verdict.AMBIGUOUS: Conclusion(Verdict.AMBIGUOUS, _RELEASED, Next.RESEND)"
UNCLAIMED = "Place(kind, calls.region, account_id)"
REJECTED = "    HTTPStatus.NOT_FOUND: Verdict.REJECTED,\n"
SPARED = "if one.arn not in again]"
SWEPT = (
    "            await self._deletions.add_due(only=only, spare=spare)\n"
    "            await self._work.until_idle()\n            await self._work.leave_planned()\n"
)
MUTANTS = (
    Mutant(
        "synchronous=NORMAL",
        "provisioner/ledger/sqlite/database.py",
        (
            ('"PRAGMA synchronous = FULL"', '"PRAGMA synchronous = NORMAL"'),
            (".fetchone()[0], 2\n", ".fetchone()[0], 1\n"),
        ),
        ("tests/ledger",),
    ),
    Mutant(
        "no epoch check",
        "provisioner/ledger/sqlite/writing.py",
        (("if _epoch(self._connection) != self.epoch:", "if False:"),),
        ("tests/ledger/test_contract.py",),
    ),
    Mutant(
        "a commit in one statement does not look for other writers",
        "provisioner/ledger/sqlite/writing.py",
        (("(SELECT data_version FROM pragma_data_version) = ?", "? IS NOT NULL"),),
        ("tests/ledger/test_sqlite.py",),
    ),
    Mutant(
        "a ledger that vanished is not noticed",
        "provisioner/ledger/sqlite/watch.py",
        (("if _identity(name) != identity:", "if False:"),),
        ("tests/ledger/test_location.py",),
    ),
    Mutant(
        "indexes are not checked",
        "provisioner/ledger/sqlite/database.py",
        (("PRAGMA integrity_check(1)", "PRAGMA quick_check(1)"),),
        ("tests/ledger/test_sqlite.py",),
    ),
    Mutant(
        "send before commit",
        "provisioner/engine/sending.py",
        (
            (INTENT, EARLY + INTENT),
            (SEND, "reply = early"),
        ),
        (MATRIX,),
    ),
    Mutant(
        "SDK retries on",
        "provisioner/aws/session.py",
        (('"total_max_attempts": 1', '"total_max_attempts": 3'),),
        ("tests/aws/test_creates.py",),
    ),
    Mutant(
        "settle 0",
        "provisioner/engine/resolver.py",
        (("max(0.0, self._policy.settle_s - age_s)", "0.0"),),
        (SCHEDULES, MATRIX),
    ),
    Mutant(
        "no lease check",
        "provisioner/engine/sending.py",
        ((SEND, UNCHECKED),),
        (MATRIX,),
    ),
    Mutant(
        "409 = failed",
        "provisioner/core/verdict.py",
        ((REJECTED, REJECTED + REJECTED.replace("NOT_FOUND", "CONFLICT")),),
        (MATRIX, "tests/core/test_verdict.py"),
    ),
    Mutant(
        "a lost result",
        "provisioner/engine/sending.py",
        ((RESULT, FORGOTTEN),),
        (MATRIX,),
    ),
    Mutant(
        "blind resend",
        "provisioner/core/conclusion.py",
        ((DOUBTED, RESENT),),
        (MATRIX,),
    ),
    Mutant(
        "500 = not created",
        "provisioner/core/verdict.py",
        (
            (
                "        return Verdict.AMBIGUOUS\n    if reply.status == TOO_MANY",
                "        return Verdict.NOT_CREATED\n    if reply.status == TOO_MANY",
            ),
        ),
        (MATRIX, "tests/core/test_verdict.py"),
    ),
    Mutant(
        "one absence is proof",
        "provisioner/core/sweep.py",
        (("        return Ruling(Decision.ABSENT_ONCE)\n", "        return Ruling(Decision.ABSENT)\n"),),
        (MATRIX,),
    ),
    Mutant(
        "a sweep that broke off proves absence",
        "provisioner/core/sweep.py",
        (
            ("whole = sweep.complete and entry.name not in sweep.unread\n    settled", "whole = True\n    settled"),
            ("whole = sweep.complete and entry.name not in sweep.unread\n    if", "whole = True\n    if"),
        ),
        (MATRIX, SCHEDULES),
    ),
    Mutant(
        "another boot's clock is believed",
        "provisioner/core/entry.py",
        ((" if self.boot and self.boot == now.boot else 0.0", ""),),
        (MATRIX,),
    ),
    Mutant(
        "what a dead run left is as old as its intent",
        "provisioner/core/sweep.py",
        (("sent = entry.sent and entry.sent.until(now)", "sent = entry.sent"),),
        (SCHEDULES,),
    ),
    Mutant(
        "a doubt is as old as its intent",
        "provisioner/engine/operation.py",
        (("sent = entry.sent.until(self._target.clock.stamp()) if", "sent = entry.sent if"),),
        (MATRIX,),
    ),
    Mutant(
        "an old intent is sent",
        "provisioner/engine/sending.py",
        (("STALE_S = 5.0", "STALE_S = 5e9"),),
        (MATRIX,),
    ),
    Mutant(
        "the wall clock settles",
        "provisioner/core/entry.py",
        (("now.ticks - self.ticks", "now.wall - self.wall"),),
        (MATRIX,),
    ),
    Mutant(
        "first contact skipped",
        "provisioner/core/planner.py",
        (
            (
                "meeting = meet(row, known, found, self._policy, self._ledger_id) if found else CREATE",
                "meeting = CREATE",
            ),
        ),
        (MATRIX, HOSTILE, CRASH),
    ),
    Mutant(
        "an incomplete List is a whole one at first contact",
        "provisioner/engine/inventory.py",
        (("        if not listing.complete:\n", "        if False:\n"),),
        (MATRIX,),
    ),
    Mutant(
        "what the ledger records as deleted is taken up at first contact",
        "provisioner/core/first_contact.py",
        (("if one.arn != deleted)", "if True)"),),
        ("tests/core/test_first_contact.py",),
    ),
    Mutant(
        "what the ledger records as deleted is taken up by a sweep",
        "provisioner/core/sweep.py",
        (("if not entry.arn or one.arn != entry.arn", "if True"),),
        ("tests/engine/test_resolver.py",),
    ),
    Mutant(
        "--adopt takes what another ledger created",
        "provisioner/core/first_contact.py",
        (
            ("    if tagged and (policy.take_over or not names_repeat):\n", "    if False:\n"),
            ("untagged = [one for one in foreign if one.tag is None]", "untagged = list(foreign)"),
        ),
        (MATRIX,),
    ),
    Mutant(
        "may_send is never asked",
        "provisioner/aws/direct.py",
        (("            may_send()\n", "            pass\n"),),
        ("tests/aws/test_creates.py",),
    ),
    Mutant(
        "may_send is never asked through the SDK",
        "provisioner/aws/sdk.py",
        (("            self._may_send()\n", "            pass\n"),),
        ("tests/aws/test_creates.py",),
    ),
    Mutant(
        "403 without a code = denied",
        "provisioner/core/verdict.py",
        (("_SURE_WITHOUT_CODE = {HTTPStatus.", "_SURE_WITHOUT_CODE = {HTTPStatus.FORBIDDEN, HTTPStatus."),),
        (MATRIX, "tests/core/test_verdict.py"),
    ),
    Mutant(
        "delete before the new one is committed",
        "provisioner/engine/work.py",
        (("step.action is Action.REPLACE and self._policy.delete_first and", "step.action is Action.REPLACE and"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "an attempt of a replacement is proven by the ledger id alone",
        "provisioner/core/sweep.py",
        (("found = sweep.by_attempt(entry.attempt)\n", "found = [*sweep.found.get(entry.name, ())]\n"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "delete without a look at the tag",
        "provisioner/engine/deletions.py",
        (("        if code:\n", "        if False:\n"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "prune on a broken manifest",
        "provisioner/commands/drafts.py",
        (("    if invalid:\n", "    if False:\n"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "prune by a manifest without definitions",
        "provisioner/commands/drafts.py",
        (("    if not valid:\n", "    if False:\n"), ("    if empty:\n", "    if False:\n")),
        (LIFECYCLE,),
    ),
    Mutant(
        "a selection prunes what it does not name",
        "provisioner/commands/drafts.py",
        ((" or not (selects is None or selects(entry.name))", ""),),
        ("tests/commands/test_selected.py",),
    ),
    Mutant(
        "no confirmation needed",
        "provisioner/commands/confirmation.py",
        (("if not count or run.order.yes:", "if True:"),),
        (STORY,),
    ),
    Mutant(
        "a replacement that an earlier run left is not resolved",
        "provisioner/engine/resolver.py",
        (("if one.unresolved]", "if False]"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "a kept version proves a create",
        "provisioner/engine/resolver.py",
        ((" and item.arn not in recorded}", "}"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "a deletion without an answer is taken back",
        "provisioner/engine/deletion_queue.py",
        (("            if verdict is not Verdict.AMBIGUOUS:\n", "            if True:\n"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "a refused deletion answers an earlier one",
        "provisioner/engine/operation.py",
        (("return facts if gone or outstanding else", "return facts if gone else"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "names are spared, not algorithms",
        "provisioner/commands/drafts.py",
        ((SPARED, "if one.name not in {each.name for each in superseded if each.arn in again}]"),),
        ("tests/commands/test_plan.py",),
    ),
    Mutant(
        "a deletion that another option began is not waited for",
        "provisioner/engine/planning.py",
        ((" and to_delete([version], 0, adopted=self._policy.adopted)", ""),),
        (LIFECYCLE,),
    ),
    Mutant(
        "what a sweep supersedes is left",
        "provisioner/engine/engine.py",
        ((SWEPT, "            await self._work.leave_planned()\n"),),
        ("tests/commands/test_plan.py",),
    ),
    Mutant(
        "an adoption that died is not finished",
        "provisioner/commands/adopt.py",
        (("step.found is not None or unfinished", "step.found is not None"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "another change of tags waits for nothing",
        "provisioner/engine/work.py",
        (("if entry and entry.sent and unsettled:", "if False:"),),
        (LIFECYCLE,),
    ),
    Mutant(
        "a repeated change of tags is settled",
        "provisioner/engine/operation.py",
        (("TAGS_REPEATED if again or job.history.unanswered else", '"" if again or job.history.unanswered else'),),
        (LIFECYCLE,),
    ),
    Mutant(
        "a place is never claimed",
        "provisioner/fleet/fleet.py",
        (("await self.places.claim(target.name, Place(kind, calls.region, account_id))", UNCLAIMED),),
        ("tests/e2e/test_places.py",),
    ),
    Mutant(
        "two targets may be in one place",
        "provisioner/fleet/places.py",
        (("if other != target:", "if False:"),),
        ("tests/fleet",),
    ),
    Mutant(
        "prune without a look at the kept one",
        "provisioner/commands/verify.py",
        ((" or await _kept(run, target, finding)", ""),),
        ("tests/e2e/test_places.py",),
    ),
    Mutant(
        "verify reports what the tags tell",
        "provisioner/commands/verify.py",
        (("        if not unproven:\n", "        if True:\n"),),
        ("tests/commands/test_verify.py",),
    ),
    Mutant(
        "what GetResources omits is taken as not ours",
        "provisioner/commands/verify.py",
        (("account.untagged | (recorded - account.tagged.keys())", "recorded - account.tagged.keys()"),),
        ("tests/commands/test_verify.py",),
    ),
    Mutant(
        "what GetResources shows exists",
        "provisioner/commands/verify.py",
        (
            (
                "        gone = listing.complete and entry.arn in details.gone and entry.arn not in listed\n",
                "        gone = False\n",
            ),
        ),
        ("tests/commands/test_verify.py",),
    ),
    Mutant(
        "delete without a look at the tag",
        "provisioner/engine/deletions.py",
        (("        if code:\n", "        if False:\n"),),
        ("tests/engine/test_replacing.py",),
    ),
    Mutant(
        "the old one is taken for its replacement",
        "provisioner/core/sweep.py",
        (("        return _rule_replacement(unresolved, sweep, policy, ledger_id)\n", "        pass\n"),),
        ("tests/core/test_sweep.py",),
    ),
    Mutant(
        "an unanswered replacement is forgotten",
        "provisioner/engine/resolver.py",
        (("if one.unresolved]", "if False]"),),
        ("tests/engine/test_replacing.py",),
    ),
    Mutant(
        "a manifest with invalid lines prunes",
        "provisioner/commands/drafts.py",
        (("    if invalid:\n", "    if False:\n"),),
        ("tests/commands/test_plan.py",),
    ),
    Mutant(
        "an empty source prunes what was in it",
        "provisioner/commands/drafts.py",
        (("    if empty:\n", "    if False:\n"),),
        ("tests/commands/test_plan.py",),
    ),
    Mutant(
        "/dev/stdin is an empty manifest",
        "provisioner/cli/options.py",
        (('return "-" if leads_to_stdin(value) else str(value)', "return str(value)"),),
        ("tests/e2e/test_streams.py",),
    ),
    Mutant(
        "rebuild leaves out what GetResources omits",
        "provisioner/commands/rebuild.py",
        (("prove(account, account.untagged | repeated)", "prove(account, repeated)"),),
        ("tests/e2e/test_inventory.py",),
    ),
    Mutant(
        "rebuild takes a second algorithm by its tags",
        "provisioner/commands/rebuild.py",
        (("prove(account, account.untagged | repeated)", "prove(account, account.untagged)"),),
        ("tests/e2e/test_inventory.py",),
    ),
    Mutant(
        "what came over a mixed-up connection is kept",
        "provisioner/engine/doubts.py",
        (("if line.mixed_up]:\n            given", "if False]:\n            given"),),
        ("tests/engine/test_doubts.py",),
    ),
    Mutant(
        "PostgreSQL: no epoch check",
        "provisioner/ledger/postgres/writer.py",
        (("        if not fence:\n", "        if False:\n"),),
        ("tests/ledger/test_contract.py",),
    ),
    Mutant(
        "PostgreSQL: no epoch check of a target",
        "provisioner/ledger/postgres/lease.py",
        (("        if losses == self._losses:\n", "        if True:\n"),),
        ("tests/ledger/test_leases.py",),
    ),
    Mutant(
        "PostgreSQL: no epoch check of a target, in the campaign",
        "provisioner/ledger/postgres/lease.py",
        (("        if losses == self._losses:\n", "        if True:\n"),),
        ("tests/faults/test_workers.py", "-mtorture", "-kbefore_its_intent"),
    ),
    Mutant(
        "intents of another epoch are recorded",
        "provisioner/ledger/requests.py",
        (('fact.sent.epoch not in ("", epoch(fact.target))', "False"),),
        ("tests/ledger/test_contract.py",),
    ),
    Mutant(
        "a pause is written to a ledger that has moved",
        "provisioner/ledger/postgres/location.py",
        (("            if rows:\n", "            if False:\n"),),
        ("tests/ledger/test_copy.py",),
    ),
    Mutant(
        "PostgreSQL: the lease of a run that is committing is taken",
        "provisioner/ledger/postgres/lease.py",
        (('    FOR UPDATE SKIP LOCKED"""\n_TAKE', '"""\n_TAKE'),),
        ("tests/ledger/test_leases.py",),
    ),
    Mutant(
        "PostgreSQL: a worker that slept claims its own targets again",
        "provisioner/ledger/postgres/lease.py",
        (("set(among) - self._held.keys() - self._lost", "set(among)"),),
        ("tests/ledger/test_jobs.py",),
    ),
    Mutant(
        "a job tries again what is finished",
        "provisioner/ledger/postgres/jobs.py",
        (("WHERE job = %s AND result IS NULL\n", "WHERE job = %s\n"),),
        ("tests/ledger/test_jobs.py",),
    ),
    Mutant(
        "the targets of a job are anybody's until a worker begins with them",
        "provisioner/ledger/postgres/lease.py",
        (("(targets, self.nonce, job))\n        if others:", "(targets, self.nonce, job))\n        if False:"),),
        ("tests/ledger/test_jobs.py",),
    ),
    Mutant(
        "a pause is final for a job",
        "provisioner/commands/jobs.py",
        (("left = run.stop.requested or _paused(statistics)", "left = run.stop.requested"),),
        ("tests/commands/test_jobs.py",),
    ),
    Mutant(
        "a worker ends with 0 although others did not",
        "provisioner/commands/jobs.py",
        (("for code in codes if code != 0}", "for code in codes if code is None}"),),
        ("tests/commands/test_jobs.py",),
    ),
    Mutant(
        "a job waits for nobody",
        "provisioner/commands/jobs.py",
        (("return bool(self._active) or await self._waits()", "return bool(self._active)"),),
        ("tests/commands/test_jobs.py",),
    ),
    Mutant(
        "PostgreSQL: a commit without a reply is repeated blindly",
        "provisioner/ledger/postgres/writer.py",
        (("        if number == 1:\n", "        if number in {1, 2}:\n"),),
        ("tests/ledger/test_postgres.py",),
    ),
    Mutant(
        "PostgreSQL: a lease is trusted for ever",
        "provisioner/ledger/postgres/lease.py",
        (("if ticks() - self._renewed_at >= self._ttl_s - self._margin_s:", "if False:"),),
        ("tests/ledger/test_postgres.py",),
    ),
    Mutant(
        "PostgreSQL: commits that are not durable",
        "provisioner/ledger/postgres/connection.py",
        (("SET LOCAL synchronous_commit = on", "SET LOCAL synchronous_commit = off"),),
        ("tests/ledger/test_postgres.py",),
    ),
    Mutant(
        "a ledger that has moved is still written to",
        "provisioner/commands/ledger.py",
        (("await source.retire(held, target.address)", "pass"),),
        ("tests/ledger/test_copy.py",),
    ),
    Mutant(
        "a ledger that went back keeps its finished manifests",
        "provisioner/ledger/sqlite/location.py",
        (("if ledger.found != held.left:", "if False:"),),
        ("tests/ledger/test_location.py",),
    ),
)


def survives(mutant: Mutant, directory: Path) -> str:
    """Why ``mutant`` is not caught, "" when it is."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    path = directory / mutant.path
    text = path.read_text()
    for old, new in mutant.edits:
        if text.count(old) != 1:
            return f"it no longer applies: {old!r} stands {text.count(old)} times in {mutant.path}"
        text = text.replace(old, new)
    path.write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
    environment = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode == 1:
        return ""
    return "the suite stays green" if done.returncode == 0 else f"the tests do not run: {done.stdout[-500:]}"


def main() -> None:
    """The command line."""
    wanted = sys.argv[1:]
    chosen = [one for one in MUTANTS if not wanted or any(word in one.name for word in wanted)]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        for mutant in chosen:
            began = time.perf_counter()
            why = survives(mutant, Path(directory) / "tree")
            survivors += bool(why)
            took = time.perf_counter() - began
            print(f"{'SURVIVES' if why else 'red':9} {mutant.name:40} {took:5.1f} s  {why}", flush=True)  # noqa: T201
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants turn the suite red")  # noqa: T201
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
