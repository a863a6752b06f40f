"""Looks at a request that waits in the kernel, without taking it off the line.

Under an overload it is cheaper to refuse a request where it lies than to give it to a
thread. Only the plainest is told: one whole POST of known length with nothing behind it.
For all others the parser has to be asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

_LONGEST_HEAD_BYTES: Final = 8 * 1024

_FIRST_LINE: Final = re.compile(rb"(POST) (/[!-~]{0,500}) HTTP/1\.1\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n")
_REQUEST_ID: Final = re.compile(
    rb"(?i)\r\nx-request-id:[ \t]*([\w.-]{1,128})[ \t]*\r\n"
)
_ORIGIN: Final = re.compile(rb"(?i)\r\norigin:[ \t]*([!-~]{1,300})[ \t]*\r\n")
_UNPLAIN: Final = (b"\r\ntransfer-encoding:", b"\r\nconnection:", b"\r\nexpect:")


@dataclass(frozen=True)
class WaitingRequest:
    """A whole request that has arrived and that nobody has read.

    Attributes:
        path: without the query.
        request_id: that its sender gave it.
        size: in bytes, head and body.
        origin: of the web page that sent it.
    """

    method: str
    path: str
    request_id: str | None
    size: int
    origin: str | None = None

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """The request that *data* is, if it is plain, whole and the only one."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD_BYTES)
        line = _FIRST_LINE.match(data)
        if end < 0 or line is None:
            return None
        head = data[: end + 2]
        lower = head.lower()
        lengths = _LENGTH.findall(lower)
        if (
            len(lengths) != 1
            or lower.count(b"\r\ncontent-length") != 1
            or any(name in lower for name in _UNPLAIN)
            or len(data) != end + 4 + int(lengths[0])
        ):
            return None
        return cls(
            method=line[1].decode(),
            path=line[2].decode().partition("?")[0],
            request_id=_header(_REQUEST_ID, head),
            origin=_header(_ORIGIN, head),
            size=len(data),
        )


def _header(pattern: re.Pattern[bytes], head: bytes) -> str | None:
    found = pattern.search(head)
    return found[1].decode("latin-1") if found else None
