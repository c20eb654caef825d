"""CleanRoomsMLBackend class with methods for supported APIs."""

from collections.abc import Iterable, Iterator
from typing import Any

from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.common_models import BaseModel
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.core.utils import utcnow
from moto.moto_api._internal import mock_random
from moto.utilities.paginator import paginate
from moto.utilities.tagging_service import TaggingService
from moto.utilities.utils import get_partition

from .exceptions import (
    ConflictException,
    InvalidNextToken,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    ValidationException,
)

# https://docs.aws.amazon.com/clean-rooms/latest/userguide/quotas.html
DEFAULT_QUOTA = 1000
QUOTA_NAME = "Active configured model algorithms per Region"
# The service model allows 200, the documentation 50
MAX_TAGS = 50


class ConfiguredModelAlgorithm(BaseModel):
    def __init__(
        self,
        account_id: str,
        region_name: str,
        name: str,
        description: str | None,
        role_arn: str,
        training_container_config: dict[str, Any] | None,
        inference_container_config: dict[str, Any] | None,
        kms_key_arn: str | None,
    ):
        self.id = str(mock_random.uuid4())
        self.arn = f"arn:{get_partition(region_name)}:cleanrooms-ml:{region_name}:{account_id}:configured-model-algorithm/{self.id}"
        self.name = name
        self.description = description
        self.role_arn = role_arn
        self.training_container_config = training_container_config
        self.inference_container_config = inference_container_config
        self.kms_key_arn = kms_key_arn
        # There is no operation that updates an algorithm
        self.create_time = self.update_time = utcnow()

    def to_summary_dict(self) -> dict[str, Any]:
        return {
            "configuredModelAlgorithmArn": self.arn,
            "name": self.name,
            "description": self.description,
            "createTime": self.create_time,
            "updateTime": self.update_time,
        }

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.to_summary_dict(),
            "roleArn": self.role_arn,
            "trainingContainerConfig": self.training_container_config,
            "inferenceContainerConfig": self.inference_container_config,
            "kmsKeyArn": self.kms_key_arn,
        }


class CleanRoomsMLBackend(BaseBackend, TaggableResourcesMixin):
    """Implementation of CleanRoomsML APIs.

    The names of configured model algorithms are unique in an account and region: a
    second one with the same name raises a ConflictException.

    The default quota of 1000 algorithms is enforced. Change it to test how your code
    behaves when there is no room left:

    .. sourcecode:: python

        from moto.backends import get_backend
        from moto.core import DEFAULT_ACCOUNT_ID

        backend = get_backend("cleanroomsml")[DEFAULT_ACCOUNT_ID]["us-east-1"]
        backend.configured_model_algorithm_quota = 1
    """

    SERVICE_NAMESPACE = "cleanrooms-ml"

    PAGINATION_MODEL = {
        "list_configured_model_algorithms": {
            "input_token": "next_token",
            "limit_key": "max_results",
            "limit_default": 100,
            "unique_attribute": "arn",
            "fail_on_invalid_token": InvalidNextToken,
        },
    }

    def __init__(self, region_name: str, account_id: str):
        super().__init__(region_name, account_id)
        self.configured_model_algorithms: dict[str, ConfiguredModelAlgorithm] = {}
        self.configured_model_algorithm_quota = DEFAULT_QUOTA
        self.tagger = TaggingService()

    def create_configured_model_algorithm(
        self,
        name: str,
        description: str | None,
        role_arn: str,
        training_container_config: dict[str, Any] | None,
        inference_container_config: dict[str, Any] | None,
        kms_key_arn: str | None,
        tags: dict[str, str] | None,
    ) -> ConfiguredModelAlgorithm:
        self._validate_tags(tags or {})
        existing = list(self.configured_model_algorithms.values())
        if any(algorithm.name == name for algorithm in existing):
            raise ConflictException(
                f"A configured model algorithm with the name {name} already exists."
            )
        if len(existing) >= self.configured_model_algorithm_quota:
            raise ServiceQuotaExceededException(
                QUOTA_NAME, float(self.configured_model_algorithm_quota)
            )
        algorithm = ConfiguredModelAlgorithm(
            account_id=self.account_id,
            region_name=self.region_name,
            name=name,
            description=description,
            role_arn=role_arn,
            training_container_config=training_container_config,
            inference_container_config=inference_container_config,
            kms_key_arn=kms_key_arn,
        )
        self.configured_model_algorithms[algorithm.arn] = algorithm
        self.tag_resource(algorithm.arn, tags or {})
        return algorithm

    def get_configured_model_algorithm(self, arn: str) -> ConfiguredModelAlgorithm:
        if arn not in self.configured_model_algorithms:
            raise ResourceNotFoundException(arn)
        return self.configured_model_algorithms[arn]

    @paginate(pagination_model=PAGINATION_MODEL)
    def list_configured_model_algorithms(self) -> list[ConfiguredModelAlgorithm]:
        return list(self.configured_model_algorithms.values())

    def delete_configured_model_algorithm(self, arn: str) -> None:
        self.get_configured_model_algorithm(arn)
        del self.configured_model_algorithms[arn]
        self.tagger.delete_all_tags_for_resource(arn)

    def list_tags_for_resource(self, arn: str) -> dict[str, str]:
        self.get_configured_model_algorithm(arn)
        return self.tagger.get_tag_dict_for_resource(arn)

    # Resource Groups Tagging API (TaggableResourcesMixin method overrides)
    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        for arn in list(self.configured_model_algorithms):
            yield TaggedResource(
                arn=arn,
                tags=self.tagger.get_tag_dict_for_resource(arn),
                resource_type="cleanrooms-ml:configured-model-algorithm",
            )

    def tag_resource(self, arn: str, tags: dict[str, str]) -> None:
        self._validate_tags({**self.list_tags_for_resource(arn), **tags})
        self.tagger.tag_resource(arn, TaggingService.convert_dict_to_tags_input(tags))

    def untag_resource(self, arn: str, tag_keys: list[str]) -> None:
        self.get_configured_model_algorithm(arn)
        self._validate_tag_keys(tag_keys)
        self.tagger.untag_resource_using_names(arn, tag_keys)

    def _validate_tags(self, tags: dict[str, str]) -> None:
        self._validate_tag_keys(tags)
        tag_list = TaggingService.convert_dict_to_tags_input(tags)
        if errors := self.tagger.validate_tags(tag_list, limit=MAX_TAGS):
            raise ValidationException(errors)

    def _validate_tag_keys(self, tag_keys: Iterable[str]) -> None:
        if any(key.lower().startswith("aws:") for key in tag_keys):
            raise ValidationException("Tag keys must not begin with aws:")


# botocore knows no regions of this service, which is available where Clean Rooms is
cleanroomsml_backends = BackendDict(CleanRoomsMLBackend, "cleanrooms")
