"""Signatures: our verdict is botocore's, on whatever comes in."""

from __future__ import annotations

import time
from hashlib import sha256

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from provisioner.emulator.signature import (
    Authorization,
    Credentials,
    Verifier,
    botocore_signature,
    credentials,
    issue,
    string_to_sign,
)
from provisioner.emulator.wire import ApiError, Call

from .support import ALGORITHMS, REGION, create_call, now, signed

ROLE_ARN = "arn:aws:iam::111122223333:role/path/deployer"
STAMP = "20261123T101500Z"
AT = 1795428900.0
"""The seconds since the epoch of STAMP."""

_SEGMENT = st.sampled_from(
    ["a", "b%20c", "..", ".", "", "%3A", "arn%3Aaws%2Fx", "~-_.", "ü".encode().hex(), "a=b", "%25"]
)
_PATHS = st.lists(_SEGMENT, max_size=5).map(lambda parts: "/" + "/".join(parts))
_QUERIES = st.lists(
    st.tuples(st.sampled_from(["a", "a-", "a1", "b%20", "tagKeys", ""]), st.sampled_from(["", "1", "%2F", "=", "z"])),
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
        Verifier().caller(call, AT)
    except ApiError as error:
        assert error.status == 403  # noqa: PT017 - part of the verdict
        return False
    return True


@given(call=_calls(), session=st.booleans())
def test_signed_by_botocore_is_accepted(call: Call, *, session: bool) -> None:
    """Whatever botocore signs, with a long-lived key or a session, is accepted."""
    keys = issue(ROLE_ARN, "test", AT, 900) if session else credentials("111122223333")

    caller = Verifier().caller(_sign(call, keys), AT)

    assert (caller.account_id, caller.region, caller.service) == ("111122223333", "eu-west-1", "cleanrooms-ml")


@given(_calls(), _calls())
def test_changed_on_the_way_is_judged_as_botocore_does(original: Call, other: Call) -> None:
    """With any part exchanged after signing, the verdict is that of botocore's signer on what came in."""
    call = _sign(original, credentials())
    headers = {**other.headers, **call.headers} | {name: other.headers[name] for name in other.headers}
    for changes in (
        {"method": other.method},
        {"target": other.target},
        {"body": other.body},
        {"headers": {**headers, "authorization": call.headers["authorization"]}},
    ):
        received = msgspec.structs.replace(call, **changes)
        assert _accepts(received) == _botocore_accepts(received)


def _botocore_accepts(call: Call) -> bool:
    """What AWS does, in botocore's words: sign again what came in, compare; x-amz- headers and the host are signed."""
    credential, signed_headers, signature = call.headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    key, date, region, service, _ = credential.removeprefix("Credential=").split("/")
    names = signed_headers.removeprefix("SignedHeaders=")
    unsigned = {name for name in call.headers if name.startswith("x-amz-")} - set(names.split(";"))
    if unsigned or not set(names.split(";")) <= call.headers.keys():
        return False
    authorization = Authorization(key, date, region, service, names, signature.removeprefix("Signature="))
    return botocore_signature(call, authorization, credentials().secret_access_key) == authorization.signature


@given(_calls())
def test_string_to_sign_is_botocores(call: Call) -> None:
    """The fast computation and botocore's give the same string to sign, so that the slow one is never needed."""
    received = _sign(call, credentials())
    credential, names, _ = received.headers["authorization"].split(", ")
    _, date, region, service, _ = credential.split("/")
    authorization = Authorization("", date, region, service, names.removeprefix("SignedHeaders="), "")
    request = AWSRequest(
        call.method,
        f"http://{call.headers['host']}{call.target}",
        headers={name: received.headers[name] for name in authorization.signed_headers.split(";")},
        data=call.body,
    )
    request.context["timestamp"] = STAMP
    signer = SigV4Auth(None, service, region)

    assert string_to_sign(received, authorization) == signer.string_to_sign(request, signer.canonical_request(request))


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
    """Each thing that can be wrong with a signature answers 403 with AWS's code for it."""
    assert callable(call)
    with pytest.raises(ApiError) as caught:
        Verifier().caller(call(), now())

    assert (caught.value.status, caught.value.code) == (403, code)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("offset", "words"), [(299, ""), (-299, ""), (302, "Signature expired"), (-302, "Signature not yet current")]
)
def test_signature_is_good_for_five_minutes(offset: float, words: str) -> None:
    """Up to five minutes between signature and arrival are allowed, either way."""
    received = _sign(Call("GET", "/", {"host": "h"}), credentials())
    message = ""
    try:
        Verifier().caller(received, AT + offset)
    except ApiError as error:
        message = error.message

    assert message.startswith(words)
    assert bool(message) == bool(words)


def test_session_ends() -> None:
    """A session token is good until it expires, and until the endpoint forgets tokens of its age."""
    keys = issue(ROLE_ARN, "test", AT - 100, 150)
    call = _sign(Call("GET", "/", {"host": "h"}), keys)
    verifier = Verifier()

    assert verifier.caller(call, AT).arn == "arn:aws:sts::111122223333:assumed-role/deployer/test"
    for later, since in ((AT + 50, 0.0), (AT, AT - 99)):
        with pytest.raises(ApiError) as caught:
            verifier.caller(call, later, tokens_since=since)
        assert caught.value.code == "ExpiredTokenException"


def test_token_of_another_key_is_refused() -> None:
    """A token is bound to the key that was issued with it, and cannot be altered."""
    first, second = (issue(ROLE_ARN, name, AT, 900) for name in ("one", "two"))
    forged = first.session_token[:-8] + "AAAAAAA="
    for keys in (first._replace(session_token=second.session_token), first._replace(session_token=forged)):
        with pytest.raises(ApiError) as caught:
            Verifier().caller(_sign(Call("GET", "/", {"host": "h"}), keys), AT)
        assert caught.value.code == "UnrecognizedClientException"


def test_signing_keys_are_bounded() -> None:
    """The cache of signing keys does not grow with the Regions that callers make up."""
    verifier = Verifier()
    call = signed("GET", ALGORITHMS)
    for number in range(1100):
        region = f"{REGION}{number}"
        with pytest.raises(ApiError):
            verifier.caller(
                msgspec.structs.replace(
                    call,
                    headers={**call.headers, "authorization": call.headers["authorization"].replace(REGION, region)},
                ),
                time.time(),
            )

    assert len(verifier._keys) <= 1024
