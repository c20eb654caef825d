"""``destroy``: deletes what was selected and nothing else, whatever comes in between."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of, numbered
from tests.e2e.folder import QUICK, QUIET, Folder, client
from tests.e2e.process import Endpoint, start, until

if TYPE_CHECKING:
    from pathlib import Path

TWO_TARGETS = "[targets.east]\nregion = 'us-east-1'\n[targets.west]\nregion = 'us-west-2'\n"


def changed(*names: str) -> bytes:
    """The definitions of :func:`manifest_of`, with another description."""
    lines = [json.loads(line) | {"description": "newer"} for line in manifest_of(*names).splitlines()]
    return b"\n".join(json.dumps(line).encode() for line in lines)


def test_a_selection_is_deleted_and_nothing_else(tmp_path: Path, endpoint: Endpoint) -> None:
    """What the options select is deleted; its entries stay as deleted, and a second time there is nothing to do."""
    folder = Folder(tmp_path, endpoint, "a 1", "a 2", "b")
    folder.run("apply", "m.jsonl")

    first = folder.json("destroy", "--name", "a *", "--yes")
    again = folder.run("destroy", "--name", "a *", "--yes")

    assert (first["pruned"], first["superseded"], first["calls"]["delete"]) == (2, 0, 2)
    assert folder.alive() == ["b"]
    assert "deleted   nothing: no such algorithm is left" in again.stdout


def test_superseded_versions_of_other_names_stay(tmp_path: Path, endpoint: Endpoint) -> None:
    """With a selection, only what is superseded under its names is deleted, and counts."""
    endpoint.change(names="duplicates")
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(changed("a", "b"))
    folder.run("apply", "m.jsonl", "--on-change", "replace", "--keep", "1", "--yes")
    assert folder.alive() == ["a", "a", "b", "b"]

    refused = folder.run("destroy", "--name", "a", code=2)
    done = folder.json("destroy", "--name", "a", "--yes")

    assert "2 algorithms (1 registered, 1 superseded) would be deleted in default (123456789012 us-east-1)" in (
        refused.stdout
    )
    assert folder.alive() == ["b", "b"]
    assert (done["pruned"], done["superseded"]) == (2, 1)


def test_without_confirmation_nothing_is_deleted(tmp_path: Path, endpoint: Endpoint) -> None:
    """Off a terminal, without --yes: exit 2, and what would be deleted, where, and what to type."""
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl")

    refused = folder.json("destroy", "--all", code=2)

    assert "2 algorithms would be deleted in default (123456789012 us-east-1); nothing was" in refused["error"]
    assert "`provisioner list` with the same selection, then confirm with --yes" in refused["error"]
    assert (folder.alive(), folder.deletes(), refused["pruned"]) == (["a", "b"], 0, 0)


def test_of_many_targets_a_few_are_named(tmp_path: Path, endpoint: Endpoint) -> None:
    """The refusal names three of the targets in which algorithms would be deleted, and counts the others."""
    regions = ("us-east-1", "us-west-2", "eu-west-1", "eu-west-2")
    targets = "".join(f"[targets.t{number}]\nregion = '{region}'\n" for number, region in enumerate(regions))
    folder = Folder(tmp_path, endpoint, "a", config=targets + QUICK)
    folder.run("apply", "m.jsonl")

    refused = folder.json("destroy", "--all", code=2)

    assert "t2 (123456789012 eu-west-1) and 1 more target; nothing was. Look" in refused["error"]


@pytest.mark.parametrize("arguments", [(), ("--all", "--name", "a")])
def test_everything_is_said_so(tmp_path: Path, endpoint: Endpoint, arguments: tuple[str, ...]) -> None:
    """It takes a selection or --all, one of the two."""
    folder = Folder(tmp_path, endpoint, "a")
    folder.run("apply", "m.jsonl")

    folder.json("destroy", *arguments, "--yes", code=2)

    assert folder.alive() == ["a"]


def test_more_than_the_bound_is_refused(tmp_path: Path, endpoint: Endpoint) -> None:
    """--max-delete counts everything that would be deleted, in all targets; exit 3 and nothing is deleted."""
    folder = Folder(tmp_path, endpoint, "a", "b", config=TWO_TARGETS + QUICK)
    folder.run("apply", "m.jsonl")

    refused = folder.json("destroy", "--all", "--yes", "--max-delete", "3", code=3)
    folder.json("destroy", "--all", "--yes", "--max-delete", "4")

    assert "4 algorithms would be deleted, and --max-delete is 3; nothing was deleted" in refused["error"]
    assert "`provisioner list` with the same selection" in refused["error"]
    assert folder.alive() == []


def test_one_of_several_targets(tmp_path: Path, endpoint: Endpoint) -> None:
    """-t deletes in that target only."""
    folder = Folder(tmp_path, endpoint, "a", "b", config=TWO_TARGETS + QUICK)
    folder.run("apply", "m.jsonl")

    done = folder.json("destroy", "--all", "--yes", "-t", "west")

    assert done["pruned"] == 2
    assert {one["region"] for one in folder.there()} == {"us-east-1"}


def test_a_target_that_is_refused_leaves_the_others_alone(tmp_path: Path, endpoint: Endpoint) -> None:
    """One target's credentials are of another account: it halts with 77, is not counted, and the other one is done."""
    folder = Folder(tmp_path, endpoint, "a", config=TWO_TARGETS + QUICK)
    folder.run("apply", "m.jsonl")
    guard = f"account_id = '111111111111'\nsts_endpoint_url = '{endpoint.url}'"
    wrong = TWO_TARGETS.replace("'us-west-2'", f"'us-west-2'\n{guard}")
    (tmp_path / "provisioner.toml").write_text(wrong + QUICK)

    refused = folder.run("destroy", "--all", code=2)
    done = folder.run("destroy", "--all", "--yes", code=77)

    assert "1 algorithm would be deleted in east (123456789012 us-east-1); nothing was" in refused.stdout
    assert "deleted   1 algorithm\n" in done.stdout
    assert "unopened  west:" in done.stdout
    assert [one["region"] for one in folder.there()] == ["us-west-2"]


def test_denied_deletes_halt(tmp_path: Path, endpoint: Endpoint) -> None:
    """Without the permission a few calls show it: exit 77 with the permission's name, and all is as it was."""
    folder = Folder(tmp_path, endpoint)
    (tmp_path / "m.jsonl").write_bytes(numbered(40))
    folder.run("apply", "m.jsonl")
    endpoint.change(denied_actions=["cleanrooms-ml:DeleteConfiguredModelAlgorithm"])

    done = folder.run("destroy", "--all", "--yes", code=77)
    denied = folder.deletes()
    endpoint.change(denied_actions=[])
    folder.run("destroy", "--all", "--yes")

    assert "cleanrooms-ml:DeleteConfiguredModelAlgorithm" in done.stdout
    assert "deleted   0 algorithms of 40" in done.stdout
    assert denied < 20
    assert folder.alive() == []


def test_adopted_algorithms_stay_unless_they_are_asked_for(tmp_path: Path, endpoint: Endpoint) -> None:
    """What was taken over is left alone, and the text says how to include it."""
    client(endpoint).create_configured_model_algorithm(**json.loads(manifest_of("theirs")))
    folder = Folder(tmp_path, endpoint, "theirs", "ours")
    folder.run("apply", "m.jsonl")

    first = folder.run("destroy", "--all", "--yes")
    left = folder.alive()
    second = folder.run("destroy", "--all", "--yes", "--adopted")

    assert "deleted   1 algorithm\n" in first.stdout
    assert "left      1 algorithm that was adopted: --adopted deletes it, too" in first.stdout
    assert left == ["theirs"]
    assert ("left" in second.stdout, folder.alive()) == (False, [])


def test_what_an_association_depends_on_is_kept_until_the_next_run(tmp_path: Path, endpoint: Endpoint) -> None:
    """409: exit 3 with the reason and what to do; the same command deletes it once nothing depends on it."""
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl")
    endpoint.change(delete_script=["conflict"])

    kept = folder.run("destroy", "--state", "created", "--yes", code=3)
    left = folder.alive()
    done = folder.json("destroy", "--state", "created", "--yes")

    assert "deleted   1 algorithm of 2" in kept.stdout
    assert "Remove what depends on it" in kept.stdout
    assert "to delete 1 algorithm: run the same command again" in kept.stdout
    assert len(left) == 1
    assert (folder.alive(), done["pruned"], done["superseded"]) == ([], 1, 0)


def test_what_is_gone_already_is_counted_apart(tmp_path: Path, endpoint: Endpoint) -> None:
    """Somebody else deleted it: that is success, without a Delete call."""
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl")
    gone = endpoint.truth()["algorithms"][0]["arn"]
    client(endpoint).delete_configured_model_algorithm(configuredModelAlgorithmArn=gone)

    done = folder.run("destroy", "--all", "--yes")

    assert done.stdout.splitlines()[1:3] == [
        "deleted   1 algorithm of 2",
        "gone      1 algorithm that was to be deleted was gone already",
    ]
    assert (done.returncode, folder.deletes(), folder.alive()) == (0, 2, [])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_next_run_finishes_what_was_interrupted(tmp_path: Path, endpoint: Endpoint, how: signal.Signals) -> None:
    """SIGTERM in the middle ends with 75; after that or a kill, the same command deletes the rest, and only that."""
    folder = Folder(tmp_path, endpoint, "other")
    folder.run("apply", "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(numbered(30) + manifest_of("other"))
    folder.run("apply", "m.jsonl")
    endpoint.change(latency=0.2)
    arguments = ("destroy", "--run", "last", "--yes")
    run = start(*arguments, "--endpoint-url", endpoint.url, *QUIET, "--output", "json", cwd=tmp_path)
    until(lambda: folder.deletes() >= 3, run)

    run.send_signal(how)
    stdout, _ = run.communicate(timeout=60)
    left = folder.alive()
    endpoint.change(latency=0)
    again = folder.json("destroy", "--state", "created", "--run", "last", "--yes")

    if how is signal.SIGTERM:
        stopped = json.loads(stdout)
        assert (run.returncode, stopped["exit_code"], stopped["stopped"]) == (75, 75, "signal SIGTERM")
        assert stopped["pruned"] + len(left) == 31
    assert 1 < len(left) < 30
    assert (folder.alive(), again["superseded"]) == (["other"], 0)


def test_a_create_without_an_answer_is_resolved_and_its_algorithm_deleted(tmp_path: Path, endpoint: Endpoint) -> None:
    """What the selection names while it is unresolved is deleted once it is known, although its state has changed."""
    folder = Folder(tmp_path, endpoint, "a", "b")
    endpoint.change(script=["lost_reply"])
    folder.run("apply", "m.jsonl", "--no-wait", code=5)

    done = folder.json("destroy", "--state", "ambiguous", "--yes")

    assert (done["pruned"], len(folder.alive())) == (1, 1)
