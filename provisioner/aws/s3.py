"""Objects in S3: manifests that are read, and results that are written. Synchronous, for readers in threads.

Credentials and Region are those of the usual AWS environment (``AWS_PROFILE``, keys, web identity, container, instance
metadata), never those of a target: one manifest is for many targets. Endpoints too are found as the SDK finds them.
"""

from __future__ import annotations

import io
import re
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from botocore import exceptions as sdk
from botocore.config import Config
from botocore.session import Session

import provisioner
from provisioner.aws.secrets import Secrets
from provisioner.aws.session import unset_empty_variables
from provisioner.config.values import LOOPBACK
from provisioner.errors import (
    ConfigurationError,
    CredentialsError,
    ManifestChangedError,
    ManifestError,
    ProvisionerError,
    Reason,
    UsageError,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.core.objects import ObjectName

_T = TypeVar("_T")

ATTEMPTS = 4
"""Attempts of a call: reading an object, or writing one, may be repeated."""
CONNECT_S = 5
READ_S = 15
BREAKS = 6
"""Broken connections in a row, without a byte between them, after which a reader gives up."""
PART_BYTES = 16 * 1024 * 1024
"""Bytes of a part of an upload: S3 allows 10,000 parts (S3 User Guide, "Amazon S3 multipart upload limits"), so a
result may have 156 GiB. A smaller result is sent in one piece."""
_PIECE = 256 * 1024
_PATTERN = re.compile(r"[*?\[]")
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class ObjectStoreError(ProvisionerError):
    """S3 is out of reach, or does not do what was asked, although trying again may help."""

    reason = Reason.UNFINISHED


class _DeniedError(CredentialsError):
    """S3 refuses the call."""


class _MissingError(ProvisionerError):
    """There is no such object."""


class S3:
    """A client of S3. Any number of threads may use it at a time; it is made at the first call.

    Args:
        pause: waits some seconds before another attempt.
    """

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self._made: Any = None
        self._secrets = Secrets()
        self._lock = threading.Lock()
        self.pause = pause

    def source(self, name: ObjectName) -> S3Source:
        """The object ``name``, to be read as it is now.

        Raises:
            ManifestError: there is no such object or bucket.
            CredentialsError: there are no credentials, or they may not read it.
            ConfigurationError: the AWS configuration is wrong.
            ObjectStoreError: S3 is out of reach.
        """
        found = self.call(name, ManifestError, lambda client: client.get_object(Bucket=name.bucket, Key=name.key))
        found["Body"].close()
        return S3Source(self, name, str(found["ETag"]), int(found["ContentLength"]))

    def check_bucket(self, name: ObjectName, *, replace: bool) -> None:
        """Make sure, as far as the permissions let that be known, that ``name`` can be written.

        Raises:
            ProvisionerError: as for :meth:`write`; or there is an object that is to stay.
        """
        with suppress(ObjectStoreError, _DeniedError):
            self.call(name, UsageError, lambda client: client.head_bucket(Bucket=name.bucket))
        if replace:
            return
        with suppress(ObjectStoreError, _DeniedError, _MissingError):
            self.call(name, _MissingError, lambda client: client.head_object(Bucket=name.bucket, Key=name.key))
            hint = "Name another one, or add --force to replace it"
            raise UsageError("the object exists already", where=str(name), hint=hint)

    @contextmanager
    def write(self, name: ObjectName) -> Iterator[Callable[[bytes], None]]:
        """Write an object: a function that takes any part of it. It appears when the block ends without an error.

        An error leaves the object as it was, and no parts behind.

        Raises:
            UsageError: there is no such bucket.
            CredentialsError, ConfigurationError, ObjectStoreError: as for :meth:`source`.
        """
        upload = _Upload(self, name)
        try:
            yield upload.add
            upload.finish()
        except BaseException:
            upload.abort()
            raise

    def call(self, name: ObjectName, missing: type[ProvisionerError], send: Callable[[Any], _T]) -> _T:
        """Make a call.

        Args:
            name: of the object that it is about.
            missing: what is raised when there is no such object or bucket.
            send: gets the SDK's client.
        """
        failures = 0
        while True:
            try:
                return send(self._client())
            except (sdk.BotoCoreError, sdk.ClientError, ValueError, RecursionError) as error:
                failure = _error(name, error, missing, self._secrets)
                failures += 1
                if failures == ATTEMPTS or not isinstance(failure, ObjectStoreError):
                    raise failure from error
            self.pause(_pause_s(failures))

    def _client(self) -> Any:  # noqa: ANN401  the SDK has no types
        with self._lock:
            if self._made is None:
                self._made, self._secrets = _open_client()
        return self._made


def _open_client() -> tuple[Any, Secrets]:
    unset_empty_variables()
    session = Session()
    session.user_agent_extra = f"provisioner/{provisioner.__version__}"
    credentials = session.get_credentials()
    if credentials is None:
        raise sdk.NoCredentialsError
    retries = {"total_max_attempts": 1, "mode": "standard"}
    config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
    client = session.create_client("s3", config=config)
    endpoint = urlsplit(client.meta.endpoint_url)
    if endpoint.scheme != "https" and endpoint.hostname not in LOOPBACK:
        what = "the endpoint of S3 has to be https, or http on this machine"
        hint = "It comes from AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or `endpoint_url` in the AWS configuration"
        raise ConfigurationError(what, where=client.meta.endpoint_url, hint=hint)
    return client, Secrets([credentials.get_frozen_credentials().token or ""])


class S3Source:
    """An object in S3 as it was when it was found; see :class:`provisioner.manifest.sources.Source`.

    Args:
        store: where it is.
        name: of the object.
        etag: of the content that is read.
        size_bytes: of that content.
    """

    repeatable = True
    remote = True

    def __init__(self, store: S3, name: ObjectName, etag: str, size_bytes: int) -> None:
        # Backslashes are doubled, as in the label of a file.
        self.label = printable(str(name).replace("\\", r"\\"), 4096)
        self.suffix = PurePosixPath(name.key).suffix.lower()
        self.size_bytes: int | None = size_bytes
        self._store = store
        self._name = name
        self._etag = etag
        self._length = size_bytes

    def open(self) -> BinaryIO:
        """A new reader. It raises an error of this package when the object cannot be read any further."""
        return cast("BinaryIO", _Reader(self._open_at, self._length, self._broken))

    def _open_at(self, position: int) -> Any:  # noqa: ANN401  the SDK has no types
        """The body from ``position`` on, of the very content that was found."""
        wanted = {"Range": f"bytes={position}-"} if position else {}

        def send(client: Any) -> Any:  # noqa: ANN401  the same
            return client.get_object(Bucket=self._name.bucket, Key=self._name.key, IfMatch=self._etag, **wanted)

        found = self._store.call(self._name, ManifestError, send)
        part = _RANGE.fullmatch(found.get("ContentRange", f"bytes 0-0/{found['ContentLength']}"))
        if found["ETag"] != self._etag or part is None or int(part[2]) != self._length:
            found["Body"].close()
            raise ManifestChangedError(str(self._name))
        if int(part[1]) != position:
            found["Body"].close()
            raise ObjectStoreError("S3 sent another part of the object than was requested", where=str(self._name))
        return found["Body"]

    def _broken(self, failures: int, error: Exception) -> None:
        """Wait before the connection is made again.

        Raises:
            ObjectStoreError: it has broken too often.
        """
        if failures >= BREAKS:
            raise _unreachable(self._name, f"the connection broke {failures} times in a row") from error
        self._store.pause(_pause_s(failures - 1))


class _Reader(io.RawIOBase):
    """Reads a body, and takes it up again where its connection broke.

    Args:
        open_at: opens the body at a position.
        length: of the whole.
        broken: is told how often in a row the connection has broken, and why.
    """

    def __init__(self, open_at: Callable[[int], Any], length: int, broken: Callable[[int, Exception], None]) -> None:
        self._open_at = open_at
        self._length = length
        self._broken = broken
        self._body: Any = None
        self._position = 0
        self._failures = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, b"" at the end."""
        if size < 0:
            return self.readall()
        while self._position < self._length:
            try:
                chunk = self._next(size)
            except ProvisionerError:
                raise
            except Exception as error:  # noqa: BLE001  of the SDK, of its HTTP library, of TLS and of the socket
                self.close_body()
                self._failures += 1
                self._broken(self._failures, error)
            else:
                self._failures = 0
                self._position += len(chunk)
                return chunk
        return b""

    def close(self) -> None:
        """Close the connection, if it has not been read to its end."""
        self.close_body()
        super().close()

    def close_body(self) -> None:
        """Forget the body."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _next(self, size: int) -> bytes:
        if self._body is None:
            self._body = self._open_at(self._position)
        # What arrived of a piece before the connection broke is lost, so after each break the pieces are smaller.
        chunk: bytes = self._body.read(min(size, max(1, _PIECE >> 3 * self._failures)))
        if not chunk:
            raise EOFError("the connection was closed before the end of the object")
        return chunk


class _Upload:
    """An object that is being written: one PutObject, or an upload in parts where it is long."""

    def __init__(self, store: S3, name: ObjectName) -> None:
        self._store = store
        self._name = name
        self._where = {"Bucket": name.bucket, "Key": name.key}
        self._waiting = bytearray()
        self._upload: dict[str, str] = {}
        self._parts: list[dict[str, object]] = []

    def add(self, data: bytes) -> None:
        """Write ``data``."""
        self._waiting += data
        while len(self._waiting) > PART_BYTES:
            self._send(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]

    def finish(self) -> None:
        """Make the object appear."""
        if not self._upload:
            self._call(lambda client: client.put_object(**self._where, Body=bytes(self._waiting)))
            return
        self._send(bytes(self._waiting))
        parts = {"Parts": self._parts}
        self._call(lambda client: client.complete_multipart_upload(**self._upload, MultipartUpload=parts))

    def abort(self) -> None:
        """Leave no parts behind, as far as S3 can be reached."""
        if self._upload:
            with suppress(ProvisionerError):
                self._call(lambda client: client.abort_multipart_upload(**self._upload))

    def _send(self, part: bytes) -> None:
        if not self._upload:
            begun = self._call(lambda client: client.create_multipart_upload(**self._where))
            self._upload = {**self._where, "UploadId": begun["UploadId"]}
        number = len(self._parts) + 1
        sent = self._call(lambda client: client.upload_part(**self._upload, PartNumber=number, Body=part))
        # S3 wants the checksums that the SDK sent with each part once more.
        sums = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number, **sums})

    def _call(self, send: Callable[[Any], Any]) -> Any:  # noqa: ANN401  the SDK has no types
        return self._store.call(self._name, UsageError, send)


_Meaning = tuple["type[ProvisionerError] | None", str, str]

_DENIED: _Meaning = (
    _DeniedError,
    "S3 denies access",
    "`provisioner iam-policy` prints the policy that the credentials of the environment need",
)
_BUSY: _Meaning = (ObjectStoreError, "S3 failed to answer the request", "Run again later")
_REFUSED: _Meaning = (None, "S3 refuses the request", "")
_SAYS_ALL = {"NoSuchBucket", "404", "NoSuchKey", "NotFound"}
"""Codes to which their messages add nothing."""
_FORBIDDEN = 403
_SERVER_ERROR = 500
_MEANINGS: tuple[tuple[set[str], _Meaning], ...] = (
    ({"NoSuchBucket"}, (None, "there is no such bucket", "Check its name")),
    ({"404", "NoSuchKey", "NotFound"}, (None, "there is no such object", "Check its key")),
    (
        {"InvalidObjectState"},
        (None, "the object is archived", "Restore it with `aws s3api restore-object`, then run again"),
    ),
    (
        {"AuthorizationHeaderMalformed", "PermanentRedirect", "301", "307", "IllegalLocationConstraintException"},
        (
            ConfigurationError,
            "the bucket is in another Region",
            "Set AWS_DEFAULT_REGION to the Region of the bucket",
        ),
    ),
    # These come with the status 400.
    ({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}, _DENIED),
    ({"RequestTimeout", "SlowDown"}, _BUSY),
)
"""What the error codes of S3 mean (S3 API Reference, "Error responses"); None is what the caller makes of what is not
there."""


def _error(name: ObjectName, error: Exception, missing: type[ProvisionerError], secrets: Secrets) -> ProvisionerError:
    """What ``error`` of the SDK means, in words of ours."""
    where = str(name)
    if isinstance(error, sdk.ClientError):
        return _refusal(name, error, missing, secrets)
    why = secrets.remove(str(error))
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError | sdk.CredentialRetrievalError):
        hint = "Set AWS_PROFILE or the keys in the environment: those of a target are not used for S3"
        why = "" if isinstance(error, sdk.NoCredentialsError) else why
        return CredentialsError("no AWS credentials were found for S3", where=where, why=why, hint=hint)
    if isinstance(error, sdk.SSOError | sdk.TokenRetrievalError):
        return CredentialsError("no valid AWS credentials for S3", where=where, why=why, hint="Run `aws sso login`")
    if isinstance(error, sdk.ParamValidationError):
        return UsageError(
            "this does not name an object in S3", where=where, why=why, hint="Name one object: s3://BUCKET/KEY"
        )
    if isinstance(error, sdk.HTTPClientError | sdk.ConnectionError):
        return _unreachable(name, why)
    if isinstance(error, RecursionError):  # the SDK asks where the bucket is, is redirected, asks where it is, ...
        why = "it redirects every request"
    return ConfigurationError("S3 cannot be called", where=where, why=why, hint="Check the AWS configuration")


def _refusal(
    name: ObjectName, error: sdk.ClientError, missing: type[ProvisionerError], secrets: Secrets
) -> ProvisionerError:
    """What an answer of S3 that is an error means."""
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), secrets.remove(str(said.get("Message", "")))
    if code == "PreconditionFailed":
        return ManifestChangedError(str(name))
    if error.operation_name == "HeadBucket" and code == "404":  # such an answer has no body, and so no code
        code, message = "NoSuchBucket", ""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    default = _DENIED if status == _FORBIDDEN else _BUSY if status >= _SERVER_ERROR else _REFUSED
    kind, what, hint = next((meaning for codes, meaning in _MEANINGS if code in codes), default)
    why = f"{code}: {message}" if message else code
    if code in _SAYS_ALL:
        why = ""
        hint += "; patterns are not expanded in S3" if _PATTERN.search(name.key) else ""
    return (kind or missing)(what, where=str(name), why=why, hint=hint)


def _pause_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return 0.25 * 2**failures if failures else 0.0


def _unreachable(name: ObjectName, why: str) -> ObjectStoreError:
    return ObjectStoreError("S3 is out of reach", where=str(name), why=why, hint="Run again later")
