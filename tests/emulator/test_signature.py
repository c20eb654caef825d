"""A signature is accepted exactly when SigV4 accepts it."""

from __future__ import annotations

import hmac
from hashlib import sha256
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import normalize_url_path
from hypothesis import given
from hypothesis import strategies as st

from provisioner.emulator.keys import Credentials, credentials, issue
from provisioner.emulator.signature import authenticate
from provisioner.emulator.wire import ApiError, Call

from .support import ALGORITHMS, REGION, create_call, now, signed

if TYPE_CHECKING:
    from provisioner.emulator import Emulator

NO_ALGORITHM = "arn%3Aaws%3Acleanrooms-ml%3Aus-east-1%3A123456789012%3Aconfigured-model-algorithm%2Fnone"
ROLE_ARN = "arn:aws:iam::111122223333:role/path/deployer"
STAMP = "20261123T101500Z"
AT = 1795428900.0
"""The seconds since the epoch of STAMP."""

_SEGMENT = st.sampled_from(
    ["a", "b%20c", "..", ".", "", "%3A", "arn%3Aaws%2Fx", "~-_.", "ü".encode().hex(), "a=b", "%25"]
)
_PATHS = st.lists(_SEGMENT, max_size=5).map(lambda parts: "/" + "/".join(parts))
_QUERIES = st.lists(
    st.tuples(st.sampled_from(["a", "a-", "a1", "b%20", "tagKeys", ""]), st.sampled_from(["", "1", "%2F", "%3D", "z"])),
    max_size=4,
).map(lambda pairs: "&".join(f"{key}={value}" for key, value in pairs))
_VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126, include_characters=" é"), min_size=1, max_size=12)
_HEADERS = st.dictionaries(st.sampled_from(["content-type", "x-amz-meta", "accept", "zzz"]), _VALUES.map(str.strip))
_METHODS = st.sampled_from(["GET", "POST", "DELETE", "PUT"])


@st.composite
def _calls(draw: st.DrawFn) -> Call:
    query = draw(_QUERIES)
    target = draw(_PATHS) + (f"?{query}" if query else "")
    headers = {name: value for name, value in draw(_HEADERS).items() if value}
    return Call(
        draw(_METHODS), target, {**headers, "host": draw(st.sampled_from(["h", "h:81"]))}, draw(st.binary(max_size=40))
    )


def _sign(call: Call, keys: Credentials) -> Call:
    """The call, signed at STAMP by botocore."""
    request = AWSRequest(
        call.method, f"http://{call.headers['host']}{call.target}", headers=dict(call.headers), data=call.body
    )
    signer = SigV4Auth(
        BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None),
        "cleanrooms-ml",
        "eu-west-1",
    )
    request.context["timestamp"] = STAMP
    signer._modify_request_before_signing(request)
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    signer._inject_signature_to_request(request, signature)
    return msgspec.structs.replace(call, headers={name.lower(): value for name, value in request.headers.items()})


def _accepts(call: Call) -> bool:
    try:
        authenticate(call, AT)
    except ApiError as error:
        assert error.status == 403  # noqa: PT017 - part of the verdict
        return False
    return True


@given(call=_calls(), session=st.booleans())
def test_signed_by_botocore_is_accepted(call: Call, *, session: bool) -> None:
    """Whatever botocore signs, with a long-lived key or a session, is accepted."""
    keys = issue(ROLE_ARN, "test", AT, 900) if session else credentials("111122223333")

    caller = authenticate(_sign(call, keys), AT)

    assert (caller.account_id, caller.region, caller.service) == ("111122223333", "eu-west-1", "cleanrooms-ml")


@given(_calls(), _calls())
def test_changed_on_the_way_is_refused(original: Call, other: Call) -> None:
    """A call that is changed after signing is accepted only if its canonical request is still the same."""
    call = _sign(original, credentials())
    canonical = _canonical_request(call)
    headers = {**other.headers, **call.headers} | {name: other.headers[name] for name in other.headers}
    for changes in (
        {"method": other.method},
        {"target": other.target},
        {"body": other.body},
        {"headers": {**headers, "authorization": call.headers["authorization"]}},
    ):
        received = msgspec.structs.replace(call, **changes)
        assert _accepts(received) == (_canonical_request(received) == canonical)


def _canonical_request(call: Call) -> list[str] | None:
    """SigV4's canonical request by the letter of its documentation, None when a header that must be signed is not."""
    signed = call.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    must = {"host"} | {name for name in call.headers if name.startswith("x-amz-")}
    if not must <= set(signed) <= call.headers.keys():
        return None
    path, _, query = call.target.partition("?")
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    return [
        call.method,
        quote(normalize_url_path(path), safe="/~"),
        *sorted(f"{quote(unquote(key), safe='~')}={quote(unquote(value), safe='~')}" for key, value in pairs),
        *(f"{name}:{' '.join(call.headers[name].split())}" for name in sorted(signed)),
        sha256(call.body).hexdigest(),
    ]


def _sent(url: str, sent: str, signed_query: str) -> int:
    """The status of an UntagResource whose query is ``sent`` as it stands, and signed in another spelling."""
    host, keys = url.removeprefix("http://"), credentials()
    request = AWSRequest("DELETE", f"http://{host}/tags/{NO_ALGORITHM}?{signed_query}", headers={"Host": host})
    SigV4Auth(BotocoreCredentials(keys.access_key_id, keys.secret_access_key), "cleanrooms-ml", REGION).add_auth(
        request
    )
    connection = HTTPConnection(host)
    connection.request("DELETE", f"/tags/{NO_ALGORITHM}?{sent}", headers=dict(request.headers))
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("sent", "signed_query", "status"),
    [
        ("tagKeys=a%3Ab", "tagKeys=a%3Ab", 404),
        ("tagKeys=a:b", "tagKeys=a%3Ab", 404),
        ("tagKeys=%7e&tagKeys=%41", "tagKeys=A&tagKeys=~", 404),
        ("tagKeys", "tagKeys=", 400),
        ("tagKeys=a:b", "tagKeys=a:b", 403),
        ("tagKeys=a", "tagKeys=b", 403),
    ],
)
def test_query_is_signed_in_its_canonical_form(emulator: Emulator, sent: str, signed_query: str, status: int) -> None:
    """However a query is spelled on the wire, its signature covers the decoded query, encoded as SigV4 says."""
    assert _sent(emulator.url, sent, signed_query) == status


def test_every_header_that_was_signed_counts() -> None:
    """A client may sign its user agent, which botocore's own signer leaves out."""
    call = Call("GET", "/", {"host": "h", "user-agent": "sdk/1", "x-amz-date": STAMP})
    names = "host;user-agent;x-amz-date"
    scope = f"{STAMP[:8]}/eu-west-1/cleanrooms-ml/aws4_request"
    canonical = f"GET\n/\n\nhost:h\nuser-agent:sdk/1\nx-amz-date:{STAMP}\n\n{names}\n{sha256(b'').hexdigest()}"
    text = f"AWS4-HMAC-SHA256\n{STAMP}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credentials().secret_access_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    head = f"AWS4-HMAC-SHA256 Credential={credentials().access_key_id}/{scope}, SignedHeaders={names}"
    signed_call = {**call.headers, "authorization": f"{head}, Signature={key.hex()}"}

    assert _accepts(msgspec.structs.replace(call, headers=signed_call))
    assert not _accepts(msgspec.structs.replace(call, headers={**signed_call, "user-agent": "sdk/2"}))


def test_digest_that_is_stated_must_be_true() -> None:
    """A signed x-amz-content-sha256 that is not the body's digest is refused, though the signature is right."""
    keys = credentials()
    true = Call("POST", "/", {"host": "h", "x-amz-content-sha256": sha256(b"body").hexdigest()}, b"body")
    false = Call("POST", "/", {"host": "h", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, b"body")

    assert [_accepts(_sign(call, keys)) for call in (true, false)] == [True, False]


def _with_header(name: str, value: str | None) -> Call:
    call = create_call()
    headers = {key: text for key, text in call.headers.items() if key != name}
    return msgspec.structs.replace(call, headers=headers if value is None else {**headers, name: value})


_OTHER_KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "secret")
_WRONG_SECRET = credentials()._replace(secret_access_key="wrong")


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (lambda: _with_header("authorization", None), "MissingAuthenticationTokenException", "Missing"),
        (lambda: _with_header("authorization", "Basic eDp5"), "IncompleteSignatureException", "complete"),
        (lambda: _with_header("x-amz-date", None), "IncompleteSignatureException", "X-Amz-Date"),
        (lambda: _with_header("x-amz-date", "yesterday"), "IncompleteSignatureException", "X-Amz-Date"),
        (lambda: _with_header("x-amz-date", "20200101T000000Z"), "InvalidSignatureException", "Credential scope"),
        (lambda: _with_header("x-amz-extra", "1"), "InvalidSignatureException", "not signed"),
        (lambda: _with_header("host", "elsewhere"), "InvalidSignatureException", "does not match"),
        (lambda: _with_header("host", "\udc80"), "InvalidSignatureException", "UTF-8"),
        (lambda: _with_header("host", None), "InvalidSignatureException", "not present"),
        (lambda: _with_header("x-amz-security-token", "forged"), "UnrecognizedClientException", "invalid"),
        (lambda: signed("GET", ALGORITHMS, keys=_OTHER_KEY), "UnrecognizedClientException", "invalid"),
        (lambda: signed("GET", ALGORITHMS, keys=_WRONG_SECRET), "InvalidSignatureException", "does not match"),
    ],
)
def test_wrong_signature_has_its_code(call: object, code: str, words: str) -> None:
    """Each defect of a signature is answered 403 with AWS's code for it."""
    assert callable(call)
    with pytest.raises(ApiError) as caught:
        authenticate(call(), now())

    assert (caught.value.status, caught.value.code) == (403, code)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("offset", "words"), [(299, ""), (-299, ""), (302, "Signature expired"), (-302, "Signature not yet current")]
)
def test_signature_is_good_for_five_minutes(offset: float, words: str) -> None:
    """A signature may be up to five minutes old, or ahead."""
    received = _sign(Call("GET", "/", {"host": "h"}), credentials())
    message = ""
    try:
        authenticate(received, AT + offset)
    except ApiError as error:
        message = error.message

    assert message.startswith(words)
    assert bool(message) == bool(words)


def test_session_ends() -> None:
    """A session token is valid until it expires, or until the switch expires tokens of its age."""
    keys = issue(ROLE_ARN, "test", AT - 100, 150)
    call = _sign(Call("GET", "/", {"host": "h"}), keys)

    assert authenticate(call, AT).arn == "arn:aws:sts::111122223333:assumed-role/deployer/test"
    for later, since in ((AT + 50, 0.0), (AT, AT - 99)):
        with pytest.raises(ApiError) as caught:
            authenticate(call, later, tokens_since=since)
        assert caught.value.code == "ExpiredTokenException"


def test_token_of_another_key_is_refused() -> None:
    """A token is bound to the key that was issued with it, and cannot be altered."""
    first, second = (issue(ROLE_ARN, name, AT, 900) for name in ("one", "two"))
    forged = first.session_token[:-8] + "AAAAAAA="
    for keys in (first._replace(session_token=second.session_token), first._replace(session_token=forged)):
        with pytest.raises(ApiError) as caught:
            authenticate(_sign(Call("GET", "/", {"host": "h"}), keys), AT)
        assert caught.value.code == "UnrecognizedClientException"
