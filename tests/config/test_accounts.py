"""Sources of targets: CSV files, and the accounts files of c7n-org."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.config.accounts import Account
from provisioner.config.settings import Settings
from provisioner.config.target import Target
from provisioner.errors import ConfigurationError, Reason

if TYPE_CHECKING:
    from pathlib import Path

CSV = """\
# of the landing zone
account_id,name,regions,role,external_id,tags,vars
111122223333,Ads (prod),us-east-1 eu-west-1,provisioner,secret-42,env=prod; team = ads,cost_center=4=2

444455556666,lab,us-gov-west-1,arn:aws-us-gov:iam::444455556666:role/path/x,,,
"""
C7N = """\
vars:
  charge_code: xyz
  zones: [a, b]
accounts:
- account_id: '123123123123'
  name: account-1
  regions:
  - us-east-1
  - us-west-2,eu-west-1
  role: arn:aws:iam::123123123123:role/CloudCustodian
  tags:
  - type:prod
  - division:some division
  - path:/
  - path:/Prod
  - solo
  vars:
    charge_code: abc
    retries: 3
    strict: true
- account_id: '456456456456'
  email: ops@example.com
  profile: lab
  regions: &home [us-east-1]
- account_id: "789789789789"
  name: third
  role: [OrganizationAccountAccessRole]
  external_id: x-1
  regions: *home
"""


def loaded(folder: Path, *, toml: str = "", **files: str) -> Settings:
    """The settings with the sources ``files``, whose names have ``_`` for the dot."""
    names = [name.replace("_", ".") for name in files]
    for name, text in zip(names, files.values(), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "p.toml").write_text(f"[fleet]\nsources = {names}\n{toml}", encoding="utf-8")
    return Settings.load(folder / "p.toml")


def refusal(folder: Path, *, toml: str = "", **files: str) -> str:
    """Why these are refused."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, toml=toml, **files)
    assert caught.value.reason is Reason.CONFIGURATION
    return str(caught.value)


def set_of(target: Target) -> dict[str, Any]:
    """What is not at its default."""
    unset = msgspec.structs.asdict(Target())
    return {key: value for key, value in msgspec.structs.asdict(target).items() if value != unset[key]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_lists_accounts(tmp_path: Path, delimiter: str) -> None:
    """Each account is a target in each of its Regions; a role is a name or an ARN; any spreadsheet's separator does."""
    text = CSV.replace("env=prod;", '"env=prod;').replace("= ads", '= ads"') if delimiter == ";" else CSV
    settings = loaded(tmp_path, a_csv="\ufeff" + text.replace(",", delimiter))

    ads = {
        "region": "us-east-1",
        "account_id": "111122223333",
        "assume_role_arn": "arn:aws:iam::111122223333:role/provisioner",
        "external_id": "secret-42",
        "tags": {"env": "prod", "team": "ads"},
        "vars": {"cost_center": "4=2"},
        "origin": "a.csv:3",
    }
    assert {name: set_of(target) for name, target in settings.targets.items()} == {
        "Ads-prod-us-east-1": {"name": "Ads-prod-us-east-1", **ads},
        "Ads-prod-eu-west-1": {"name": "Ads-prod-eu-west-1", **ads, "region": "eu-west-1"},
        "lab-us-gov-west-1": {
            "name": "lab-us-gov-west-1",
            "region": "us-gov-west-1",
            "account_id": "444455556666",
            "assume_role_arn": "arn:aws-us-gov:iam::444455556666:role/path/x",
            "origin": "a.csv:5",
        },
    }


def test_an_accounts_file_of_c7n_org_is_read_as_c7n_org_reads_it(tmp_path: Path) -> None:
    """Roles by name, Regions with commas, tags with colons, variables of all accounts under an account's own."""
    settings = loaded(tmp_path, accounts_yml=C7N)

    first = set_of(settings.targets["account-1-eu-west-1"])
    assert first == {
        "name": "account-1-eu-west-1",
        "region": "eu-west-1",
        "account_id": "123123123123",
        "assume_role_arn": "arn:aws:iam::123123123123:role/CloudCustodian",
        "tags": {"type": "prod", "division": "some division", "path": "/Prod", "solo": ""},
        "vars": {"charge_code": "abc", "retries": "3", "strict": "true"},
        "origin": "accounts.yml:5",
    }
    assert [
        (name, target.profile, target.assume_role_arn, target.vars, target.origin)
        for name, target in settings.targets.items()
    ][2:] == [
        ("account-1-eu-west-1", "", first["assume_role_arn"], first["vars"], "accounts.yml:5"),
        ("456456456456-us-east-1", "lab", "", {"charge_code": "xyz"}, "accounts.yml:21"),
        (
            "third-us-east-1",
            "",
            "arn:aws:iam::789789789789:role/OrganizationAccountAccessRole",
            {"charge_code": "xyz"},
            "accounts.yml:25",
        ),
    ]


def test_sources_and_targets_add_up(tmp_path: Path) -> None:
    """The targets of the configuration come first, then those of each source; `default` is only where there is none."""
    rest = "regions = ['us-west-2']\n[targets.own]\nregion = 'us-east-1'\naccount_id = '111122223333'"
    sources = {"a_csv": "account_id,name\n111122223333,a\n", "b_yaml": "accounts: [{account_id: '999999999999'}]"}

    assert [*loaded(tmp_path, toml=rest, **sources).targets] == ["own", "a-us-west-2", "999999999999-us-west-2"]


@pytest.mark.parametrize(
    ("name", "region", "target"),
    [
        ("Ads (prod)", "us-east-1", "Ads-prod-us-east-1"),
        ("", "us-east-1", "111122223333-us-east-1"),
        ("広告", "us-east-1", "111122223333-us-east-1"),
        ("-.x_y.z-", "eu-west-1", "x_y.z-eu-west-1"),
        ("a" * 54, "us-east-1", f"{'a' * 54}-us-east-1"),
        ("a" * 55, "us-east-1", f"{'a' * 47}-9f4390-us-east-1"),
        ("a" * 56, "us-east-1", f"{'a' * 47}-b35439-us-east-1"),
    ],
)
def test_the_name_of_a_target_depends_on_its_account_and_region_alone(name: str, region: str, target: str) -> None:
    """What a name may not have is a hyphen, and a long one is cut but stays its own."""
    made = Account(account_id="111122223333", name=name).target_name(region)

    assert made == target
    assert len(made) <= 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: this source lists no accounts. Check the program that writes it, or leave it out of"),
        ("account_id,region\n", "a.csv: this source lists no accounts"),
        ("name,region\nx,us-east-1\n", "a.csv:1: there is no column account_id. The first line names the columns: acc"),
        ("account_id,regoin\n", "a.csv:1: there is no column 'regoin'. Did you mean region?"),
        ("account_id,region,regions\n", "a.csv:1: region and regions are the same column"),
        ("account_id,name,name\n", "a.csv:1: there are two columns 'name'"),
        ("\n# c\naccount_id,region\n,us-east-1\n", "a.csv:4: this account has no account_id"),
        (
            "account_id,region\n11112222333,us-east-1\n",
            "a.csv:2: account_id must be a string of 12 digits: '11112222333' has 11 digits. Did a spreadsheet drop",
        ),
        (
            "account_id,region\n1.11E+11,us-east-1\n",
            'account_id must be a string of 12 digits, not the string "1.11E+11',
        ),
        ("account_id,region\n111122223333,us_east\n", "a.csv:2: regions: 'us_east' is not an AWS Region such as us-e"),
        ("account_id,region\n111122223333,us-east-1 us-east-1\n", "a.csv:2: regions: a Region is named twice"),
        ("account_id,region\n111122223333\n", "a.csv:2: this row has 1 column, but the header has 2. Quote a value"),
        ('account_id,name\n111122223333,"x\n', "a.csv:2: this is not valid CSV: unexpected end of data"),
        ("account_id,role\n111122223333,a role\n", "a.csv:2: role: 'a role' is neither the name of an IAM role nor"),
        (
            "account_id,tags\n111122223333,prod\n",
            "a.csv:2: tags: 'prod' is not a key=value pair. Write key=value pairs, with ;",
        ),
        ("account_id,vars\n111122223333,a=1;a=2\n", "a.csv:2: vars: the key 'a' occurs twice"),
        ("account_id,region,vars\n111122223333,us-east-1,region=x\n", "a.csv:2: vars: 'region' is reserved for"),
        (
            "account_id,name\n111122223333,x\n",
            "a.csv:2: this account has no Regions. Name them in the source, or set [fleet] regions",
        ),
        (
            'account_id,name\n111122223333,"two\nlines"\n444455556666,a b\n777788889999,a-b\n',
            "a.csv:5: two accounts make a target 'a-b-eu-west-1': the first is in a.csv:4. Give one of the acc",
        ),
        (
            "account_id,region,name\n111122223333,us-east-1,a\n111122223333,us-east-1,b\n",
            "a.csv:3: account 111122223333 occurs twice in us-east-1: the first is in a.csv:2. Remove one of them",
        ),
    ],
)
def test_what_is_wrong_in_a_csv_file(tmp_path: Path, text: str, message: str) -> None:
    """A source with a mistake is refused as a whole, with the line and what to do."""
    regions = "" if "no Regions" in message else "regions = ['eu-west-1']"

    assert message in refusal(tmp_path, toml=regions, a_csv=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.yml: there is no list of accounts. An accounts file of c7n-org has a list `accounts`"),
        ("projects: []", "a.yml: there is no list of accounts"),
        ("accounts: []", "a.yml: this source lists no accounts"),
        ("accounts:\n- x\n", "a.yml:2: this account is not a map"),
        ("accounts:\n\n- account_id: 111122223333\n", 'Write account_id: "111122223333", in quotes, if that is the'),
        ("accounts:\n- account_id: 012345670123\n", "a.yml:2: account_id is a number, not a string of 12 digits"),
        ("accounts:\n- {account_id: '111122223333', regions: all}", "a.yml:2: regions must be a list of strings"),
        ("accounts:\n- {account_id: '111122223333', regions: [all]}", "a.yml:2: regions: 'all' is not supported. Name"),
        ("accounts:\n- {account_id: '111122223333', role: [a, b]}", "a.yml:2: a chain of roles is not supported"),
        ("accounts:\n- {account_id: '111122223333', tags: [1]}", "a.yml:2: tags must be a list of strings"),
        ("accounts:\n- {account_id: '111122223333', name: 5}", "a.yml:2: name must be a string, not the number 5"),
        ("accounts:\n- account_id: '1'\n  name: a\n  name: b\n", "a.yml:4: the key 'name' occurs twice"),
        ("accounts: []\naccounts: []\n", "a.yml:2: the key 'accounts' occurs twice"),
        ("accounts: [\n", "a.yml:2:1: this is not valid YAML: did not find expected node content"),
        (
            "accounts: !!python/object/apply:os.system [exit]",
            "a.yml:1:11: this is not valid YAML: could not determine a",
        ),
        ("accounts: " + "[" * 100_000, "a.yml:1: this is nested too deeply for a list of accounts"),
        ("accounts: [2026-02-30]", "a.yml: this is not valid YAML: day is out of range for month"),
        ("\x00", "a.yml: this is not valid YAML"),
    ],
)
def test_what_is_wrong_in_an_accounts_file(tmp_path: Path, text: str, message: str) -> None:
    """The same for YAML, which makes no objects and cannot exhaust the stack."""
    assert message in refusal(tmp_path, a_yml=text)


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    """Nested aliases, which name 10^9 values in a few lines, take no memory; they are no values for us either."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    bomb += "vars: {big: *i}\naccounts: [{account_id: '111122223333', regions: [us-east-1], vars: {big: *i}}]\n"

    assert loaded(tmp_path, a_yml=bomb).targets["111122223333-us-east-1"].vars == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "none.csv",
            "none.csv: cannot read a source of targets: No such file or directory. A relative path in [fleet]",
        ),
        ("p.toml", "p.toml: this is not a source of targets: its suffix is unknown. Name it .csv, or .yml if it is an"),
        (
            "latin.csv",
            "latin.csv:2: this source is not valid UTF-8. Save the file as UTF-8 (in a spreadsheet: CSV UTF-8)",
        ),
    ],
)
def test_a_source_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    """What cannot be read is refused, with how to write it."""
    (tmp_path / "latin.csv").write_bytes(b"account_id,name\n111122223333,\xfcber\n")
    (tmp_path / "p.toml").write_text(f"[fleet]\nsources = ['{name}']\n")

    with pytest.raises(ConfigurationError) as caught:
        Settings.load(tmp_path / "p.toml")

    assert message in str(caught.value)


def test_without_the_library_a_yaml_file_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML is an extra; where it is missing, its name and the other format are."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)

    message = refusal(tmp_path, accounts_yml=C7N)

    assert message == (
        "accounts.yml: cannot read a YAML file: PyYAML is not installed; install it with: pip install "
        "'cleanrooms-provisioner[yaml]'. Or list the accounts in a CSV file"
    )


def test_a_target_of_the_configuration_and_an_account_in_one_place_are_refused(tmp_path: Path) -> None:
    """The line of the source is named, and the table."""
    toml = "[targets.own]\nregion = 'us-east-1'\naccount_id = '111122223333'\n[targets.b-us-east-1]\n"

    assert refusal(tmp_path, toml=toml, a_csv="account_id,region\n111122223333,us-east-1\n") == (
        "a.csv:2: account 111122223333 occurs twice in us-east-1: the first is in [targets.own]. Remove one of them: "
        "two targets in one account and Region would create everything twice"
    )
    assert refusal(tmp_path, toml=toml, a_csv="account_id,region,name\n444455556666,us-east-1,b\n") == (
        "a.csv:2: two accounts make a target 'b-us-east-1': the first is in [targets.b-us-east-1]. Give one of the "
        "accounts another name"
    )
