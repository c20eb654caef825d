"""The least policy for some commands: actions, resources and conditions."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from provisioner.cli.program import COMMANDS
from provisioner.commands.iam_policy import policy, wanted
from provisioner.config.settings import Settings
from provisioner.core.ownership import OwnershipTag
from provisioner.core.permissions import NEEDS, Action
from provisioner.errors import UsageError

LEDGER_ID, OTHER_ID = "00000000000000aa", "00000000000000bb"


def document(*commands: str, ledger: str = LEDGER_ID, **tables: Any) -> dict[str, dict[str, Any]]:
    """The statements for ``commands``, by their Sid."""
    settings = Settings.from_tables(tables)
    made = policy(wanted(commands, settings.lifecycle), settings, settings.targets.values(), ledger)
    assert made["Version"] == "2012-10-17"
    assert all(statement["Effect"] == "Allow" for statement in made["Statement"])
    return {statement["Sid"]: statement for statement in made["Statement"]}


def actions(*commands: str, **tables: Any) -> set[str]:
    """The actions that ``commands`` are allowed."""
    return {action for statement in document(*commands, **tables).values() for action in statement["Action"]}


def test_every_command_has_its_row() -> None:
    """A new command has to say what it calls."""
    assert NEEDS.keys() == COMMANDS.keys()
    assert all("" in options for options in NEEDS.values())


def test_what_commands_need_adds_up() -> None:
    """Several commands need what each of them needs, however they are written, and nothing is named twice."""
    both = document("apply", "provisioner verify  --prune-duplicates")

    assert actions("export", "status", "schema") == set()
    read = {Action.LIST, Action.GET}
    assert actions("plan") == actions("reconcile") == actions("discover") == read
    assert actions("adopt") == read | {Action.TAG, Action.UNTAG}
    assert actions("destroy") == read | {Action.DELETE}
    assert actions("verify") == actions("rebuild") == read | {Action.GET_RESOURCES}
    assert actions("apply") == read | {Action.CREATE, Action.TAG, Action.UNTAG, Action.PASS_ROLE}
    assert sorted(action for statement in both.values() for action in statement["Action"]) == sorted(
        actions("apply") | {Action.GET_RESOURCES, Action.DELETE}
    )
    assert actions("apply --on-change=replace --prune") == actions("apply") | {Action.DELETE}


def test_objects_in_s3_are_confined_to_their_names() -> None:
    """A manifest or a saved plan in S3 needs GetObject of that key, a result PutObject, and nothing else of S3."""
    manifest, result = "s3://in/date=1/m.jsonl.gz", "s3://out/*.csv"
    point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/point"
    made = document(f"verify {manifest}", f"export --out={result}", f"apply --plan s3://{point}/plan")

    assert actions(f"validate {manifest}") == {Action.GET_OBJECT}
    assert made["ReadObjects"]["Resource"] == ["arn:aws:s3:::in/date=1/m.jsonl.gz", f"{point}/object/plan"]
    assert made["WriteObjects"]["Resource"] == ["arn:aws:s3:::out/*.csv"]
    assert set(made["WriteObjects"]["Action"]) == {Action.PUT_OBJECT, Action.ABORT_UPLOAD}
    assert actions(f"apply {manifest}") == actions("apply") | {Action.GET_OBJECT}


def test_service_quotas_only_where_the_configuration_asks() -> None:
    """The rate is asked for only with [pace] service_quotas, and only by commands that call AWS."""
    asked = {"pace": {"service_quotas": True}}

    assert actions("apply", **asked) - actions("apply") == {Action.LIST_QUOTAS}
    assert actions("export", **asked) == set()


def test_organizations_only_where_the_configuration_asks() -> None:
    """What names the targets, and with `tags = true` the tags of accounts, for commands that call AWS."""
    asked = {"units": ["r-ab12"], "role_name": "r", "regions": ["us-east-1"]}

    def more(command: str, **organizations: Any) -> set[str]:
        return actions(command, fleet={"organizations": asked | organizations}) - actions(command)

    assert more("apply") == {Action.LIST_ACCOUNTS, Action.LIST_UNITS, Action.DESCRIBE_ACCOUNT}
    assert more("apply", tags=True) == more("apply") | {Action.LIST_ACCOUNT_TAGS}
    assert more("export", tags=True) == set()


@pytest.mark.parametrize("lifecycle", [{"prune": True}, {"on_change": "replace"}])
def test_what_the_configuration_has_deleted(lifecycle: dict[str, Any]) -> None:
    """What the configuration asks for counts like the option of the command, and only where there is that option."""
    assert actions("apply", lifecycle=lifecycle) == actions("apply") | {Action.DELETE}
    assert actions("plan", "verify", lifecycle=lifecycle) == actions("plan", "verify")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("aply", "Did you mean apply"),
        ("verify --prune-duplicate", "'verify --prune-duplicates'"),
        ("apply --deadline 55m", "depends on '--deadline 55m'"),
        ("export --format csv", "Give only 'export'"),
        ("", "there is no command"),
    ],
)
def test_what_no_permission_depends_on(command: str, says: str) -> None:
    """A misspelt command or option is refused: a policy without what it needs would be found out in production."""
    with pytest.raises(UsageError) as caught:
        wanted([command], Settings().lifecycle)

    assert says in str(caught.value)


def test_resources_are_confined_to_the_targets() -> None:
    """ARNs have the accounts and Regions that the configuration states, each once, and a star for what it does not."""
    targets = {
        "a": {"account_id": "111111111111", "region": "us-east-1"},
        "b": {"account_id": "111111111111", "region": "fips-us-east-1"},
        "c": {"account_id": "111111111111"},
        "d": {"region": "eu-west-1"},
    }
    statements = document("apply", "verify --prune-duplicates", targets=targets)

    algorithms = [
        "arn:aws:cleanrooms-ml:*:111111111111:configured-model-algorithm/*",
        "arn:aws:cleanrooms-ml:eu-west-1:*:configured-model-algorithm/*",
        "arn:aws:cleanrooms-ml:us-east-1:111111111111:configured-model-algorithm/*",
    ]
    assert statements["Algorithms"]["Resource"] == statements["Delete"]["Resource"] == algorithms
    assert statements["PassRole"]["Resource"] == ["arn:aws:iam::*:role/*", "arn:aws:iam::111111111111:role/*"]
    assert statements["PassRole"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "cleanrooms-ml.amazonaws.com"}
    }
    assert statements["Account"]["Resource"] == ["*"]


def deletes(condition: dict[str, dict[str, str]], tags: dict[str, str]) -> bool:
    """Whether IAM lets an algorithm with ``tags`` be deleted; ``*`` matches any text in StringLike."""
    values = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    assert condition.keys() <= {"StringLike", "StringNotLike"}
    like = [key in values and fnmatchcase(values[key], one) for key, one in condition.get("StringLike", {}).items()]
    unlike = [
        key not in values or not fnmatchcase(values[key], one)
        for key, one in condition.get("StringNotLike", {}).items()
    ]
    return all([*like, *unlike])


def test_deletion_is_confined_to_this_ledger() -> None:
    """Delete reaches what bears this ledger's tag; adopted ones only where the command is to delete them."""

    def tag(ledger: str, attempt: str) -> dict[str, str]:
        return {"provisioner:origin": str(OwnershipTag(ledger, "0" * 32, attempt))}

    ours, adopted, other = tag(LEDGER_ID, "run-1"), tag(LEDGER_ID, "adopted-1"), tag(OTHER_ID, "run-1")
    others_adopted = tag(OTHER_ID, "adopted-1")
    everything = [ours, adopted, other, others_adopted, {}, {"team": "ads"}]

    for command, ledger, reached in [
        ("verify --prune-duplicates", LEDGER_ID, [ours]),
        ("apply --prune", LEDGER_ID, [ours]),
        ("apply --on-change replace", LEDGER_ID, [ours]),
        ("apply --prune --adopted", LEDGER_ID, [ours, adopted]),
        ("destroy", LEDGER_ID, [ours]),
        ("destroy --adopted", LEDGER_ID, [ours, adopted]),
        ("apply --prune", "", [ours, other]),
    ]:
        condition = document(command, ledger=ledger)["Delete"]["Condition"]
        assert [tags for tags in everything if deletes(condition, tags)] == reached, command


def test_deletion_follows_the_key_of_the_tag() -> None:
    """The condition names the key that the configuration has; without a tag there is none."""
    own = document("apply --prune", reconcile={"ownership_tag": "made by"})["Delete"]["Condition"]

    assert set(own["StringLike"]) == set(own["StringNotLike"]) == {"aws:ResourceTag/made by"}
    assert "Condition" not in document("apply --prune", reconcile={"ownership_tag": ""})["Delete"]
