"""Decoding: pixels by format, and errors that explain damaged input."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from kennel.cli import main
from models.errors import InvalidImageError, InvalidRequestError
from models.images.codec import (
    decode_grey,
    decode_image,
    decode_thumbnail,
    encode_thumbnail,
)
from models.images.files import MAX_PIXELS, limit_pixels, read_image_file
from models.images.formats import FORMAT_NAMES
from models.images.preprocessing import WHOLE_PIXELS
from models.images.sandbox import DecodeLimits, DecodeSandbox
from models.images.structure import read_size
from service.settings import ServiceSettings
from tests.models.images.bombs import frame_header
from tests.models.images.handmade import (
    PNG_START,
    bmp,
    gif,
    gif_run,
    huge_png,
    png,
    png_chunk,
    png_header,
)
from tests.pictures import encoded, grey, noise
from worker.settings import WorkerSettings

SIZE = (8, 8)
WHITE, BLACK, RED, BLUE = (255,) * 3, (0,) * 3, (255, 0, 0), (0, 0, 255)
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera did to an upright photo before it wrote this orientation."""


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (8, 8), colour)  # type: ignore[arg-type]


def palette_image() -> Image.Image:
    image = plain("P", 1)
    image.putpalette([*BLACK, *RED])
    return image


def moving(kind: str) -> bytes:
    """Red, then blue."""
    frames = [plain("RGB", RED), plain("RGB", BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    return encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], duration=9, **options
    )


def without_adobe_marker(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return (
        jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4]) :]
    )


def grey_gif() -> bytes:
    """Its screen has a palette of colours, its frame one of the darkest greys."""
    greys = bytes(level for level in range(4) for _ in range(3))
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0x81) + greys
    data = gif_run(2, 64)
    return gif((8, 8), [])[:-1] + frame + bytes([2, len(data)]) + data + b"\0;"


CMYK = encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG", quality=100)
HALF_RED = (255, 128, 128)

ROWS: dict[str, tuple[bytes, tuple[int, int, int], int]] = {
    # name: file, colour that the model sees, tolerance of a lossy format
    "cmyk-jpeg": (CMYK, RED, 3),
    "cmyk-jpeg-without-adobe-marker": (without_adobe_marker(CMYK), RED, 3),
    "grey-jpeg": (encoded(plain("L", 70), "JPEG"), (70,) * 3, 1),
    "progressive-jpeg": (
        encoded(plain("RGB", (90, 80, 70)), "JPEG", progressive=True),
        (90, 80, 70),
        2,
    ),
    "mpo": (moving("MPO"), RED, 3),
    "16-bit-grey-png": (png(b"\x10\xf0", 16, 0), (17,) * 3, 0),
    "16-bit-rgb-png": (png(b"\x10\xf0" * 3, 16, 2), (16,) * 3, 0),
    "16-bit-grey-alpha-png": (png(b"\x10\xf0\xff\xff", 16, 4), (16,) * 3, 0),
    "16-bit-rgba-png": (png(b"\x10\xf0" * 3 + b"\0\0", 16, 6), WHITE, 0),
    "1-bit-png": (encoded(plain("1", 1)), WHITE, 0),
    "palette-png": (encoded(palette_image()), RED, 0),
    "palette-png-transparent": (encoded(palette_image(), transparency=1), WHITE, 0),
    "grey-transparent-png": (encoded(plain("L", 9), transparency=9), WHITE, 0),
    "grey-alpha-png": (encoded(plain("LA", (10, 0))), WHITE, 0),
    "rgba-png-opaque": (encoded(plain("RGBA", (*RED, 255))), RED, 0),
    "rgba-png-half": (encoded(plain("RGBA", (*RED, 127))), HALF_RED, 0),
    "rgba-webp": (encoded(plain("RGBA", (*RED, 0)), "WEBP", lossless=True), WHITE, 0),
    "lossy-webp": (encoded(plain("RGB", (90, 80, 70)), "WEBP"), (90, 80, 70), 4),
    "apng": (moving("PNG"), RED, 0),
    "animated-webp": (moving("WEBP"), RED, 0),
    "gif": (encoded(palette_image(), "GIF"), RED, 0),
    "animated-gif": (moving("GIF"), RED, 0),
    "transparent-gif": (encoded(palette_image(), "GIF", transparency=1), WHITE, 0),
    "gif-87a": (
        gif((8, 8), [((8, 8), gif_run(2, 64))]).replace(b"GIF89a", b"GIF87a"),
        RED,
        0,
    ),
    "gif-with-greys-of-its-own-for-a-frame": (grey_gif(), (2,) * 3, 0),
    "1-bit-bmp": (encoded(plain("1", 1), "BMP"), WHITE, 0),
    "8-bit-bmp": (encoded(plain("L", 33), "BMP"), (33,) * 3, 0),
    "24-bit-bmp": (encoded(plain("RGB", BLUE), "BMP"), BLUE, 0),
    "32-bit-bmp": (bmp((8, 8), 32, b"\xff\0\0\0" * 64), BLUE, 0),
    "16-bit-bmp": (bmp((8, 8), 16, b"\0\x7c" * 64), RED, 0),
    "top-down-bmp": (bmp((8, -8), 24, b"\0\0\xff" * 64), RED, 0),
    "run-length-bmp": (
        bmp((8, 8), 8, b"\x08\x01\0\0" * 8 + b"\0\1", 1, b"\0\0\0\0\0\0\xff\0"),
        RED,
        0,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_table(row: str) -> None:
    image, colour, tolerance = ROWS[row]

    pixels = decode_image(image, SIZE)

    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - colour).max() <= tolerance


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_orientation_is_undone(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (32, 64), RED)
    upright.paste(BLUE, (0, 0, 16, 32))
    upright.paste(WHITE, (16, 32, 32, 64))
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = upright.transpose(turn) if turn is not None else upright

    pixels = decode_image(encoded(lying, kind, exif=exif, quality=100), (64, 32))

    corners = pixels[[4, 4, 60, 60], [4, 28, 4, 28]].astype(int)
    assert np.abs(corners - [BLUE, RED, RED, WHITE]).max() <= 6


@pytest.mark.parametrize(
    "image",
    [
        bmp((8, 8), 2, bytes(32), 0, bytes(16)),
        bmp((8, 8), 24, bytes(192), 4),
        bmp((8, 8), 0, encoded(plain("RGB", RED), "PNG"), 5),
        bmp((8, 8), 32, bytes(256), 6),
    ],
    ids=["2-bit", "rle-24", "png-inside", "alpha-bitfields"],
)
def test_bmp_of_another_make_is_not_called_damaged(image: bytes) -> None:
    with pytest.raises(
        InvalidImageError, match=r"not decoded here .*: save"
    ) as refused:
        decode_image(image, SIZE)
    assert refused.value.code == "unsupported_image"


@pytest.mark.parametrize(("alpha", "colour"), [(0, BLUE), (1, (254, 254, 255))])
def test_alpha_of_a_bmp_that_is_zero_everywhere_is_none(
    alpha: int, colour: tuple[int, int, int]
) -> None:
    pixels = b"\xff\0\0" + bytes([0])
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    body = masks.ljust(108 - 40, b"\0") + pixels * 63 + pixels[:3] + bytes([alpha])
    image = bytearray(bmp((8, 8), 32, body, 3))
    image[10:18] = struct.pack("<II", 14 + 108, 108)

    assert (decode_image(bytes(image), SIZE)[0, 7] == colour).all()


def test_colour_profile_changes_nothing() -> None:
    photo = plain("RGB", (90, 80, 70))
    for kind in ("JPEG", "PNG", "WEBP"):
        with_profile = encoded(photo, kind, icc_profile=bytes(range(256)) * 2)

        assert (
            decode_image(with_profile, SIZE) == decode_image(encoded(photo, kind), SIZE)
        ).all()


def test_frame_smaller_than_the_screen_of_a_gif_stands_on_the_palettes_first() -> None:
    image = gif((8, 8), [((4, 4), gif_run(2, 16)), ((8, 8), gif_run(1, 64))])

    pixels = decode_image(image, SIZE)

    assert (pixels[:4, :4] == RED).all()
    assert (pixels[4:, 4:] == BLACK).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_file_that_ends_early_is_damaged(kind: str) -> None:
    whole = noise(3, kind=kind)

    for share in (0.02, 0.3, 0.6, 0.95):
        with pytest.raises(InvalidImageError) as refused:
            decode_image(whole[: int(len(whole) * share)], SIZE)
        assert refused.value.code == "undecodable_image"


def test_zip_file_behind_a_photo_is_not_looked_at() -> None:
    for kind in ("JPEG", "PNG", "GIF"):
        photo = grey(120, kind=kind)

        pixels = decode_image(photo + b"PK\x03\x04" + bytes(500), SIZE)

        assert (pixels == decode_image(photo, SIZE)).all()


def media(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic"


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (media(b"heic"), "a HEIC photo, .*: convert it to JPEG"),
        (media(b"hevx"), "a HEIC photo, .*: convert it to JPEG"),
        (media(b"mif1"), "a HEIF photo, .*: convert it to JPEG"),
        (media(b"avif"), "an AVIF image, .*: convert it to JPEG"),
        (media(b"crx "), r"raw photo \(CR3\), .*: convert it to JPEG"),
        (media(b"isom"), "a video, .*: save one frame"),
        (b"RIFF\0\0\0\0AVI LIST", "a video, .*: save one frame"),
        (b"II*\0\x08\0\0\0", "a TIFF image or a camera's raw photo, .*: convert"),
        (b"MM\0*\0\0\0\x08", "a TIFF image or a camera's raw photo, .*: convert"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image, .*: convert it to JPEG"),
        (b"\xffO\xffQ", "a JPEG 2000 image, .*: convert it to JPEG"),
        (b"\xff\n\0", "a JPEG XL image, .*: convert it to JPEG"),
        (b"\0\0\1\0\1\0", r"an icon \(ICO\), .*: export it as PNG"),
        (b"8BPS\0\1", "a Photoshop document, .*: export it as PNG"),
        (bytes(128) + b"DICM", "a DICOM image, .*: export it as PNG"),
        (b"%PDF-1.7", "a PDF document, .*: export its page"),
        (b"%!PS-Adobe-3.0", "a PostScript document, .*: export its page"),
        (b'<svg xmlns="">', "an SVG drawing, .*: export it as PNG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg>', "an SVG drawing"),
        (b"\r\n<!DOCTYPE HTML>", "a web page, .*: save the image itself"),
        (b"<html><body>404", "a web page, .*: save the image itself"),
        (b"data:image/png;base64,iVBO", "a data URL, .*: decode it first"),
        (b"/9j/4AAQSkZJRg", "a JPEG in base64, .*: decode it first"),
        (b"version https://git-lfs.github.com", "Git LFS pointer, .*: fetch the file"),
        (b"PK\x03\x04\x14", "a ZIP archive or an office document, .*: unpack it"),
        (b"RIFF\0\0\0\0WAVE", "a sound file, .*: send a photo"),
        (b"RIFF\0\0\0\0XYZ ", "it starts with 'RIFF.*: convert it first"),
        (b"\0\0\0\0\0\0\0\0WEBP", "it starts with .*: convert it first"),
        (b"hello", "it starts with 'hello.*: convert it first"),
    ],
)
def test_other_file_is_named_with_a_remedy(start: bytes, complaint: str) -> None:
    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(start + bytes(300), SIZE)

    assert refused.value.code == "unsupported_image"
    assert FORMAT_NAMES in str(refused.value)


def tga(kind: int, map_kind: int = 0, *, name: bytes = b"") -> bytes:
    """The header of a TGA of 20 x 10 pixels, called *name*."""
    palette = (0, 256, 24) if map_kind else (0, 0, 0)
    bits = 8 if map_kind or kind in (3, 11) else 24
    fields = (len(name), map_kind, kind, *palette, 0, 0, 20, 10, bits, 0x20)
    return struct.pack("<BBBHHBHHHHBB", *fields) + name + bytes(600)


LICENCE = b"<!-- " + b"no warranty; " * 300 + b"-->"
DOCTYPE = b'<!DOCTYPE svg PUBLIC "-//W3C" [\n<!ENTITY ns "http://a">\n]>'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        *((tga(kind), "a TGA image, .*: export it") for kind in (2, 3, 10, 11)),
        *((tga(kind, 1), "a TGA image") for kind in (1, 9)),
        (tga(2, name=b"made by a program"), "a TGA image"),
        (b"\0\0\2\0\1\0\x20\x20", r"a cursor \(CUR, ANI\)"),
        (b"P6\n# by a program\n20 10\n255\n" + bytes(600), "a Netpbm image"),
        (b"Pf\n20 10\n-1.0\n" + bytes(800), "a Netpbm image"),
        (b"\n\5\1\x08" + bytes(200), "a PCX image"),
        (b"\0\0\x09\2" + b"\xff\x80" * 2, "a WBMP image"),
        (b"IIRO\x08\0\0\0", r"raw photo \(ORF\), .*: convert it to JPEG"),
        (b"IIU\0\x18\0\0\0", r"raw photo \(RW2\)"),
        (b"II*\0\x10\0\0\0CR\2\0", r"raw photo \(CR2\)"),
        (b"II\xbc\1\x08\0\0\0", "a JPEG XR image"),
        (b"SIMPLE  =                    T", "a FITS image"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe", "a Radiance HDR image"),
        (b"icns\0\0\1\0", r"an icon \(ICNS\)"),
        (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (bytes(344) + b"n+1\0", "a NIfTI volume, .*: export its slices"),
        (bytes(257) + b"ustar\x0000", "a tar archive, .*: unpack it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!\x1a\7\1\0", "a RAR archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document"),
        (b"\0\0\0\x14moov", "a video"),
        (b"\1\0\0\0\x6c" + bytes(35) + b" EMF", "an EMF drawing"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X", "an AppleDouble file"),
        (b"bplist00", "a property list"),
        (b"L\0\0\0\1\x14\2\0", "a shortcut of Windows"),
        (bytes(5000), "a file of zeros, .*: copy it again"),
        (LICENCE + SVG, "an SVG drawing, .*: export it as PNG"),
        (
            b"<?xml version='1.0'?>\n<?pi?>\n" + DOCTYPE + LICENCE + SVG,
            "an SVG drawing",
        ),
        (DOCTYPE + b"<svg:svg>", "an SVG drawing"),
        (SVG.decode().encode("utf-16"), "an SVG drawing"),
        (SVG.decode().encode("utf-16-be"), "an SVG drawing"),
        (LICENCE + b"\n  <!DOCTYPE html>", "a web page"),
        (b"\n\n <HTML lang=en>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML document"),
        (b'{"message": "Not Found"}', "JSON, .*: send the image itself"),
        (b"data:application/octet-stream;base64,/9j/", "a data URL"),
        (b"R0lGODlhAQABAIAAAP", "a GIF in base64"),
        (b"UklGRiQAAABXRUJQVlA4", "a WebP in base64"),
        (b"ffd8ffe000104a464946", "an image in hexadecimal digits"),
        (b"b'\\xff\\xd8\\xff\\xe0", "the printed form of Python bytes"),
        (
            b"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\0\x10JFIF",
            "read or written as",
        ),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", "written as text, .*: send its bytes"),
        (b"\r\n\xff\xd8\xff\xe0", "other bytes in front, .*: cut them off"),
        (b"https://example.com/1.jpg", "a web address"),
        (b"[InternetShortcut]\r\nURL=x", "a shortcut to a web page"),
        (b"--x1\r\nContent-Disposition: form-data", "a form with its boundaries"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode("utf-16"), "a text file"),
        (png_header(8, 8).replace(b"\0\0\0\rIHDR", b"\0\0\0\4CgBIP\0 \2"), "CgBI"),
        (media(b"M4A "), "a sound file"),
        (media(b"avio"), "an AVIF image"),
        (b"\xff\xf1\x50\x80" + bytes(99), "a sound file"),
        ((b"G" + bytes(187)) * 3, "a video"),
        (b"\0\0\0\x08skip" + bytes(99), "a video"),
        (b"BA" + bytes(12) + b"BM", "a bitmap array of OS/2, .*: export it as PNG"),
        (b"#define cat_width 16\n#define cat_height 16\n", "an XBM image"),
        (b"NRRD0004\ntype: uchar\n\n" + bytes(99), "an NRRD image"),
        (b"MATLAB 7.3 MAT-file", "a MATLAB file"),
        (b"\x80\x04\x95" + bytes(99), "a Python pickle, .*: save its images"),
        (b"<br />\n<b>Warning</b>: imagejpeg(): ", "a web page"),
        (b"<center><h1>404 Not Found</h1>", "a web page"),
        (b"_9j_4AAQSkZJRgABAQ", "a JPEG in base64"),
        (b'"iVBORw0KGgoAAAANSUhEUg"', "a PNG in base64"),
        (b"b'/9j/4AAQSkZJRg'", "a JPEG in base64"),
        (b"\\xffd8ffe000104a46", "an image in hexadecimal digits"),
    ],
)
def test_whole_file_is_named_with_a_remedy(file: bytes, complaint: str) -> None:
    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(file, SIZE)

    assert refused.value.code == "unsupported_image"


@pytest.mark.parametrize("prolog", [b"<?", b"<!--", b"<!doctype a[", b"<!doctype a "])
def test_long_prolog_takes_no_time(prolog: bytes) -> None:
    for filling in (b" ", b"<?>", b"]", b"<!---->", prolog):
        with pytest.raises(InvalidImageError):
            decode_image(prolog + filling * 60_000, SIZE)


PHOTO = noise(1, kind="JPEG")


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        *(
            (kind, "a lossless JPEG, .*: save it as an ordinary")
            for kind in (0xC3, 0xCB)
        ),
        *((kind, "a hierarchical JPEG") for kind in (0xC5, 0xC6, 0xC7, 0xCD, 0xDE)),
        (0xF7, "a JPEG-LS image"),
    ],
)
def test_other_kind_of_jpeg_is_named_with_a_remedy(frame: int, complaint: str) -> None:
    changed = PHOTO.replace(b"\xff\xc0", bytes([0xFF, frame]))

    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(changed, SIZE)
    assert refused.value.code == "unsupported_image"


@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg_of_more_bits_is_named(bits: int) -> None:
    with pytest.raises(InvalidImageError, match=f"a JPEG of {bits} bits") as refused:
        decode_image(frame_header(PHOTO, 4, bytes([bits])), SIZE)
    assert refused.value.code == "unsupported_image"


def test_arithmetic_coded_jpeg_is_named_when_it_is_damaged() -> None:
    changed = PHOTO.replace(b"\xff\xc0", b"\xff\xca")

    with pytest.raises(InvalidImageError, match="arithmetic-coded JPEG is damaged"):
        decode_image(changed, SIZE)


MODEL_SIZE = (24, 32)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_large_image_is_changed_in_parts_to_the_same_pixels(mode: str) -> None:
    """A square of 1.4 megapixels, above what is changed at a time."""
    values = np.random.default_rng(3).integers(0, 256, (1200, 1200, 4), np.uint8)
    options: dict[str, object] = {}
    if mode == "I;16":
        wide = values[..., :2].copy().view("<u2")[..., 0]
        image = Image.fromarray(wide)
        expected = Image.fromarray((wide / np.float32(257)).round().astype(np.uint8))
    else:
        image = Image.fromarray(values).convert(mode)
        options = {"transparency": 7} if mode == "P" else {}
        expected = Image.open(io.BytesIO(encoded(image, "PNG", **options))).convert(
            "RGBA"
        )
        expected = Image.alpha_composite(
            Image.new("RGBA", (1200, 1200), "white"), expected
        )

    pixels = decode_image(encoded(image, "PNG", **options), (1200, 1200))

    assert (pixels == np.asarray(expected.convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_each_format_becomes_rgb_of_the_models_size(kind: str) -> None:
    pixels = decode_image(grey(120, (60, 40), kind), MODEL_SIZE)

    assert pixels.shape == (24, 32, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 120).max() <= 2


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("L", (9, 9), 70), (70, 70, 70)),
        (Image.new("1", (9, 9), 1), (255, 255, 255)),
        (Image.new("P", (9, 9), 0), None),
        (Image.new("I;16", (9, 9), 40000), (156, 156, 156)),
        (Image.new("RGBA", (9, 9), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (9, 9), (10, 0)), (255, 255, 255)),
    ],
    ids=["grey", "one-bit", "palette", "16-bit", "transparent", "opaque", "grey-alpha"],
)
def test_every_mode_has_its_stated_colour(
    image: Image.Image, colour: tuple[int, int, int] | None
) -> None:
    pixels = decode_image(encoded(image), MODEL_SIZE)

    expected = colour or tuple(image.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]
    assert (pixels == expected).all()


def test_cmyk_jpeg_is_converted() -> None:
    pixels = decode_image(encoded(Image.new("CMYK", (9, 9)), "JPEG"), MODEL_SIZE)

    assert (pixels > 250).all()


def test_exif_orientation_is_applied() -> None:
    upright = Image.new("RGB", (40, 20), "black")
    upright.paste("white", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = encoded(upright, "PNG", exif=exif)

    pixels = decode_image(lying, (40, 20))

    assert pixels[5].mean() > 250
    assert pixels[35].mean() < 5


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 6, 8])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("P", "PNG"),
        ("L", "PNG"),
        ("RGB", "WEBP"),
    ],
)
def test_pixels_are_those_of_pillows_plain_steps(
    mode: str, kind: str, orientation: int | None
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    photo = Image.open(io.BytesIO(noise(1, (61, 37), "PNG"))).convert(mode)
    sent = encoded(photo, kind, exif=exif)

    plain = ImageOps.exif_transpose(Image.open(io.BytesIO(sent)))
    plain = plain if mode == "L" else plain.convert("RGB")
    plain = plain.resize(MODEL_SIZE[::-1], Image.Resampling.BILINEAR).convert("RGB")
    assert (decode_image(sent, MODEL_SIZE) == np.asarray(plain)).all()


def test_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    moving = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])

    assert (decode_image(moving, MODEL_SIZE) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("image", "code", "complaint"),
    [
        (b"", "empty_image", "0 bytes"),
        (b"just some text", "unsupported_image", "a text file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_image", "JPEG, PNG"),
        (b"GIF89a" + bytes(40), "undecodable_image", "damaged"),
        (noise(1)[: len(noise(1)) // 2], "undecodable_image", "damaged"),
        (grey(7)[:40], "undecodable_image", "damaged"),
        (b"\xff\xd8\xff" + bytes(30), "undecodable_image", "damaged"),
        (huge_png(10_000, 10_000), "too_many_pixels", "10000 x 10000"),
        (huge_png(40_000, 8), "too_many_pixels", "a side"),
    ],
    ids=[
        "empty",
        "text",
        "eps",
        "gif",
        "half-jpeg",
        "half-png",
        "junk",
        "100MP",
        "long",
    ],
)
def test_unusable_image_is_refused_with_code_and_remedy(
    image: bytes, code: str, complaint: str
) -> None:
    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(image, MODEL_SIZE)

    assert refused.value.code == code


def test_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(grey(1))

    assert read_image_file(tmp_path / "a.png") == grey(1)


def test_link_fifo_folder_and_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(grey(1))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()

    for name in ("link.png", "fifo.png", "folder.png", "none.png"):
        with pytest.raises(InvalidImageError) as refused:
            read_image_file(tmp_path / name)
        assert refused.value.code == "unreadable_file"


def test_refused_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    before = lowest_free_descriptor()

    for name in ("folder.png", "empty.png"):
        with pytest.raises(InvalidImageError):
            read_image_file(tmp_path / name)

    assert lowest_free_descriptor() == before


def lowest_free_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


def test_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(101))

    with pytest.raises(InvalidImageError, match="limit is 100"):
        read_image_file(tmp_path / "a.png", max_bytes=100)


def test_thumbnail_keeps_the_shape() -> None:
    thumbnail = Image.open(io.BytesIO(encode_thumbnail(noise(1, (400, 200)), 100)))

    assert thumbnail.size == (100, 50)


FRACTION_SIZE = (60, 90)
LARGE = (7200, 7000)
"""Width and height, a little above what is decoded whole."""


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    yield
    limit_pixels(MAX_PIXELS)


def stripes(size: tuple[int, int], mode: str = "L") -> Image.Image:
    """Light and dark from top to bottom, darker to the right; not the same turned."""
    width, height = size
    rows = 128 + 60 * np.sin(np.arange(70) / 3)[:, None] - np.arange(70) * 0.8
    small = Image.fromarray(rows.astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def opened(jpeg: bytes) -> Image.Image:
    """Pillow's plain steps in full size."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg))).convert("RGB")


def resized(image: Image.Image, size: tuple[int, int] = FRACTION_SIZE) -> np.ndarray:
    smaller = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(smaller).astype(int)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("CMYK", {}), ("L", {"progressive": True})],
    ids=["cmyk", "progressive"],
)
def test_jpeg_too_large_to_be_decoded_whole_has_nearly_the_same_pixels(
    mode: str, options: dict[str, object]
) -> None:
    jpeg = encoded(stripes(LARGE, mode), "JPEG", **options)
    whole = resized(opened(jpeg))

    assert np.abs(decode_image(jpeg, FRACTION_SIZE) - whole).max() <= 3
    assert decode_thumbnail(jpeg, 72).shape == (70, 72, 3)
    assert np.abs(decode_grey(jpeg, FRACTION_SIZE) - whole[..., 0]).max() <= 6


@pytest.mark.parametrize("turn", [1, 6])
def test_panorama_keeps_twice_the_models_size(turn: int) -> None:
    """An eighth of its shorter side would be less than the model's."""
    exif = Image.Exif()
    exif[0x0112] = turn
    jpeg = encoded(stripes((30_000, 1_704)), "JPEG", exif=exif)

    whole = opened(jpeg)
    for wanted in ((280, 90), (90, 280)):
        difference = decode_image(jpeg, wanted) - resized(whole, wanted)
        assert np.abs(difference).max() <= 3


def test_photo_of_108_megapixels_takes_little_memory() -> None:
    jpeg = encoded(Image.new("L", (12_000, 9_000), 90), "JPEG")

    with DecodeSandbox(DecodeLimits(memory_bytes=64 * 2**20)) as sandbox:
        assert (sandbox.decode(jpeg, FRACTION_SIZE) == 90).all()


def test_progressive_jpeg_is_bounded_by_what_its_coefficients_take() -> None:
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True, subsampling=0)
    larger = frame_header(jpeg, 5, struct.pack(">HH", 10_000, 12_000))

    with pytest.raises(
        InvalidImageError, match=r"takes 720 MB .*: save it as a base"
    ) as (refused):
        decode_image(larger, FRACTION_SIZE)
    assert refused.value.code == "too_complex"


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (
            frame_header(grey(9, kind="JPEG"), 5, b"\x10\0\x10\1"),
            "the limit is 16,777,216 and",
        ),
        (huge_png(4096, 4097), "the limit is 16,777,216 and"),
    ],
    ids=["jpeg", "png"],
)
def test_limit_is_named_with_its_value(image: bytes, complaint: str) -> None:
    limit_pixels(4096 * 4096)

    for decode in (decode_image, decode_grey):
        with pytest.raises(InvalidImageError, match=complaint) as refused:
            decode(image, FRACTION_SIZE)
        assert refused.value.code == "too_many_pixels"


def test_formats_that_are_decoded_whole_have_a_limit_of_their_own() -> None:
    with pytest.raises(InvalidImageError, match=r"50,000,000 for a PNG .*as JPEG"):
        decode_image(huge_png(10_000, 10_000), FRACTION_SIZE)


def test_image_at_the_limit_is_taken() -> None:
    jpeg = grey(9, kind="JPEG")
    assert read_size("JPEG", jpeg) == (40, 30)

    limit_pixels(40 * 30)

    assert decode_image(jpeg, FRACTION_SIZE).shape == (*FRACTION_SIZE, 3)


def test_children_have_the_limit_of_their_parent() -> None:
    limit_pixels(1000)

    with (
        DecodeSandbox() as sandbox,
        pytest.raises(InvalidImageError, match="the limit is 1,000 and") as refused,
    ):
        sandbox.decode(grey(9), FRACTION_SIZE)
    assert refused.value.code == "too_many_pixels"


def test_api_and_workers_read_it_from_the_environment() -> None:
    for settings in (ServiceSettings, WorkerSettings):
        assert settings.from_env({}).max_pixels == MAX_PIXELS > 2 * WHOLE_PIXELS
        assert settings.from_env({"MAX_PIXELS": "123"}).max_pixels == 123
        with pytest.raises(
            InvalidRequestError, match="MAX_PIXELS='1e9' is not a whole"
        ):
            settings.from_env({"MAX_PIXELS": "1e9"})


def test_command_line_refuses_a_limit_that_is_none() -> None:
    run = CliRunner().invoke(main, ["networks"], env={"MAX_PIXELS": "0"})

    assert run.exit_code == 2
    assert "MAX_PIXELS='0' is not a whole number from 1 to" in run.stderr


SIDE = 8
ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and their steps, of the passes of an interlaced PNG."""
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def picture(
    depth: int,
    colour: int,
    columns: Sequence[tuple[int, ...]],
    *chunks: bytes,
    interlaced: bool = False,
) -> bytes:
    """A square whose rows all are *columns*, samples of *depth* bits."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        b"\0" + packed(columns[first::step], depth)
        for first, top, step, down in passes
        for _ in range(top, SIDE, down)
    )
    fields = (SIDE, SIDE, depth, colour, 0, 0, interlaced)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"".join([PNG_START, header, *chunks, data, png_chunk(b"IEND")])


def packed(pixels: Sequence[tuple[int, ...]], depth: int) -> bytes:
    digits = "".join(f"{sample:0{depth}b}" for pixel in pixels for sample in pixel)
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8)


def clear(*levels: int) -> bytes:
    return png_chunk(b"tRNS", struct.pack(f">{len(levels)}H", *levels))


def in_palette(*alphas: int) -> tuple[bytes, bytes]:
    colours = bytes((10, 20, 30, 40, 50, 60))
    return png_chunk(b"PLTE", colours), png_chunk(b"tRNS", bytes(alphas))


CASES: dict[str, tuple[int, int, list[tuple[int, ...]], tuple[bytes, ...], list[int]]]
CASES = {
    # name: depth, colour, two pixels, chunks; what the model sees of their first levels
    "grey-1": (1, GREY, [(0,), (1,)], (clear(0),), [255, 255]),
    "grey-1-white": (1, GREY, [(0,), (1,)], (clear(1),), [0, 255]),
    "grey-2": (2, GREY, [(1,), (2,)], (clear(1),), [255, 170]),
    "grey-4": (4, GREY, [(3,), (4,)], (clear(3),), [255, 68]),
    "grey-4-low-bits-count": (4, GREY, [(3,), (4,)], (clear(0xFFF3),), [255, 68]),
    "grey-4-of-8-bits": (4, GREY, [(3,), (4,)], (clear(51),), [255, 68]),
    "grey-8": (8, GREY, [(3,), (4,)], (clear(3),), [255, 4]),
    "grey-16": (16, GREY, [(0x1234,), (0x1235,)], (clear(0x1234),), [255, 18]),
    "rgb-8": (8, RGB, [(3, 4, 5), (3, 4, 6)], (clear(3, 4, 5),), [255, 3]),
    "rgb-16": (
        16,
        RGB,
        [(0x1234, 5, 6), (0x1235, 5, 6)],
        (clear(0x1234, 5, 6),),
        [255, 18],
    ),
    "rgb-16-upper-bits": (
        16,
        RGB,
        [(0x1234, 5, 6), (0x1334, 5, 6)],
        (clear(0x1234, 5, 6),),
        [255, 19],
    ),
    "palette-1": (1, PALETTE, [(0,), (1,)], in_palette(0), [255, 40]),
    "palette-2-half": (2, PALETTE, [(0,), (1,)], in_palette(255, 51), [10, 212]),
    "palette-4": (4, PALETTE, [(0,), (1,)], in_palette(255, 0), [10, 255]),
    "palette-8": (8, PALETTE, [(0,), (1,)], in_palette(0, 255), [255, 40]),
    "grey-alpha-8": (8, GREY_ALPHA, [(9, 0), (9, 255)], (), [255, 9]),
    "grey-alpha-16": (16, GREY_ALPHA, [(0x9FF, 0), (0x9FF, 0xFFFF)], (), [255, 9]),
    "rgba-16": (16, RGBA, [(0x9FF, 0, 0, 0), (0x9FF, 0, 0, 65535)], (), [255, 9]),
    # What is no colour of the image, or damaged, is ignored.
    "short": (8, GREY, [(3,), (4,)], (png_chunk(b"tRNS", b"\3"),), [3, 4]),
    "empty": (8, RGB, [(3, 3, 3), (4, 4, 4)], (png_chunk(b"tRNS"),), [3, 4]),
    "long": (8, GREY, [(3,), (4,)], (clear(3, 3, 3),), [3, 4]),
    "checksum": (8, GREY, [(3,), (4,)], (clear(3)[:-4] + bytes(4),), [3, 4]),
    "palette-checksum": (
        8,
        PALETTE,
        [(0,), (1,)],
        (in_palette()[0], png_chunk(b"tRNS", b"\0")[:-4] + bytes(4)),
        [10, 40],
    ),
    "beside-alpha": (8, RGBA, [(3, 3, 3, 255)] * 2, (clear(3, 3, 3),), [3, 3]),
}


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_transparent_pixels_are_white_and_others_keep_their_colour(
    case: str, interlaced: bool
) -> None:
    depth, colour, pixels, chunks, expected = CASES[case]
    image = picture(depth, colour, pixels * 4, *chunks, interlaced=interlaced)

    for decoded in (
        decode_image(image, (SIDE, SIDE))[..., 0],
        decode_thumbnail(image, SIDE)[..., 0],
    ):
        assert (decoded == expected * 4).all()


def test_grey_copies_show_it_too() -> None:
    image = picture(4, GREY, [(3,)] * SIDE, clear(3))

    assert (decode_grey(image, (SIDE, SIDE)) == 255).all()


@pytest.mark.parametrize("depth", [0, 3, 32])
def test_depth_that_does_not_exist_is_damage(depth: int) -> None:
    image = picture(depth or 1, GREY, [(0,)] * SIDE, clear(3))
    fields = struct.pack(">IIBBBBB", SIDE, SIDE, depth, GREY, 0, 0, 0)
    image = PNG_START + png_chunk(b"IHDR", fields) + image[33:]

    with pytest.raises(InvalidImageError) as refused:
        decode_image(image, (SIDE, SIDE))
    assert refused.value.code == "undecodable_image"


@pytest.mark.parametrize(
    ("palette", "complaint"),
    [
        (b"", "no palette"),
        (png_chunk(b"PLTE"), "no palette"),
        (png_chunk(b"PLTE", b"abcd"), "no palette"),
        (png_chunk(b"PLTE", b"abc")[:-4] + bytes(4), "the checksum of its palette"),
    ],
    ids=["none", "empty", "of-broken-colours", "checksum"],
)
def test_palette_that_cannot_be_used_is_damage(palette: bytes, complaint: str) -> None:
    with pytest.raises(InvalidImageError, match=complaint) as refused:
        decode_image(picture(8, PALETTE, [(0,)] * SIDE, palette), (SIDE, SIDE))
    assert refused.value.code == "undecodable_image"
