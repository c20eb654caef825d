"""Options that write a file refuse those that the command reads and those of the ledger, before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from provisioner.cli.program import Program
from provisioner.cli.program import provisioner as commands
from provisioner.cli.signals import Signals
from provisioner.commands.planfile import VERSION, PlanFile
from provisioner.commands.run import policy_of
from provisioner.config.settings import Settings
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.cli.streams import Streams

LEDGER = "a file of the ledger"
MANIFEST = "the manifest"
CONFIGURATION = "the configuration"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what a user has, and links to some of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "provisioner.toml").write_text("[run]\nledger = 'l.db'\n")
    (tmp_path / "broken.toml").write_text("broken")
    (tmp_path / "m.jsonl").write_text("{}\n")
    (tmp_path / "link").symlink_to("m.jsonl")
    (tmp_path / "twin").hardlink_to("m.jsonl")
    (tmp_path / "to.db").symlink_to("there.db")
    (tmp_path / "sub").mkdir()
    return tmp_path


def parse(line: str) -> Program:
    """What the options of a command line set; they are read, and the command is not run."""
    program = Program(Signals(), cast("Streams", None))
    context = commands.make_context("provisioner", line.split(), obj=program)
    name, command, rest = commands.resolve_command(context, line.split())
    assert command is not None
    command.make_context(name, rest, parent=context)
    return program


@pytest.mark.parametrize(
    ("line", "owner"),
    [
        ("apply m.jsonl --summary-file m.jsonl", MANIFEST),
        ("apply --summary-file ./m.jsonl --max-rate fast m.jsonl", MANIFEST),
        ("apply m.jsonl --summary-file sub/../link", MANIFEST),
        ("apply m.jsonl --summary-file twin", MANIFEST),
        ("apply *.jsonl --summary-file new.jsonl", MANIFEST),
        ("apply **/*.jsonl --log-file sub/new.jsonl", MANIFEST),
        ("apply su[b]/** --log-file sub/new", MANIFEST),
        ("adopt m.jsonl --log-file m.jsonl", MANIFEST),
        ("apply m.jsonl --report m.jsonl", MANIFEST),
        ("apply m.jsonl --report l.db-wal", LEDGER),
        ("report --out provisioner.toml", CONFIGURATION),
        ("report -o l.db", LEDGER),
        ("plan m.jsonl -o m.jsonl", MANIFEST),
        ("apply --plan p --summary-file p", "the saved plan"),
        ("apply m.jsonl --summary-file provisioner.toml", CONFIGURATION),
        ("apply m.jsonl -c broken.toml --summary-file broken.toml", CONFIGURATION),
        ("discover --force --out provisioner.toml", CONFIGURATION),
        ("plan m.jsonl --out provisioner.toml", CONFIGURATION),
        ("export --out provisioner.toml", CONFIGURATION),
        ("verify m.jsonl --summary-file m.jsonl", MANIFEST),
        ("verify --log-file provisioner.toml", CONFIGURATION),
        ("verify --summary-file l.db.lock", LEDGER),
        ("verify -c broken.toml --summary-file x.db-wal --ledger x.db", LEDGER),
        ("verify --log-file l.db", LEDGER),
        ("discover --local --out l.db.local-shm", LEDGER),
        ("apply m.jsonl --local --log-file l.db.local", LEDGER),
        ("apply m.jsonl --local --summary-file l.db.local", LEDGER),
        ("export --out l.db-shm", LEDGER),
        ("plan m.jsonl -o x.db.lock -l x.db", LEDGER),
        ("verify -l to.db --summary-file there.db-wal", LEDGER),
    ],
)
def test_no_option_writes_what_belongs_to_the_command(folder: Path, line: str, owner: str) -> None:
    """Manifest, configuration, saved plan and the ledger's files stay as they are, under any of their names."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    with pytest.raises(UsageError, match=f"this is {owner}. Name another file"):
        parse(line)

    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_the_manifest_of_a_saved_plan_is_the_manifest(folder: Path) -> None:
    """The plan reads it again, so that --summary-file must not replace it."""
    settings = Settings()
    plan = PlanFile(
        version=VERSION,
        plan_id="",
        ledger_id="",
        sources=("m.jsonl",),
        strict=False,
        policy=policy_of(settings),
        lifecycle=settings.lifecycle,
        targets={},
    )
    (folder / "p").write_bytes(plan.encoded())

    with pytest.raises(UsageError, match="this is the manifest"):
        parse("apply --plan p --summary-file m.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        "apply m.jsonl --summary-file s --log-file ./s",
        "apply m.jsonl --log-file s --summary-file s",
        "plan m.jsonl -o s --log-file s",
        "discover --summary-file s --out s",
        "apply m.jsonl --report s --summary-file s",
        "apply m.jsonl --log-file ./s --report s",
    ],
)
def test_two_options_never_write_one_file(line: str) -> None:
    """The second would replace what the first keeps there."""
    with pytest.raises(UsageError, match="name the same file"):
        parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "apply m.jsonl --summary-file s --log-file l",
        "apply *.jsonl --summary-file sub/new.jsonl",
        "apply *l --summary-file .l",
        "apply - --summary-file s",
        "verify --summary-file other.db.lock",
    ],
)
def test_a_file_of_its_own_is_accepted(line: str) -> None:
    """A file that only resembles one of them is none of them."""
    assert parse(line).unattended.summary_file
