"""BMP files: their size, and their run-length coded pixels unpacked in bounded time.

Pillow unpacks them byte by byte, in Python, and takes 0.8 s for 4 MB of runs without pixels.
It also refuses the short headers of OS/2, and header lengths that programs make up.
"""

from __future__ import annotations

import struct
from typing import Final

from models.images.formats import damaged, too_complex

MAX_RLE_BYTES: Final = 2 * 1024 * 1024
MAX_RLE_PIXELS: Final = 10_000_000
"""Bounds of a file that is unpacked: 0.3 s at most."""

_RUN_LENGTHS: Final = {1: False, 2: True}
"""The run-length compressions of a BMP: whether pixels have 4 bits instead of 8."""

_GREYS: Final = bytes(level for grey in range(256) for level in (grey, grey, grey, 0))
_ONE_BIT: Final = (b"\0", b"\0\xff")
"""The greys of a palette in which every entry but 0 is white."""
_ALL_COLOURS: Final = 4 * 256
_CORE_HEADER: Final = 12
_SHORT_HEADER: Final = 16
_HEADERS: Final = (40, 52, 56, 64, 108, 124)


def plain_bmp(image: bytes, size: tuple[int, int]) -> bytes:
    """The BMP *image* of *size* pixels as Pillow reads it: no runs, a usual header.

    Raises:
        InvalidImageError: run-length coded and damaged, or above the bounds.
    """
    image = _with_known_header(image)
    if not _is_run_length(image):
        return image
    if len(image) > MAX_RLE_BYTES or size[0] * size[1] > MAX_RLE_PIXELS:
        raise too_complex("a run-length coded BMP of this size")
    return _unpack_run_lengths(image, size)


def bmp_size(image: bytes) -> tuple[int, int]:
    """Width and height by the header of a BMP, unchecked."""
    if image[14:18] == _CORE_HEADER.to_bytes(4, "little"):
        width, height = struct.unpack_from("<HH", image, 18)
        return width, height
    width, height = struct.unpack_from("<Ii", image, 18)
    return width, abs(height)


def is_unusual_bmp(image: bytes) -> bool:
    """Whether the BMP *image* has runs to unpack, or a header to be replaced."""
    header = int.from_bytes(image[14:18], "little")
    return header not in (_CORE_HEADER, *_HEADERS) or _is_run_length(image)


def _with_known_header(image: bytes) -> bytes:
    given = int.from_bytes(image[14:18], "little")
    if given < _SHORT_HEADER or given in _HEADERS or 14 + given > len(image):
        return image
    known = max(each for each in _HEADERS if each <= max(given, _HEADERS[0]))
    header = image[18 : 14 + given].ljust(known, b"\0")[: known - 4]
    start = int.from_bytes(image[10:14], "little")
    start = max(0, start + known - given) if start else 0
    places = struct.pack("<II", start, known)
    return b"".join((image[:10], places, header, memoryview(image)[14 + given :]))


def _is_run_length(image: bytes) -> bool:
    if int.from_bytes(image[14:18], "little") not in _HEADERS:
        return False
    bits, compression = struct.unpack_from("<HI", image, 28)
    return bits in (1, 4, 8) and compression in _RUN_LENGTHS


def _unpack_run_lengths(image: bytes, size: tuple[int, int]) -> bytes:
    width, _ = size
    start, header = struct.unpack_from("<II", image, 10)
    bits, compression = struct.unpack_from("<HI", image, 28)
    (colours,) = struct.unpack_from("<I", image, 46)
    behind = 14 + header + 4 * (colours or 1 << bits)
    palette = _whole_palette(image[14 + header : behind][:_ALL_COLOURS])
    coded = behind if start in (0, 14 + header) else start
    unpacker = _Unpacker(size, _RUN_LENGTHS[compression])
    pixels = unpacker.unpack(image, coded)
    if width % 4:
        rows, padding = range(0, len(pixels), width), bytes(-width % 4)
        pixels = b"".join(pixels[row : row + width] + padding for row in rows)
    whole = 14 + 40 + _ALL_COLOURS
    file = struct.pack("<2sIII", b"BM", whole + len(pixels), 0, whole)
    sides = image[18:26]
    fields = struct.pack("<I8sHHIIIIII", 40, sides, 1, 8, 0, 0, 0, 0, 256, 0)
    return b"".join((file, fields, palette, pixels))


def _whole_palette(palette: bytes) -> bytes:
    # As Pillow: missing entries of a palette are black, unless all of its entries are grey.
    palette = palette[: len(palette) & ~3]
    levels = palette[0::4]
    if levels == palette[1::4] == palette[2::4]:
        if levels in _ONE_BIT:
            return _GREYS[:4].ljust(_ALL_COLOURS, b"\xff")
        if len(levels) > 2 and levels == bytes(range(len(levels))):
            return _GREYS
    return palette.ljust(_ALL_COLOURS, b"\0")


class _Unpacker:
    """Unpacks runs of 8-bit or 4-bit pixels to one byte a pixel.

    As Pillow's decoder, it stops at the file's end and cuts runs at the end of a row.
    """

    def __init__(self, size: tuple[int, int], nibbles: bool) -> None:
        self._width, height = size
        self._wanted = self._width * height
        self._nibbles = nibbles
        self._pixels = bytearray()

    def unpack(self, coded: bytes, position: int) -> bytes:
        pixels, wanted, width = self._pixels, self._wanted, self._width
        runs = [self._plain(bytes([value])) * 255 for value in range(256)]
        column, last = 0, len(coded) - 1
        while len(pixels) < wanted and position < last:
            count, value = coded[position], coded[position + 1]
            position += 2
            if count:
                count = min(count, width - column)
                if count > 0:
                    pixels += runs[value][:count]
                    column += count
            elif value == 0:  # the end of a row
                pixels += bytes(-len(pixels) % width)
                column = 0
            elif value == 1:
                break
            else:
                position, column = self._escape(coded, position, column, value)
        if len(pixels) < wanted:
            raise damaged("its pixels end early")
        return bytes(pixels[:wanted])

    def _escape(
        self, coded: bytes, position: int, column: int, value: int
    ) -> tuple[int, int]:
        pixels, width = self._pixels, self._width
        left = self._wanted - len(pixels)
        if value == 2:
            right, up = coded[position : position + 2].ljust(2, b"\0")
            pixels += bytes(min(left, right + up * width))
            return position + 2, len(pixels) % width
        count = min(value, left)
        length = (count + 1) // 2 if self._nibbles else count
        pixels += self._plain(coded[position : position + length])[:count]
        position += length
        return position + (position & 1), column + value

    def _plain(self, coded: bytes) -> bytes:
        if not self._nibbles:
            return coded
        return bytes(half for pair in coded for half in (pair >> 4, pair & 0x0F))
