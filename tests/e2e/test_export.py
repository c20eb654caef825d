"""``provisioner export``, through the real process."""

from __future__ import annotations

import csv
import json
import subprocess
from typing import TYPE_CHECKING

import hcl2
import pytest

from tests.e2e.ledgers import FIRST, HOSTILE, SECOND, make, multiply
from tests.e2e.process import COMMAND, LIMIT_S, environment, provisioner
from tests.ledger.contract.facts import arn

if TYPE_CHECKING:
    from pathlib import Path

TERRAFORM = f"""\
# Terraform 1.5 or later. `terraform plan -generate-config-out=algorithms.tf` writes the resources.

# "moved two"
import {{
  to = awscc_cleanroomsml_configured_model_algorithm.moved_two_5c1aa88e
  id = "{arn(5)}"
}}

# "plain"
import {{
  to = awscc_cleanroomsml_configured_model_algorithm.plain
  id = "{arn(1)}"
}}
"""
TWO_TARGETS = f"""\
# Terraform 1.12 or later. `terraform plan -generate-config-out=algorithms.tf` writes the resources.

# "east/plain"
import {{
  to = awscc_cleanroomsml_configured_model_algorithm.east_plain_bc69e43a
  identity = {{
    configured_model_algorithm_arn = "{arn(1)}"
    account_id                     = "123456789012"
    region                         = "us-east-1"
  }}
}}

# "west/plain"
import {{
  to = awscc_cleanroomsml_configured_model_algorithm.west_plain_912761d7
  identity = {{
    configured_model_algorithm_arn = "{arn(6)}"
    account_id                     = "123456789012"
    region                         = "us-east-1"
  }}
}}
"""
CLOUDFORMATION = [
    {
        "ResourceType": "AWS::CleanRoomsML::ConfiguredModelAlgorithm",
        "LogicalResourceId": "movedtwoX5c1aa88e",
        "ResourceIdentifier": {"ConfiguredModelAlgorithmArn": arn(5)},
    },
    {
        "ResourceType": "AWS::CleanRoomsML::ConfiguredModelAlgorithm",
        "LogicalResourceId": "plain",
        "ResourceIdentifier": {"ConfiguredModelAlgorithmArn": arn(1)},
    },
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that all tests here read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    return folder


def test_import_blocks_of_one_target(directory: Path) -> None:
    """Each algorithm is imported by its ARN, under an identifier of its name, with the name beside it."""
    done = provisioner(
        "export", "--format", "terraform", "-t", "east", "--name", "plain", "--name", "*two", cwd=directory
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, TERRAFORM, "")


def test_import_blocks_of_several_targets(directory: Path) -> None:
    """With several targets each block says the account and the Region, and the identifiers name the target."""
    done = provisioner("export", "--format", "terraform", "--name", "plain", cwd=directory)
    everything = provisioner("export", "--format", "terraform", cwd=directory)

    assert (done.returncode, done.stdout) == (0, TWO_TARGETS)
    assert len(hcl2.loads(everything.stdout)["import"]) == 7
    assert "\x1b" not in everything.stdout


def test_an_import_list_for_cloudformation(directory: Path) -> None:
    """One account and Region: the resources that a change set imports. Several targets are wrong usage."""
    selected = ("--name", "plain", "--name", "*two")
    done = provisioner("export", "--format", "cloudformation", "-t", "east", *selected, cwd=directory)
    none = provisioner("export", "--format", "cloudformation", "-t", "east", "--name", "x", cwd=directory)
    several = provisioner("export", "--format", "cloudformation", cwd=directory)

    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, CLOUDFORMATION, "")
    assert json.loads(none.stdout) == []
    assert (several.returncode, several.stdout) == (2, "")
    assert several.stderr == ("provisioner: an import list is for one account and Region. Choose one with --target\n")


def test_columns(directory: Path) -> None:
    """The columns that are asked for, in their order, in jsonl and csv; an unknown time or account is empty."""
    columns = "name,created_at,account,region,run,code"
    cells = list(
        csv.reader(provisioner("export", "--format", "csv", "--columns", columns, cwd=directory).stdout.splitlines())
    )
    rows = provisioner("export", "--columns", "arn, state", "--name", "taken", cwd=directory).stdout
    failed = provisioner(
        "export", "--columns", "name,arn,account,message", "--state", "failed", "--name", "bad 1", cwd=directory
    ).stdout

    at = "2026-09-21T14:13:20.125Z"
    assert cells[0] == columns.split(",")
    assert cells[1] == ["found", at, "123456789012", "us-east-1", FIRST, "recovered"]
    assert cells[5] == ["taken", "", "123456789012", "us-east-1", SECOND, "drifted"]
    assert cells[6][0] == "'" + HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert json.loads(rows) == {"arn": arn(3), "state": "drifted"}
    assert json.loads(failed) == {"name": "bad 1", "arn": "", "account": "", "message": "role 1 is wrong"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "nam"), "there is no column 'nam'. Did you mean name?"),
        (("--columns", "name", "--format", "json"), "--columns is for jsonl and csv, not for json."),
        (("--format", "terraform", "--state", "failed"), "--format terraform is for algorithms that exist."),
    ],
)
def test_what_does_not_go_together(directory: Path, options: tuple[str, ...], message: str) -> None:
    """Columns that there are not, or of a format without columns, and imports of what does not exist: 2."""
    done = provisioner("export", *options, cwd=directory)

    assert (done.returncode, done.stdout, message in done.stderr) == (2, "", True), done.stderr


def test_a_file_is_replaced_when_all_is_written(directory: Path, tmp_path: Path) -> None:
    """--out makes the file, or replaces it and keeps a symbolic link to it; stdout is empty, nothing is left over."""
    (tmp_path / "real.jsonl").write_text("old\n")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    before = (tmp_path / "real.jsonl").stat().st_ino
    printed = provisioner("export", cwd=directory)

    done = provisioner("export", "--out", tmp_path / "link.jsonl", cwd=directory)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "real.jsonl").read_text() == printed.stdout
    assert (tmp_path / "real.jsonl").stat().st_ino != before
    assert (tmp_path / "link.jsonl").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.jsonl", "real.jsonl"]


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    """When the disk refuses the rest, the old file is still there, no other is, and the exit code is 74."""
    make(tmp_path / "ledger.db")
    multiply(tmp_path / "ledger.db", 3000)
    (tmp_path / "out").write_text("old\n")

    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *COMMAND, "export", "--out", "out"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr.startswith("provisioner: out: the result cannot be written: File too large. Check its directory")
    assert (tmp_path / "out").read_text() == "old\n"
    assert [path.name for path in tmp_path.glob("*out*")] + list(tmp_path.glob(".*")) == ["out"]


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("ledger.db", 2, "--out ledger.db: this is a file of the ledger. Name another file"),
        (".", 2, ".: the result cannot replace what is not a file"),
        ("/dev/null", 2, "/dev/null: the result cannot replace what is not a file"),
        ("/dev/stdout", 2, "/dev/stdout: the result cannot replace what is not a file"),
        ("no/such/file", 74, "no/such/file: the result cannot be written: No such file or directory"),
    ],
)
def test_what_is_not_replaced(directory: Path, out: str, code: int, message: str) -> None:
    """A ledger, a directory and a device stay what they are."""
    done = provisioner("export", "--out", out, cwd=directory)

    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert provisioner("export", cwd=directory).returncode == 0
