"""The synchronous answers of Beckn: ACK, or NACK with an error."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from beckn.protocol.objects import BecknObject
from beckn.protocol.signing import SIGNED_HEADERS
from beckn.protocol.values import Omittable
from printable import printable
from vocabulary import StrEnum


class ErrorCode(StrEnum):
    """Beckn's error codes, of those that can happen here."""

    INVALID_REQUEST = "30000"
    PROVIDER_NOT_FOUND = "30001"
    ITEM_NOT_FOUND = "30004"
    ORDER_NOT_FOUND = "30010"
    BUSINESS_ERROR = "40000"
    ACTION_NOT_APPLICABLE = "40001"
    QUANTITY_UNAVAILABLE = "40002"
    QUOTE_UNAVAILABLE = "40003"
    CANNOT_CANCEL = "50001"
    CANNOT_UPDATE = "50002"


Code = Annotated[str, AfterValidator(partial(printable, longest=20))]
"""An error's code as others may write it."""

LONGEST_TEXT = 2000
LONGEST_PATHS = 1000


class Error(BecknObject):
    """What is wrong: in a NACK, or in a callback in the place of its message.

    Either side's own text may be quoted in it, so that it is cut to a printable line.
    """

    code: Omittable[Annotated[ErrorCode | Code, Field(union_mode="left_to_right")]] = None
    message: Annotated[str, AfterValidator(partial(printable, longest=LONGEST_TEXT))] = ""
    paths: Omittable[Annotated[str, AfterValidator(partial(printable, longest=LONGEST_PATHS))]] = None


class Ack(BecknObject):
    status: Literal["ACK", "NACK"]


class AckMessage(BecknObject):
    ack: Ack


class AckAnswer(BecknObject):
    """The whole answer."""

    message: AckMessage
    error: Omittable[Error] = None

    @property
    def is_ack(self) -> bool:
        return self.message.ack.status == "ACK"


ACK = AckAnswer(message=AckMessage(ack=Ack(status="ACK")))
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """A message is not taken: ends its request with a NACK."""

    def __init__(self, status: int, error: Error, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers

    @classmethod
    def business(cls, code: ErrorCode, message: str, *paths: str) -> Refused:
        """400, with a code and the fields at fault, if any."""
        return cls(400, Error(code=code, message=message, paths="; ".join(paths) or None))

    @classmethod
    def invalid(cls, message: str, *paths: str) -> Refused:
        """400: the message is not as it must be at these fields."""
        return cls.business(ErrorCode.INVALID_REQUEST, message, *paths)

    @classmethod
    def unauthorized(cls, message: str, realm: str, *, by_gateway: bool = False) -> Refused:
        """401: the sender's signature does not hold, or the gateway's."""
        challenge = "Proxy-Authenticate" if by_gateway else "WWW-Authenticate"
        return cls(401, Error(message=message), {challenge: f'Signature realm="{realm}",headers="{SIGNED_HEADERS}"'})

    @property
    def answer(self) -> AckAnswer:
        return AckAnswer(message=AckMessage(ack=Ack(status="NACK")), error=self.error)
