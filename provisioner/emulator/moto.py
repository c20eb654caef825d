"""The same state as a backend of moto: ``register()``, then ``mock_aws`` or moto's server.

moto knows its services by name: this module stands in for the package ``moto.cleanroomsml`` that it looks for.
Nothing else in this package imports moto, which is a development dependency.
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

from provisioner.emulator import api
from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.state import TargetState
from provisioner.emulator.wire import ApiError, Call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from moto.core.request import Request

SERVICE = "cleanroomsml"
HOST = r"https?://cleanrooms-ml\.(.+)\.amazonaws\.com"

REGIONS = [
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "eu-north-1",
]
"""Where the service is, from the AWS documentation: botocore lists no Region for it."""


def register() -> None:
    """Makes moto answer for Clean Rooms ML, in this process. May be called again."""
    sys.modules[f"moto.{SERVICE}"] = sys.modules[__name__]
    if all(service != SERVICE for service, _ in backend_index.backend_url_patterns):
        backend_index.backend_url_patterns.append((SERVICE, re.compile(HOST)))


class Backend(BaseBackend):
    """One account and Region, in moto's terms. The lock is for moto's server, which has a thread per call."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        ids = Random(f"{account_id} {region_name}")  # noqa: S311 - ids need not be secret
        self.target = TargetState(account_id, region_name, ids)
        self.lock = Lock()

    @property
    def _url_module(self) -> ModuleType:
        return sys.modules[__name__]


class Dispatcher(BaseResponse):
    """One call, in moto's terms."""

    def __init__(self) -> None:
        super().__init__(service_name=SERVICE)

    def _dispatch(
        self, request: Request, full_url: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        self.setup_class(request, full_url, headers)
        target = request.raw_path + (f"?{request.query_string.decode()}" if request.query_string else "")
        call = Call(request.method, target, {}, request.data)
        try:
            operation = api.operation_of(call)
            parameters = api.parse(call, operation)
            backend = cleanroomsml_backends[self.current_account][self.region]
            with backend.lock:
                reply, _ = api.perform(backend.target, operation, parameters, time.time(), Behaviour())
        except ApiError as error:
            reply = error.response()
        return reply.status, {**reply.headers, "Content-Type": reply.content_type}, reply.body


cleanroomsml_backends = BackendDict(Backend, SERVICE, use_boto3_regions=False, additional_regions=REGIONS)
"""Under the name that moto looks for, as are the two below."""

url_bases = [HOST]
url_paths: dict[str, Callable[..., Any]] = {
    "{0}/configured-model-algorithms$": Dispatcher.dispatch,
    "{0}/configured-model-algorithms/(?P<arn>.+)$": Dispatcher.dispatch,
    "{0}/tags/(?P<arn>.+)$": Dispatcher.dispatch,
}
