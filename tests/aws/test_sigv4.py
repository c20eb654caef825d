"""Signatures, beside botocore's."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote, urlencode

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from provisioner.aws.sigv4 import Signer, sign_again

TYPE = "application/json"

URLS = st.sampled_from(
    [
        "https://cleanrooms-ml.us-east-1.amazonaws.com/configured-model-algorithms",
        "https://cleanrooms-ml-fips.us-gov-west-1.api.aws:443/configured-model-algorithms",
        "http://127.0.0.1:8080/configured-model-algorithms",
        "http://[::1]:8080/configured-model-algorithms",
        "https://Proxy.Example:8443/a%20b/../base//x/configured-model-algorithms",
    ]
)

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)

TIMES = st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=4)


def theirs(
    url: str, region: str, credentials: ReadOnlyCredentials, body: bytes, now: int, method: str = "POST"
) -> tuple[str, str]:
    """Date and Authorization by botocore's own signer."""
    headers = {"User-Agent": "any"} | ({"Content-Type": TYPE} if body or method == "POST" else {})
    request = AWSRequest(method, url, headers, body)
    moment = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    keys = Credentials(credentials.access_key, credentials.secret_key, credentials.token)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment):
        botocore.auth.SigV4Auth(keys, "cleanrooms-ml", region).add_auth(request)
    return request.headers["X-Amz-Date"], request.headers["Authorization"]


@given(
    url=URLS,
    region=st.sampled_from(["us-east-1", "cn-north-1", "us-gov-west-1"]) | PRINTABLE,
    credentials=st.builds(ReadOnlyCredentials, PRINTABLE, PRINTABLE, st.none() | PRINTABLE, st.none()),
    body=st.binary(max_size=500) | st.text(max_size=200).map(str.encode),
    times=TIMES,
)
def test_signatures_equal_botocores(
    url: str, region: str, credentials: ReadOnlyCredentials, body: bytes, times: list[int]
) -> None:
    """For any body, moment, Region, key and token the headers are those of the SDK, whatever was signed before."""
    signer = Signer(url, region, "cleanrooms-ml", TYPE, credentials)

    for now in [*times, times[0]]:
        assert signer.sign(body, now) == theirs(url, region, credentials, body, now)


@given(url=URLS, token=st.none() | PRINTABLE, page=st.text(min_size=1, max_size=30), now=st.integers(0, 4_000_000_000))
def test_signatures_of_requests_without_a_body_equal_botocores(
    url: str, token: str | None, page: str, now: int
) -> None:
    """Without a body, and with a query, whatever the token of its page is made of."""
    credentials = ReadOnlyCredentials("AKID", "secret", token, None)
    query = urlencode({"maxResults": "7", "nextToken": page}, quote_via=quote, safe="-_.~")
    signer = Signer(url, "us-east-1", "cleanrooms-ml", "", credentials, method="GET", query=query)

    assert signer.sign(b"", now) == theirs(f"{url}?{query}", "us-east-1", credentials, b"", now, "GET")


@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.sampled_from(["", "/arn%3Aaws%3Ax%2Fy", "?maxResults=7&nextToken=t%2B%2F%3D", "?b=2&a=%C3%A9"]),
    token=st.none() | PRINTABLE,
    body=st.binary(max_size=50),
    now=st.integers(0, 4_000_000_000),
)
def test_a_request_that_is_signed_again_is_one_that_the_sdk_signs_then(
    method: str, path: str, token: str | None, body: bytes, now: int
) -> None:
    """The headers after a correction are those of a request that the SDK signs at that moment, prepared or not."""
    url = f"https://host.example/configured-model-algorithms{path}"
    keys = Credentials("AKID", "secret", token)

    def signed_at(moment: int) -> AWSRequest:
        request = AWSRequest(method, url, {"Content-Type": TYPE, "User-Agent": "any"}, body)
        with mock.patch.object(
            botocore.auth, "get_current_datetime", return_value=datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)
        ):
            botocore.auth.SigV4Auth(keys, "cleanrooms-ml", "us-east-1").add_auth(request)
        return request.prepare()

    wrong = signed_at(1_000)
    sign_again(wrong, keys.get_frozen_credentials(), now)

    assert texts(wrong) == texts(signed_at(now))


def texts(request: AWSRequest) -> dict[str, str]:
    """The headers of a prepared request."""
    items = request.headers.items()
    return {name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in items}
