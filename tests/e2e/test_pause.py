"""``provisioner pause`` and ``resume``, through the real process."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import numbered
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    from pathlib import Path

PAUSED = r"paused until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ: an audit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest, and a ledger that has registered it."""
    (tmp_path / "m.jsonl").write_bytes(numbered(1))
    assert provisioner("apply", "m.jsonl", "--local", cwd=tmp_path).returncode == 0
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    return tmp_path


def test_a_target_is_paused_and_resumed(folder: Path) -> None:
    """The next run sends nothing and ends with 75, every command says why, and after the pause the work is done."""
    paused = provisioner("pause", "default", "--for", "2h", "--reason", "an audit", cwd=folder)
    applied = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=folder)
    status = provisioner("status", cwd=folder)
    planned = provisioner("plan", "m.jsonl", "--local", cwd=folder)
    examined = provisioner("doctor", "--local", cwd=folder)
    resumed = provisioner("resume", "default", cwd=folder)
    again = provisioner("resume", "default", "--output", "json", cwd=folder)
    done = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=folder)

    summary = json.loads(applied.stdout)
    assert (paused.returncode, applied.returncode, summary["calls"]["create"]) == (0, 75, 0)
    assert re.match(rf"default is {PAUSED}\nA run under way stops sending within 5 s; ledger ", paused.stdout)
    assert summary["targets"]["default"]["paused"]["reason"] == "an audit"
    assert re.search(r"^target  default: .*, paused until \S+Z: an audit$", status.stdout, re.MULTILINE)
    assert re.findall(r"^next    (.*)$", status.stdout, re.MULTILINE) == ["provisioner resume default"]
    assert planned.returncode == 0
    assert re.search(
        r"^paused +default until \S+Z: an audit; until then `apply` sends nothing there$",
        planned.stdout,
        re.MULTILINE,
    )
    assert (examined.returncode, len(re.findall(PAUSED, examined.stdout))) == (75, 1)
    assert re.match(r"default was paused until \S+Z: an audit; the next run sends to it\n$", resumed.stdout)
    assert json.loads(again.stdout)["targets"] == {"default": {"was_paused": False}}
    assert (done.returncode, json.loads(done.stdout)["outcomes"]["created"]) == (0, 1)


def test_many_targets_are_paused_by_pattern(folder: Path) -> None:
    """Globs, tags and exclusions, as everywhere; also targets that the ledger does not know yet."""
    targets = "".join(f"[targets.{name}]\ntags = {{ env = '{name[:4]}' }}\n" for name in ("prod-us", "prod-eu", "test"))
    (folder / "provisioner.toml").write_text(targets)
    patterns = ("prod-*", "!prod-eu", "tag:env=test")
    paused = json.loads(provisioner("pause", *patterns, "--output", "json", cwd=folder).stdout)

    status = json.loads(provisioner("status", "--output", "json", cwd=folder).stdout)
    resumed = json.loads(provisioner("resume", "*", "--output", "json", cwd=folder).stdout)
    nothing = provisioner("resume", "*", cwd=folder).stdout

    assert set(paused["targets"]) == {"prod-us", "test"}
    assert (status["next"], status["exit_code"]) == (["provisioner resume prod-us test"], 0)
    assert nothing == "none of these targets was paused\n"
    assert {name for name, one in resumed["targets"].items() if one["was_paused"]} == {"prod-us", "test"}


def test_a_fleet_that_is_paused_is_one_line(folder: Path) -> None:
    """The number of targets and the first few, as elsewhere; the command that ends all pauses is as short."""
    (folder / "provisioner.toml").write_text("".join(f"[targets.t{number}]\n" for number in range(1_000)))
    paused = provisioner("pause", "t*", "--for", "2h", cwd=folder)
    status = json.loads(provisioner("status", "--output", "json", cwd=folder).stdout)
    resumed = provisioner("resume", "*", cwd=folder)

    assert re.match(r"1,000 targets \(t0, t1, t2 and 997 more\) are paused until \S+Z\nA run ", paused.stdout)
    assert status["next"] == ["provisioner resume '*'"]
    assert re.match(
        r"1,000 targets \(t0, t1, t2 and 997 more\) were paused until \S+Z; the next run sends to them\n$",
        resumed.stdout,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pause", "defualt"), 2, r"has a target 'defualt'. Did you mean default\?"),
        (("resume", "other"), 2, "has a target 'other'"),
        (("pause", "default", "--for", "1h", "--until", "2199-01-01"), 2, "--for and --until exclude each other"),
        (("pause", "default", "--until", "2020-01-01T00:00Z"), 2, "2020-01-01T00:00Z is in the past"),
        (("pause", "default", "--until", "2h"), 2, "for a duration, use --for"),
        (("pause", "default", "--ledger", "none.db"), 74, "there is no ledger here"),
    ],
)
def test_a_pause_that_is_refused(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    """An unknown target, an end that is none, no ledger: each says what is wrong, and nothing is paused."""
    done = provisioner(*arguments, cwd=folder)

    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(message, done.stderr), done.stderr
    assert "paused" not in provisioner("status", cwd=folder).stdout
