"""``provisioner explain``: everything that a command can print as a code or a state has a page."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from provisioner.cli.explain import HTTP_STATUS, Page, pages
from provisioner.cli.program import provisioner as group
from provisioner.commands.verify import _REASONS as FINDINGS
from provisioner.core import verdict
from provisioner.core.checks import Status
from provisioner.core.entry import Event, Outcome, State
from provisioner.core.planner import Action
from provisioner.core.sweep import Decision
from provisioner.core.verdict import Loss, Verdict
from provisioner.core.versions import Role
from provisioner.errors import Reason
from provisioner.exit_codes import ExitCode
from tests.e2e.process import ROOT, provisioner
from tests.report.test_events import logged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import Enum
    from pathlib import Path

PACKAGE = ROOT / "provisioner"
ENUMS: dict[type[Enum], str] = {
    ExitCode: "exit code",
    Reason: "exit code",
    State: "state",
    Role: "state",
    Outcome: "outcome",
    Action: "action of a plan",
    Loss: "no reply",
    Verdict: "verdict on a reply",
    Event: "event of an entry",
    Status: "status of a check",
}
CODES = {"error code", "problem of a line", "notice"}
"""Kinds of pages whose names are literals in the code."""
SPEAKERS = re.compile(
    r"_?(report|problem|line_problem|Problem|LineProblem|add_row|fact|Fact|Reply|Ruling|Meeting|Step)"
)
"""Functions and classes that are given a code."""
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NO_CODES = {"notice", "problem", "key"}
"""What those functions are given beside a code."""


def literals(path: Path) -> Iterator[str]:
    """The codes that a module gives to a speaker or returns beside a message."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))

    def value(node: ast.expr) -> str:
        found = getattr(module, node.id, "") if isinstance(node, ast.Name) else getattr(node, "value", "")
        return found if isinstance(found, str) and CODE.fullmatch(found) else ""

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = node.args if SPEAKERS.fullmatch(name) else []
            yield from map(value, [*given, *(keyword.value for keyword in node.keywords if keyword.arg == "code")])
            yield from (value(keyword.value) for keyword in node.keywords if keyword.arg == "why" and name == "run")
            if name == "confirmed":
                yield value(node.args[3])
        elif isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == ["code"]:
            yield from (value(one) for one in ast.walk(node.value) if isinstance(one, ast.Constant | ast.Name))
        elif isinstance(node, ast.Yield | ast.Return) and isinstance(node.value, ast.Tuple):
            match node.value.elts:
                case [ast.Constant() | ast.Name() as code, ast.Constant() | ast.JoinedStr(), *_]:
                    yield value(code)


def spoken() -> set[str]:
    """Every code in the rooms that report problems and record facts."""
    rooms = ("core", "engine", "manifest", "commands")
    found = {code for room in rooms for path in (PACKAGE / room).glob("*.py") for code in literals(path)}
    return found - NO_CODES - {""}


def named(*kinds: str) -> set[str]:
    """The names on the pages of these kinds."""
    return {name for page in pages() for name in page.names if page.kind in kinds}


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_every_member_has_a_page(enum: type[Enum]) -> None:
    """Each exit code, reason, state, outcome, action, verdict, loss, event and status is explained as what it is."""
    members = {str(int(one)) if isinstance(one, ExitCode) else str(one.value) for one in enum}

    assert members - named(ENUMS[enum]) == set()


def test_every_finding_and_decision_has_a_page() -> None:
    """The kinds of findings of verify are explained, and what a sweep decides."""
    assert named("finding of verify") == set(FINDINGS)
    assert {one.value for one in Decision} - named("decision of a sweep", "outcome") == set()


def test_every_code_has_a_page() -> None:
    """Each code of a problem, a notice, a fact or a refusal in the code has a page, so that a new one needs one."""
    codes = spoken()

    expected = {"other_ledger", "name_taken", "names_unique", "tags_refused", "superseded", "prune_refused"}
    expected |= {"not_planned", "unread", "duplicate", "pattern", "other_region", "stale", "pruned", "rebuilt"}
    assert expected - codes == set()
    assert codes - named(*CODES, *ENUMS.values(), "finding of verify") == set()


def test_no_page_explains_what_nothing_prints() -> None:
    """A code that is gone from the code is gone from the pages."""
    enums = {str(one.value) for enum in ENUMS for one in enum}

    assert named(*CODES) - spoken() - enums == set()
    for kind in set(ENUMS.values()):
        members = {str(one.value) for enum, of in ENUMS.items() if of == kind for one in enum}
        assert named(kind) == members, kind


def test_every_code_of_the_service_that_is_known_has_a_page() -> None:
    """Codes about throttling and credentials, and the errors in the service's model."""
    known = verdict.THROTTLE_CODES | verdict.CREDENTIAL_CODES
    modelled = {"AccessDeniedException", "ConflictException", "ResourceNotFoundException", "ThrottlingException"}
    modelled |= {"ServiceQuotaExceededException", "ValidationException"}

    assert (known | modelled) - named("code of AWS") == set()


def test_every_log_event_has_a_page() -> None:
    """What an operator finds in a log can be asked for; a name that is gone from the code is gone from the pages."""
    assert named("log event") == set(logged())


@pytest.mark.parametrize("page", pages(), ids=lambda page: f"{page.kind} {page.names[0]}")
def test_every_page_says_what_to_do(page: Page) -> None:
    """A page has sentences and a next step; what looks like a command of ours is one that the program accepts."""
    assert all(text.endswith(".") for text in (page.means, page.why))
    assert page.next
    for step in page.next:
        words = shlex.split(step) if step.startswith(("provisioner", "PROVISIONER_")) else []
        words = words[1:] if words and "=" in words[0] else words
        if words:
            context: click.Context = group.make_context("provisioner", words[1:])
            _, command, rest = group.resolve_command(context, words[1:])
            while isinstance(command, click.Group):
                _, command, rest = command.resolve_command(click.Context(command), rest)
            assert command is not None
            command.make_context(words[1], rest, parent=context)


def test_no_name_has_two_pages_of_one_kind() -> None:
    """A name is explained once for each thing that it can be."""
    names = [(page.kind, name) for page in pages() for name in page.names]

    assert len(names) == len(set(names))


def test_a_page_is_printed(tmp_path: Path) -> None:
    """The page in text: what, why, and commands on lines of their own."""
    done = provisioner("explain", "name_taken", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "name_taken (error code)\n"
        "  An algorithm that no ledger created has this name, and its definition differs.\n"
        "  why   Somebody created it in the console or with another tool.\n"
        "  next  Rename the definition, or take the algorithm over as it is:\n"
        "        provisioner apply MANIFEST --adopt any\n"
    )


def test_a_name_with_several_meanings_has_all_of_them(tmp_path: Path) -> None:
    """`failed` is an exit code's reason, a state, an outcome and an action; --output json has one page for each."""
    done = provisioner("explain", "FAILED", "--output", "json", cwd=tmp_path)

    found = json.loads(done.stdout)
    assert found["exit_code"] == 0
    assert [page["kind"] for page in found["pages"]] == ["exit code", "state", "outcome", "action of a plan"]
    assert set(found["pages"][0]) == {"kind", "names", "means", "why", "next"}


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("75", "75 (exit code)"),
        ("locked", "6, locked (exit code)"),
        ("slowdown", "ThrottlingException, SlowDown (code of AWS)"),
        ("503", f"{HTTP_STATUS} (code of AWS)"),
    ],
)
def test_what_is_asked_for_is_found(tmp_path: Path, code: str, title: str) -> None:
    """Numbers, other names of the same thing, any case, and the status of a reply without a code."""
    assert provisioner("explain", code, cwd=tmp_path).stdout.splitlines()[0] == title


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("nametaken", "Did you mean provisioner explain name_taken?"),
        ("validationexeption", "Did you mean provisioner explain ValidationException?"),
        ("600", "`provisioner explain` lists all"),
        ("xyzzy", "`provisioner explain` lists all"),
    ],
)
def test_what_was_mistyped_gets_the_nearest(tmp_path: Path, code: str, hint: str) -> None:
    """A name without a page ends with 2 and the nearest that has one."""
    done = provisioner("explain", code, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr


def test_the_list_has_every_page(tmp_path: Path) -> None:
    """Without a code, all names are listed by kind."""
    listed = provisioner("explain", cwd=tmp_path).stdout

    assert all(page.kind in listed for page in pages())
    assert all(re.search(rf"(?<!\w){re.escape(page.names[0])}(?!\w)", listed) for page in pages())


def test_a_run_that_does_not_end_with_0_points_to_its_page(tmp_path: Path) -> None:
    """The line of the exit code has the command to type, which works."""
    done = provisioner("verify", "--local", cwd=tmp_path)

    assert done.returncode == 74
    last = provisioner("apply", "--strict", ROOT / "configs" / "broken.jsonl", "--local", cwd=tmp_path).stdout
    assert "(`provisioner explain 65`)\nnext      10 invalid lines: provisioner validate /" in last
    assert provisioner("explain", "65", cwd=tmp_path).returncode == 0
