"""A name server on loopback that answers with a test's addresses."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Final, Self

_HEADER: Final = struct.Struct("!HHHHHH")
_ADDRESS_RECORD: Final = 1
_INTERNET: Final = 1
_ANSWER_OF_RECURSION: Final = 0x8180
_NAME_OF_THE_QUESTION: Final = 0xC00C
"""RFC 1035, section 4.1.4: a pointer to byte 12, where the question begins."""


class NameServer:
    """Answers questions for IPv4 addresses (RFC 1035) until the block ends.

    Attributes:
        addresses: what every name has; may be changed at any time.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self._answer(question), asker)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", _HEADER.size) + 1
        kind, _ = struct.unpack_from("!HH", question, end)
        records = [
            struct.pack("!HHHIH", _NAME_OF_THE_QUESTION, kind, _INTERNET, 0, 4)
            + socket.inet_aton(address)
            for address in self.addresses
            if kind == _ADDRESS_RECORD
        ]
        number = int.from_bytes(question[:2])
        header = _HEADER.pack(number, _ANSWER_OF_RECURSION, 1, len(records), 0, 0)
        return header + question[_HEADER.size : end + 4] + b"".join(records)
