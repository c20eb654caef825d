"""TLS, certificates and proxies, for both transports."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import EndpointConnectionError

from provisioner.aws.http import HttpSession
from provisioner.core.verdict import Loss, Verdict, judge
from provisioner.errors import ConfigurationError
from tests.aws.certificates import Authority
from tests.aws.proxy import Proxy
from tests.aws.server import ARN, BODY, Server, allowed, close, hang, http

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aws.conftest import Open
    from tests.aws.server import Line


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Trusted by nobody yet."""
    return Authority(tmp_path)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
async def test_the_ca_bundle_is_honoured(
    open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A server whose certificate the configured bundle vouches for is trusted."""
    monkeypatch.setenv(variable, str(authority.bundle))
    async with Server(tls=authority.server("localhost")) as server, open_at(server.url) as aws:
        replies = [await aws.creates.create(BODY, allowed) for _ in range(3)]

        assert [reply.arn for reply in replies] == [ARN] * 3
        assert server.connections == 1


@pytest.mark.parametrize("bundle", ["missing.pem", "empty.pem"])
async def test_a_ca_bundle_that_cannot_be_read_is_named(
    open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: str
) -> None:
    """It is a configuration error before anything is sent."""
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / bundle))
    with pytest.raises(ConfigurationError, match=bundle):
        async with open_at("https://localhost:1"):
            pass


async def test_an_empty_ca_bundle_is_none(open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing does not switch the check of certificates off."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    async with Server(tls=authority.server("localhost")) as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)

        assert (reply.loss, judge(reply)) == (Loss.MISCONFIGURED, Verdict.NOT_CREATED)
        assert server.requests == []


async def test_an_untrusted_certificate_is_not_sent_to(open_at: Open, authority: Authority) -> None:
    """A handshake that fails on our side means that no byte of the request has left."""
    async with Server(tls=authority.server("localhost")) as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)

        assert (reply.loss, judge(reply)) == (Loss.MISCONFIGURED, Verdict.NOT_CREATED)
        assert server.requests == []


async def test_nothing_switches_the_check_of_certificates_off(authority: Authority) -> None:
    """The SDK's setting for that has no effect."""
    async with Server(tls=authority.server("localhost")) as server:
        async with HttpSession(verify=False, timeout=(5, 5)) as session:
            with pytest.raises(EndpointConnectionError) as caught:
                await session.send(AWSRequest("GET", server.url).prepare())

        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value.kwargs["error"])
        assert server.requests == []


async def test_a_certificate_for_another_host_is_not_sent_to(
    open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted certificate that names another host is no proof of being the service."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with Server(tls=authority.server("elsewhere.example")) as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)

        assert (reply.loss, judge(reply)) == (Loss.MISCONFIGURED, Verdict.NOT_CREATED)
        assert server.requests == []


async def test_a_server_that_speaks_no_tls_is_not_sent_to(open_at: Open) -> None:
    """A handshake that the server answers with something else, or breaks off, means that no byte has left."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http(400))
        writer.close()

    async def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    losses = []
    for handler in (refuse, slam):
        listener = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with listener, open_at(f"https://localhost:{listener.sockets[0].getsockname()[1]}") as aws:
            reply = await aws.creates.create(BODY, allowed)
        losses.append(reply.loss)
        assert judge(reply) is Verdict.NOT_CREATED

    assert losses == [Loss.HANDSHAKE, Loss.HANDSHAKE]


async def test_a_handshake_that_hangs_is_not_sent(open_at: Open) -> None:
    """A server that accepts and says nothing during the handshake is a connect time-out."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}"
        async with open_at(url, connect_timeout_s=0.2) as aws:
            reply = await aws.creates.create(BODY, allowed)

    assert (reply.loss, judge(reply)) == (Loss.CONNECT_TIMEOUT, Verdict.NOT_CREATED)


@pytest.mark.parametrize("fault", ["closes", "sends garbage", "hangs"])
async def test_tls_that_breaks_after_the_handshake_is_ambiguous(
    open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Once the handshake is done, a broken connection may have carried the request."""

    async def garble(line: Line) -> None:
        with line.writer.get_extra_info("socket").dup() as bare:
            bare.send(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
        await line.reader.read()

    action = {"closes": close(http()[:30]), "sends garbage": garble, "hangs": hang()}[fault]
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with Server(action, tls=authority.server("localhost")) as server:
        async with open_at(server.url, connect_timeout_s=0.5, read_timeout_s=0.3) as aws:
            reply = await aws.creates.create(BODY, allowed)

        expected = {"closes": Loss.CLOSED, "sends garbage": Loss.TLS, "hangs": Loss.READ_TIMEOUT}[fault]
        assert (reply.loss, judge(reply)) == (expected, Verdict.AMBIGUOUS)
        assert len(server.requests) == 1


async def test_the_proxy_is_honoured(open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creates go through the tunnel of HTTPS_PROXY, with its credentials, and the tunnel is kept."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with Proxy() as proxy, Server(tls=authority.server("localhost")) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy.port}")
        async with open_at(server.url) as aws:
            replies = [await aws.creates.create(BODY, allowed) for _ in range(3)]

        assert [reply.arn for reply in replies] == [ARN] * 3
        assert proxy.asked == [(f"localhost:{server.port}", f"Basic {b64encode(b'user:word').decode()}")]


@pytest.mark.parametrize("host", ["localhost", "elsewhere.example"])
async def test_a_proxy_excuses_no_certificate(
    open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """The certificate behind a tunnel is checked like any other: one that is untrusted, and one for another host."""
    if host != "localhost":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with Proxy() as proxy, Server(tls=authority.server(host)) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with open_at(server.url) as aws:
            reply = await aws.creates.create(BODY, allowed)

        assert (reply.loss, judge(reply)) == (Loss.MISCONFIGURED, Verdict.NOT_CREATED)
        assert server.requests == []


async def test_no_proxy_is_honoured(open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that NO_PROXY names is reached directly."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    monkeypatch.setenv("NO_PROXY", "localhost")
    async with Proxy() as proxy, Server(tls=authority.server("localhost")) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with open_at(server.url) as aws:
            reply = await aws.creates.create(BODY, allowed)

        assert (reply.arn, proxy.asked) == (ARN, [])


@pytest.mark.parametrize(("status", "loss"), [(403, Loss.MISCONFIGURED), (407, Loss.MISCONFIGURED), (502, Loss.PROXY)])
async def test_a_proxy_that_refuses_is_not_sent_through(
    open_at: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch, status: int, loss: Loss
) -> None:
    """A tunnel that the proxy refuses carries no byte of the request, and the password of the proxy is not told."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    async with Proxy(status) as proxy, Server(tls=authority.server("localhost")) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy.port}")
        async with open_at(server.url) as aws:
            reply = await aws.creates.create(BODY, allowed)

        assert (reply.loss, judge(reply)) == (loss, Verdict.NOT_CREATED)
        assert server.requests == []
        assert "word" not in reply.message


async def test_a_proxy_that_is_down_is_not_sent_through(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no proxy listens, no byte can have left."""
    async with Proxy() as proxy:
        gone = proxy.port
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{gone}")
    async with open_at("https://localhost:1") as aws:
        reply = await aws.creates.create(BODY, allowed)

    assert (reply.loss, judge(reply)) == (Loss.PROXY, Verdict.NOT_CREATED)
