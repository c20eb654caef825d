"""Paths as file systems allow them: any bytes but NUL and the slash."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    from pathlib import Path

DEFINITION = manifest_of("a")
ODD = [
    b"\xff\xfe",
    b" a b ",
    b"file:x?mode=memory",
    b"p%41%00#f",
    b"\x1b[31m\xc2\x9b",
    b"gl[o]b*",
    *(
        pytest.param(name, marks=pytest.mark.torture)
        for name in ("ü 日本".encode(), b"q?mode=memory", b"new\nline", b"back\\slash", b":memory:")
    ),
]


def run(*arguments: bytes | str, cwd: Path) -> tuple[int, str]:
    """Exit code and stdout of the command."""
    done = provisioner(*map(os.fsdecode, arguments), cwd=cwd)
    assert "internal error" not in done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ODD, ids=repr)
def test_any_path_is_a_ledger_a_manifest_and_a_configuration(tmp_path: Path, name: bytes) -> None:
    """Ledger, manifest and configuration are found under any name, and the ledger is the file that was named."""
    folder = os.fsencode(tmp_path)
    for suffix, content in ((b".jsonl", DEFINITION + b"{}\n"), (b".toml", b"[pace]\n")):
        with open(os.path.join(folder, name + suffix), "wb") as file:  # noqa: PTH118, PTH123  pathlib has no bytes
            file.write(content)
    ledger = ("--ledger", name + b".db")
    config = ("--config", name + b".toml")

    applied, summary = run("apply", name + b".jsonl", "--local", *ledger, *config, "--output", "json", cwd=tmp_path)
    shown, status = run("status", *ledger, *config, "--output", "json", cwd=tmp_path)
    verified, findings = run("verify", "--local", *ledger, "--output", "json", cwd=tmp_path)
    exported, arns = run("export", *ledger, "--format", "json", cwd=tmp_path)

    assert (applied, shown, verified, exported) == (65, 0, 0, 0)
    assert json.loads(summary)["outcomes"]["created"] == 1
    assert json.loads(status)["targets"]["default"]["states"]["created"] == 1
    assert json.loads(findings)["findings"] == []
    assert list(json.loads(arns)) == ["a"]
    assert name + b".db" in {os.fsencode(path.name) for path in tmp_path.iterdir()}


def test_an_odd_path_that_is_not_there_is_named_in_one_line(tmp_path: Path) -> None:
    """A path whose bytes are no text is escaped in the error, which keeps its exit code."""
    assert run("apply", b"\xff.jsonl", "--local", "--output", "json", cwd=tmp_path)[0] == 2
    assert run("status", "--ledger", b"\xff.db", cwd=tmp_path)[0] == 74
    assert run("status", "--config", b"\xff.toml", cwd=tmp_path)[0] == 78
