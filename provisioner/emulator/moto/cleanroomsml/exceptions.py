"""Exceptions raised by the cleanroomsml service."""

from moto.core.exceptions import ServiceException


class CleanRoomsMLException(ServiceException):
    pass


class ConflictException(CleanRoomsMLException):
    code = "ConflictException"


class ResourceNotFoundException(CleanRoomsMLException):
    code = "ResourceNotFoundException"

    def __init__(self, arn: str):
        super().__init__(f"The resource {arn} was not found.")


class ServiceQuotaExceededException(CleanRoomsMLException):
    code = "ServiceQuotaExceededException"

    def __init__(self, quota_name: str, quota_value: float):
        super().__init__(
            f"You have reached the quota of {quota_value:g} for {quota_name}."
        )
        self.quotaName = quota_name
        self.quotaValue = quota_value


class ValidationException(CleanRoomsMLException):
    code = "ValidationException"


class ConstraintViolation(ValidationException):
    """One or more parameters do not satisfy the constraints of the service model."""

    def __init__(self, violations: list[str]):
        errors = "error" if len(violations) == 1 else "errors"
        super().__init__(
            f"{len(violations)} validation {errors} detected: {'; '.join(violations)}"
        )


class InvalidNextToken(ConstraintViolation):
    def __init__(self, token: str):
        super().__init__(
            [
                f"Value '{token}' at 'nextToken' failed to satisfy constraint: "
                "Member must be a token that this operation returned"
            ]
        )
