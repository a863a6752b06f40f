"""What a file is by its first bytes: an image that we decode, or what to do with it.

To decode, file names and Content-Types are not asked: a renamed file stays what it is.
Names only say which files of a folder are looked at as photos (`is_photo`): one rule for
`prepare`, `train` and folder jobs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from models.errors import InvalidImageError, quoted

JPEG: Final = "JPEG"
PNG: Final = "PNG"
WEBP: Final = "WebP"
GIF: Final = "GIF"
BMP: Final = "BMP"

FORMATS: Final = "JPEG, PNG, WebP, GIF or BMP"
START_BYTES: Final = 512
"""How much of a file `identify` and `refuse` look at."""

PHOTO_SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib"),
        *(".heic", ".heif", ".avif", ".tif", ".tiff"),
    }
)
"""Endings, in lower case, of files that are photos, whatever they hold: one that cannot
be decoded is named, not passed over."""

_SYSTEM_NAMES: Final = frozenset(
    {
        *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir"),
        *("$recycle.bin", "system volume information"),
    }
)

_TO_JPEG: Final = "convert it to JPEG"
_TO_PNG: Final = "export it as PNG or JPEG"
_DECODE_FIRST: Final = "decode it first, then send the bytes"

_IMAGES: Final = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (8, b"WEBP", WEBP),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (0, b"BM", BMP),
)

_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "a HEIC photo"
    ),
    **dict.fromkeys((b"mif1", b"msf1"), "a HEIF photo"),
    b"crx ": "a camera's raw photo (CR3)",
}
"""ISO base media files (ISO/IEC 14496-12) name their kind after ``ftyp``."""

_OTHERS: Final = (
    (0, b"II*\0", "a TIFF image or a camera's raw photo", _TO_JPEG),
    (0, b"MM\0*", "a TIFF image or a camera's raw photo", _TO_JPEG),
    (0, b"II+\0", "a BigTIFF image", _TO_JPEG),
    (0, b"MM\0+", "a BigTIFF image", _TO_JPEG),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw photo (RAF)", _TO_JPEG),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image", _TO_JPEG),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", _TO_JPEG),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image", _TO_JPEG),
    (0, b"\xff\x0a", "a JPEG XL image", _TO_JPEG),
    (128, b"DICM", "a DICOM image", _TO_PNG),
    (0, b"8BPS", "a Photoshop document", _TO_PNG),
    (0, b"gimp xcf", "a GIMP document", _TO_PNG),
    (0, b"\0\0\1\0", "an icon (ICO)", _TO_PNG),
    (0, b"\0\0\2\0", "a cursor (CUR)", _TO_PNG),
    (0, b"v/1\x01", "an OpenEXR image", _TO_PNG),
    (0, b"qoif", "a QOI image", _TO_PNG),
    (0, b"%PDF", "a PDF document", "export its page as JPEG or PNG"),
    (0, b"%!PS", "a PostScript document", "export its page as JPEG or PNG"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document", "export its page as PNG"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (8, b"AVI ", "a video", "save one frame of it as JPEG"),
    (0, b"\x1aE\xdf\xa3", "a video", "save one frame of it as JPEG"),
)

_TEXTS: Final = (
    (b"<!doctype html", "a web page", "save the image itself, not the page around it"),
    (b"<html", "a web page", "save the image itself, not the page around it"),
    (b"<svg", "an SVG drawing", _TO_PNG),
    (b"data:image/", "a data URL", _DECODE_FIRST),
    (b"/9j/", "a JPEG in base64", _DECODE_FIRST),
    (b"ivborw0kggo", "a PNG in base64", _DECODE_FIRST),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file: git lfs pull"),
)
"""Beginnings of texts, in lower case."""


def is_system_file(name: str) -> bool:
    """Whether a file or folder of that name is the system's, not the user's.

    Hidden ones, and what macOS, Windows and Synology add: never photos, never told.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_photo(name: str, read_start: Callable[[], bytes]) -> bool:
    """Whether the file called *name* is taken as a photo.

    It is if its name ends as a photo's does, or else if its first bytes
    (*read_start*, at least `START_BYTES` of them, only called then) are an image's,
    also of a format that we do not decode.
    """
    if is_system_file(name):
        return False
    if os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES:  # noqa: PTH122
        return True
    start = read_start()[:START_BYTES]
    other = _other(start)
    return identify(start) is not None or (
        other is not None and other[1] in {_TO_JPEG, _TO_PNG}
    )


def identify(start: bytes) -> str | None:
    """The format of the image whose first bytes are *start*; None: none of ours."""
    for offset, magic, name in _IMAGES:
        if start.startswith(magic, offset):
            is_webp = name == WEBP
            return name if not is_webp or start.startswith(b"RIFF") else None
    return None


def refuse(start: bytes) -> InvalidImageError:
    """The error for a file that begins with *start* and is none of our formats."""
    found = _other(start) or _text(start)
    if found is None:
        message = f"not a {FORMATS} image (it starts with {quoted(start[:8])}): convert it first"
    else:
        what, remedy = found
        message = f"this is {what}, not a {FORMATS} image: {remedy}"
    return InvalidImageError(message, code="unsupported_image")


def _other(start: bytes) -> tuple[str, str] | None:
    if start.startswith(b"ftyp", 4):
        what = _BRANDS.get(start[8:12])
        return (what, _TO_JPEG) if what else ("a video", "save one frame of it as JPEG")
    for offset, magic, what, remedy in _OTHERS:
        if start.startswith(magic, offset):
            return what, remedy
    return None


def _text(start: bytes) -> tuple[str, str] | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text:
        return "an SVG drawing", _TO_PNG
    for beginning, what, remedy in _TEXTS:
        if text.startswith(beginning):
            return what, remedy
    return None
