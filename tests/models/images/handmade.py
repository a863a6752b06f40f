"""Image files in formats that Pillow does not write, byte by byte."""

from __future__ import annotations

import struct
import zlib

PNG_START = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_header(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """*colour*: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha."""
    fields = (width, height, depth, colour, 0, 0, 0)
    return PNG_START + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def png(pixel: bytes, depth: int, colour: int, *before: bytes, side: int = 8) -> bytes:
    """A square of one *pixel*; *before* are chunks between header and data."""
    rows = (b"\0" + pixel * side) * side
    data = png_chunk(b"IDAT", zlib.compress(rows, 9))
    header = png_header(side, side, depth, colour)
    return header + b"".join(before) + data + png_chunk(b"IEND")


def huge_png(width: int, height: int) -> bytes:
    """A valid header and a small body: 100 megapixels in a few kilobytes."""
    rows = zlib.compress(b"\0" * (height * (width // 8 + 1)), 9)
    body = png_chunk(b"IDAT", rows) + png_chunk(b"IEND")
    return png_header(width, height, depth=1) + body


def bmp(
    size: tuple[int, int],
    bits: int,
    data: bytes,
    compression: int = 0,
    palette: bytes = b"",
) -> bytes:
    """A BMP with Windows's header; *size* is (width, height), a negative height: top-down."""
    start = 14 + 40 + len(palette)
    fields = (40, *size, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    header = struct.pack("<IiiHHIIiiII", *fields)
    file = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    return file + header + palette + data


def gif(
    screen: tuple[int, int],
    frames: list[tuple[tuple[int, int], bytes]],
    extensions: bytes = b"",
) -> bytes:
    """A palette of black, white, red, green; each frame: its size, and its LZW data."""
    palette = b"\0\0\0\xff\xff\xff\xff\0\0\0\xff\0"
    file = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + palette + extensions
    for size, data in frames:
        file += b"," + struct.pack("<HHHHB", 0, 0, *size, 0)
        file += b"\x02" + bytes([len(data)]) + data + b"\0"
    return file + b";"


def gif_run(entry: int, count: int) -> bytes:
    """LZW data of *count* pixels of one palette *entry*, without compression."""
    bits, codes = [], []
    for number in range(count):
        codes += [4] if number % 2 == 0 else []  # clear: codes stay 3 bits wide
        codes.append(entry)
    for code in [*codes, 5]:
        bits += [code >> place & 1 for place in range(3)]
    bits += [0] * (-len(bits) % 8)
    return bytes(
        sum(bit << place for place, bit in enumerate(bits[start : start + 8]))
        for start in range(0, len(bits), 8)
    )


def jpeg_with_scans(jpeg: bytes, count: int) -> bytes:
    """The progressive *jpeg* with its last scan *count* times more."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * count + jpeg[-2:]
