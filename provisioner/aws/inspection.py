"""The interface of an inspection: what a target's account says of itself. It only reads.

It stands beside :mod:`provisioner.aws.faces`: a run needs nothing of it, and it calls services that a run never calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.aws.faces import Page, TaggedPage
    from provisioner.core.images import Image


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the credentials, without a secret.

    Attributes:
        origin: where the SDK found them: ``env``, ``shared-credentials-file``, ``sso``, ``sts-assume-role``, ...
        temporary: whether they have a session token, and so expire.
        left_s: seconds until they expire; infinite if that is not known, or never.
        account_id: as far as the key id shows it; "" where it does not.
    """

    origin: str
    temporary: bool
    left_s: float
    account_id: str


class Caller(msgspec.Struct, frozen=True):
    """Whose the credentials are, by STS."""

    account_id: str
    arn: str


class Inspection(Protocol):
    """One target, open for reading. Each call is sent at most twice; every failure is a CallError.

    A CallError whose reply has an ``AccessDenied`` code means that the permission to look is missing, and says nothing
    about what was to be looked at. Any number of calls may run at once.
    """

    @property
    def region(self) -> str:
        """The Region that was found."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about the Region, one sentence each."""
        ...

    @property
    def clock_ahead_s(self) -> float | None:
        """Seconds that this machine's clock is ahead of the server's, by the last reply; None before the first."""
        ...

    async def credentials(self) -> Credentials:
        """Find the credentials, and assume the role of the target.

        Raises:
            CredentialsError: there are none, or the role cannot be assumed.
            ConfigurationError: they cannot be sent.
        """
        ...

    async def caller(self) -> Caller:
        """Whose they are: sts:GetCallerIdentity, which needs no permission."""
        ...

    async def list_algorithms(self, next_token: str = "") -> Page:
        """One page: cleanrooms-ml:ListConfiguredModelAlgorithms, sent once."""
        ...

    async def tagged(self) -> TaggedPage:
        """The first page of the tagging API: tag:GetResources, sent once. Only where the target has that API."""
        ...

    async def quota(self) -> float:
        """How many configured model algorithms the account may hold: servicequotas:GetServiceQuota.

        The default is asked for (servicequotas:GetAWSDefaultServiceQuota) where the account has no value of its own.
        """
        ...

    async def role(self, name: str) -> tuple[str, dict[str, Any]]:
        """A role's ARN, with its path, and its trust policy: iam:GetRole."""
        ...

    async def simulate(self, principal: str, actions: Sequence[str], resource: str) -> dict[str, str]:
        """How IAM decides each action: ``allowed``, ``explicitDeny``, ``implicitDeny``. iam:SimulatePrincipalPolicy.

        Policies of the principal, its permissions boundary and those of the organization count; the resource's own
        policy and session policies do not. iam:PassedToService is that of Clean Rooms ML.
        """
        ...

    async def find_image(self, image: Image) -> None:
        """Look an image up in its registry: ecr:DescribeImages. It is there unless this raises."""
        ...

    async def key_state(self, arn: str) -> str:
        """The state of a KMS key, such as ``Enabled``: kms:DescribeKey."""
        ...
