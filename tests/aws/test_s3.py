"""Objects in S3: read over broken connections, as they were when they were found, and written whole or not at all."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
import zstandard

from provisioner.aws.s3 import ATTEMPTS, BREAKS, PART_BYTES, S3, ObjectStoreError
from provisioner.core.objects import object_name
from provisioner.errors import ConfigurationError, ManifestChangedError, ProvisionerError, Reason
from provisioner.manifest.sources import SpooledSource, resolve
from tests.aws.server import Server, http, send
from tests.faults.network import Cut, Proxy
from tests.manifest.test_lines import lines_of
from tests.s3 import BUCKET, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.aws.server import Line
    from tests.s3 import Store

CONTENT = b"".join(b"line %d\n" % number for number in range(2000))


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    """One server for all tests."""
    with running() as store:
        yield store


@pytest.fixture
def store(server: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The server, in the environment of the process."""
    _use(server, monkeypatch)
    return server


def _use(store: Store, monkeypatch: pytest.MonkeyPatch, port: int | None = None) -> None:
    for name, value in store.environment(port).items():
        monkeypatch.setenv(name, value)


def _at_once() -> S3:
    """S3, without pauses."""
    return S3(pause=lambda _: None)


def _read(name: str, s3: S3 | None = None) -> bytes:
    with (s3 or _at_once()).source(object_name(name)).open() as reader:
        return reader.read()


# What is read.


@pytest.mark.parametrize(
    ("key", "body"),
    [
        ("plain.jsonl", CONTENT),
        ("packed.jsonl.gz", gzip.compress(CONTENT, mtime=0)),
        ("packed.jsonl.zst", zstandard.compress(CONTENT)),
        ("date=2026-11-26/a b+c%20?#ü.jsonl", CONTENT),
        ("empty", b""),
    ],
    ids=["plain", "gz", "zst", "odd", "empty"],
)
def test_objects_are_sources(store: Store, key: str, body: bytes) -> None:
    """An object is read as a file is, unpacked, whatever characters its key has; it may be read again."""
    (source,) = resolve([store.put(key, body)] * 2, None, _at_once)
    once, again = lines_of(source), lines_of(source)

    assert source.label == f"s3://{BUCKET}/{key}"
    assert source.size_bytes == len(body)
    assert [line for _, line in once] == (CONTENT.splitlines() if body else [])
    assert once == again == lines_of(SpooledSource(source))


def test_a_reader_holds_no_more_than_it_is_asked_for(store: Store) -> None:
    """An object of any size takes the memory of one piece."""
    source = _at_once().source(object_name(store.put("long", bytes(3_000_000))))
    with source.open() as reader:
        pieces = [len(reader.read(1_000_000)) for _ in range(3)]

    assert max(pieces) <= 256 * 1024


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_breaks_at_any_byte(store: Store, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Wherever a reply breaks off, the reading goes on at the next byte: nothing is lost, nothing comes twice."""
    name = store.put("broken", CONTENT)
    cuts: list[Cut] = []
    async with Proxy(store.port, lambda: cuts.pop(0) if cuts else Cut()) as proxy:
        _use(store, monkeypatch, proxy.port)
        for at in (0, 100, 700, 2048, len(CONTENT)):
            # The first connection finds the object; of the others, one after the other breaks.
            cuts[:] = [Cut(), *(Cut("reply", at + more, how) for more in range(2))]  # type: ignore[arg-type]

            assert await anyio.to_thread.run_sync(_read, name) == CONTENT
            assert not cuts


async def test_a_connection_that_always_breaks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that gets no byte any more gives up, and the run is to be repeated later (75)."""
    pauses: list[float] = []

    async def without_a_body(line: Line) -> None:
        line.writer.write(http(200, b"", {"ETag": '"1"', "content-length": "100"}))
        await line.writer.drain()
        line.writer.close()

    async with Server(without_a_body) as server:
        _use(store, monkeypatch, server.port)
        with pytest.raises(ObjectStoreError, match=r"s3://b/k: S3 is out of reach: .* 6 times in a row") as caught:
            await anyio.to_thread.run_sync(_read, "s3://b/k", S3(pauses.append))

    assert caught.value.reason is Reason.UNFINISHED
    assert len(pauses) == BREAKS - 1


def test_an_object_that_is_replaced(store: Store) -> None:
    """Every reading is of the content that was found: what replaces it is refused, as a file that changes is."""
    name = store.put("replaced", CONTENT)
    source = _at_once().source(object_name(name))
    first = lines_of(source)
    store.put("replaced", CONTENT.upper())

    assert len(first) == len(CONTENT.splitlines())
    with pytest.raises(ManifestChangedError, match=f"{name}: the manifest changed while it was read"):
        lines_of(source)
    with pytest.raises(ManifestChangedError):
        SpooledSource(source)


async def test_an_object_that_is_replaced_while_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a broken connection the rest of another content is never read."""
    name = store.put("replaced", CONTENT)
    cuts = [Cut(), Cut("reply", 5000)]

    def replace_and_read() -> None:
        def replace(_pause_s: float) -> None:
            store.put("replaced", CONTENT.upper())

        with S3(replace).source(object_name(name)).open() as reader:
            reader.read()

    async with Proxy(store.port, lambda: cuts.pop(0) if cuts else Cut()) as proxy:
        _use(store, monkeypatch, proxy.port)
        with pytest.raises(ManifestChangedError):
            await anyio.to_thread.run_sync(replace_and_read)


# What goes wrong.


def _refusal(code: str, more: str = "") -> bytes:
    message = f"<Message>Sorry: token-{'x' * 60}</Message>"
    return f"<?xml version='1.0'?><Error><Code>{code}</Code>{message}{more}</Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        (404, "NoSuchBucket", Reason.USAGE, "there is no such bucket"),
        (404, "NoSuchKey", Reason.USAGE, "there is no such object"),
        (403, "InvalidObjectState", Reason.USAGE, "the object is archived"),
        (403, "AccessDenied", Reason.DENIED, "S3 denies access"),
        (403, "SomethingNew", Reason.DENIED, "S3 denies access"),
        (400, "ExpiredToken", Reason.DENIED, "S3 denies access"),
        (400, "SomethingNew", Reason.USAGE, "S3 refuses the request"),
        (301, "PermanentRedirect", Reason.CONFIGURATION, "the bucket is in another Region"),
        (301, "Moved", Reason.CONFIGURATION, "S3 cannot be called: it redirects every request"),
        (503, "SlowDown", Reason.UNFINISHED, "S3 failed to answer the request"),
    ],
)
async def test_what_s3_refuses(
    store: Store, monkeypatch: pytest.MonkeyPatch, status: int, code: str, reason: Reason, message: str
) -> None:
    """Each refusal names object, cause and remedy, and leads to the exit code of the same mistake with a file."""
    answer = http(status, _refusal(code), {"x-amz-bucket-region": "eu-north-1"} if code == "PermanentRedirect" else {})
    async with Server(send(answer)) as server:
        _use(store, monkeypatch, server.port)
        monkeypatch.setenv("AWS_SESSION_TOKEN", f"token-{'x' * 60}")
        with pytest.raises(ProvisionerError, match=f"^s3://b/k: {message}[.:]") as caught:
            await anyio.to_thread.run_sync(_read, "s3://b/k")

    assert caught.value.reason is reason
    assert "xxx" not in str(caught.value)
    if reason is Reason.UNFINISHED:
        assert len(server.requests) == ATTEMPTS


async def test_a_bucket_in_another_region(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was signed for another Region than the bucket's is sent again for that one."""
    wrong = http(400, _refusal("AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>"))
    body = http(200, b"abc", {"ETag": '"1"'})
    async with Server(send(wrong), send(body)) as server:
        _use(store, monkeypatch, server.port)
        read = await anyio.to_thread.run_sync(_read, "s3://b/k")

    assert read == b"abc"
    assert ["eu-north-1" in one.headers["authorization"] for one in server.requests] == [False, True, True]


def test_nothing_listens(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 that is out of reach is worth another run (75)."""
    _use(store, monkeypatch, 9)

    with pytest.raises(ObjectStoreError, match="S3 is out of reach"):
        _read("s3://b/k")


def test_an_endpoint_that_anybody_can_listen_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests carry a session token, so they go by https, or stay on this machine (78)."""
    del store
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.example.com")

    with pytest.raises(ConfigurationError, match="https, or http on this machine"):
        _read("s3://b/k")


def test_without_credentials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials in the environment the message says that a target's are not used (77)."""
    del store
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    with pytest.raises(ProvisionerError, match=r"no AWS credentials.*those of a target are not used") as caught:
        _read("s3://b/k")
    assert caught.value.reason is Reason.DENIED


@pytest.mark.parametrize("name", ["s3://", "s3://b", "s3://b/", "s3:///k", "s3://b/folder/", "s3://not a bucket/k"])
def test_names_of_no_object(store: Store, name: str) -> None:
    """A name without bucket or key is a usage error (2) that shows the form."""
    del store
    with pytest.raises(ProvisionerError, match=r"not name an object in S3.*s3://BUCKET/KEY") as caught:
        _read(name)
    assert caught.value.reason is Reason.USAGE


# What is written.


@pytest.mark.parametrize("size", [0, 10, PART_BYTES + 1])
def test_a_result_appears_whole(store: Store, size: int) -> None:
    """A short result is one object, a long one an upload of parts; until its end, nothing is there."""
    with _at_once().write(object_name(f"s3://{BUCKET}/new")) as write:
        write(bytes(size))
        begun = len(store.unfinished())
        before = store.client.list_objects_v2(Bucket=BUCKET, Prefix="new")["KeyCount"]
    written = store.get("new")
    store.client.delete_object(Bucket=BUCKET, Key="new")

    assert (before, begun) == (0, size > PART_BYTES)
    assert written == bytes(size)
    assert not store.unfinished()


def test_a_result_that_fails_leaves_nothing(store: Store) -> None:
    """An error leaves the object of before as it was, and no parts that somebody would pay for."""
    store.put("old", b"old")
    writing = _at_once().write(object_name(f"s3://{BUCKET}/old"))
    writing.__enter__()(bytes(PART_BYTES + 1))
    begun = store.unfinished()
    writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert begun == ["old"]
    assert store.get("old") == b"old"
    assert not store.unfinished()


def test_a_bucket_is_looked_for_before_any_work(store: Store) -> None:
    """A bucket that is not there, or an object that is to stay, is a usage error at once (2)."""
    name = object_name(store.put("there", b""))
    _at_once().check_bucket(name, replace=True)
    _at_once().check_bucket(object_name(f"s3://{BUCKET}/new"), replace=False)

    with pytest.raises(ProvisionerError, match="the object exists already"):
        _at_once().check_bucket(name, replace=False)
    with pytest.raises(ProvisionerError, match="there is no such bucket") as caught:
        _at_once().check_bucket(object_name("s3://nowhere/new"), replace=True)
    assert caught.value.reason is Reason.USAGE
