"""A target is one account and Region: what happens when two targets are the same one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from provisioner import Ledger
from provisioner.core.entry import Event, Fact
from provisioner.emulator import credentials, running
from tests.definition_lines import ROLE, numbered
from tests.e2e.folder import QUICK
from tests.e2e.process import Endpoint, provisioner
from tests.emulator.support import client
from tests.ledger.opening import open_ledger

if TYPE_CHECKING:
    from pathlib import Path

TORTURE = pytest.mark.torture
OTHER_ACCOUNT = "arn:aws:iam::999999999999:role/provisioner"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three definitions."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(numbered(3))
    return path


def configure(tmp_path: Path, endpoint: Endpoint, **targets: str) -> Path:
    """A configuration with these targets."""
    path = tmp_path / "c.toml"
    urls = f"endpoint_url = '{endpoint.url}'\nsts_endpoint_url = '{endpoint.url}'\n"
    path.write_text("".join(f"[targets.{name}]\n{urls}{rest}\n" for name, rest in targets.items()))
    return path


def test_a_second_target_in_a_place_is_refused(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Two targets that are one account and Region end with 78, and no definition is made twice."""
    configure(tmp_path, endpoint, east="region = 'us-east-1'", prod="region = 'us-east-1'")

    done = provisioner("apply", manifest, "-c", "c.toml", "--output", "json", cwd=tmp_path)

    names = Counter(algorithm["name"] for algorithm in endpoint.truth()["algorithms"])
    halted = [target.get("halted") for target in json.loads(done.stdout)["targets"].values()]
    assert done.returncode == 78
    assert set(names.values()) <= {1}
    assert any("the same account and Region" in why for why in halted if why)


@pytest.mark.parametrize("command", ["verify", "reconcile", "rebuild"])
def test_every_command_refuses_a_second_target_in_a_place(
    tmp_path: Path, endpoint: Endpoint, manifest: Path, command: str
) -> None:
    """What only reads ends with 78 as well, and says which two targets are one."""
    configure(tmp_path, endpoint, east="region = 'us-east-1'", prod="region = 'us-east-1'")
    provisioner("apply", manifest, "-c", "c.toml", "-t", "east", cwd=tmp_path)
    ledger = "rebuilt.db" if command == "rebuild" else "ledger.db"

    done = provisioner(command, "-c", "c.toml", "--ledger", ledger, "--output", "json", cwd=tmp_path)

    assert done.returncode == 78, done.stderr
    assert "the same account and Region" in done.stdout


@pytest.mark.parametrize("command", ["apply m.jsonl", "reconcile", "rebuild --ledger new.db", "verify"])
def test_the_text_of_every_command_says_why_a_target_could_not_be_opened(
    tmp_path: Path, endpoint: Endpoint, manifest: Path, command: str
) -> None:
    """What people read names the target that could not be opened and the reason, whatever the command."""
    apply(tmp_path, endpoint, manifest)
    wrong = "region = 'us-east-1'\naccount_id = '999999999999'"
    configure(tmp_path, endpoint, prod=wrong)

    done = provisioner(*command.split(), "-c", "c.toml", cwd=tmp_path)

    halted = [line for line in done.stdout.splitlines() if line.startswith("unopened  prod: ")]
    assert done.returncode == 77, done.stdout
    assert len(halted) == 1, done.stdout
    assert "the wrong account" in halted[0]


def test_a_role_names_its_account(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Targets of one Region whose roles lead into different accounts are different places."""
    role = f"assume_role_arn = '{OTHER_ACCOUNT}'"
    configure(tmp_path, endpoint, east="region = 'us-east-1'", other=f"region = 'us-east-1'\n{role}")

    done = provisioner("apply", manifest, "-c", "c.toml", cwd=tmp_path)

    assert done.returncode == 0, done.stdout
    assert len({algorithm["arn"].split(":")[4] for algorithm in endpoint.truth()["algorithms"]}) == 2


async def test_nothing_that_an_entry_names_is_pruned(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """An algorithm that is a duplicate for one target and the entry of another is not deleted."""
    configure(tmp_path, endpoint, east="region = 'us-east-1'")
    provisioner("apply", manifest, "-c", "c.toml", cwd=tmp_path)
    endpoint.change(names="duplicates")
    async with open_ledger(str(tmp_path / "ledger.db")) as ledger:
        arn = twin(endpoint, tag_of(endpoint))
        await ledger.record([Fact("west", "algorithm 0", Event.CONFIRM, digest="d", tags_digest="t", arn=arn)])

    done = provisioner("verify", "-c", "c.toml", "--prune-duplicates", "--yes", "--output", "json", cwd=tmp_path)

    assert [finding["kind"] for finding in json.loads(done.stdout)["findings"]] == ["duplicate"]
    assert (done.returncode, len(endpoint.truth()["algorithms"])) == (5, 4)


def apply(tmp_path: Path, endpoint: Endpoint, manifest: Path, *more: object, code: int = 0) -> dict[str, Any]:
    """Apply in ``tmp_path``; the summary."""
    done = provisioner(
        "apply", manifest, "--endpoint-url", endpoint.url, "--output", "json", "--no-wait", *more, cwd=tmp_path
    )
    assert done.returncode == code, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def verify(tmp_path: Path, endpoint: Endpoint, *more: object) -> subprocess.CompletedProcess[str]:
    """Verify in ``tmp_path``."""
    return provisioner("verify", "--endpoint-url", endpoint.url, "--output", "json", *more, cwd=tmp_path)


def ledger_id_in(tmp_path: Path) -> str:
    """The id of the ledger there."""
    status: dict[str, str] = json.loads(provisioner("status", "--output", "json", cwd=tmp_path).stdout)
    return status["ledger_id"]


def tag_of(endpoint: Endpoint) -> str:
    """The ownership tag of ``algorithm 0``, but of another attempt."""
    [one] = [
        one for one in endpoint.truth()["algorithms"] if one["name"] == "algorithm 0" and not one.get("deleted_at")
    ]
    tag: str = one["tags"]["provisioner:origin"]
    return f"{tag.rpartition('/')[0]}/x-1"


def twin(endpoint: Endpoint, tag: str) -> str:
    """Create another ``algorithm 0`` with this ownership tag; its ARN."""
    created: dict[str, str] = client(endpoint.url).create_configured_model_algorithm(
        name="algorithm 0", roleArn=ROLE, tags={"provisioner:origin": tag}
    )
    return created["configuredModelAlgorithmArn"]


def made(endpoint: Endpoint) -> Counter[str]:
    """How many algorithms have each name."""
    return Counter(algorithm["name"] for algorithm in endpoint.truth()["algorithms"])


@pytest.mark.parametrize(
    "names", ["duplicates", pytest.param("unique", marks=TORTURE), pytest.param("same", marks=TORTURE)]
)
def test_a_second_ledger_makes_nothing_twice(tmp_path: Path, endpoint: Endpoint, manifest: Path, names: str) -> None:
    """The same manifest with a new ledger, in each world of names: refused with that id, taken over when asked."""
    endpoint.change(names=names)
    apply(tmp_path, endpoint, manifest)
    first = ledger_id_in(tmp_path)

    refused = apply(tmp_path, endpoint, manifest, "--ledger", "second.db", code=3)
    taken = apply(tmp_path, endpoint, manifest, "--ledger", "second.db", "--take-over", first)

    assert refused["outcomes"]["failed"] == 3
    assert {problem["code"] for problem in refused["problems"]} == {"other_ledger"}
    assert all(first in problem["message"] for problem in refused["problems"])
    assert (refused["calls"]["create"], taken["calls"]["create"]) == (0, 0)
    assert taken["outcomes"]["adopted"] == 3
    assert set(made(endpoint).values()) == {1}


@pytest.mark.parametrize(
    "names", ["duplicates", pytest.param("unique", marks=TORTURE), pytest.param("same", marks=TORTURE)]
)
def test_a_restored_backup_recovers_what_it_does_not_know(
    tmp_path: Path, endpoint: Endpoint, manifest: Path, names: str
) -> None:
    """A ledger that went back in time: verify reports what no entry names, apply recovers it, nothing is made twice."""
    endpoint.change(names=names)
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text(lines[0])
    apply(tmp_path, endpoint, manifest)
    backup = (tmp_path / "ledger.db").read_bytes()
    manifest.write_text("".join(lines))
    apply(tmp_path, endpoint, manifest)
    for path in tmp_path.glob("ledger.db*"):
        path.unlink()
    (tmp_path / "ledger.db").write_bytes(backup)

    verified = verify(tmp_path, endpoint)
    again = apply(tmp_path, endpoint, manifest)
    clean = verify(tmp_path, endpoint)

    assert [finding["kind"] for finding in json.loads(verified.stdout)["findings"]] == ["unrecorded"] * 2
    assert verified.returncode == 5
    assert (again["outcomes"]["recovered"], again["outcomes"]["unchanged"], again["calls"]["create"]) == (2, 1, 0)
    assert (clean.returncode, set(made(endpoint).values())) == (0, {1})


def test_a_renamed_target_is_refused_with_the_command_that_renames(
    tmp_path: Path, endpoint: Endpoint, manifest: Path
) -> None:
    """A place that the ledger has under another name ends with 78 and the command; after it everything is unchanged."""
    apply(tmp_path, endpoint, manifest)
    configure(tmp_path, endpoint, prod="region = 'us-east-1'")

    refused = apply(tmp_path, endpoint, manifest, "-c", "c.toml", code=78)
    renamed = provisioner("ledger", "rename-target", "default", "prod", cwd=tmp_path)
    again = apply(tmp_path, endpoint, manifest, "-c", "c.toml")

    assert "provisioner ledger rename-target default prod" in refused["targets"]["prod"]["halted"]
    assert renamed.returncode == 0, renamed.stderr
    assert again["outcomes"]["unchanged"] == 3
    assert endpoint.truth()["calls"]["create"] == {"200": 3}


def test_credentials_of_another_account_are_refused(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """A ledger that has algorithms of one account is not used with the keys of another: 78, not "unchanged"."""
    apply(tmp_path, endpoint, manifest)
    keys = credentials("999999999999")

    done = provisioner(
        "apply",
        manifest,
        "--endpoint-url",
        endpoint.url,
        "--output",
        "json",
        cwd=tmp_path,
        AWS_ACCESS_KEY_ID=keys.access_key_id,
    )

    assert done.returncode == 78, done.stdout
    assert "999999999999" in json.loads(done.stdout)["targets"]["default"]["halted"]
    assert json.loads(done.stdout)["outcomes"]["unchanged"] == 0


def test_a_local_ledger_is_not_used_elsewhere(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """What was registered at the embedded endpoint is not taken for registered at another one: 78."""
    assert provisioner("apply", manifest, "--local", cwd=tmp_path).returncode == 0

    elsewhere = apply(tmp_path, endpoint, manifest, code=78)

    assert "the embedded endpoint" in elsewhere["targets"]["default"]["halted"]
    assert made(endpoint) == {}


def test_a_target_with_open_entries_only_may_not_move(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """A place is known from the first intent on: a target whose creates have no answer yet is not taken elsewhere."""
    endpoint.change(lost_reply=1.0)
    apply(tmp_path, endpoint, manifest, code=5)
    (tmp_path / "moved.toml").write_text("[targets.default]\nregion = 'eu-west-1'\n")

    moved = apply(tmp_path, endpoint, manifest, "-c", "moved.toml", code=78)

    assert "the target has moved" in moved["targets"]["default"]["halted"]


def test_nothing_is_marked_as_missing_on_doubtful_evidence(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """A 404 without the service's own code, as of a gateway, is no proof: verify marks nothing as missing."""
    apply(tmp_path, endpoint, manifest)
    endpoint.change(get_script=["error_without_effect:404"] * 3 * 8)

    verified = verify(tmp_path, endpoint, "--mark-missing")
    endpoint.change(get_script=[])
    again = apply(tmp_path, endpoint, manifest)

    assert {finding["kind"] for finding in json.loads(verified.stdout)["findings"]} == {"unread"}
    assert again["outcomes"]["unchanged"] == 3


def test_a_duplicate_stays_where_the_kept_one_cannot_be_read(
    tmp_path: Path, endpoint: Endpoint, manifest: Path
) -> None:
    """Prune deletes nothing where the algorithm that the ledger names is gone: the other is the only one left."""
    apply(tmp_path, endpoint, manifest)
    endpoint.change(names="duplicates")
    kept = next(one for one in endpoint.truth()["algorithms"] if one["name"] == "algorithm 0")
    twin(endpoint, tag_of(endpoint))
    client(endpoint.url).delete_configured_model_algorithm(configuredModelAlgorithmArn=kept["arn"])

    done = verify(tmp_path, endpoint, "--prune-duplicates", "--yes")

    assert sorted(finding["kind"] for finding in json.loads(done.stdout)["findings"]) == ["missing", "unrecorded"]
    assert len(made(endpoint)) == 3


def test_a_duplicate_stays_where_the_kept_one_cannot_be_read_again(
    tmp_path: Path, endpoint: Endpoint, manifest: Path
) -> None:
    """Prune reads both once more right before the delete, and deletes nothing where one of them is not read then."""
    apply(tmp_path, endpoint, manifest)
    endpoint.change(names="duplicates")
    twin(endpoint, tag_of(endpoint))
    compared = len(endpoint.truth()["algorithms"])
    endpoint.change(get_script=["ok"] * compared + ["error_without_effect:404"] * 2)

    done = verify(tmp_path, endpoint, "--prune-duplicates", "--yes")

    findings = json.loads(done.stdout)["findings"]
    assert [(finding["kind"], finding.get("pruned", False)) for finding in findings] == [("duplicate", False)]
    assert "cannot be read" in findings[0]["message"]
    assert (done.returncode, len(endpoint.truth()["algorithms"])) == (5, compared)


def test_a_rebuild_prefers_no_ledger(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Where the tags name several ledgers, rebuild lists them all and leaves the choice to the user."""
    apply(tmp_path, endpoint, manifest)
    ledger_id = json.loads(provisioner("status", "--output", "json", cwd=tmp_path).stdout)["ledger_id"]
    tags = {"provisioner:origin": f"v1/{'0' * 16}/{'0' * 32}/x-1"}
    client(endpoint.url).create_configured_model_algorithm(name="other", roleArn=ROLE, tags=tags)
    arguments = ("--ledger", "new.db", "--endpoint-url", endpoint.url, "--output", "json")

    asked = provisioner("rebuild", *arguments, cwd=tmp_path)

    error = json.loads(asked.stdout)["error"]
    assert f"{'0' * 16} (1 algorithm), {ledger_id} (3 algorithms)" in error
    assert "--ledger-id ID" in error


def test_a_rebuild_of_another_teams_ledger_is_a_decision(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Rebuild names the ledgers that the tags name and makes none until one is chosen."""
    apply(tmp_path, endpoint, manifest)
    ledger_id = ledger_id_in(tmp_path)
    arguments = ("--ledger", "new.db", "--endpoint-url", endpoint.url, "--output", "json")

    asked = provisioner("rebuild", *arguments, cwd=tmp_path)
    before = (tmp_path / "new.db").exists()
    chosen = provisioner("rebuild", "--ledger-id", ledger_id, *arguments, cwd=tmp_path)

    assert (asked.returncode, before) == (2, False)
    assert f"--ledger-id {ledger_id}" in json.loads(asked.stdout)["error"]
    assert chosen.returncode == 0, chosen.stdout
    assert apply(tmp_path, endpoint, manifest, "--ledger", "new.db")["outcomes"]["unchanged"] == 3


def test_what_was_marked_as_missing_at_a_wrong_endpoint_is_recovered(
    tmp_path: Path, endpoint: Endpoint, manifest: Path
) -> None:
    """What an empty stand-in for the account has marked as missing is recovered at the right one, not made again."""
    (tmp_path / "provisioner.toml").write_text(QUICK)
    endpoint.change(names="duplicates")
    apply(tmp_path, endpoint, manifest)
    time.sleep(0.5)  # the settle time: what is so new may only lag
    with running() as empty:
        marked = verify(tmp_path, Endpoint(empty.url), "--mark-missing")

    again = apply(tmp_path, endpoint, manifest)

    assert [finding["kind"] for finding in json.loads(marked.stdout)["findings"]] == ["missing"] * 3
    assert again["outcomes"]["recovered"] == 3
    assert set(made(endpoint).values()) == {1}


@pytest.mark.parametrize("command", ["apply", "rebuild"])
def test_an_endpoint_that_is_not_aws_is_named_as_the_cause(tmp_path: Path, manifest: Path, command: str) -> None:
    """A server that answers List with a page of its own ends the command at once with 78, and says what it answered."""
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split("(")[1].split("/)")[0]
        sources = [manifest] if command == "apply" else ["--ledger-id", "0" * 16]

        done = provisioner(command, *sources, "--endpoint-url", url, "--output", "json", cwd=tmp_path)
    finally:
        server.terminate()
        server.communicate()

    halted = json.loads(done.stdout)["targets"]["default"]["halted"]
    assert done.returncode == 78, done.stdout
    assert "404" in halted
    assert "endpoint URL" in halted


async def test_a_rebuild_that_sees_duplicates_is_no_success(tmp_path: Path, endpoint: Endpoint, manifest: Path) -> None:
    """Two algorithms of this ledger under one name: rebuild keeps one, records and logs the other once; exit 5."""
    apply(tmp_path, endpoint, manifest)
    ledger_id = ledger_id_in(tmp_path)
    endpoint.change(names="duplicates")
    first = next(one for one in endpoint.truth()["algorithms"] if one["name"] == "algorithm 0")
    twin(endpoint, first["tags"]["provisioner:origin"])

    arguments = ("--ledger", "new.db", "--endpoint-url", endpoint.url, "--output", "json")
    done = provisioner("rebuild", "--ledger-id", ledger_id, *arguments, cwd=tmp_path)

    summary = json.loads(done.stdout)
    assert done.returncode == 5, done.stdout
    assert [problem["code"] for problem in summary["problems"]] == ["duplicate"]
    assert sum("duplicate" in line for line in done.stderr.splitlines()) == 1, done.stderr
    async with Ledger.open(tmp_path / "new.db") as ledger:
        recorded = [problem async for problem in ledger.problems(summary["run_id"])]
    assert [(problem.code, problem.name) for problem in recorded] == [("duplicate", "algorithm 0")]
