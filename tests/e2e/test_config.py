"""``provisioner config``: where each value comes from, a file to begin with, and the schema of that file."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # moto needs it
import pytest

from provisioner.cli.apply import ApplyOptions
from provisioner.cli.config import KEYS
from provisioner.cli.local import RATE
from provisioner.config.settings import Settings
from tests.definition_lines import manifest_of
from tests.e2e.process import ROOT, provisioner

if TYPE_CHECKING:
    from pathlib import Path

FLAGS: dict[str, tuple[str, Any]] = {
    "ledger": ("x.db", "x.db"),
    "shard": ("2/5", "2/5"),
    "max_in_flight": ("3", 3),
    "deadline": ("5m", "5m"),
    "max_rate": ("2", 2.0),
    "on_change": ("replace", "replace"),
    "replace_order": ("delete-first", "delete-first"),
    "keep": ("4", 4),
    "prune": ("1", True),
    "max_delete": ("6", 6),
}
"""A value for each option that overrides the configuration, and what it becomes."""


def shown(folder: Path, *arguments: object, **more: Any) -> dict[str, tuple[Any, str, str]]:
    """Value, origin and source of each key."""
    done = provisioner("config", "show", *arguments, "--output", "json", cwd=folder, **more)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found = json.loads(done.stdout)
    assert found["exit_code"] == 0
    return {one["key"]: (one["value"], one["origin"], one["source"]) for one in found["values"]}


def test_every_overriding_option_is_known() -> None:
    """Each key that an option of `apply` overrides is in the table, or `config show` would name a wrong origin."""
    assert set(KEYS) == set(FLAGS) <= set(ApplyOptions.__struct_fields__)


@pytest.mark.parametrize("option", KEYS)
def test_a_flag_overrides_a_variable_and_a_variable_the_file(tmp_path: Path, option: str) -> None:
    """The four origins of a value in their order, for every option that overrides the configuration."""
    text, value = FLAGS[option]
    table, _, key = KEYS[option].partition(".")
    (tmp_path / "c.toml").write_text(f"[{table}]\n{key} = {json.dumps(value)}\n")
    flag = f"--{option.replace('_', '-')}"
    variable = f"PROVISIONER_APPLY_{option.upper()}"
    name = KEYS[option]
    written = [flag] if option == "prune" else [flag, text]

    default = shown(tmp_path)[name]
    file = shown(tmp_path, "-c", "c.toml")[name]
    environment = shown(tmp_path, "-c", "c.toml", **{variable: text})[name]
    given = shown(tmp_path, "-c", "c.toml", *written, **{variable: text})[name]

    assert default[1:] == ("default", "")
    assert default[0] != value
    assert [file, environment, given] == [
        (value, "file", "c.toml"),
        (value, "environment", variable),
        (value, "flag", flag),
    ]


def test_a_common_variable_is_named(tmp_path: Path) -> None:
    """PROVISIONER_LEDGER is the source unless the variable of the command itself is set."""
    both = {"PROVISIONER_LEDGER": "a.db", "PROVISIONER_APPLY_LEDGER": "b.db"}

    assert shown(tmp_path, PROVISIONER_LEDGER="a.db")["run.ledger"][2] == "PROVISIONER_LEDGER"
    assert shown(tmp_path, **both)["run.ledger"] == ("b.db", "environment", "PROVISIONER_APPLY_LEDGER")


@pytest.mark.parametrize("place", ["variable", "working folder", "user's folder"])
def test_the_file_is_the_one_that_a_run_would_use(tmp_path: Path, place: str) -> None:
    """PROVISIONER_CONFIG, else ./provisioner.toml, else the user's folder."""
    paths = {"variable": "own.toml", "working folder": "provisioner.toml"}
    places = ["variable", "working folder", "user's folder"]
    for one in places[places.index(place) :]:
        path = tmp_path / paths.get(one, "home/provisioner/provisioner.toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[pace]\nmax_rate = {places.index(one) + 1}\n")
    named = {"PROVISIONER_CONFIG": "own.toml"} if place == "variable" else {}

    value, origin, source = shown(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "home"), **named)["pace.max_rate"]

    assert (value, origin) == (places.index(place) + 1, "file")
    assert source.endswith(paths.get(place, "home/provisioner/provisioner.toml"))


def test_targets_and_defaults_are_shown_key_by_key(tmp_path: Path) -> None:
    """Every key of every target, what definitions get, and the embedded endpoint; odd keys as TOML writes them."""
    (tmp_path / "provisioner.toml").write_text(
        '[targets.east]\nregion = "us-east-1"\n[targets.east.defaults.tags]\n"a.b" = "x"\n[local]\nquota = 3\n'
    )

    found = shown(tmp_path)

    assert found["targets.east.region"] == ("us-east-1", "file", "provisioner.toml")
    assert found["targets.east.profile"] == ("", "default", "")
    assert found['targets.east.defaults.tags."a.b"'][:2] == ("x", "file")
    assert (found["local.quota"][1], found["local.rate"]) == ("file", (20.0, "default", ""))
    assert "targets.default.region" not in found


def test_the_text_has_a_line_for_each_setting(tmp_path: Path) -> None:
    """A table of key, value and origin."""
    done = provisioner("config", "show", "--max-rate", "3", cwd=tmp_path)

    assert done.returncode == 0
    assert re.search(r"^pace\.max_rate +3\.0 +flag --max-rate$", done.stdout, re.MULTILINE)
    assert re.search(r'^reconcile\.settle +"6m" +default$', done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        (["--keep", "x"], {}, 2, "--keep"),
        (["--kep", "1"], {}, 2, "--keep"),
        ([], {"PROVISIONER_APPLY_KEEP": "x"}, 2, "PROVISIONER_APPLY_KEEP"),
        (["-c", "c.toml"], {}, 78, "Did you mean run.ledger?"),
        (["-c", "none.toml"], {}, 78, "none.toml"),
    ],
)
def test_what_a_run_would_refuse_is_refused(
    tmp_path: Path, arguments: list[str], variables: dict[str, Any], code: int, says: str
) -> None:
    """A wrong value ends as it would end `apply`, with the same words."""
    (tmp_path / "c.toml").write_text("[run]\nledgr = 'x'\n")

    done = provisioner("config", "show", *arguments, cwd=tmp_path, **variables)

    assert done.returncode == code
    assert says in done.stderr


def test_show_touches_nothing(tmp_path: Path) -> None:
    """Options of `apply` that do something there do nothing here."""
    done = provisioner("config", "show", "--summary-file", "s.json", "-q", "--local", "m.jsonl", cwd=tmp_path)

    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    assert "run.ledger" in done.stdout


def test_init_writes_the_commented_file_once(tmp_path: Path) -> None:
    """The file is configs/provisioner.toml, a run accepts it, and it is never replaced."""
    first = provisioner("config", "init", cwd=tmp_path)
    path = tmp_path / "provisioner.toml"
    text = path.read_text()
    path.write_text(f"{text}# mine\n")
    again = provisioner("config", "init", cwd=tmp_path)
    named = provisioner("config", "init", "b.toml", "--output", "json", cwd=tmp_path)

    assert (first.returncode, again.returncode, named.returncode) == (0, 2, 0)
    assert text == (ROOT / "configs" / "provisioner.toml").read_text()
    assert path.read_text().endswith("# mine\n")
    assert "provisioner.toml: the file exists already" in again.stderr
    assert json.loads(named.stdout) == {"file": "b.toml", "exit_code": 0}
    assert Settings.load(path).override("run", ledger="ledger.db") == Settings(
        local=RATE, defaults={"templates": False, "tags": {}}
    )
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    assert provisioner("apply", "m.jsonl", "--local", "-c", "b.toml", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(("name", "code"), [("no/c.toml", 74), (".", 2)])
def test_init_says_why_it_cannot_write(tmp_path: Path, name: str, code: int) -> None:
    """A folder that is not there, a directory."""
    done = provisioner("config", "init", name, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (code, "")
    assert list(tmp_path.iterdir()) == []


def schema(folder: Path) -> Any:
    """A validator of the schema that is printed."""
    printed = json.loads(provisioner("config", "schema", cwd=folder).stdout)
    kind = jsonschema.Draft202012Validator
    kind.check_schema(printed)
    return kind(printed)


def test_the_schema_accepts_what_a_run_accepts(tmp_path: Path) -> None:
    """The commented file, also with every comment in it used, and the demo's."""
    validator = schema(tmp_path)
    text = (ROOT / "configs" / "provisioner.toml").read_text()
    used = re.sub(r"^# (?=\[|[a-zA-Z_]+ = )", "", text, flags=re.MULTILINE)

    found = tomllib.loads(used)
    assert "prod-us" in found["targets"]
    part = {"defaults": {"trainingContainerConfig": {"arguments": ["x"]}, "tags": {"team": "ads"}}}
    for tables in (tomllib.loads(text), found, tomllib.loads((ROOT / "configs" / "demo.toml").read_text()), part, {}):
        validator.validate(tables)


@pytest.mark.parametrize(
    "wrong",
    [
        {"run": {"ledgr": "x"}},
        {"rnu": {}},
        {"run": {"deadline": "soon"}},
        {"run": {"max_in_flight": 0}},
        {"pace": {"share": 2}},
        {"pace": {"hours": {"8:00": 0.5}}},
        {"pace": {"hours": {"08:00": 0}}},
        {"reconcile": {"names": "perhaps"}},
        {"lifecycle": {"on_change": "delete"}},
        {"targets": {"a": {"account_id": "1"}}},
        {"targets": {"a": {"name": "b"}}},
        {"targets": {"a b": {}}},
        {"local": {"rat": 1}},
        {"defaults": {"roleARN": "arn:aws:iam::123456789012:role/access"}},
        {"defaults": {"description": 5}},
        {"targets": {"a": {"defaults": {"tags": {"aws:x": ""}}}}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_a_run_refuses(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Misspelt keys, wrong values and names."""
    assert list(schema(tmp_path).iter_errors(wrong))


def test_the_schema_describes_every_key(tmp_path: Path) -> None:
    """An editor shows a description of each key, and no pattern is one that only Python reads."""
    validator = schema(tmp_path)
    tables = {"": validator.schema, **validator.schema["$defs"]}

    silent = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key, one in table["properties"].items()
        if "description" not in one and "$ref" not in one
    ]
    assert silent == []
    assert r"\Z" not in json.dumps(validator.schema)
