"""``provisioner discover`` as its users meet it: what it prints and writes, and that ``apply`` reads it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.manifest.definition import Definition
from tests.definition_lines import ROLE, numbered
from tests.e2e.process import COMMAND, EXAMPLE, Endpoint, environment, executable, provisioner, start, until
from tests.e2e.test_apply import applied
from tests.emulator.support import client

if TYPE_CHECKING:
    from pathlib import Path


def discover(cwd: Path, endpoint: Endpoint, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``discover`` against the endpoint."""
    return provisioner("discover", *arguments, "--endpoint-url", endpoint.url, cwd=cwd)


def make(endpoint: Endpoint, name: str, **more: Any) -> str:
    """Create an algorithm behind the back of every ledger; its ARN."""
    made: dict[str, str] = client(endpoint.url).create_configured_model_algorithm(name=name, roleArn=ROLE, **more)
    return made["configuredModelAlgorithmArn"]


def names(lines: str) -> list[str]:
    """The names in a manifest."""
    return [json.loads(line)["name"] for line in lines.splitlines()]


def test_what_discover_prints_apply_finds_unchanged(tmp_path: Path, endpoint: Endpoint) -> None:
    """The manifest that was applied comes back, sorted, in canonical form; piped back, nothing is left to do."""
    count = EXAMPLE.read_text().count("\n")
    assert applied(tmp_path, endpoint, EXAMPLE)[0] == 0
    endpoint.change(shuffle_metrics=True)

    found = discover(tmp_path, endpoint)
    code, summary = applied(tmp_path, endpoint, "-", stdin=found.stdout.encode())

    wanted = sorted(Definition.from_request(line).canonical().request({}) for line in EXAMPLE.read_bytes().splitlines())
    assert found.returncode == 0
    assert sorted(line.encode() for line in found.stdout.splitlines()) == wanted
    assert names(found.stdout) == sorted(names(found.stdout))
    assert f"{count} definitions of default (123456789012 us-east-1)" in found.stderr
    assert (code, summary["outcomes"]["unchanged"], summary["calls"]["create"]) == (0, count, 0)


def test_a_new_ledger_adopts_what_discover_prints(tmp_path: Path, endpoint: Endpoint) -> None:
    """What no ledger made becomes a manifest, and `discover | apply -`, as a shell runs it, takes all of it over."""
    odd = {"description": "two\nlines \u202e {x}", "tags": {"équipe": "a/b", "empty": ""}}
    for name in ("b", "a \u00e9", "--c"):
        make(endpoint, name, **odd)
    pipe = (
        f"{executable()} discover --endpoint-url {endpoint.url} | "
        f"{executable()} apply - --endpoint-url {endpoint.url} --output json"
    )

    done = subprocess.run(pipe, shell=True, cwd=tmp_path, env=environment(), capture_output=True, check=False)  # noqa: S602

    summary = json.loads(done.stdout)
    assert (done.returncode, summary["outcomes"]["adopted"], summary["calls"]["create"]) == (0, 3, 0)
    assert len(endpoint.truth()["algorithms"]) == 3


def test_discover_needs_no_ledger_and_makes_none(tmp_path: Path, endpoint: Endpoint) -> None:
    """It leaves no file, whatever becomes of it."""
    assert discover(tmp_path, endpoint).returncode == 0
    assert discover(tmp_path, endpoint, "--output", "json", "--ledger", "l.db").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_an_empty_account_gives_an_empty_manifest(tmp_path: Path, endpoint: Endpoint) -> None:
    """No algorithm is no line, not even an empty one."""
    found = discover(tmp_path, endpoint)

    assert (found.returncode, found.stdout) == (0, "")
    assert "0 definitions" in found.stderr


def test_names_and_placeholders(tmp_path: Path, endpoint: Endpoint) -> None:
    """--name selects, and --placeholders writes the account and the Region as such."""
    for name in ("a-1", "a-2", "b-1 us-east-1"):
        make(endpoint, name)

    found = discover(tmp_path, endpoint, "--name", "*-1", "--name", "b*", "--placeholders")

    assert names(found.stdout) == ["a-1", "b-1 {region}"]
    assert json.loads(found.stdout.splitlines()[0])["roleArn"] == "arn:aws:iam::{account_id}:role/access"


def test_what_no_line_can_represent_is_reported(tmp_path: Path, endpoint: Endpoint) -> None:
    """An image that our rules refuse is a problem on stderr and in the object, exit 3; the others are written."""
    arn = make(endpoint, "odd \x9b", trainingContainerConfig={"imageUri": "train"})
    make(endpoint, "plain")

    found = discover(tmp_path, endpoint)
    told = json.loads(discover(tmp_path, endpoint, "--output", "json").stdout)

    assert (found.returncode, names(found.stdout)) == (3, ["plain"])
    assert (
        f'problem   name "odd \\x9b": {arn} cannot be a line of a manifest: trainingContainerConfig.imageUri'
        in found.stderr
    )
    assert told["exit_code"] == 3
    assert [(one["name"], one["code"], one["target"]) for one in told["problems"]] == [
        ("odd \\x9b", "pattern", "default")
    ]
    assert [one["name"] for one in told["definitions"]] == ["plain"]


def test_two_algorithms_of_one_name(tmp_path: Path, endpoint: Endpoint) -> None:
    """The newest is written, the other is a notice that names both; the exit code stays 0."""
    endpoint.change(names="duplicates")
    older = make(endpoint, "a", description="older")
    time.sleep(0.01)
    newer = make(endpoint, "a", description="newer")

    found = discover(tmp_path, endpoint)

    assert (found.returncode, [json.loads(line)["description"] for line in found.stdout.splitlines()]) == (0, ["newer"])
    assert f'notice    name "a": {older} has this name too; the manifest has the newer {newer}' in found.stderr


def test_a_file_is_written_whole_and_replaced_only_by_force(tmp_path: Path, endpoint: Endpoint) -> None:
    """--out writes what stdout would have; a file that is there stays, unless --force says otherwise."""
    make(endpoint, "a")
    printed = discover(tmp_path, endpoint).stdout

    written = discover(tmp_path, endpoint, "--out", "m.jsonl")
    make(endpoint, "b")
    asked = endpoint.truth()["calls"]
    refused = discover(tmp_path, endpoint, "--out", "m.jsonl")

    assert (written.returncode, written.stdout, (tmp_path / "m.jsonl").read_text()) == (0, "", printed)
    assert (refused.returncode, "--force" in refused.stderr, endpoint.truth()["calls"]) == (2, True, asked)
    (tmp_path / "link.jsonl").symlink_to("m.jsonl")
    replaced = json.loads(discover(tmp_path, endpoint, "--out", "link.jsonl", "--force", "--output", "json").stdout)
    assert (replaced["exit_code"], replaced["file"]) == (0, "link.jsonl")
    assert names((tmp_path / "m.jsonl").read_text()) == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.jsonl", "m.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "."], "what is not a file"),
        (["--out", "nowhere/m.jsonl"], "no such directory"),
        (["--force"], "--out"),
    ],
)
def test_a_place_where_no_file_can_be(tmp_path: Path, endpoint: Endpoint, arguments: list[str], says: str) -> None:
    """What cannot be written to is wrong usage, before anything is called."""
    done = discover(tmp_path, endpoint, *arguments)

    assert (done.returncode, says in done.stderr, endpoint.truth()["calls"]) == (2, True, {})


def test_a_file_that_cannot_be_written(tmp_path: Path, endpoint: Endpoint) -> None:
    """A full disk ends with 74 and leaves what was there."""
    make(endpoint, "a")
    (tmp_path / "m.jsonl").write_text("old\n")
    command = f"{' '.join(COMMAND)} discover --endpoint-url {endpoint.url} --out m.jsonl --force"
    script = f"ulimit -f 0; trap '' XFSZ; exec {command}"

    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )

    assert (done.returncode, "m.jsonl: the result cannot be written" in done.stderr) == (74, True), done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m.jsonl": "old\n"}


def test_a_stopped_discover_writes_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    """SIGTERM in the middle ends with 75, and neither stdout nor the file has half a manifest."""
    make(endpoint, "a")
    endpoint.change(get_script=["hang"])
    process = start("discover", "--endpoint-url", endpoint.url, "--out", "m.jsonl", cwd=tmp_path)
    until(lambda: "get" in endpoint.truth()["calls"], process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)

    assert (process.returncode, stdout, list(tmp_path.iterdir())) == (75, "", [])
    assert "nothing was written" in stderr


def test_one_target_is_one_manifest(tmp_path: Path, endpoint: Endpoint) -> None:
    """Of several targets one has to be chosen; its account is guarded as in every run."""
    (tmp_path / "provisioner.toml").write_text(
        f'[targets.a]\naccount_id = "123456789012"\nsts_endpoint_url = "{endpoint.url}"\n'
        f'[targets.b]\naccount_id = "210987654321"\nsts_endpoint_url = "{endpoint.url}"\n'
    )

    both = discover(tmp_path, endpoint)
    wrong = discover(tmp_path, endpoint, "--target", "b", "--output", "json")

    assert (both.returncode, "--target: a, b" in both.stderr) == (2, True)
    assert discover(tmp_path, endpoint, "--target", "a").returncode == 0
    assert (wrong.returncode, "wrong account" in json.loads(wrong.stdout)["error"]) == (77, True)
    assert set(endpoint.truth()["calls"]) == {"list", "get_caller_identity"}


def test_what_another_ledger_made_says_so_when_it_is_applied(tmp_path: Path, endpoint: Endpoint) -> None:
    """The ownership tag is no part of a manifest, but it stays in AWS: another ledger's algorithm is not adopted."""
    (tmp_path / "mine.jsonl").write_bytes(numbered(1))
    assert applied(tmp_path, endpoint, "mine.jsonl")[0] == 0
    found = discover(tmp_path, endpoint)
    done = provisioner(
        "apply", "-", "--endpoint-url", endpoint.url, "--ledger", "n.db", cwd=tmp_path, stdin=found.stdout.encode()
    )

    assert "tags" not in json.loads(found.stdout)
    assert (done.returncode, "other_ledger" in done.stdout) == (3, True)
