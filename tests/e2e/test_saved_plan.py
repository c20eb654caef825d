"""``plan -o FILE`` and ``apply --plan FILE``: exactly these steps, or none."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of, numbered
from tests.e2e.folder import QUICK, QUIET, Folder, client
from tests.e2e.process import Endpoint, provisioner, start, until

if TYPE_CHECKING:
    from pathlib import Path

APPLY = ("apply", "--plan", "p.json")
PLAN = ("plan", "m.jsonl", "-o", "p.json")


def test_a_plan_is_carried_out_once(tmp_path: Path, endpoint: Endpoint) -> None:
    """What was planned is done, deletions included; the file is for its owner alone; a second time nothing is left."""
    folder = Folder(tmp_path, endpoint, "a", "b", "c")
    folder.run("apply", "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(manifest_of("b", "c", "d"))
    planned = folder.run(*PLAN, "--prune")

    unconfirmed = folder.run(*APPLY, code=2)
    done = folder.json(*APPLY, "--yes")
    again = folder.json(*APPLY, "--yes")

    command = f"provisioner apply --plan p.json --endpoint-url {endpoint.url}"
    assert f"`{command}` carries out exactly its steps" in planned.stderr
    assert (tmp_path / "p.json").stat().st_mode & 0o777 == 0o600
    assert "1 algorithm (1 left the manifest) would be deleted" in unconfirmed.stdout
    assert (done["pruned"], done["outcomes"]["created"], done["outcomes"]["unchanged"]) == (1, 1, 2)
    assert (again["pruned"], again["outcomes"]["unchanged"], folder.alive()) == (0, 3, ["b", "c", "d"])


def test_a_plan_of_a_selection_does_nothing_else(tmp_path: Path, endpoint: Endpoint) -> None:
    """Names that were not selected are neither done nor reported, whatever there would be to do for them."""
    folder = Folder(tmp_path, endpoint, "a1", "a2", "b1")
    folder.run("apply", "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a2", "a3", "b2"))
    planned = folder.json(*PLAN, "--name", "a*", "--prune", "--max-delete", "1")

    done = folder.json(*APPLY, "--yes")
    found = folder.json("verify", "--name", "b*")
    taken = folder.json("adopt", "m.jsonl", "--name", "z*")
    nothing = folder.run("apply", "m.jsonl", "--name", "z*")

    assert (planned["counts"]["create"], planned["counts"]["delete"]) == (1, 1)
    assert (done["outcomes"]["created"], done["pruned"], done["problems"]) == (1, 1, [])
    assert (folder.alive(), found["findings"], taken["absent"]) == (["a2", "a3", "b1"], [], 0)
    assert "3 valid (3 not selected), 0 invalid\noutcomes  none: no definition is selected\n" in nothing.stdout


def test_a_plan_never_replaces_its_manifest(tmp_path: Path, endpoint: Endpoint) -> None:
    """A slip of the hand does not cost the manifest."""
    folder = Folder(tmp_path, endpoint, "a")
    before = (tmp_path / "m.jsonl").read_bytes()

    refused = folder.run("plan", "m.jsonl", "-o", "./m.jsonl", code=2)

    assert "this is the manifest" in refused.stdout + refused.stderr
    assert (tmp_path / "m.jsonl").read_bytes() == before


def test_a_plan_without_a_ledger_makes_one(tmp_path: Path, endpoint: Endpoint) -> None:
    """The first plan of a new folder can be saved; it fits no other ledger that has entries."""
    folder = Folder(tmp_path, endpoint, "a")
    folder.run(*PLAN)

    folder.run(*APPLY)
    other = folder.run(*PLAN, "-l", "new.db", code=3)
    refused = folder.run(*APPLY, code=2)

    assert folder.alive() == ["a"]
    assert "in conflict" in other.stdout
    assert "the plan is out of date: the ledger has changed since" in refused.stdout


@pytest.mark.parametrize("change", ["manifest", "ledger", "another ledger", "targets", "settle", "forget"])
def test_what_has_changed_since_refuses_all_of_it(tmp_path: Path, endpoint: Endpoint, change: str) -> None:
    """Whatever the plan was made from is another one: exit 2, nothing is done, and not the second time either."""
    folder = Folder(tmp_path, endpoint, "a", "b")
    folder.run("apply", "m.jsonl")
    folder.run("apply", "m.jsonl", "-l", "other.db", "--take-over", folder.ledger_id("ledger.db"))
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b", "c"))
    folder.run(*PLAN)
    more: tuple[str, ...] = ()
    if change == "manifest":
        (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b", "d"))
    elif change == "ledger":
        (tmp_path / "n.jsonl").write_bytes(manifest_of("n"))
        folder.run("apply", "n.jsonl")
    elif change == "another ledger":
        more = ("-l", "other.db")
    elif change == "targets":
        (tmp_path / "provisioner.toml").write_text(QUICK + "[targets.east]\nregion = 'us-east-1'\n")
    elif change == "settle":
        (tmp_path / "provisioner.toml").write_text(QUICK.replace("500ms", "400ms"))
    else:
        provisioner("forget", "--name", "a", "--yes", cwd=tmp_path)
    before = folder.alive()

    first = folder.json(*APPLY, *more, code=2)
    second = folder.json(*APPLY, *more, code=2)

    assert first["error"] == second["error"]
    assert (folder.alive(), "c" in before) == (before, False)
    if change != "targets":
        assert "out of date" in first["error"]
        assert "Nothing was done. Make a new plan" in first["error"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_plan_is_continued(tmp_path: Path, endpoint: Endpoint, how: signal.Signals) -> None:
    """The same command goes on where it was stopped or killed, creates without an answer included; nothing twice."""
    endpoint.change(names="duplicates", latency=0.3)
    folder = Folder(tmp_path, endpoint)
    (tmp_path / "m.jsonl").write_bytes(numbered(40))
    folder.run(*PLAN)
    run = start(*APPLY, "--endpoint-url", endpoint.url, *QUIET, cwd=tmp_path)
    until(lambda: endpoint.creates() >= 5, run)
    run.send_signal(how)
    run.communicate(timeout=60)
    endpoint.change(latency=0)
    begun = len(folder.alive())

    done = folder.json(*APPLY)

    assert 0 < begun < 40
    assert sum(done["outcomes"][one] for one in ("created", "recovered", "unchanged")) == 40
    assert len(folder.alive()) == 40


def test_another_run_in_between_ends_the_plan(tmp_path: Path, endpoint: Endpoint) -> None:
    """What was interrupted is continued only if nothing else has run meanwhile."""
    endpoint.change(latency=0.3)
    folder = Folder(tmp_path, endpoint)
    (tmp_path / "m.jsonl").write_bytes(numbered(40))
    folder.run(*PLAN)
    run = start(*APPLY, "--endpoint-url", endpoint.url, *QUIET, cwd=tmp_path)
    until(lambda: endpoint.creates() >= 5, run)
    run.terminate()
    run.communicate(timeout=60)
    endpoint.change(latency=0)
    provisioner("forget", "--name", "*", "--yes", cwd=tmp_path)

    refused = folder.json(*APPLY, code=2)

    assert "out of date: the ledger has changed since" in refused["error"]


def test_a_step_that_the_account_has_changed_is_not_made(tmp_path: Path, endpoint: Endpoint) -> None:
    """Somebody creates, replaces and deletes meanwhile: these definitions stay as they are, and the rest is done."""
    endpoint.change(names="duplicates")
    somebody = client(endpoint)
    folder = Folder(tmp_path, endpoint, "a", "b", "c", "d")
    (tmp_path / "one.jsonl").write_bytes(manifest_of("a"))
    folder.run("apply", "one.jsonl")
    old = somebody.create_configured_model_algorithm(**json.loads(manifest_of("b")))["configuredModelAlgorithmArn"]
    folder.run(*PLAN)
    somebody.delete_configured_model_algorithm(configuredModelAlgorithmArn=old)
    somebody.create_configured_model_algorithm(**json.loads(manifest_of("b")))
    somebody.create_configured_model_algorithm(**json.loads(manifest_of("c")))

    done = folder.json(*APPLY, code=75)

    assert (done["outcomes"]["created"], done["outcomes"]["pending"]) == (1, 2)
    assert [(one["name"], one["code"]) for one in done["problems"]] == [("b", "not_planned"), ("c", "not_planned")]
    assert "the saved plan does not have this step (adopt:" in done["problems"][0]["message"]


HOSTILE = {
    "empty": b"",
    "garbage": os.urandom(4096),
    "another object": b"{}",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "not text": b"\xff\xfe{}",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_plan_is_refused(tmp_path: Path, endpoint: Endpoint, content: bytes) -> None:
    """Exit 2, with the file's name and what makes a plan."""
    folder = Folder(tmp_path, endpoint, "a")
    (tmp_path / "p.json").write_bytes(content)

    refused = folder.json(*APPLY, code=2)

    assert refused["error"].startswith("p.json: this is not a saved plan: ")
    assert "Make one with `provisioner plan MANIFEST -o FILE`" in refused["error"]


@pytest.mark.parametrize(
    ("key", "value"), [("version", 2), ("keep", "many"), ("more", 1), ("settle_s", 0.0), ("sources", ["\x1b[2J"])]
)
def test_a_plan_that_was_edited_is_refused(tmp_path: Path, endpoint: Endpoint, key: str, value: object) -> None:
    """Another format, another type, an unknown key, a settle time that the configuration does not have, no manifest."""
    folder = Folder(tmp_path, endpoint, "a")
    folder.run(*PLAN)
    plan = json.loads((tmp_path / "p.json").read_bytes())
    (plan["policy"] if key in {"keep", "settle_s"} else plan)[key] = value
    (tmp_path / "p.json").write_text(json.dumps(plan))

    refused = folder.run(*APPLY, code=2)

    assert folder.alive() == []
    assert "\x1b" not in refused.stdout + refused.stderr


def test_an_unreadable_plan_is_named(tmp_path: Path, endpoint: Endpoint) -> None:
    """There is none, or it is a folder."""
    folder = Folder(tmp_path, endpoint, "a")

    for path in ("none.json", "."):
        assert folder.json("apply", "--plan", path, code=2)["error"].startswith(f"{path}: the plan cannot be read: ")


@pytest.mark.parametrize(
    "options",
    [
        ("--prune",),
        ("--no-prune",),
        ("--on-change", "fail"),
        ("--adopt", "any"),
        ("--max-delete", "0"),
        ("--max-create", "1"),
        ("--strict",),
        ("-t", "west"),
        ("m.jsonl",),
    ],
)
def test_what_the_plan_decides_cannot_be_given(tmp_path: Path, endpoint: Endpoint, options: tuple[str, ...]) -> None:
    """An option that decides on steps is refused rather than ignored, and so are a manifest and other targets."""
    config = QUICK + "[targets.east]\nregion = 'us-east-1'\n[targets.west]\nregion = 'us-west-2'\n"
    folder = Folder(tmp_path, endpoint, "a", config=config)
    folder.run(*PLAN, "-t", "east")

    refused = folder.json(*APPLY, *options, code=2)
    done = folder.json(*APPLY, "-t", "east", "--max-rate", "5", "--deadline", "1m")

    assert folder.alive() == ["a"]
    assert done["outcomes"]["created"] == 1
    if options[0] not in {"-t", "m.jsonl"}:
        assert "is decided by the plan, and cannot be given with --plan" in refused["error"]


def test_a_variable_is_an_option_too(tmp_path: Path, endpoint: Endpoint) -> None:
    """PROVISIONER_APPLY_PRUNE beside --plan is refused like --prune."""
    folder = Folder(tmp_path, endpoint, "a")
    folder.run(*PLAN)

    done = provisioner(*APPLY, "--endpoint-url", endpoint.url, cwd=tmp_path, PROVISIONER_APPLY_PRUNE="1")

    assert (done.returncode, "--prune is decided by the plan" in done.stderr) == (2, True)


def test_a_strict_plan_of_invalid_lines_is_not_saved(tmp_path: Path, endpoint: Endpoint) -> None:
    """--strict belongs to the plan: with an invalid line nothing would be sent, and the file would be of no use."""
    folder = Folder(tmp_path, endpoint)
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a") + b"\n{}\n")

    done = folder.run(*PLAN, "--strict", code=65)
    lenient = folder.run(*PLAN, code=65)

    why = "1 line is invalid, which --strict does not allow; `apply` does nothing and ends with 65. Fix the manifest"
    assert f"refused   {why}" in done.stdout
    assert f"The plan is not saved: {why}, or leave out --strict." in done.stderr
    assert "The plan is saved: " in lenient.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "-"), "standard input or a pipe cannot be saved"),
        (("plan", "pipe"), "standard input or a pipe cannot be saved"),
        (("plan", "m.jsonl", "--offline"), "has not read the account"),
    ],
)
def test_what_cannot_be_carried_out_is_not_saved(
    tmp_path: Path, endpoint: Endpoint, arguments: tuple[str, ...], message: str
) -> None:
    """It is refused before anything is read."""
    folder = Folder(tmp_path, endpoint, "a")
    os.mkfifo(tmp_path / "pipe")

    refused = folder.json(*arguments, "-o", "p.json", code=2)

    assert message in refused["error"]
    assert not (tmp_path / "p.json").exists()
    assert endpoint.truth()["calls"] == {}


def test_a_plan_that_apply_must_refuse_is_shown_and_not_saved(tmp_path: Path, endpoint: Endpoint) -> None:
    """The bound is part of the plan, so nothing could be done with the file."""
    folder = Folder(tmp_path, endpoint, "a", "b", "c")
    folder.run("apply", "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))

    done = folder.run(*PLAN, "--prune", "--max-delete", "1", code=3)

    assert "2 algorithms would be deleted, and --max-delete is 1" in done.stdout
    assert "The plan is not saved: 2 algorithms would be deleted" in done.stderr
    assert not (tmp_path / "p.json").exists()


def test_a_plan_that_is_not_whole_is_shown_and_not_saved(tmp_path: Path, endpoint: Endpoint) -> None:
    """A target out of reach: the plan of the others is printed, with that exit code, and nothing is saved."""
    config = QUICK + "[targets.east]\nregion = 'us-east-1'\n[targets.west]\nregion = 'us-west-2'\n"
    guard = f"account_id = '111111111111'\nsts_endpoint_url = '{endpoint.url}'\n"
    folder = Folder(tmp_path, endpoint, "a", config=config + guard)

    done = folder.run(*PLAN, code=77)

    assert "1 to create" in done.stdout
    assert "The plan is not saved, because it is not whole." in done.stderr
    assert not (tmp_path / "p.json").exists()
