"""Where the direct transport sends requests, and how: everything that a user configures for the SDK, read by the SDK.

A setting that the direct transport cannot honour is a reason to leave the calls to the SDK. Endpoint and
partition rules are evaluated by botocore's own ``EndpointProvider``, without making a client: a client loads service
model, endpoint tables and handlers, which takes ten times as long.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from botocore import exceptions as sdk
from botocore.endpoint_provider import EndpointProvider
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies
from yarl import URL

from provisioner.aws.http import ClientConfig
from provisioner.aws.session import SERVICE
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from aiobotocore.session import AioSession


class Service(msgspec.Struct, frozen=True):
    """What is called.

    Attributes:
        model: the SDK's name of it.
        version: of that model. Asking the SDK for the latest one makes it list the models of all services.
        signing_name: in the signature's scope.
        path: of the requests.
    """

    model: str
    version: str
    signing_name: str
    path: str


CLEAN_ROOMS_ML = Service(SERVICE, "2023-09-06", "cleanrooms-ml", "/configured-model-algorithms")
STS = Service("sts", "2011-06-15", "sts", "")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a service.

    Attributes:
        service: which one.
        endpoint: of the service.
        region: of the signature's scope.
        user_agent: as the SDK would send it.
        ca_bundle: path of it, "" for the one that the SDK ships.
    """

    service: Service
    endpoint: str
    region: str
    user_agent: str
    ca_bundle: str = ""

    @property
    def url(self) -> str:
        """Of the requests."""
        return self.endpoint.rstrip("/") + self.service.path


class Unsupported(msgspec.Struct, frozen=True):
    """Why the direct transport cannot be used, one sentence without a full stop."""

    reason: str


def find_route(
    session: AioSession, region: str, endpoint_url: str, service: Service = CLEAN_ROOMS_ML
) -> Route | Unsupported:
    """The route that the SDK would take, or why it is one for the SDK alone.

    Args:
        session: holds what the user configured.
        region: of the target.
        endpoint_url: of the service, "" for the SDK's own.
        service: which one.

    Raises:
        ConfigurationError: the proxy that is set is none.
    """
    if "fips" in region:
        return Unsupported(f"{region} is a pseudo-Region, which the SDK rewrites")
    try:
        endpoint = endpoint_url or _endpoint(session, region, service)
    except sdk.BotoCoreError as error:
        return Unsupported(f"the endpoint rules need the SDK: {error}")
    if not endpoint:
        return Unsupported(f"the endpoint rules for {region} ask for more than a plain signature")
    if _proxy(endpoint):
        return Unsupported("a proxy is set for the endpoint")
    return Route(
        service=service,
        endpoint=endpoint,
        region=region,
        user_agent=_user_agent(session),
        ca_bundle=_ca_bundle(session),
    )


def _endpoint(session: AioSession, region: str, service: Service) -> str:
    """The URL by the service's endpoint rules, "" when they ask for a special signature or Region."""
    if service is STS and session.get_config_variable("sts_regional_endpoints") not in {None, "regional"}:
        return ""
    loader = session.get_component("data_loader")
    provider = EndpointProvider(
        ruleset_data=loader.load_data(f"{service.model}/{service.version}/endpoint-rule-set-1"),
        partition_data=loader.load_data("partitions"),
    )
    found = provider.resolve_endpoint(
        Region=region,
        UseFIPS=bool(session.get_config_variable("use_fips_endpoint")),
        UseDualStack=bool(session.get_config_variable("use_dualstack_endpoint")),
    )
    return "" if found.properties or found.headers else str(found.url)


def _proxy(endpoint: str) -> str:
    """The proxy of the environment for ``endpoint``, "" for none.

    The error does not say what is wrong with an unreadable one: the parser's words may hold a part of the password.
    """
    try:
        proxy = ProxyConfiguration(proxies=get_environ_proxies(endpoint)).proxy_url_for(endpoint) or ""
        usable = not proxy or bool(URL(proxy).host)
    except ValueError:
        usable = False
    if not usable:
        hint = "Set HTTPS_PROXY or HTTP_PROXY to http://host:port, or name the endpoint's host in NO_PROXY"
        raise ConfigurationError("the proxy cannot be read as a URL", where=endpoint, hint=hint)
    return proxy


def _ca_bundle(session: AioSession) -> str:
    """In the SDK's order: AWS_CA_BUNDLE or ``ca_bundle``, REQUESTS_CA_BUNDLE, "" for the bundle that it ships."""
    configured = session.get_config_variable("ca_bundle")
    return str(configured) if configured is not None else os.environ.get("REQUESTS_CA_BUNDLE", "")


def _user_agent(session: AioSession) -> str:
    creator = session.get_component("user_agent_creator")
    creator.set_session_config(
        session_user_agent_name=session.user_agent_name,
        session_user_agent_version=session.user_agent_version,
        session_user_agent_extra=session.user_agent_extra,
    )
    config = ClientConfig(user_agent_appid=session.get_config_variable("user_agent_appid"))
    return str(creator.with_client_config(config).to_string())
