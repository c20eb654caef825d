"""The configuration: loaded once, checked once, frozen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from provisioner.config.choice import NO_TAGS
from provisioner.config.merge import merge
from provisioner.config.settings import (
    FleetSettings,
    OrganizationsSettings,
    PaceSettings,
    ReconcileSettings,
    RunSettings,
    Settings,
)
from provisioner.config.target import Target
from provisioner.config.values import check_endpoint, seconds
from provisioner.errors import ConfigurationError, Reason, UsageError

CONFIGS = Path(__file__).parents[2] / "configs"


def loaded(folder: Path, toml: str) -> Settings:
    """The settings in ``toml``."""
    path = folder / "p.toml"
    path.write_text(toml, encoding="utf-8")
    return Settings.load(str(path))


def refusal(folder: Path, toml: str) -> str:
    """Why ``toml`` is refused."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, toml)
    assert caught.value.reason is Reason.CONFIGURATION
    assert caught.value.where == str(folder / "p.toml")
    return str(caught.value).removeprefix(f"{folder / 'p.toml'}: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90.0),
        ("6m", 360.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("1m500ms", 60.5),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, expected: float) -> None:
    """A duration is numbers with units, added up."""
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "90", "s", "-5s", "1h 30m", "1w", "1e3s", "٣s", "5s\n", "1.s", ".5s", "9" * 400 + "s", "infs"]
)
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused with how to write one."""
    with pytest.raises(ValueError, match="write 90s, 6m or 1h30m"):
        seconds(text)


@hypothesis_settings(derandomize=True)
@given(st.integers(0, 999), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, rest: int) -> None:
    """Hours, minutes and seconds written one after the other mean their sum."""
    assert seconds(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest


@pytest.mark.parametrize(
    "url",
    [
        "https://cleanrooms-ml.us-east-1.amazonaws.com",
        "https://proxy.example:8443/path",
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://LOCALHOST:1",
        "http://[::1]:8080",
    ],
)
def test_endpoints_that_are_allowed(url: str) -> None:
    """An endpoint is https, or http on this machine."""
    check_endpoint(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://10.0.0.1", "this machine only"),
        ("http://localhost.evil.example", "this machine only"),
        ("http://127.0.0.1.evil.example", "this machine only"),
        ("http://127.0.0.1@evil.example", "must not have a user"),
        ("https://user:secret@host", "must not have a user"),
        ("https://host?x=1", "user, password, query"),
        ("https://host#x", "user, password, query or fragment"),
        ("ftp://host", "looks like"),
        ("host:8080", "looks like"),
        ("https://", "looks like"),
        ("", "looks like"),
        ("https://host:0", "looks like"),
        ("https://host:99999", "[Pp]ort"),
        ("https://[::1", "IPv6"),
        ("https://host/a path", "percent-encode"),
        ("https://host/équipe", "percent-encode"),
        ("https://host/a\r\nX-Header: b", "percent-encode"),
    ],
)
def test_endpoints_that_are_refused(url: str, why: str) -> None:
    """Plain http to another machine, credentials in the URL and whatever is no bare address are refused, with why."""
    with pytest.raises(ValueError, match=why):
        check_endpoint(url)


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@host", "https://host?token=hunter2", "http://x@h?hunter2@y?hunter2"]
)
def test_a_refused_endpoint_shows_no_secret(url: str) -> None:
    """A password or a token in a refused URL is in no message."""
    with pytest.raises(ValueError, match="must not have a user") as caught:
        check_endpoint(url)
    with pytest.raises(ConfigurationError) as expected:
        Settings().with_endpoint(url)

    assert "hunter2" not in f"{caught.value} {expected.value}"


def test_without_a_file_all_is_built_in() -> None:
    """No configuration is a configuration: one target, the usual environment, the contract's defaults."""
    settings = Settings()

    assert settings == Settings()
    assert settings.targets == {"default": Target()}
    assert (settings.run.ledger, settings.run.max_in_flight, settings.run.deadline_s) == ("ledger.db", 256, None)
    assert (settings.pace.initial_rate, settings.pace.max_rate, settings.pace.share) == (5.0, 0.0, 1.0)
    assert (settings.reconcile.settle_s, settings.reconcile.list_lag_s) == (360.0, 60.0)
    assert (settings.reconcile.names, settings.reconcile.ownership_tag) == ("unknown", "provisioner:origin")


def test_the_commented_configuration_is_what_is_built_in() -> None:
    """configs/provisioner.toml shows every setting at its default, and names every key that there is."""
    path = CONFIGS / "provisioner.toml"
    text = path.read_text(encoding="utf-8")

    settings = Settings.load(str(path))

    assert settings.override("run", ledger="ledger.db") == msgspec.structs.replace(
        Settings(), defaults={"templates": False, "tags": {}}, local=settings.local
    )
    for section in (RunSettings, PaceSettings, ReconcileSettings, Target, FleetSettings, OrganizationsSettings):
        for key in set(section.__struct_fields__) - {"name", "origin", "defaults", "organizations"}:
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), key


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path: Path) -> None:
    """Each file in configs/ is a valid configuration."""
    assert Settings.load(str(path)).targets


def test_a_whole_configuration(tmp_path: Path) -> None:
    """Every key of the contract is read into its place."""
    settings = loaded(
        tmp_path,
        """
        [run]
        ledger = "/var/lib/p.db"
        max_in_flight = 8
        deadline = "55m"
        read_timeout = "5s"
        [pace]
        initial_rate = 2
        max_rate = 10.5
        share = 0.5
        [reconcile]
        settle = "10m"
        list_lag = "30s"
        names = "unique"
        ownership_tag = ""
        [defaults]
        roleArn = "r"
        [targets.prod-us]
        region = "us-east-1"
        profile = "prod"
        assume_role_arn = "arn:aws:iam::111122223333:role/provisioner"
        external_id = "e-1"
        account_id = "111122223333"
        endpoint_url = "https://vpce.example"
        sts_endpoint_url = "http://127.0.0.1:1"
        tagging_endpoint_url = "http://127.0.0.1:2"
        [targets.prod-us.defaults]
        kmsKeyArn = "k"
        """,
    )

    assert settings == Settings(
        run=RunSettings(ledger="/var/lib/p.db", max_in_flight=8, deadline="55m", read_timeout="5s"),
        pace=PaceSettings(initial_rate=2.0, max_rate=10.5, share=0.5),
        reconcile=ReconcileSettings(settle="10m", list_lag="30s", names="unique", ownership_tag=""),
        defaults={"roleArn": "r"},
        targets={
            "prod-us": Target(
                name="prod-us",
                region="us-east-1",
                profile="prod",
                assume_role_arn="arn:aws:iam::111122223333:role/provisioner",
                external_id="e-1",
                account_id="111122223333",
                endpoint_url="https://vpce.example",
                sts_endpoint_url="http://127.0.0.1:1",
                tagging_endpoint_url="http://127.0.0.1:2",
                defaults={"kmsKeyArn": "k"},
            )
        },
    )
    assert (settings.run.deadline_s, settings.run.read_timeout_s) == (3300.0, 5.0)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("runn = 1", "unknown key runn. Did you mean run?"),
        ("ledger = 'l.db'", "unknown key ledger. Did you mean run.ledger?"),
        ("[run]\nmax_inflight = 3", "unknown key run.max_inflight. Did you mean run.max_in_flight?"),
        ("[reconcile]\nsetle = '1m'", "unknown key reconcile.setle. Did you mean reconcile.settle?"),
        ("[pace]\nxyz = 1", "unknown key pace.xyz. Known keys: initial_rate, max_rate, share"),
        ("[targets.a]\nregoin = 'x'", "unknown key targets.a.regoin. Did you mean targets.a.region?"),
        ("[targets.a]\nname = 'b'", "unknown key targets.a.name. The name of the table is the name of the target"),
        ("[targets.'a b']\nregoin = 'x'", 'unknown key targets."a b".regoin. Did you mean targets."a b".region?'),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(tmp_path: Path, toml: str, expected: str) -> None:
    """A misspelt key never goes unnoticed: it is refused, with its place and what was probably meant."""
    assert refusal(tmp_path, toml).startswith(expected)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("targets = 3", "targets must be tables, [targets.NAME], not the number 3"),
        ("[[targets]]", "targets must be tables, [targets.NAME], not a list"),
        (
            "[targets]\nregion = 'us-east-1'",
            'targets.region must be a table, [targets.region], not the string "us-east-1"',
        ),
        ("run = 3", "run must be a table, [run], not the number 3"),
        ("defaults = 3", "defaults must be a table, [defaults], not the number 3"),
        ("local = true", "local must be a table, [local], not the boolean true"),
        ("[targets.a]\ndefaults = []", "targets.a.defaults must be a table, [targets.a.defaults], not a list"),
        ("[targets.a]\nregion = 5", "targets.a.region must be an AWS Region such as us-east-1, not the number 5"),
        (
            "[targets.'a.b']\nregion = 5",
            'targets."a.b".region must be an AWS Region such as us-east-1, not the number 5',
        ),
        ("[run.ledger]", "run.ledger must be a string, not a table"),
        ("[run]\nledger = 2026-11-23", "run.ledger must be a string, not a date or time"),
        ("[run]\nmax_in_flight = 0", "run.max_in_flight must be a whole number from 1 to 4096, not the number 0"),
        ("[run]\nmax_in_flight = 4097", "from 1 to 4096, not the number 4097"),
        ("[run]\nmax_in_flight = 2.5", "must be a whole number from 1 to 4096, not the number 2.5"),
        ("[run]\nmax_in_flight = 'x'", 'must be a whole number from 1 to 4096, not the string "x"'),
        ("[run]\nmax_in_flight = true", "must be a whole number from 1 to 4096, not the boolean true"),
        ("[run]\ndeadline = '5'", 'run.deadline must be a duration such as 90s, 6m or 1h30m, not the string "5"'),
        ('[run]\ndeadline = "5s\\n"', 'run.deadline must be a duration such as 90s, 6m or 1h30m, not the string "5s'),
        ("[run]\nread_timeout = ''", "run.read_timeout must be a duration such as 90s, 6m or 1h30m"),
        ("[run]\nread_timeout = '0s'", "run: read_timeout must be more than 0s and at most 23s"),
        ("[run]\nread_timeout = '24s'", "run: read_timeout must be more than 0s and at most 23s"),
        ("[pace]\ninitial_rate = 0", "pace.initial_rate must be a number above 0 and at most 100000, not the number 0"),
        ("[pace]\ninitial_rate = inf", "above 0 and at most 100000, not the number inf"),
        ("[pace]\ninitial_rate = nan", "above 0 and at most 100000, not the number nan"),
        ("[pace]\nmax_rate = -1", "pace.max_rate must be a number from 0 to 100000, not the number -1"),
        ("[pace]\nmax_rate = inf", "from 0 to 100000, not the number inf"),
        ("[pace]\nshare = 'a'", 'pace.share must be a number above 0 and at most 1, not the string "a"'),
        ("[pace]\nshare = 0", "above 0 and at most 1, not the number 0"),
        ("[pace]\nshare = 1.1", "above 0 and at most 1, not the number 1.1"),
        ("[pace.hours]", 'pace.hours names no time of day, such as "08:00" = 0.3'),
        ("[pace]\nhours = 3", "pace.hours must be a table, [pace.hours], not the number 3"),
        (
            "[pace.hours]\n'24:00' = 1",
            "pace.hours: a key must be a time of day from 00:00 to 23:59, in quotes, such as",
        ),
        ("[pace.hours]\n'8:00' = 1", 'in quotes, such as "08:00", not the string "8:00"'),
        ("[pace.hours]\nnoon = 1", 'in quotes, such as "08:00", not the string "noon"'),
        ("[pace.hours]\n'08:00' = 0", 'pace.hours."08:00" must be a number above 0 and at most 1, not the number 0'),
        ("[pace.hours]\n'08:00' = 30", "above 0 and at most 1, not the number 30"),
        ("[pace.hours]\n'08:00' = '30%'", 'above 0 and at most 1, not the string "30%"'),
        ("[pace]\nshare = 0.5\nhours = {'08:00' = 0.3}", "pace: share and hours exclude each other: hours names the"),
        ("[pace]\nservice_quotas = 'no'", 'pace.service_quotas must be true or false, not the string "no"'),
        ("[reconcile]\nsettle = 'soon'", "reconcile.settle must be a duration such as 90s, 6m or 1h30m"),
        (
            "[reconcile]\nlist_lag = 60",
            "reconcile.list_lag must be a duration such as 90s, 6m or 1h30m, not the number",
        ),
        (
            "[reconcile]\nnames = 'maybe'",
            'reconcile.names must be "unknown", "unique", "duplicates" or "same", not the string "maybe"',
        ),
        ("[reconcile]\nownership_tag = 'AWS:x'", "cannot begin with aws:"),
        ("[reconcile]\nownership_tag = 'a#b'", "letters, digits, spaces"),
        ('[reconcile]\nownership_tag = "a\\n"', "letters, digits, spaces"),
        (f"[reconcile]\nownership_tag = '{'x' * 129}'", "must be a string of at most 128 characters, not the string"),
        (
            "[targets.a]\naccount_id = '12345'",
            'targets.a.account_id must be a string of 12 digits, not the string "12345"',
        ),
        ("[targets.a]\naccount_id = 111122223333", "must be a string of 12 digits, not the number 111122223333"),
        ('[targets.a]\naccount_id = "123456789012\\n"', r'not the string "123456789012\n"'),
        ("[targets.a]\naccount_id = '١٢٣٤٥٦٧٨٩٠١٢'", "targets.a.account_id must be a string of 12 digits"),
        (
            "[targets.a]\nassume_role_arn = 'role'",
            "targets.a.assume_role_arn must be the ARN of an IAM role, such as arn:",
        ),
        (
            "[targets.a]\nendpoint_url = 'http://10.0.0.1'",
            "a.endpoint_url: plain http is for this machine only",
        ),
        (
            "[targets.a]\nsts_endpoint_url = 'http://10.0.0.1'",
            "a.sts_endpoint_url: plain http is for",
        ),
        (
            "[targets.a]\ntagging_endpoint_url = 'http://10.0.0.1'",
            "a.tagging_endpoint_url: plain http is for",
        ),
        ('[targets."../x"]', 'targets."../x".name must be at most 64 letters, digits, dots, underscores and hyphens'),
        ('[targets."a\\n"]', "name must be at most 64 letters"),
        (f"[targets.{'x' * 65}]", "name must be at most 64 letters"),
        (
            '[targets.a]\nregion = "us-east-1\\n"',
            r'must be an AWS Region such as us-east-1, not the string "us-east-1\n"',
        ),
        ("[targets.a]\nregion = 'us east 1'", "targets.a.region must be an AWS Region"),
        ("[targets.a]\nregion = 'us-east-1.evil.example'", "targets.a.region must be an AWS Region"),
        (
            '[targets.a]\nprofile = "prod\\n"',
            "targets.a.profile must be the name of an AWS profile, without control",
        ),
        ('[targets.a]\nprofile = "a\\u0085b"', "targets.a.profile must be the name of an AWS profile"),
        (
            '[targets.a]\nexternal_id = "e-1\\n"',
            "targets.a.external_id must be 2 to 1224 letters, digits or _",
        ),
        (
            '[targets.a]\nassume_role_arn = "arn:aws:iam::111122223333:role/a\\n"',
            "targets.a.assume_role_arn must be the ARN",
        ),
        (
            '[targets.a]\nassume_role_arn = "arn:aws:iam::111122223333:role/a\\tb"',
            "targets.a.assume_role_arn must be the ARN",
        ),
        ('[targets.a]\nendpoint_url = "https://host\\n"', "targets.a.endpoint_url: "),
        ('[targets.a]\nsts_endpoint_url = "https://host\\u0000"', "targets.a.sts_endpoint_url: "),
    ],
)
def test_what_is_wrong_or_out_of_bounds(tmp_path: Path, toml: str, expected: str) -> None:
    """A value of the wrong type or out of bounds is refused with its key, what it must be and what it is."""
    refused = refusal(tmp_path, toml)

    assert expected in refused
    assert "`" not in refused


def test_a_refused_value_is_not_repeated_at_length(tmp_path: Path) -> None:
    """Of a long value the beginning is shown, and nothing in it steers the terminal."""
    refused = refusal(tmp_path, f'[pace]\nshare = "\\u001b{"x" * 5000}"')

    assert refused.isprintable()
    assert len(refused) < 200


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read the configuration: No such file"),
        (b"x = '\xff'", "the configuration is not valid UTF-8: line 1, byte 0xff. Save the file as UTF-8"),
        (b"[run]\r\n# \xe4\r\n", "the configuration is not valid UTF-8: line 2, byte 0xe4"),
        ("[run]\n".encode("utf-16"), "the configuration is not valid UTF-8: line 1, byte 0xff"),
        ("[run]\n".encode("utf-16-le"), "the configuration is not valid TOML"),
        (b"\xef\xbb\xbf\xef\xbb\xbf[run]\n", "the configuration is not valid TOML"),
        (b"[run]\n\xef\xbb\xbfledger = 'x'\n", "the configuration is not valid TOML"),
        (b"x = " + b"9" * 5000, "the configuration is not valid TOML"),
        (b"x = " + b"[" * 100_000, "the configuration is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """A missing file and one that is no text or no TOML are wrong configurations, in one line each."""
    path = tmp_path / "p.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        Settings.load(str(path))

    assert str(caught.value).startswith(f"{path}: {expected}")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """A folder is refused as such, with what to name instead."""
    with pytest.raises(ConfigurationError, match=r": the configuration is a directory. Name a TOML file"):
        Settings.load(str(tmp_path))


def test_a_byte_order_mark_at_the_start_is_no_text(tmp_path: Path) -> None:
    """Editors on Windows put a byte-order mark before the text: it is skipped, as in manifests."""
    (tmp_path / "p.toml").write_bytes(b"\xef\xbb\xbf[run]\r\nmax_in_flight = 8\r\n")

    assert Settings.load(str(tmp_path / "p.toml")).run.max_in_flight == 8


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        ("a.db", "{folder}/a.db"),
        ("sub/a.db", "{folder}/sub/a.db"),
        ("/abs/a.db", "/abs/a.db"),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_a_relative_ledger_lies_beside_the_file(tmp_path: Path, ledger: str, expected: str) -> None:
    """A relative path in the file is relative to the file; an absolute one and a URL stay as they are."""
    settings = loaded(tmp_path, f"[run]\nledger = '{ledger}'")

    assert settings.run.ledger == expected.format(folder=tmp_path)


def test_the_default_ledger_lies_beside_the_file(tmp_path: Path) -> None:
    """A file without `ledger` means what one with the default value means, wherever the command is started."""
    assert loaded(tmp_path, "").run.ledger == f"{tmp_path}/ledger.db"
    assert loaded(tmp_path, "[run]\nledger = 'ledger.db'").run.ledger == f"{tmp_path}/ledger.db"
    assert Settings.from_tables({"run": {"ledger": "./x.db"}}).run.ledger == "x.db"


def test_a_pipe_is_no_place_for_a_ledger() -> None:
    """A configuration from a shell's process substitution has no directory of its own."""
    inlet, outlet = os.pipe()
    with os.fdopen(inlet), os.fdopen(outlet, "w") as writer:
        writer.write("[pace]\nshare = 0.5\n")
        writer.close()

        assert Settings.load(f"/dev/fd/{inlet}").run.ledger == "ledger.db"


@pytest.mark.parametrize(
    ("under", "over", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"t": {"x": 1, "y": 2}}, {"t": {"y": 3}}, {"t": {"x": 1, "y": 3}}),
        ({"t": {"x": 1}}, {"t": 5}, {"t": 5}),
        ({"t": 5}, {"t": {"x": 1}}, {"t": {"x": 1}}),
    ],
)
def test_defaults_merge(under: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]) -> None:
    """Maps merge, lists and scalars replace, and neither side is changed by it."""
    before = repr((under, over))

    assert merge(under, over) == merged
    assert repr((under, over)) == before


THREE = Settings(targets={name: Target(name=name) for name in "cab"})


@pytest.mark.parametrize(
    ("names", "selected"), [((), "cab"), (("a",), "a"), (("b", "c"), "cb"), (("a", "a", "b"), "ab")]
)
def test_targets_are_selected_by_name(names: tuple[str, ...], selected: str) -> None:
    """Without names all targets are meant; they come in the order of the file, and each once."""
    assert [target.name for target in THREE.select(names)] == list(selected)


TAGGED = Settings(
    targets={
        "prod-us": Target(name="prod-us", tags={"env": "prod"}),
        **{f"dev-{number}": Target(name=f"dev-{number}", tags={"env": "dev"}) for number in range(12)},
    }
)


@pytest.mark.parametrize(
    ("settings", "pattern", "message"),
    [
        (THREE, "d", "there is no target 'd'. The configuration has c, a, b"),
        (THREE, "tag:x", "there is no target with 'tag:x'. " + NO_TAGS),
        (TAGGED, "prod-su", "there is no target 'prod-su'. Did you mean prod-us?"),
        (TAGGED, "!prod-su", "there is no target 'prod-su'. Did you mean prod-us?"),
        (TAGGED, "tag:env=prd", "there is no target with 'tag:env=prd'. Did you mean tag:env=prod?"),
        (TAGGED, "tag:{x}", "there is no target with 'tag:{x}'. The tags are tag:env=dev, tag:env=prod"),
        (
            TAGGED,
            "test-*",
            (
                "there is no target like 'test-*'. The targets are prod-us, dev-0, dev-1, dev-2, dev-3, dev-4, dev-5, "
                "dev-6, dev-7, dev-8 and 3 more"
            ),
        ),
        (TAGGED, "!*", "no target is selected. The patterns with ! exclude all that the others select: leave one out"),
    ],
)
def test_what_selects_no_target_is_a_wrong_command(settings: Settings, pattern: str, message: str) -> None:
    """A pattern without a target is reported with the nearest that has one, or with some of those that there are."""
    with pytest.raises(UsageError) as caught:
        settings.select((pattern,))

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("tags.team = 5", "targets.a.tags.team must be a string, not the number 5"),
        ("tags = 'x'", 'targets.a.tags must be a table, [targets.a.tags], not the string "x"'),
        ("vars.region = 'x'", "vars: 'region' is reserved for a property of the target itself; rename it"),
        ("[fleet.organizations]\nunits = ['ou-1']", "fleet.organizations.units: 'ou-1' is not the id of an org"),
        (
            "[fleet.organizations]\ninclude = ['1']",
            "fleet.organizations.include: '1' is not an account id of 12 digits",
        ),
        (
            "[fleet.organizations]\nexclude = ['x']",
            "fleet.organizations.exclude: 'x' is not an account id of 12 digits",
        ),
        (
            "[fleet.organizations]\nrole_name = 'arn:aws:iam::111122223333:role/x'",
            "must be the name of an IAM role",
        ),
        ("[fleet.organizations]\nunits = ['r-ab12']", "fleet.organizations: role_name is missing: the role to assume"),
        ("vars.'a b' = 'x'", "vars: 'a b' must consist of letters, digits and underscores"),
    ],
)
def test_what_targets_are_made_of_is_checked(tmp_path: Path, toml: str, message: str) -> None:
    """Tags and variables are strings, a variable has a name of its own, and ids of an organization look like ids."""
    assert message in refusal(tmp_path, f"[targets.a]\n{toml}")


def test_the_share_is_that_of_the_time_of_day(tmp_path: Path) -> None:
    """``[pace.hours]`` takes the place of ``share``, and survives a flag of its section."""
    settings = loaded(tmp_path, '[pace.hours]\n"00:00" = 0.3\n').override("pace", max_rate=2.0)

    assert (settings.pace.share_at(0.0), settings.pace.max_rate) == (0.3, 2.0)
    assert PaceSettings(share=0.7).share_at(0.0) == 0.7


def test_flags_beat_the_file() -> None:
    """A value from the command line replaces the file's, one that was not given leaves it."""
    settings = Settings().override("run", ledger="x.db", max_in_flight=None)

    assert (settings.run.ledger, settings.run.max_in_flight) == ("x.db", 256)


def test_flags_are_bounded_as_the_file_is() -> None:
    """A flag out of bounds is refused like the same value in the file."""
    with pytest.raises(ConfigurationError, match="the command line: max_in_flight must be a whole number from 1"):
        Settings().override("run", max_in_flight=5000)
    with pytest.raises(ConfigurationError, match="deadline must be a duration such as 90s, 6m or 1h30m"):
        Settings().override("run", deadline="soon")


def test_an_endpoint_from_the_command_line_is_every_targets() -> None:
    """--endpoint-url replaces every target's endpoint, and a Region is set only where none is."""
    settings = Settings(targets={"a": Target(name="a", region="eu-west-1"), "b": Target(name="b")})

    there = settings.with_endpoint("http://127.0.0.1:1", sts_endpoint_url="http://127.0.0.1:2", region="us-east-1")

    assert [(one.name, one.endpoint_url, one.sts_endpoint_url, one.region) for one in there.targets.values()] == [
        ("a", "http://127.0.0.1:1", "http://127.0.0.1:2", "eu-west-1"),
        ("b", "http://127.0.0.1:1", "http://127.0.0.1:2", "us-east-1"),
    ]


def test_an_endpoint_from_the_command_line_is_checked() -> None:
    """--endpoint-url may not send definitions in the clear to another machine."""
    with pytest.raises(ConfigurationError, match="this machine only") as caught:
        Settings().with_endpoint("http://10.0.0.1")

    assert caught.value.where == "http://10.0.0.1"


def test_a_configuration_is_frozen() -> None:
    """Nobody changes a setting once it is checked."""
    for frozen, field in [(Settings(), "run"), (RunSettings(), "ledger"), (Target(), "region")]:
        with pytest.raises(AttributeError):
            setattr(frozen, field, "x")
