"""Manifests as they reach the process: odd pipes, full and read-only disks, files that change or disappear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import LIMIT_S, Endpoint, Process, command, environment, provisioner, until

if TYPE_CHECKING:
    from pathlib import Path


def start(*arguments: object, cwd: Path, stdin: int, **more: str) -> Process:
    """Start the command with this descriptor as its standard input."""
    return Process(command(*arguments, "--output", "json", cwd=cwd, **more), stdin=stdin)


def ended(process: Process) -> tuple[int, dict[str, Any]]:
    """The exit code and the one object on stdout."""
    out, err = process.communicate(timeout=LIMIT_S)
    assert out.count("\n") == 1, err
    return process.returncode, json.loads(out)


def test_a_pipe_that_does_not_block_is_read_to_its_end(tmp_path: Path) -> None:
    """A parent may leave its pipe non-blocking: lines that come late are registered like the first ones."""
    inlet, outlet = os.pipe()
    os.set_blocking(inlet, False)
    process = start("apply", "-", "--local", cwd=tmp_path, stdin=inlet)
    os.close(inlet)
    os.write(outlet, manifest_of("a", "b"))
    until((tmp_path / "ledger.db").exists)
    os.write(outlet, manifest_of("c"))
    time.sleep(0.1)
    os.write(outlet, manifest_of("d"))
    os.close(outlet)

    code, summary = ended(process)

    assert (code, summary["outcomes"]["created"], summary["manifest"]["lines"]) == (0, 4, 4)


def test_a_deadline_holds_while_standard_input_is_copied(tmp_path: Path) -> None:
    """With --strict the whole of standard input is read first: a writer that never ends does not outlast --deadline."""
    inlet, outlet = os.pipe()
    process = start("apply", "-", "--strict", "--local", "--deadline", "1s", cwd=tmp_path, stdin=inlet)
    os.close(inlet)
    os.write(outlet, manifest_of("a"))
    try:
        code, summary = ended(process)
    finally:
        os.close(outlet)

    assert code == 75
    assert "deadline" in summary["stopped"]
    assert not (tmp_path / "ledger.db").exists()


UNWRITABLE = """
import os, sys, tempfile
from provisioner.manifest import sources
def none():  # what tempfile does where every folder that it tries is read-only
    raise FileNotFoundError(2, "No usable temporary directory found")
tempfile.gettempdir = none
os.access = lambda path, mode: False
from provisioner.cli import main
main(sys.argv[1:])
"""


def test_no_folder_for_temporary_files(tmp_path: Path) -> None:
    """Where no folder for temporary files can be written, --strict ends with 74 and says how to name one."""
    done = subprocess.run(
        [sys.executable, "-c", UNWRITABLE, "apply", "-", "--strict", "--local"],
        cwd=tmp_path,
        input=manifest_of("a"),
        capture_output=True,
        env=environment(),
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 74
    assert b"cannot write a temporary file" in done.stdout
    assert b"set TMPDIR" in done.stdout
    assert b"internal error" not in done.stdout + done.stderr


def test_a_second_manifest_that_disappears_drains_what_is_in_flight(tmp_path: Path, endpoint: Endpoint) -> None:
    """A file that is gone when its turn comes is one problem (65); every create in flight is awaited and recorded."""
    names = [f"n{number}" for number in range(20)]
    endpoint.change(latency=1.0)
    inlet, outlet = os.pipe()
    (tmp_path / "second.jsonl").write_bytes(manifest_of("late"))
    process = start(
        "apply", "-", "second.jsonl", "--endpoint-url", endpoint.url, "-l", "ledger.db", cwd=tmp_path, stdin=inlet
    )
    os.close(inlet)
    os.write(outlet, manifest_of(*names))
    until(lambda: endpoint.creates() or endpoint.truth()["algorithms"], process)
    (tmp_path / "second.jsonl").unlink()
    os.close(outlet)

    code, summary = ended(process)

    assert (code, summary["outcomes"]["created"], summary["manifest"]["invalid"]) == (65, 20, 1)
    (problem,) = summary["problems"]
    assert (problem["source"], problem["code"]) == ("second.jsonl", "source_broken")
    assert sorted(algorithm["name"] for algorithm in endpoint.truth()["algorithms"]) == sorted(names)


REWRITES = """
import sys
import provisioner.commands.apply as module
real = module._all_valid
async def then_rewritten(*arguments):
    valid = await real(*arguments)
    with open("m.jsonl", "r+b") as file:  # in place, as an editor or a download does
        file.write(open("other.jsonl", "rb").read())
    return valid
module._all_valid = then_rewritten
from provisioner.cli import main
main(sys.argv[1:])
"""


def test_strict_sends_what_it_has_checked(tmp_path: Path, endpoint: Endpoint) -> None:
    """With --strict a file that changes after the check is sent as it was checked: it is read once."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    (tmp_path / "other.jsonl").write_bytes(manifest_of("x")[:-5] + b"!!!\n" + manifest_of("y"))
    done = subprocess.run(
        [sys.executable, "-c", REWRITES, "apply", "m.jsonl", "--strict", "--endpoint-url", endpoint.url],
        cwd=tmp_path,
        capture_output=True,
        env=environment(),
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert sorted(algorithm["name"] for algorithm in endpoint.truth()["algorithms"]) == ["a", "b"]


ODD = [b"\xff\xfe", "é\n\x1b[31m".encode(), b"-"]
MORE_ODD = [b"bl ank", b"%41?x=1#y&z", b"file:x", b"a\\b", b"~"]
"""What test_odd_paths.py tries as files too."""


@pytest.mark.parametrize("name", [*ODD, *(pytest.param(one, marks=pytest.mark.torture) for one in MORE_ODD)], ids=ascii)
def test_odd_paths(tmp_path: Path, name: bytes) -> None:
    """Manifest, configuration and their folder may have any name; it is printed escaped, on both outputs."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    manifest, config = folder / (folder.name + ".jsonl"), folder / (folder.name + ".toml")
    manifest.write_bytes(manifest_of("a") + b"{}\n")
    config.write_text('[run]\nledger = "l.db"\n')

    text = provisioner("validate", manifest, "-c", config, cwd=tmp_path)
    applied = provisioner("apply", manifest, "-c", config, "--local", "--output", "json", cwd=tmp_path)

    assert (text.returncode, applied.returncode) == (65, 65), applied.stderr
    assert text.stdout.startswith(str(tmp_path))
    assert all(line.isprintable() for line in text.stdout.splitlines())
    assert json.loads(applied.stdout)["outcomes"]["created"] == 1
    assert (folder / "l.db").exists()


def test_an_odd_name_of_a_wrong_configuration(tmp_path: Path) -> None:
    """A wrong configuration with an odd name is one printable line, 78."""
    path = os.fsencode(tmp_path) + b"/\xff \x1b.toml"
    with open(path, "wb") as file:  # noqa: PTH123  pathlib takes no bytes
        file.write(b"[runn]\n")
    done = provisioner("status", "-c", os.fsdecode(path), cwd=tmp_path)

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.rstrip("\n").isprintable()
    assert "unknown key runn" in done.stderr
