"""``adopt``: takes over what exists, guesses nothing, and creates nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.definition_lines import manifest_of
from tests.e2e.folder import QUIET, Folder, client
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.process import Endpoint


def made(endpoint: Endpoint, name: str, **more: str) -> str:
    """Somebody else creates an algorithm; its ARN."""
    definition = json.loads(manifest_of(name)) | more
    arn: str = client(endpoint).create_configured_model_algorithm(**definition)["configuredModelAlgorithmArn"]
    return arn


def tags(folder: Folder) -> dict[str, str]:
    """The ownership tag of each algorithm, by ARN."""
    return {one["arn"]: one["tags"].get("provisioner:origin", "") for one in folder.there()}


def test_what_is_the_same_is_taken_over_and_tagged(tmp_path: Path, endpoint: Endpoint) -> None:
    """The same definition is adopted, a different one refused (3), one without an algorithm left; apply then agrees."""
    same, other = made(endpoint, "same"), made(endpoint, "other", description="by hand")
    folder = Folder(tmp_path, endpoint, "same", "other", "absent")

    done = folder.run("adopt", "m.jsonl", code=3)
    tagged = tags(folder)
    applied = folder.json("apply", "m.jsonl", code=3)

    assert "outcomes  1 adopted\n" in done.stdout
    assert "absent    1 without an algorithm in AWS, which `provisioner apply` creates\n" in done.stdout
    assert f"refused   1 definition\n  m.jsonl:2: other: {other} has this name, and no ledger cre" in done.stdout
    assert "/adopted-" in tagged[same]
    assert (tagged[other], len(tagged)) == ("", 2)
    assert {kind: count for kind, count in applied["outcomes"].items() if count} == {
        "created": 1,
        "unchanged": 1,
        "failed": 1,
    }


def test_a_manifest_that_can_be_read_only_once(tmp_path: Path, endpoint: Endpoint) -> None:
    """From standard input, which is planned and then carried out: it is taken over like that of a file."""
    arn = made(endpoint, "same")
    folder = Folder(tmp_path, endpoint, "same")

    done = provisioner("adopt", "-", "--endpoint-url", endpoint.url, *QUIET, cwd=tmp_path, stdin=manifest_of("same"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "outcomes  1 adopted\n" in done.stdout
    assert "/adopted-" in tags(folder)[arn]


def test_what_is_not_there_is_no_failure(tmp_path: Path, endpoint: Endpoint) -> None:
    """With nothing to take over it ends with 0, and nothing is pending."""
    folder = Folder(tmp_path, endpoint, "a", "b")

    done = folder.json("adopt", "m.jsonl")

    assert sum(done["outcomes"].values()) == 0
    assert folder.alive() == []


def test_any_takes_over_what_differs(tmp_path: Path, endpoint: Endpoint) -> None:
    """--adopt any: it is drifted, with the difference between the two named as what it is, and stays so."""
    arn = made(endpoint, "a", description="by hand")
    folder = Folder(tmp_path, endpoint, "a")

    done = folder.run("adopt", "m.jsonl", "--adopt", "any", code=3)
    again = folder.json("apply", "m.jsonl", code=3)

    assert f"the definition differs from {arn}, which was taken over; --on-change replace" in done.stdout
    assert "only with --adopted" in done.stdout
    assert "/adopted-" in tags(folder)[arn]
    assert again["outcomes"]["drifted"] == 1


def test_of_two_of_one_name_none_is_guessed(tmp_path: Path, endpoint: Endpoint) -> None:
    """Two that differ from the definition, or two that agree, are refused with both ARNs; one that agrees is taken."""
    endpoint.change(names="duplicates")
    differing = [made(endpoint, "differ", description=text) for text in ("x", "y")]
    agreeing = [made(endpoint, "agree") for _ in range(2)]
    one, _ = made(endpoint, "one"), made(endpoint, "one", description="z")
    folder = Folder(tmp_path, endpoint, "differ", "agree", "one")

    done = folder.run("adopt", "m.jsonl", "--adopt", "any", code=3)

    assert "outcomes  1 adopted\n" in done.stdout
    assert all(arn in done.stdout for arn in [*differing, *agreeing])
    assert [arn for arn, tag in tags(folder).items() if tag] == [one]


def test_a_take_over_moves_a_ledger(tmp_path: Path, endpoint: Endpoint) -> None:
    """--take-over adopts what another ledger created; without it that is refused with the ledger's id."""
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl", "-l", "old.db")
    old = folder.ledger_id("old.db")

    refused = folder.json("adopt", "m.jsonl", code=3)
    taken = folder.json("adopt", "m.jsonl", "--take-over", old)

    assert [(one["name"], one["code"]) for one in refused["refused"]] == [("a", "other_ledger"), ("b", "other_ledger")]
    assert {one["arn"] for one in refused["refused"]} == set(tags(folder))
    assert all(f"--take-over {old}" in one["message"] for one in refused["refused"])
    assert (refused["absent"], taken["refused"]) == (0, [])
    assert taken["outcomes"]["adopted"] == 2
    assert {tag.split("/")[1] for tag in tags(folder).values()} == {folder.ledger_id("ledger.db")}


def test_a_rebuilt_ledger_knows_what_was_adopted(tmp_path: Path, endpoint: Endpoint) -> None:
    """The tag says so: what rebuild finds is still adopted, so that destroy leaves it alone."""
    made(endpoint, "theirs")
    folder = Folder(tmp_path, endpoint, "theirs", "ours")
    folder.run("adopt", "m.jsonl")
    folder.run("apply", "m.jsonl")
    ledger_id = folder.ledger_id("ledger.db")
    (tmp_path / "ledger.db").unlink()

    folder.run("rebuild", "--ledger-id", ledger_id)
    done = folder.run("destroy", "--all", "--yes")

    assert "left      1 algorithm that was adopted" in done.stdout
    assert folder.alive() == ["theirs"]
