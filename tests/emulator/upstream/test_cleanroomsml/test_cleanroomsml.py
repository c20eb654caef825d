"""Unit tests for cleanroomsml-supported APIs."""

import json
from unittest import SkipTest

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws, settings
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.core import set_initial_no_auth_action_count

# See our Development Tips on writing tests for hints on how to write good tests:
# http://docs.getmoto.org/en/latest/docs/contributing/development_tips/tests.html

REGION = "us-east-2"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/cleanrooms-ml-access"
IMAGE = f"{ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com/train:1"
UNKNOWN_ARN = (
    f"arn:aws:cleanrooms-ml:{REGION}:{ACCOUNT_ID}:configured-model-algorithm/unknown"
)


def create_algorithm(client, name="test-algorithm", **kwargs):
    resp = client.create_configured_model_algorithm(
        name=name, roleArn=ROLE_ARN, **kwargs
    )
    return resp["configuredModelAlgorithmArn"]


def list_names(client):
    algorithms = client.list_configured_model_algorithms()["configuredModelAlgorithms"]
    return [algorithm["name"] for algorithm in algorithms]


def unvalidated_client():
    # Leaves the validation of parameters to the service
    return boto3.client(
        "cleanroomsml", region_name=REGION, config=Config(parameter_validation=False)
    )


@mock_aws
def test_create_configured_model_algorithm():
    client = boto3.client("cleanroomsml", region_name=REGION)

    arn = create_algorithm(client)

    prefix, algorithm_id = arn.rsplit("/", 1)
    assert (
        prefix
        == f"arn:aws:cleanrooms-ml:{REGION}:{ACCOUNT_ID}:configured-model-algorithm"
    )
    assert algorithm_id != "test-algorithm"


@mock_aws
def test_create_configured_model_algorithm_with_existing_name():
    client = boto3.client("cleanroomsml", region_name=REGION)
    create_algorithm(client)

    with pytest.raises(ClientError) as exc:
        create_algorithm(client)
    err = exc.value.response["Error"]
    assert err["Code"] == "ConflictException"
    assert (
        err["Message"]
        == "A configured model algorithm with the name test-algorithm already exists."
    )
    assert exc.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409

    # Names are case sensitive
    create_algorithm(client, name="Test-Algorithm")


@mock_aws
def test_create_configured_model_algorithm_over_quota():
    if not settings.TEST_DECORATOR_MODE:
        raise SkipTest("Can only change the quota in decorator mode")
    client = boto3.client("cleanroomsml", region_name=REGION)
    backend = get_backend("cleanroomsml")[ACCOUNT_ID][REGION]
    assert backend.configured_model_algorithm_quota == 1000
    backend.configured_model_algorithm_quota = 1
    arn = create_algorithm(client)

    with pytest.raises(ClientError) as exc:
        create_algorithm(client, name="one-too-many")
    assert exc.value.response["Error"]["Code"] == "ServiceQuotaExceededException"
    assert exc.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402
    assert (
        exc.value.response["quotaName"]
        == "Active configured model algorithms per Region"
    )
    assert exc.value.response["quotaValue"] == 1

    # Only existing algorithms count
    client.delete_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    create_algorithm(client, name="one-too-many")


@mock_aws
def test_get_configured_model_algorithm():
    client = boto3.client("cleanroomsml", region_name=REGION)
    definition = {
        "description": "An algorithm\nwith everything",
        "trainingContainerConfig": {
            "imageUri": IMAGE,
            "entrypoint": ["python3", "train.py"],
            "arguments": ["--epochs", "10"],
            "metricDefinitions": [{"name": "auc", "regex": "auc=(.*)"}],
        },
        "inferenceContainerConfig": {"imageUri": IMAGE},
        "kmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/1234abcd",
        "tags": {"env": "test"},
    }
    arn = create_algorithm(client, **definition)

    resp = client.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    resp.pop("ResponseMetadata")
    assert resp.pop("createTime") == resp.pop("updateTime")
    assert resp == {
        "configuredModelAlgorithmArn": arn,
        "name": "test-algorithm",
        "roleArn": ROLE_ARN,
        **definition,
    }


@mock_aws
def test_get_configured_model_algorithm_without_optional_parameters():
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client)

    resp = client.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    assert set(resp) - {"ResponseMetadata"} == {
        "configuredModelAlgorithmArn",
        "createTime",
        "name",
        "roleArn",
        "tags",
        "updateTime",
    }
    assert resp["tags"] == {}


@mock_aws
def test_list_configured_model_algorithms():
    client = boto3.client("cleanroomsml", region_name=REGION)
    assert client.list_configured_model_algorithms()["configuredModelAlgorithms"] == []

    arn = create_algorithm(client, name="algorithm-1", description="The first")
    create_algorithm(client, name="algorithm-2")

    resp = client.list_configured_model_algorithms()
    assert "nextToken" not in resp
    first, second = resp["configuredModelAlgorithms"]
    assert first.pop("createTime") == first.pop("updateTime")
    assert first == {
        "configuredModelAlgorithmArn": arn,
        "name": "algorithm-1",
        "description": "The first",
    }
    assert second["name"] == "algorithm-2"
    assert "description" not in second


@mock_aws
def test_list_configured_model_algorithms_pagination():
    client = boto3.client("cleanroomsml", region_name=REGION)
    names = [f"algorithm-{idx}" for idx in range(3)]
    for name in names:
        create_algorithm(client, name=name)

    page1 = client.list_configured_model_algorithms(maxResults=2)
    assert len(page1["configuredModelAlgorithms"]) == 2

    page2 = client.list_configured_model_algorithms(
        maxResults=2, nextToken=page1["nextToken"]
    )
    assert len(page2["configuredModelAlgorithms"]) == 1
    assert "nextToken" not in page2

    pages = client.get_paginator("list_configured_model_algorithms").paginate(
        PaginationConfig={"PageSize": 1}
    )
    found = [a["name"] for page in pages for a in page["configuredModelAlgorithms"]]
    assert found == names


@mock_aws
def test_list_configured_model_algorithms_has_100_per_page():
    client = boto3.client("cleanroomsml", region_name=REGION)
    for idx in range(101):
        create_algorithm(client, name=f"algorithm-{idx}")

    resp = client.list_configured_model_algorithms()
    assert len(resp["configuredModelAlgorithms"]) == 100
    assert "nextToken" in resp


@mock_aws
def test_delete_configured_model_algorithm():
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client, tags={"env": "test"})

    client.delete_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    assert list_names(client) == []

    # The name is free again, and the new algorithm is another one
    new_arn = create_algorithm(client)
    assert new_arn != arn
    assert client.list_tags_for_resource(resourceArn=new_arn)["tags"] == {}


@mock_aws
@pytest.mark.parametrize(
    "operation,parameters",
    [
        (
            "get_configured_model_algorithm",
            {"configuredModelAlgorithmArn": UNKNOWN_ARN},
        ),
        (
            "delete_configured_model_algorithm",
            {"configuredModelAlgorithmArn": UNKNOWN_ARN},
        ),
        ("tag_resource", {"resourceArn": UNKNOWN_ARN, "tags": {"env": "test"}}),
        ("untag_resource", {"resourceArn": UNKNOWN_ARN, "tagKeys": ["env"]}),
        ("list_tags_for_resource", {"resourceArn": UNKNOWN_ARN}),
    ],
)
def test_unknown_configured_model_algorithm(operation, parameters):
    client = boto3.client("cleanroomsml", region_name=REGION)

    with pytest.raises(ClientError) as exc:
        getattr(client, operation)(**parameters)
    err = exc.value.response["Error"]
    assert err["Code"] == "ResourceNotFoundException"
    assert err["Message"] == f"The resource {UNKNOWN_ARN} was not found."
    assert exc.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@mock_aws
@pytest.mark.parametrize(
    "parameters,path,constraint",
    [
        ({"name": None}, "name", "not be null"),
        ({"name": "x" * 64}, "name", "have length less than or equal to 63"),
        ({"name": " \t"}, "name", "satisfy regular expression pattern: "),
        ({"name": "a\nb"}, "name", "satisfy regular expression pattern: "),
        ({"name": 1}, "name", "be of type string"),
        ({"description": "x" * 256}, "description", "have length less than"),
        ({"roleArn": "arn:aws:iam::1:role/a"}, "roleArn", "satisfy regular"),
        ({"kmsKeyArn": "arn:aws:kms:us-east-1:a"}, "kmsKeyArn", "satisfy regular"),
        ({"trainingContainerConfig": {}}, "trainingContainerConfig.imageUri", "not be"),
        (
            {"trainingContainerConfig": {"imageUri": IMAGE, "arguments": []}},
            "trainingContainerConfig.arguments",
            "have length greater than or equal to 1",
        ),
        (
            {"trainingContainerConfig": {"imageUri": IMAGE, "entrypoint": ["a", ""]}},
            "trainingContainerConfig.entrypoint.2.member",
            "have length greater than or equal to 1",
        ),
        (
            {"inferenceContainerConfig": {"imageUri": "x" * 256}},
            "inferenceContainerConfig.imageUri",
            "have length less than or equal to 255",
        ),
        ({"tags": {"": "a"}}, "tags.key", "have length greater than or equal to 1"),
        ({"tags": {"a": "x" * 257}}, "tags.a.member", "have length less than or"),
    ],
)
def test_create_configured_model_algorithm_validation(parameters, path, constraint):
    client = unvalidated_client()

    with pytest.raises(ClientError) as exc:
        client.create_configured_model_algorithm(
            **{"name": "test-algorithm", "roleArn": ROLE_ARN, **parameters}
        )
    err = exc.value.response["Error"]
    assert err["Code"] == "ValidationException"
    assert err["Message"].startswith("1 validation error detected: Value ")
    assert (
        f" at '{path}' failed to satisfy constraint: Member must {constraint}"
        in err["Message"]
    )
    assert exc.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert list_names(client) == []


@mock_aws
def test_create_configured_model_algorithm_lists_all_violations():
    client = boto3.client("cleanroomsml", region_name=REGION)

    with pytest.raises(ClientError) as exc:
        create_algorithm(client, name="x" * 64, description="x" * 256)
    message = exc.value.response["Error"]["Message"]
    assert message.startswith("2 validation errors detected: ")
    assert "at 'name'" in message
    assert "at 'description'" in message


@mock_aws
@pytest.mark.parametrize(
    "name",
    ["x" * 63, "é", "名前", "\u3000", "\U0001f600", "a&Action=DeleteEverything&b=c"],
)
def test_create_configured_model_algorithm_with_unusual_name(name):
    client = boto3.client("cleanroomsml", region_name=REGION)

    create_algorithm(client, name=name, description=name)

    assert list_names(client) == [name]


@mock_aws
@pytest.mark.parametrize(
    "operation,parameters,path",
    [
        (
            "list_configured_model_algorithms",
            {"maxResults": 0},
            "maxResults",
        ),
        ("list_configured_model_algorithms", {"maxResults": 101}, "maxResults"),
        ("list_configured_model_algorithms", {"maxResults": "many"}, "maxResults"),
        ("list_configured_model_algorithms", {"nextToken": "unknown"}, "nextToken"),
        ("list_configured_model_algorithms", {"nextToken": ""}, "nextToken"),
        (
            "get_configured_model_algorithm",
            {"configuredModelAlgorithmArn": ROLE_ARN},
            "configuredModelAlgorithmArn",
        ),
        (
            "delete_configured_model_algorithm",
            {"configuredModelAlgorithmArn": ROLE_ARN},
            "configuredModelAlgorithmArn",
        ),
        ("tag_resource", {"resourceArn": ROLE_ARN, "tags": {}}, "resourceArn"),
        ("tag_resource", {"resourceArn": UNKNOWN_ARN}, "tags"),
        ("untag_resource", {"resourceArn": ROLE_ARN, "tagKeys": ["a"]}, "resourceArn"),
        (
            "untag_resource",
            {"resourceArn": UNKNOWN_ARN, "tagKeys": [""]},
            "tagKeys.1.member",
        ),
        ("list_tags_for_resource", {"resourceArn": ROLE_ARN}, "resourceArn"),
    ],
)
def test_validation(operation, parameters, path):
    client = unvalidated_client()

    with pytest.raises(ClientError) as exc:
        getattr(client, operation)(**parameters)
    err = exc.value.response["Error"]
    assert err["Code"] == "ValidationException"
    assert f" at '{path}' failed to satisfy constraint: Member must " in err["Message"]


@mock_aws
def test_tag_resource():
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client, tags={"env": "test", "owner": "équipe"})

    client.tag_resource(resourceArn=arn, tags={"env": "prod", "empty": ""})
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {
        "env": "prod",
        "owner": "équipe",
        "empty": "",
    }

    client.untag_resource(resourceArn=arn, tagKeys=["owner", "empty", "unknown"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"env": "prod"}
    resp = client.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    assert resp["tags"] == {"env": "prod"}


@mock_aws
@pytest.mark.parametrize(
    "tags",
    [
        {"aws:env": "test"},
        {"AWS:env": "test"},
        {"env": "a#b"},
        {f"key-{idx}": "value" for idx in range(51)},
    ],
    ids=["reserved", "reserved-uppercase", "characters", "too-many"],
)
def test_invalid_tags(tags):
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client)

    for operation, parameters in [
        (client.tag_resource, {"resourceArn": arn, "tags": tags}),
        (
            client.create_configured_model_algorithm,
            {"name": "tagged", "roleArn": ROLE_ARN, "tags": tags},
        ),
    ]:
        with pytest.raises(ClientError) as exc:
            operation(**parameters)
        assert exc.value.response["Error"]["Code"] == "ValidationException"
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {}
    assert list_names(client) == ["test-algorithm"]


@mock_aws
def test_tags_are_counted_together():
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client, tags={f"key-{idx}": "value" for idx in range(50)})

    client.tag_resource(resourceArn=arn, tags={"key-0": "changed"})
    with pytest.raises(ClientError) as exc:
        client.tag_resource(resourceArn=arn, tags={"one-too-many": "value"})
    assert exc.value.response["Error"]["Code"] == "ValidationException"


@mock_aws
def test_reserved_tags_cannot_be_removed():
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client)

    with pytest.raises(ClientError) as exc:
        client.untag_resource(resourceArn=arn, tagKeys=["aws:env"])
    assert exc.value.response["Error"]["Code"] == "ValidationException"


@mock_aws
def test_configured_model_algorithms_are_region_specific():
    client_use2 = boto3.client("cleanroomsml", region_name=REGION)
    client_euw1 = boto3.client("cleanroomsml", region_name="eu-west-1")
    arn_use2 = create_algorithm(client_use2)

    arn_euw1 = create_algorithm(client_euw1)

    assert arn_euw1.startswith(f"arn:aws:cleanrooms-ml:eu-west-1:{ACCOUNT_ID}:")
    assert len(list_names(client_euw1)) == 1
    with pytest.raises(ClientError) as exc:
        client_euw1.get_configured_model_algorithm(configuredModelAlgorithmArn=arn_use2)
    assert exc.value.response["Error"]["Code"] == "ResourceNotFoundException"


@mock_aws
def test_configured_model_algorithms_are_account_specific():
    other_account = "111111111111"
    sts = boto3.client("sts", region_name=REGION)
    credentials = sts.assume_role(
        RoleArn=f"arn:aws:iam::{other_account}:role/my-role",
        RoleSessionName="test-session-name",
    )["Credentials"]
    other_client = boto3.client(
        "cleanroomsml",
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=REGION,
    )
    client = boto3.client("cleanroomsml", region_name=REGION)
    create_algorithm(client)

    arn = create_algorithm(other_client)

    assert arn.startswith(f"arn:aws:cleanrooms-ml:{REGION}:{other_account}:")
    assert len(list_names(client)) == 1
    assert len(list_names(other_client)) == 1


@mock_aws
@set_initial_no_auth_action_count(5)
def test_iam_policies_are_enforced():
    if not settings.TEST_DECORATOR_MODE:
        raise SkipTest("Authentication is only enabled in decorator mode")
    client = boto3.client("cleanroomsml", region_name=REGION)
    arn = create_algorithm(client)
    other_arn = create_algorithm(client, name="other-algorithm")
    iam = boto3.client("iam", region_name=REGION)
    iam.create_user(UserName="reader")
    allowed = {
        "cleanrooms-ml:ListConfiguredModelAlgorithms": "*",
        "cleanrooms-ml:GetConfiguredModelAlgorithm": arn,
    }
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": resource}
            for action, resource in allowed.items()
        ],
    }
    iam.put_user_policy(
        UserName="reader", PolicyName="read", PolicyDocument=json.dumps(policy)
    )
    access_key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = boto3.client(
        "cleanroomsml",
        aws_access_key_id=access_key["AccessKeyId"],
        aws_secret_access_key=access_key["SecretAccessKey"],
        region_name=REGION,
    )

    assert len(list_names(reader)) == 2
    reader.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    for operation, kwargs in [
        ("get_configured_model_algorithm", {"configuredModelAlgorithmArn": other_arn}),
        ("delete_configured_model_algorithm", {"configuredModelAlgorithmArn": arn}),
        ("create_configured_model_algorithm", {"name": "new", "roleArn": ROLE_ARN}),
    ]:
        with pytest.raises(ClientError) as exc:
            getattr(reader, operation)(**kwargs)
        assert exc.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert "is not authorized to perform: cleanrooms-ml:" in str(exc.value)
