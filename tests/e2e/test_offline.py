"""The commands that need no AWS: validate, status, export, schema."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import ROOT, provisioner

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = ROOT / "configs" / "broken.jsonl"


def tags(key: str) -> str:
    """Thirty tags, as TOML."""
    return "{" + ", ".join(f"{key}{at} = ''" for at in range(30)) + "}"


def test_validate_reports_every_problem_with_its_place(tmp_path: Path) -> None:
    """Each problem is a line on stdout that begins with file:line:column; the counts go to stderr; exit 65."""
    done = provisioner("validate", BROKEN, cwd=tmp_path)

    places = [line.removeprefix(f"{BROKEN}:").split(": ")[0] for line in done.stdout.splitlines()]
    assert done.returncode == 65
    assert sorted({int(place.split(":")[0]) for place in places}) == list(range(2, 21, 2))
    assert done.stderr == "20 lines, 10 valid, 10 invalid\n"


def test_validate_gives_one_json_object(tmp_path: Path) -> None:
    """With --output json the problems and counts are one object, also where nothing is wrong."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))

    broken = provisioner("validate", BROKEN, "--output", "json", cwd=tmp_path)
    good = provisioner("validate", "m.jsonl", "--output", "json", cwd=tmp_path)

    report = json.loads(broken.stdout)
    assert (broken.returncode, report["lines"], report["valid"], report["invalid"]) == (65, 20, 10, 10)
    assert {problem["line"] for problem in report["problems"]} == set(range(2, 21, 2))
    counts = {"lines": 1, "valid": 1, "invalid": 0}
    assert (good.returncode, json.loads(good.stdout)) == (0, {"problems": [], **counts, "exit_code": 0})


def test_validate_notices_regexes_without_failing(tmp_path: Path) -> None:
    """A metric's regex that does not compile is a notice: exit 0."""
    container = {
        "imageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1",
        "metricDefinitions": [{"name": "loss", "regex": "(loss"}],
    }

    done = provisioner("validate", "-", cwd=tmp_path, stdin=manifest_of("a", trainingContainerConfig=container))

    assert done.returncode == 0
    assert "notice:" in done.stdout
    assert "metricDefinitions[0].regex" in done.stdout


def test_validate_notices_names_that_look_alike(tmp_path: Path) -> None:
    """Two names that differ only in case have a notice at each line, and the exit code stays 0."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("Train", "other", "train"))

    done = provisioner("validate", "m.jsonl", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "3 lines, 3 valid, 0 invalid\n")
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == ["m.jsonl:1:1", "m.jsonl:3:1"]
    assert done.stdout.count("only in upper and lower case") == 2


def test_validate_notices_what_is_elsewhere_than_its_target(tmp_path: Path) -> None:
    """A role of another account is a notice of the targets that it cannot serve, also where their defaults differ."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    (tmp_path / "one.toml").write_text('[targets.east]\naccount_id = "210987654321"\nregion = "fips-us-east-1"\n')
    (tmp_path / "three.toml").write_text(
        '[targets.east]\naccount_id = "123456789012"\n[targets.west]\naccount_id = "210987654321"\n'
        '[targets.north]\naccount_id = "333333333333"\ndefaults = {kmsKeyArn = '
        '"arn:aws:kms:us-east-1:123456789012:key/1234abcd"}\nregion = "eu-north-1"\n'
    )

    one = provisioner("validate", "m.jsonl", "-c", "one.toml", cwd=tmp_path)
    three = provisioner("validate", "m.jsonl", "-c", "three.toml", "--output", "json", cwd=tmp_path)

    text = "account 123456789012, but the target is account 210987654321: only a role of its own account can be passed"
    assert (one.returncode, one.stdout) == (0, f'm.jsonl:1:1: name "a": notice: roleArn: {text}\n')
    found = [(problem["line"], problem["target"], problem["code"]) for problem in json.loads(three.stdout)["problems"]]
    assert (three.returncode, found) == (
        0,
        [(1, "west", "other_account"), (1, "north", "other_account"), (1, "north", "other_region")],
    )


def test_validate_looks_through_the_defaults_of_every_target(tmp_path: Path) -> None:
    """What is wrong with a line under the defaults of one target only is a problem of that target, and is named so."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b", tags={"own": ""}))
    tags = "".join(f"t{number} = ''\n" for number in range(49))
    (tmp_path / "c.toml").write_text(f"[targets.east]\n[targets.west]\n[targets.west.defaults.tags]\n{tags}")

    done = provisioner("validate", "m.jsonl", "-c", "c.toml", cwd=tmp_path)

    assert done.returncode == 65
    assert done.stdout.count("(target west)") == 2
    assert "target east: 2 lines, 2 valid, 0 invalid" in done.stderr


def test_validate_counts_many_targets_alike_once(tmp_path: Path) -> None:
    """A fleet whose targets have the same counts is one line, and the one that differs another."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("{shade}"))
    (tmp_path / "c.toml").write_text(
        "defaults.templates = true\n"
        + "".join(f"targets.t{n}.vars.shade = 'dark'\n" for n in range(4))
        + "targets.u = {}"
    )

    done = provisioner("validate", "m.jsonl", "-c", "c.toml", cwd=tmp_path)

    assert done.stderr.endswith("4 targets: 1 line, 1 valid, 0 invalid\ntarget u: 1 line, 0 valid, 1 invalid\n")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[defaults]\nkmsKeyArm = 'x'", "[defaults]: kmsKeyArm: unknown field; did you mean kmsKeyArn?"),
        ("[targets.west.defaults.tags]\n'aws:x' = ''", '[targets.west.defaults]: tags["aws:x"]: keys that begin with'),
        ("[defaults]\nkmsKeyArn = 'x'\nroleArn = 5", "2 problems, the first: "),
        (
            f"[defaults]\ntags = {tags('a')}\n[targets.west.defaults]\ntags = {tags('b')}",
            "[defaults] and [targets.west.defaults] together: tags: has 60 elements, at most 50 are allowed",
        ),
    ],
)
@pytest.mark.parametrize("command", ["validate", "apply"])
def test_wrong_defaults_are_one_message(tmp_path: Path, toml: str, message: str, command: str) -> None:
    """A misspelt key or a wrong value in the defaults is reported once, as the configuration's (78), not per line."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*map(str, range(100))))
    (tmp_path / "c.toml").write_text(toml)

    local = ("--local",) if command == "apply" else ()
    done = provisioner(command, "m.jsonl", "-c", "c.toml", *local, cwd=tmp_path)

    assert done.returncode == 78
    told = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("{")]  # the log has it too
    assert "\n".join(told).count(message) == 1
    assert not (tmp_path / "ledger.db").exists()


def test_export_quotes_what_a_spreadsheet_would_run(tmp_path: Path) -> None:
    """In CSV a name that begins like a formula is preceded by an apostrophe; in JSON it is left as it is."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("=cmd|'/C calc'!A0", "plain"))
    assert provisioner("apply", "m.jsonl", "--local", cwd=tmp_path).returncode == 0

    cells = list(csv.DictReader(provisioner("export", "--format", "csv", cwd=tmp_path).stdout.splitlines()))
    names = json.loads(provisioner("export", "--format", "json", cwd=tmp_path).stdout)

    assert [cell["name"] for cell in cells] == ["'=cmd|'/C calc'!A0", "plain"]
    assert list(names) == ["=cmd|'/C calc'!A0", "plain"]


def test_status_shows_what_the_ledger_holds(tmp_path: Path) -> None:
    """Counts by target and state, and the runs with their exit codes; a target without entries is an error."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)

    status = json.loads(provisioner("status", "--output", "json", cwd=tmp_path).stdout)
    missing = provisioner("status", "--target", "moon", cwd=tmp_path)

    assert status["targets"]["default"]["states"]["created"] == 2
    assert [run["exit_code"] for run in status["runs"]] == [0]
    assert status["open"] == []
    assert (missing.returncode, "moon" in missing.stderr) == (2, True)


def test_schema_describes_a_definition(tmp_path: Path) -> None:
    """The JSON Schema is of draft 2020-12 and names the required fields."""
    done = provisioner("schema", cwd=tmp_path)

    schema = json.loads(done.stdout)
    assert "2020-12" in schema["$schema"]
    assert {"name", "roleArn"} <= set(json.dumps(schema).replace('"', " ").split())


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            "[run]\nmax_in_flight = 'x'",
            'c.toml: run.max_in_flight must be a whole number from 1 to 4096, not the string "x"',
        ),
        (
            "[targets.a]\nregion = 5",
            "c.toml: targets.a.region must be an AWS Region such as us-east-1, not the number 5",
        ),
        ("defaults = 3", "c.toml: defaults must be a table, [defaults], not the number 3"),
        ("[pace]\nshare = 'a'", 'c.toml: pace.share must be a number above 0 and at most 1, not the string "a"'),
    ],
)
def test_a_wrong_value_in_the_configuration_is_one_line(tmp_path: Path, toml: str, message: str) -> None:
    """File, key, what must stand there and what does: one line on stderr, nothing on stdout, exit 78."""
    (tmp_path / "c.toml").write_text(toml)

    done = provisioner("status", "-c", "c.toml", cwd=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (78, "", f"provisioner: {message}\n")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("rate = 'x'", 'c.toml: local.rate must be a number of at least 0, not the string "x"'),
        ("rte = 5", "c.toml: unknown key local.rte. Did you mean local.rate?"),
        ("script = ['ok', 'bang']", "c.toml: local: unknown fault 'bang'; known: ok, "),
        ("script = 'ok'", 'c.toml: local.script must be a list of strings, not the string "ok"'),
        ("hang = 2", "c.toml: local.hang must be a number from 0 to 1, not the number 2"),
        ("names = 'no'", 'c.toml: local.names must be "unique", "duplicates" or "same", not the string "no"'),
    ],
)
def test_a_wrong_switch_of_the_embedded_endpoint_is_one_line_too(tmp_path: Path, toml: str, message: str) -> None:
    """What is wrong under [local] is reported like the rest of the configuration, when --local uses it."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    (tmp_path / "c.toml").write_text(f"[local]\n{toml}\n")

    done = provisioner("apply", "m.jsonl", "--local", "-c", "c.toml", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"provisioner: {message}")
    assert done.stderr.count("\n") == 1


def test_whatever_an_editor_saves_as_the_configuration_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """A byte-order mark changes nothing; another encoding and a folder end with 78 and a line that says so."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf[targets.east]\n")
    (tmp_path / "latin.toml").write_bytes(b"# Schl\xfcssel\n[targets.east]\n")
    (tmp_path / "folder.toml").mkdir()

    done = {
        name: provisioner("validate", "m.jsonl", "-c", f"{name}.toml", cwd=tmp_path)
        for name in ("marked", "latin", "folder")
    }

    assert [one.returncode for one in done.values()] == [0, 78, 78]
    assert done["latin"].stderr == (
        "provisioner: latin.toml: the configuration is not valid UTF-8: line 1, byte 0xfc. Save the file as UTF-8\n"
    )
    assert done["folder"].stderr == "provisioner: folder.toml: the configuration is a directory. Name a TOML file\n"
