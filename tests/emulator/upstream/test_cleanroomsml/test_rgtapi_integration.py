import boto3
from moto import mock_aws

from .test_cleanroomsml import REGION, create_algorithm

RESOURCE_TYPE = "cleanrooms-ml:configured-model-algorithm"


def list_arns(tagging, **kwargs):
    resources = tagging.get_resources(**kwargs)["ResourceTagMappingList"]
    return {resource["ResourceARN"] for resource in resources}


@mock_aws
def test_resourcegroupstaggingapi_get_cleanroomsml_resources():
    client = boto3.client("cleanroomsml", region_name=REGION)
    tagging = boto3.client("resourcegroupstaggingapi", region_name=REGION)
    test_arn = create_algorithm(client, name="in-test", tags={"env": "test"})
    prod_arn = create_algorithm(client, name="in-prod", tags={"env": "prod"})
    create_algorithm(client, name="untagged")

    assert list_arns(tagging) == {test_arn, prod_arn}

    # Filter by type
    for resource_type in (RESOURCE_TYPE, "cleanrooms-ml"):
        arns = list_arns(tagging, ResourceTypeFilters=[resource_type])
        assert arns == {test_arn, prod_arn}
    for resource_type in ("cleanrooms", "cleanrooms-ml:training-dataset"):
        assert list_arns(tagging, ResourceTypeFilters=[resource_type]) == set()

    # Filter by tag
    assert list_arns(tagging, TagFilters=[{"Key": "env"}]) == {test_arn, prod_arn}
    tag_filters = [{"Key": "env", "Values": ["prod"]}]
    assert list_arns(tagging, TagFilters=tag_filters) == {prod_arn}

    # All tags of a resource are returned
    resources = tagging.get_resources(ResourceARNList=[test_arn])
    assert resources["ResourceTagMappingList"] == [
        {"ResourceARN": test_arn, "Tags": [{"Key": "env", "Value": "test"}]}
    ]
    assert set(tagging.get_tag_keys()["TagKeys"]) == {"env"}
    assert set(tagging.get_tag_values(Key="env")["TagValues"]) == {"test", "prod"}

    # Deleted resources are not
    client.delete_configured_model_algorithm(configuredModelAlgorithmArn=test_arn)
    assert list_arns(tagging) == {prod_arn}


@mock_aws
def test_resourcegroupstaggingapi_tag_and_untag_cleanroomsml_resources():
    client = boto3.client("cleanroomsml", region_name=REGION)
    tagging = boto3.client("resourcegroupstaggingapi", region_name=REGION)
    arn = create_algorithm(client, tags={"env": "test"})

    resp = tagging.tag_resources(ResourceARNList=[arn], Tags={"team": "data"})
    assert resp["FailedResourcesMap"] == {}
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {
        "env": "test",
        "team": "data",
    }

    resp = tagging.untag_resources(ResourceARNList=[arn], TagKeys=["env"])
    assert resp["FailedResourcesMap"] == {}
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "data"}
