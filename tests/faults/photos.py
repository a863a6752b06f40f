"""Generated photos: unusable ones, and valid ones in rare formats."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.pictures import encoded, grey, noise


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack("!I", zlib.crc32(kind + data))
        return struct.pack("!I", len(data)) + kind + data + check

    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def animation() -> bytes:
    frames = [Image.new("RGB", (40, 30), (level,) * 3) for level in (10, 250)]
    return encoded(frames[0], save_all=True, append_images=frames[1:])


def see_through() -> bytes:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([200, 200, 200] * 256)
    return encoded(image, transparency=7)


def deep() -> bytes:
    # 16 bits a pixel, half of the brightness.
    return encoded(Image.new("I;16", (40, 30), 32768))


BAD: dict[str, tuple[bytes, str]] = {
    "1.jpg": (noise(1)[:-300], "undecodable_image"),
    "2.png": (png_of_size(60_000, 60_000), "too_many_pixels"),
    "3.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_image"),
    "4.jpg": (b"", "empty_image"),
    "5.png": (png_of_size(0, 0), "undecodable_image"),
    "6.jpg": (b"GIF89a", "undecodable_image"),
}
GOOD: dict[str, tuple[bytes, float | None]] = {
    "11.png": (deep(), 128 / 255),
    "12.jpg": (encoded(Image.new("CMYK", (40, 30)), "JPEG"), None),
    "13.png": (see_through(), 200 / 255),
    "14.png": (animation(), 10 / 255),
    "15.png": (grey(90), 90 / 255),
}
