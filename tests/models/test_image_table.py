"""docs/serving.md's table, row by row: what arrives, and what the model sees."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from models.errors import InvalidImageError
from models.image_formats import FORMATS
from models.images import decode_image
from tests.models.bombs import frame_header
from tests.models.files import bmp, gif, gif_run, png, png_header
from tests.pictures import encoded, grey, noise

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
    assert FORMATS in str(refused.value)


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
