"""Bounds on what a decoder would go through before, or again for, the pixels.

A file of a few hundred kilobytes can keep a decoder busy for minutes without being large
in pixels: thousands of scans, each over the whole image; millions of empty parts. Photos
have tens of parts and at most a dozen scans. Figures: one core of a 2-core EPYC.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from models.errors import InvalidImageError
from models.image_formats import BMP, GIF, JPEG, PNG, WEBP

TOO_COMPLEX: Final = "too_complex"

MAX_PARTS: Final = 20_000
"""Segments, chunks or blocks: 0.05 s. A PNG of 32 MB in 8 kB chunks has 4,096."""

MAX_PROFILES: Final = 20
"""Colour profiles in a PNG, which may have one: each kilobyte unpacks in 2 ms."""

MAX_SCANS: Final = 50
"""Passes over a JPEG: 30 ms each for 49 megapixels of grey. Encoders make 10 to 14."""

MAX_RLE_BYTES: Final = 4 * 1024 * 1024
MAX_RLE_PIXELS: Final = 10_000_000
"""Of a run-length coded BMP, which Pillow decodes in Python: about 1 s."""

ORDINARY_SCANS: Final = 20
HEADER_PARTS: Final = 200
"""Segments in which a frame's header is looked for; a camera writes up to 70."""

MAX_LOSSLESS_BYTES: Final = 48 * 1024
"""Of a WebP whose code tables, made of a few bits each, cannot outgrow 100 MB."""

_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends a scan's data: any marker but a restart."""

_PROGRESSIVE: Final = frozenset(bytes([0xFF, 0xC2 + 4 * each]) for each in range(4))
_FRAMES: Final = _PROGRESSIVE | {
    bytes([0xFF, kind]) for kind in range(0xC0, 0xD0) if kind not in (0xC4, 0xC8, 0xCC)
}
_ORDINARY_FRAMES: Final = frozenset([b"\xff\xc0", b"\xff\xc1", b"\xff\xc2"])
"""Huffman-coded, in one pass or several; arithmetic coding takes ten times as long."""

_RUN_LENGTHS: Final = (b"\1\0\0\0", b"\2\0\0\0")
_WITHOUT_LENGTH: Final = frozenset([0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)])


def check_structure(name: str, image: bytes) -> None:
    """Accept an *image* of the format *name*, which takes no undue work to decode.

    Raises:
        InvalidImageError: it does; ``code`` is too_complex.
    """
    check = _CHECKS.get(name)
    if check is not None:
        check(image)


def read_size(name: str, image: bytes) -> tuple[int, int] | None:
    """Width and height by the header of an *image* of the format *name*, unchecked.

    None: the header is damaged, or not found among the first parts of the file.
    """
    try:
        return _SIZES[name](image)
    except struct.error:
        return None


def is_unusual(name: str, image: bytes) -> bool:
    """Whether an *image* is of a make that costs much more than its pixels tell."""
    if name == JPEG:
        frame = _find_frame(image)
        marker = image[frame : frame + 2]
        if marker in _PROGRESSIVE and image.count(_SCAN, frame) > ORDINARY_SCANS:
            return True
        return marker not in _ORDINARY_FRAMES
    if name == WEBP:
        return image.find(b"VP8L", 12, 80) > 0 and len(image) > MAX_LOSSLESS_BYTES
    return name == BMP and image[30:34] in _RUN_LENGTHS


def _find_frame(image: bytes) -> int:
    position = 2
    for _ in range(HEADER_PARTS):
        marker = image[position : position + 2]
        if marker in _FRAMES:
            return position
        if len(marker) < 2 or marker == _SCAN:
            break
        position += _segment_bytes(image, position)
    return len(image)


def _jpeg_size(image: bytes) -> tuple[int, int]:
    height, width = struct.unpack_from(">HH", image, _find_frame(image) + 5)
    return width, height


def _png_size(image: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", image, 16)
    return width, height


def _gif_size(image: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", image, 6)
    return width, height


def _bmp_size(image: bytes) -> tuple[int, int]:
    core = image[14:18] == b"\x0c\0\0\0"
    width, height = struct.unpack_from("<HH" if core else "<ii", image, 18)
    return abs(width), abs(height)


def _webp_size(image: bytes) -> tuple[int, int]:
    (bits,) = struct.unpack_from("<I", image, 21)
    width, height = struct.unpack_from("<HH", image, 26)
    if image.startswith(b"VP8X", 12):
        sides = image[24:27], image[27:30]
        width, height = (int.from_bytes(side, "little") for side in sides)
        return width + 1, height + 1
    if image.startswith(b"VP8L", 12):
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return width & 0x3FFF, height & 0x3FFF


_SIZES: Final[Mapping[str, Callable[[bytes], tuple[int, int]]]] = MappingProxyType(
    {
        JPEG: _jpeg_size,
        PNG: _png_size,
        WEBP: _webp_size,
        GIF: _gif_size,
        BMP: _bmp_size,
    }
)


def _check_jpeg(image: bytes) -> None:
    position, frame = 2, b""
    for _ in range(MAX_PARTS):
        marker = image[position : position + 2]
        if marker == _SCAN or len(marker) < 2:
            break
        if marker in _FRAMES:
            frame = image[position : position + 10]
        position += _segment_bytes(image, position)
    else:
        raise _refusal(f"a JPEG with more than {MAX_PARTS:,} segments")
    all_at_once = image[position + 4 : position + 5] == frame[9:]
    if all_at_once and frame[:2] not in _PROGRESSIVE:
        return  # one scan holds every component: libjpeg reads no other
    # Pictures and videos appended to a photo hold such bytes too: look closely only
    # where there are many.
    if image.count(_SCAN, position) > MAX_SCANS and _scans(image, position) > MAX_SCANS:
        raise _refusal(f"a JPEG with more than {MAX_SCANS} scans")


def _segment_bytes(image: bytes, position: int) -> int:
    # As Pillow goes on: byte by byte over what is no marker.
    first, second = image[position : position + 2]
    if first != 0xFF or second in (0x00, 0xFF):
        return 1
    if second in _WITHOUT_LENGTH:
        return 2
    return 2 + max(int.from_bytes(image[position + 2 : position + 4]), 2)


def _scans(image: bytes, position: int) -> int:
    scans = 0
    for _ in range(MAX_PARTS):
        found = _NEXT_MARKER.search(image, position)
        if found is None or found[0] == _END:
            return scans
        scans += found[0] == _SCAN
        position = found.start() + _segment_bytes(image, found.start())
    return MAX_SCANS + 1


def _check_png(image: bytes) -> None:
    position, profiles = 8, 0
    for _ in range(MAX_PARTS):
        kind = image[position + 4 : position + 8]
        if kind in (b"IEND", b""):
            break
        profiles += kind == b"iCCP"
        position += 12 + int.from_bytes(image[position : position + 4])
    else:
        raise _refusal(f"a PNG with more than {MAX_PARTS:,} chunks")
    if profiles > MAX_PROFILES:
        raise _refusal(f"a PNG with {profiles} colour profiles")


def _check_gif(image: bytes) -> None:
    flags = image[10] if len(image) > 10 else 0
    position = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    blocks = 0
    while blocks < MAX_PARTS:
        blocks += 1
        start = image[position : position + 1]
        if start in (b",", b";", b""):
            return
        position += 1
        if start != b"!":
            continue
        position += 1
        while blocks < MAX_PARTS and image[position : position + 1] not in (b"\0", b""):
            position += 1 + image[position]
            blocks += 1
        position += 1
    raise _refusal(f"a GIF with more than {MAX_PARTS:,} blocks before its first frame")


def _check_bmp(image: bytes) -> None:
    if int.from_bytes(image[14:18], "little") < 40 or image[30:34] not in _RUN_LENGTHS:
        return
    width = int.from_bytes(image[18:22], "little", signed=True)
    height = int.from_bytes(image[22:26], "little", signed=True)
    if len(image) > MAX_RLE_BYTES or abs(width * height) > MAX_RLE_PIXELS:
        raise _refusal("a run-length coded BMP of this size")


_CHECKS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {JPEG: _check_jpeg, PNG: _check_png, GIF: _check_gif, BMP: _check_bmp}
)


def _refusal(what: str) -> InvalidImageError:
    message = f"{what} takes too long to decode: save it again as an ordinary JPEG"
    return InvalidImageError(message, code=TOO_COMPLEX)
