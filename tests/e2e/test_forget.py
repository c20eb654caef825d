"""``forget``: removes entries from the ledger, and leaves AWS alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.definition_lines import manifest_of
from tests.e2e.folder import QUICK, Folder
from tests.e2e.process import Endpoint, provisioner

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def forget(folder: Folder, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run it; it must end with ``code``."""
    done = provisioner("forget", *arguments, cwd=folder.path)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def listed(folder: Folder, *arguments: str) -> list[str]:
    """The names that the ledger has."""
    done = provisioner("list", *arguments, "--output", "json", cwd=folder.path)
    return [one["name"] for one in json.loads(done.stdout)["entries"]]


def test_entries_go_and_algorithms_stay(tmp_path: Path, endpoint: Endpoint) -> None:
    """Without --yes it says what it would do (2); then the entries are gone, and apply recovers their algorithms."""
    folder = Folder(tmp_path, endpoint, "a 1", "a 2", "b")
    folder.run("apply", "m.jsonl")

    refused = forget(folder, "--name", "a *", code=2)
    kept = listed(folder)
    done = forget(folder, "--name", "a *", "--yes")
    left = listed(folder)
    again = folder.json("apply", "m.jsonl")

    assert "2 entries would be removed from the ledger: 2 algorithms stay in AWS" in refused.stderr
    assert "Confirm it with --yes" in refused.stderr
    assert done.stdout == "2 entries forgotten, AWS keeps 2 algorithms, ledger ledger.db\n"
    assert (kept, left) == (["a 1", "a 2", "b"], ["b"])
    assert (again["outcomes"]["recovered"], again["calls"]["create"]) == (2, 0)


def test_it_is_a_run(tmp_path: Path, endpoint: Endpoint) -> None:
    """What changes entries is in the list of runs; what forgets nothing is not."""
    folder = Folder(tmp_path, endpoint, "a")
    folder.run("apply", "m.jsonl")

    forget(folder, "--name", "none")
    forget(folder, "--name", "a", "--yes")

    runs = json.loads(provisioner("runs", "--output", "json", cwd=tmp_path).stdout)["runs"]
    assert [(one["command"], one["exit_code"]) for one in runs] == [("forget", 0), ("apply", 0)]


def test_what_is_superseded_is_forgotten_with_its_entry(tmp_path: Path, endpoint: Endpoint) -> None:
    """Older versions that are still to be deleted go too, count as kept by AWS, and no later run deletes them."""
    endpoint.change(names="duplicates")
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl")
    newer = [json.loads(line) | {"description": "newer"} for line in manifest_of("a", "b").splitlines()]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, newer)))
    folder.run("apply", "m.jsonl", "--on-change", "replace", "--keep", "1", "--yes")

    done = json.loads(forget(folder, "--name", "a", "--yes", "--output", "json").stdout)

    assert (done["entries"], done["existing"], done["unresolved"], done["exit_code"]) == (1, 2, 0, 0)
    assert listed(folder, "--state", "superseded") == ["b"]
    folder.run("destroy", "--all", "--yes")
    assert folder.alive() == ["a", "a"]


def test_what_is_unresolved_stays(tmp_path: Path, endpoint: Endpoint) -> None:
    """Nothing else knows of an algorithm that such a create may have made: it stays, and the exit code is 5."""
    endpoint.change(script=["lost_reply"])
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl", "--no-wait", code=5)

    done = forget(folder, "--name", "*", "--yes", code=5)

    assert "1 entry forgotten" in done.stdout
    assert "1 left, because a create of theirs has no answer yet" in done.stdout
    assert len(listed(folder, "--state", "ambiguous")) == 1


def test_targets_are_kept_apart(tmp_path: Path, endpoint: Endpoint) -> None:
    """-t forgets in that target only; one that the ledger does not know is a mistake."""
    config = QUICK + "[targets.east]\nregion = 'us-east-1'\n[targets.west]\nregion = 'us-west-2'\n"
    folder = Folder(tmp_path, endpoint, "a", "b", config=config)
    folder.run("apply", "m.jsonl")

    unknown = forget(folder, "-t", "wst", "--yes", code=2)
    forget(folder, "-t", "west", "--name", "a", "--yes")

    assert "the ledger has no entries of a target 'wst'" in unknown.stderr
    assert listed(folder, "-t", "west") == ["b"]
    assert listed(folder, "-t", "east") == ["a", "b"]


def test_a_refusal_is_json_too(tmp_path: Path, endpoint: Endpoint) -> None:
    """One object on stdout whatever happens: not confirmed, no selection, no ledger."""
    folder = Folder(tmp_path, endpoint, "a")
    folder.run("apply", "m.jsonl")

    for code, *arguments in ((2, "--name", "a"), (2, "--yes"), (74, "--name", "a", "-l", "none.db")):
        refused = json.loads(forget(folder, *map(str, arguments), "--output", "json", code=int(code)).stdout)
        assert refused["exit_code"] == code
        assert refused["error"]
