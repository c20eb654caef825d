"""Handles incoming cleanroomsml requests, invokes methods, returns responses."""

import json
from typing import Any

from moto.core.request import Request
from moto.core.responses import ActionResult, BaseResponse, EmptyResult

from .exceptions import ValidationException
from .models import CleanRoomsMLBackend, cleanroomsml_backends
from .validators import validate


class CleanRoomsMLResponse(BaseResponse):
    """Handler for CleanRoomsML requests and responses."""

    # The body is JSON: Moto would read "&Action=" in a description as the action
    use_raw_body = True

    def __init__(self) -> None:
        super().__init__(service_name="cleanroomsml")

    @property
    def cleanroomsml_backend(self) -> CleanRoomsMLBackend:
        return cleanroomsml_backends[self.current_account][self.region]

    def setup_class(
        self,
        request: Request,
        full_url: str | None = None,
        headers: Any = None,
        use_raw_body: bool | None = None,
    ) -> None:
        super().setup_class(request, full_url, headers, use_raw_body)
        # Without a query these are the headers, which Moto signs as a form when it
        # verifies signatures
        self.data = {}

    def _determine_resource(self) -> str:
        # Policies name an algorithm by its ARN, the only parameter that is in a path
        self._get_action()
        return next(iter(self.uri_match.values()), "*")

    def create_configured_model_algorithm(self) -> ActionResult:
        params = self._body_params()
        validate("CreateConfiguredModelAlgorithm", params)
        algorithm = self.cleanroomsml_backend.create_configured_model_algorithm(
            name=params["name"],
            description=params.get("description"),
            role_arn=params["roleArn"],
            training_container_config=params.get("trainingContainerConfig"),
            inference_container_config=params.get("inferenceContainerConfig"),
            kms_key_arn=params.get("kmsKeyArn"),
            tags=params.get("tags"),
        )
        return ActionResult({"configuredModelAlgorithmArn": algorithm.arn})

    def get_configured_model_algorithm(self) -> ActionResult:
        params = self._path_params()
        validate("GetConfiguredModelAlgorithm", params)
        arn = params["configuredModelAlgorithmArn"]
        algorithm = self.cleanroomsml_backend.get_configured_model_algorithm(arn)
        tags = self.cleanroomsml_backend.list_tags_for_resource(arn)
        return ActionResult({**algorithm.to_dict(), "tags": tags})

    def list_configured_model_algorithms(self) -> ActionResult:
        params: dict[str, Any] = {
            key: values[0]
            for key, values in self.querystring.items()
            if key in ("maxResults", "nextToken")
        }
        if params.get("maxResults", "").isdecimal():
            params["maxResults"] = int(params["maxResults"])
        validate("ListConfiguredModelAlgorithms", params)
        backend = self.cleanroomsml_backend
        algorithms, next_token = backend.list_configured_model_algorithms(
            max_results=params.get("maxResults"), next_token=params.get("nextToken")
        )
        return ActionResult(
            {
                "configuredModelAlgorithms": [a.to_summary_dict() for a in algorithms],
                "nextToken": next_token,
            }
        )

    def delete_configured_model_algorithm(self) -> ActionResult:
        params = self._path_params()
        validate("DeleteConfiguredModelAlgorithm", params)
        self.cleanroomsml_backend.delete_configured_model_algorithm(
            params["configuredModelAlgorithmArn"]
        )
        return EmptyResult()

    def tag_resource(self) -> ActionResult:
        params = {**self._body_params(), **self._path_params()}
        validate("TagResource", params)
        self.cleanroomsml_backend.tag_resource(params["resourceArn"], params["tags"])
        return EmptyResult()

    def untag_resource(self) -> ActionResult:
        tag_keys = self.querystring.get("tagKeys", [])
        params = {**self._path_params(), "tagKeys": tag_keys}
        validate("UntagResource", params)
        self.cleanroomsml_backend.untag_resource(params["resourceArn"], tag_keys)
        return EmptyResult()

    def list_tags_for_resource(self) -> ActionResult:
        params = self._path_params()
        validate("ListTagsForResource", params)
        tags = self.cleanroomsml_backend.list_tags_for_resource(params["resourceArn"])
        return ActionResult({"tags": tags})

    def _body_params(self) -> dict[str, Any]:
        try:
            params = json.loads(self.body)
        except ValueError:
            params = None
        if not isinstance(params, dict):
            raise ValidationException("The request body must be a JSON object.")
        return params

    def _path_params(self) -> dict[str, Any]:
        return dict(self.uri_match)
