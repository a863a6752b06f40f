"""Archives for tests, valid and hostile."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def tarred_entry(name: str, kind: bytes, **values: Any) -> bytes:
    """A tar of a photo and one entry that is no plain file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        photo = tarfile.TarInfo("1.jpg")
        archive.addfile(photo)
        entry = tarfile.TarInfo(name)
        entry.type = kind
        for attribute, value in values.items():
            setattr(entry, attribute, value)
        archive.addfile(entry)
    return stream.getvalue()


def zipped_entry(name: str, content: bytes = b"x", **values: Any) -> bytes:
    """A zip of a photo and one entry with other *values* in its header."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("1.jpg", b"x")
        entry = zipfile.ZipInfo("odd")
        # Afterwards, because the constructor mends names.
        entry.filename = name
        for attribute, value in values.items():
            setattr(entry, attribute, value)
        archive.writestr(entry, content)
    return stream.getvalue()


def encrypted(name: str = "2.jpg") -> bytes:
    packed = bytearray(zipped({name: b"x" * 20}))
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(start) + flags] |= 1
    return bytes(packed)


def lying(claimed: int, content: bytes) -> bytes:
    """A zip whose headers claim *claimed* bytes for *content*, "1.jpg"."""
    packed = zipped({"1.jpg": content})
    true = len(content).to_bytes(4, "little")
    return packed.replace(true, claimed.to_bytes(4, "little"))


def renamed(name: bytes, placeholder: str = "nname.jpg") -> bytes:
    """A zip with the bytes *name*, as long as the placeholder, as a file's name."""
    assert len(name) == len(placeholder)
    packed = zipped({placeholder: b"x", "1.jpg": b"x"})
    return packed.replace(placeholder.encode(), name)


def greedy_tar() -> bytes:
    """A small tar.gz whose extended header claims a gigabyte, which parsers read."""
    entry = tarfile.TarInfo("header")
    entry.type = tarfile.XHDTYPE
    entry.size = 1024**3
    head = entry.tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(head + bytes(1024**2))


def nested_names_tar() -> bytes:
    """A tar of 2,000 long-name headers, each about the next: parsers recurse."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type = tarfile.GNUTYPE_LONGNAME
    entry.size = 2
    block = entry.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
    return block * 2000 + bytes(1024)


def greedy_zip() -> bytes:
    """A zip whose end claims a list of files of four gigabytes."""
    packed = bytearray(zipped({"1.jpg": b"x"}))
    end = packed.index(b"PK\x05\x06")
    packed[end + 12 : end + 16] = b"\xff\xff\xff\xf0"
    return bytes(packed)


def zeroed(archive: bytes, start: int, count: int) -> bytes:
    """*archive* with *count* bytes of zeros from *start* on, as a lost page is."""
    return archive[:start] + bytes(count) + archive[start + count :]


def unlisted_zip(*, counted: bool) -> bytes:
    """A zip of two photos whose list names the first; *counted*: but counts both."""
    packed = zipped({"1.jpg": b"one", "2.jpg": b"two"})
    start, second = packed.index(b"PK\1\2"), packed.rindex(b"PK\1\2")
    end = bytearray(packed[packed.index(b"PK\5\6") :])
    if not counted:
        end[8:12] = struct.pack("<HH", 1, 1)
    end[12:16] = struct.pack("<I", second - start)
    return packed[:second] + bytes(end)


def streamed_zip(files: Mapping[str, bytes]) -> bytes:
    """A zip from a program that cannot go back: sizes follow after the data."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return pipe.getvalue()


def large_file_zip(files: Mapping[str, bytes]) -> bytes:
    """A zip with the headers of files above 4 GiB, and a comment."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
        archive.comment = b"made by hand"
    return stream.getvalue()
