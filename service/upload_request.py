"""Requests that bring files: read in pieces, kept where there is room, closed for certain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, cast

from flask import Request

_PIECE_BYTES: Final = 16 * 1024
"""How much of a form is parsed at a time: in the piece that holds a boundary werkzeug
looks for it with a regular expression, 6 ns a byte (measured), in others it need not."""

_BOUNDARY_BYTES: Final = 80
"""A boundary's line without its line breaks (RFC 2046: 70 characters, and dashes)."""


class UploadRequest(Request):
    """A request that closes every file it spooled, also when reading it failed.

    Attributes:
        spool_folder: on whose disk files are kept; None: in memory or in /tmp.
    """

    spool_folder: Path | None = None

    def _get_stream_for_parsing(self) -> IO[bytes]:
        return cast(IO[bytes], _Pieces(super()._get_stream_for_parsing()))

    def _get_file_stream(self, *args: Any, **options: Any) -> IO[bytes]:
        if self.spool_folder is not None:
            spooled = TemporaryFile(dir=self.spool_folder)  # noqa: SIM115 - see `close`
            stream = cast("IO[bytes]", spooled)
        else:
            stream = super()._get_file_stream(*args, **options)
        self.__dict__.setdefault("spooled", []).append(stream)
        return stream

    def close(self) -> None:
        """Close the files; what was read from them stays."""
        super().close()
        for stream in self.__dict__.pop("spooled", []):
            stream.close()


@dataclass(frozen=True)
class _Pieces:
    stream: IO[bytes]

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.stream.read(size)
        piece = self.stream.read(min(size, _PIECE_BYTES))
        # werkzeug 3.1.9 adds a carriage return to a file if a piece ends right behind
        # a boundary's text, so none may end near one.
        while _is_near_line_break(piece) and len(piece) < size:
            more = self.stream.read(min(size - len(piece), 2 * _BOUNDARY_BYTES))
            if not more:
                break
            piece += more
        return piece


def _is_near_line_break(piece: bytes) -> bool:
    end = piece[-_BOUNDARY_BYTES:]
    return b"\n" in end or b"\r" in end
