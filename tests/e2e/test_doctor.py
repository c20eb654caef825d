"""``provisioner doctor`` as its users meet it: the real process, with the embedded endpoint."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import COMMAND, EXAMPLE, LIMIT_S, ROOT, Endpoint, environment, provisioner

if TYPE_CHECKING:
    from pathlib import Path


def examined(cwd: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """The exit code, and the checks by name; their exit code is the process's."""
    done = provisioner("doctor", *arguments, "--output", "json", cwd=cwd)
    assert done.stdout.count("\n") == 1, done.stderr
    report = json.loads(done.stdout)
    assert report.keys() == {"checks", "exit_code"}
    assert report["exit_code"] == done.returncode
    assert all(check.keys() == {"name", "target", "status", "message", "hint"} for check in report["checks"])
    return done.returncode, {check["name"]: check for check in report["checks"]}


def test_a_healthy_target_ends_with_0_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """With --local everything but AWS's own services is checked, and no file is made."""
    code, checks = examined(tmp_path, EXAMPLE, "--local")

    skipped = {name for name, check in checks.items() if check["status"] == "skipped"}
    assert code == 0
    assert skipped == {"quota", "role", "image", "key"}
    assert {check["message"] for name, check in checks.items() if name in skipped} == {"the endpoint is not AWS's own"}
    assert {check["status"] for name, check in checks.items() if name not in skipped} == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_line_for_each_check(tmp_path: Path) -> None:
    """Off a terminal the status is a word; the last line says how a run would end."""
    done = provisioner("doctor", ROOT / "configs" / "broken.jsonl", "--local", cwd=tmp_path)

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (65, "")
    assert lines[0].split()[:2] == ["ok", "configuration"]
    assert "FAIL manifest      10 definitions, 10 invalid lines" in lines
    assert "                   `provisioner validate` reports every problem" in lines
    assert lines[-1].startswith("9 ok, 1 fail, 4 skipped; a run would end with 65: ")


@pytest.mark.parametrize(("encoding", "sign"), [("utf-8", "✓"), ("latin-1", "ok")])
def test_a_terminal_gets_signs_if_it_can_show_them(tmp_path: Path, encoding: str, sign: str) -> None:
    """On a terminal that is set to UTF-8 a status is a sign, on any other a word."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "doctor", "--local"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment(PYTHONIOENCODING=encoding),
    ) as process:
        os.close(theirs)
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123  a descriptor
            shown = b""
            try:
                while data := terminal.read(65536):
                    shown += data
            except OSError:  # the other end is closed
                pass
        process.wait(LIMIT_S)

    assert shown.decode().startswith(f"{sign} ")


def test_a_ledger_that_another_run_holds_is_reported(tmp_path: Path, endpoint: Endpoint) -> None:
    """The holder is named, the other checks are made all the same, and the exit code is the run's."""
    provisioner("apply", EXAMPLE, "--endpoint-url", endpoint.url, cwd=tmp_path)
    with (tmp_path / "ledger.db.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, checks = examined(tmp_path, "--endpoint-url", endpoint.url)

    assert code == 6
    assert "another run holds it: process " in checks["ledger"]["message"]
    assert checks["list"]["message"] == "answers; the first page has 100 algorithms"


@pytest.mark.parametrize(
    ("arguments", "config", "code", "name"),
    [
        (["--endpoint-url", "http://localhost:1"], "", 75, "list"),
        (["--local"], "[run]\nledgr = 'x'", 78, "configuration"),
        (["--endpoint-url", "http://localhost:1", "--ledger", "none/l.db"], "", 74, "ledger"),
        (
            ["--local"],
            "[targets.a]\naccount_id='111122223333'\nassume_role_arn='arn:aws:iam::123456789012:role/a'",
            77,
            "account",
        ),
    ],
)
def test_a_failed_check_ends_as_a_run_would(
    tmp_path: Path, arguments: list[str], config: str, code: int, name: str
) -> None:
    """An outage, a wrong configuration, no place for the ledger, and the wrong account, each with its hint."""
    (tmp_path / "c.toml").write_text(config)

    ended, checks = examined(tmp_path, EXAMPLE, "--config", "c.toml", *arguments)

    assert (ended, checks[name]["status"]) == (code, "fail")
    assert checks[name]["hint"]


def test_a_target_that_has_moved_is_reported(tmp_path: Path) -> None:
    """What the ledger knows of a target's place is compared as a run does, exit 78."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)

    code, checks = examined(tmp_path, "m.jsonl", "--local")
    assert (code, checks["ledger"]["message"].split(",")[0]) == (0, "ledger.db: 2 entries")
    (tmp_path / "c.toml").write_text("[targets.default]\nregion = 'eu-west-1'")
    code, checks = examined(tmp_path, "m.jsonl", "--local", "--config", "c.toml")

    assert (code, checks["place"]["status"]) == (78, "fail")


def test_a_check_that_does_not_exist_cannot_be_skipped(tmp_path: Path) -> None:
    """A mistyped name is wrong usage, with the nearest one; what is skipped is not shown."""
    wrong = provisioner("doctor", "--skip", "credential", cwd=tmp_path)
    code, checks = examined(tmp_path, "--local", "--skip", "clock", "--skip", "list")

    assert wrong.returncode == 2
    assert "Did you mean credentials?" in wrong.stderr
    assert code == 0
    assert {"clock", "list"}.isdisjoint(checks)
