"""The same state as a backend of moto: ``register()``, then ``mock_aws`` or moto's server.

moto finds a service by the name of its package, so this module poses as ``moto.cleanroomsml``. Nothing else in this
package imports moto, which is a development dependency.
"""

from __future__ import annotations

import re
import sys
import time
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any

from moto import backend_index
from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.responses import BaseResponse

from provisioner.emulator import cleanrooms
from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.model import regions
from provisioner.emulator.state import TargetState
from provisioner.emulator.wire import ApiError, Call, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from moto.core.request import Request

SERVICE = "cleanroomsml"
HOST = r"https?://cleanrooms-ml\.(.+)\.amazonaws\.com"
"""moto rewrites the host names of other partitions to this domain before it looks for a service."""


def register() -> None:
    """Makes moto answer for Clean Rooms ML, in this process. May be called again."""
    sys.modules[f"moto.{SERVICE}"] = sys.modules[__name__]
    if all(service != SERVICE for service, _ in backend_index.backend_url_patterns):
        backend_index.backend_url_patterns.append((SERVICE, re.compile(HOST)))


class Backend(BaseBackend):
    """One account and Region, in moto's terms. The lock is for moto's server, which uses a thread for each call."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        ids = Random(f"{account_id} {region_name}")  # noqa: S311 - ids need not be secret
        self.target = TargetState(account_id, region_name, ids)
        self.lock = Lock()

    @property
    def _url_module(self) -> ModuleType:
        return sys.modules[__name__]


class Dispatcher(BaseResponse):
    """One call, in moto's terms: moto authorizes it, then calls the method that is named like the operation."""

    use_raw_body = True

    def __init__(self) -> None:
        super().__init__(service_name=SERVICE)

    def setup_class(
        self,
        request: Request,
        full_url: str | None = None,
        headers: Any = None,  # noqa: ANN401 - moto's signature
        use_raw_body: bool | None = None,  # noqa: FBT001 - the same
    ) -> None:
        """Drops the headers that moto takes for a form: it would sign them as the body of every GET and DELETE."""
        super().setup_class(request, full_url, headers, use_raw_body)
        self.data: dict[str, Any] = {}

    def create_configured_model_algorithm(self) -> tuple[int, dict[str, Any], bytes]:
        """As every method here: status, headers and body."""
        return self._answer("create")

    def list_configured_model_algorithms(self) -> tuple[int, dict[str, Any], bytes]:
        """GET on the collection."""
        return self._answer("list")

    def get_configured_model_algorithm(self) -> tuple[int, dict[str, Any], bytes]:
        """GET on an algorithm."""
        return self._answer("get")

    def delete_configured_model_algorithm(self) -> tuple[int, dict[str, Any], bytes]:
        """DELETE on an algorithm."""
        return self._answer("delete")

    def tag_resource(self) -> tuple[int, dict[str, Any], bytes]:
        """POST on an algorithm's tags."""
        return self._answer("tag")

    def untag_resource(self) -> tuple[int, dict[str, Any], bytes]:
        """DELETE on an algorithm's tags."""
        return self._answer("untag")

    def list_tags_for_resource(self) -> tuple[int, dict[str, Any], bytes]:
        """GET on an algorithm's tags."""
        return self._answer("list_tags")

    def _answer(self, operation: str) -> tuple[int, dict[str, Any], bytes]:
        response = self._response(operation)
        # moto takes the status from this entry of the headers and ignores the first member.
        headers = {**response.headers, "Content-Type": response.content_type, "status": response.status}
        return response.status, headers, response.body

    def _response(self, operation: str) -> HttpResponse:
        query = f"?{self.parsed_url.query}" if self.parsed_url.query else ""
        call = Call(self.method, self.raw_path + query, {}, self.raw_body)
        try:
            parameters = cleanrooms.parse(call, operation)
            backend = cleanroomsml_backends[self.current_account][self.region]
            with backend.lock:
                response, _ = cleanrooms.perform(backend.target, operation, parameters, time.time(), Behaviour())
        except ApiError as error:
            return error.response()
        return response


cleanroomsml_backends = BackendDict(Backend, SERVICE, use_boto3_regions=False, additional_regions=regions())
"""moto looks for this name, and for the two below."""

url_bases = [HOST]
url_paths: dict[str, Callable[..., Any]] = {
    "{0}/configured-model-algorithms$": Dispatcher.dispatch,
    "{0}/configured-model-algorithms/(?P<arn>.+)$": Dispatcher.dispatch,
    "{0}/tags/(?P<arn>.+)$": Dispatcher.dispatch,
}
