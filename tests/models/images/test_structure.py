"""The structure of image files: pixels, orientation, and bounded work for decoders."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import InvalidImageError
from models.images.bmp import MAX_RLE_BYTES
from models.images.codec import decode_grey, decode_image, decode_thumbnail, is_costly
from models.images.structure import MAX_PARTS, MAX_SCANS, strip_metadata
from tests.models.images.bombs import (
    BOMBS,
    JPEGS,
    extended,
    frame_control,
    many_code_groups,
    noisy,
    padded_jpeg,
    segment,
    text,
    webp_chunk,
)
from tests.models.images.handmade import (
    bmp,
    gif,
    gif_run,
    huge_png,
    jpeg_with_scans,
    png,
    png_chunk,
    png_header,
)
from tests.models.images.mutations import PIXELS, mutated, originals
from tests.pictures import encoded, grey, noise

SIZE = (24, 32)
LYING = noise(1, (48, 36), "PNG")
TURN = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}
IEND = png_chunk(b"IEND")


def photo() -> Image.Image:
    return Image.open(io.BytesIO(LYING))


JPEG = encoded(photo(), "JPEG")
WEBP = encoded(photo(), "WEBP", lossless=True)


def exif(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    value = "HH" if kind == 3 else "I"
    fields = [8, 2, 0x010F, 2, 1, 0x41, 0x0112, kind, 1, orientation]
    fields += [0] if kind == 3 else []
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IHHHIIHHI{value}", *fields) + bytes(4)


def in_jpeg(*segments: bytes) -> bytes:
    return padded_jpeg(b"".join(segments), jpeg=JPEG)


def in_png(*chunks: bytes) -> bytes:
    return LYING[:33] + b"".join(chunks) + LYING[33:]


def xmp(orientation: int, style: str = 'tiff:Orientation="%d"') -> bytes:
    return b"<x:xmpmeta>" + (style % orientation).encode() + b"</x:xmpmeta>"


ELEMENT = "<tiff:Orientation>%d</tiff:Orientation>"
JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def profile(block: bytes, kind: bytes = b"zTXt") -> bytes:
    lines = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    body = zlib.compress(lines) if kind == b"zTXt" else lines
    return text(kind, b"Raw profile type exif", body)


def unicode_text(packet: bytes, packed: bool = False) -> bytes:
    body = zlib.compress(packet) if packed else packet
    flags = b"\0\1\0\0\0" if packed else bytes(5)
    return png_chunk(b"iTXt", b"XML:com.adobe.xmp" + flags + body)


def in_webp(flags: int, *chunks: bytes) -> bytes:
    return extended(flags, (48, 36), WEBP[12:], *chunks)


GIF = encoded(photo(), "GIF")
BMP = encoded(photo(), "BMP")


def in_gif(extension: bytes) -> bytes:
    start = 13 + (3 << (GIF[10] & 7) + 1)
    return GIF[:start] + extension + GIF[start:]


def in_bmp(length: int) -> bytes:
    """With a header of that *length*; what it has no room for is 0 anyway."""
    start, header = 14 + length, (BMP[18:54] + bytes(length))[: length - 4]
    return BMP[:10] + struct.pack("<II", start, length) + header + BMP[54:]


def riff_length(webp: bytes, length: int) -> bytes:
    return webp[:4] + struct.pack("<I", length) + webp[8:]


PLACES: dict[str, tuple[Callable[[int], bytes], bytes]] = {
    # name: a file with that orientation, the file without
    "jpeg": (lambda turn: in_jpeg(segment(0xE1, b"Exif\0\0" + exif(turn))), JPEG),
    "jpeg-big-endian": (
        lambda turn: in_jpeg(segment(0xE1, b"Exif\0\0" + exif(turn, ">"))),
        JPEG,
    ),
    "jpeg-four-bytes": (
        lambda turn: in_jpeg(segment(0xE1, b"Exif\0\0" + exif(turn, kind=4))),
        JPEG,
    ),
    "jpeg-in-two-segments": (
        lambda turn: in_jpeg(
            segment(0xE1, b"Exif\0\0" + exif(turn)), segment(0xE1, b"Exif\0\0more")
        ),
        JPEG,
    ),
    "jpeg-xmp": (lambda turn: in_jpeg(segment(0xE1, JPEG_XMP + xmp(turn))), JPEG),
    "jpeg-xmp-element": (
        lambda turn: in_jpeg(segment(0xE1, JPEG_XMP + xmp(turn, ELEMENT))),
        JPEG,
    ),
    "png": (lambda turn: in_png(png_chunk(b"eXIf", exif(turn))), LYING),
    "png-behind-pixels": (
        lambda turn: LYING[:-12] + png_chunk(b"eXIf", exif(turn)) + IEND,
        LYING,
    ),
    "png-imagemagick": (lambda turn: in_png(profile(exif(turn))), LYING),
    "png-imagemagick-plain": (
        lambda turn: in_png(profile(b"Exif\0\0" + exif(turn), b"tEXt")),
        LYING,
    ),
    "png-xmp": (lambda turn: in_png(unicode_text(xmp(turn))), LYING),
    "png-xmp-packed": (lambda turn: in_png(unicode_text(xmp(turn), True)), LYING),
    "webp": (lambda turn: in_webp(8, webp_chunk(b"EXIF", exif(turn))), WEBP),
    "webp-with-a-prefix": (
        lambda turn: in_webp(8, webp_chunk(b"EXIF", b"Exif\0\0" + exif(turn))),
        WEBP,
    ),
    "webp-xmp": (lambda turn: in_webp(4, webp_chunk(b"XMP ", xmp(turn))), WEBP),
}


def upright(image: bytes, turn: int) -> np.ndarray:
    standing = Image.open(io.BytesIO(image)).convert("RGB").transpose(TURN[turn])
    return decode_image(encoded(standing), SIZE)


@pytest.mark.parametrize("turn", TURN)
@pytest.mark.parametrize("place", PLACES)
def test_orientation_is_read_wherever_programs_write_it(place: str, turn: int) -> None:
    make, plain = PLACES[place]

    assert (decode_image(make(turn), SIZE) == upright(plain, turn)).all()


def test_exif_is_believed_before_xmp() -> None:
    both = in_jpeg(
        segment(0xE1, JPEG_XMP + xmp(3)), segment(0xE1, b"Exif\0\0" + exif(6))
    )

    assert (decode_image(both, SIZE) == upright(JPEG, 6)).all()


def test_all_ways_to_decode_turn_the_image() -> None:
    turned = in_jpeg(segment(0xE1, b"Exif\0\0" + exif(6)))

    assert decode_thumbnail(turned, 48).shape == (48, 36, 3)
    assert np.abs(decode_grey(turned, SIZE).astype(int) - decode_grey(JPEG, SIZE)).max()


def test_orientation_that_does_not_exist_is_upright() -> None:
    for turn in (0, 9, 255, 65_535):
        turned = in_jpeg(segment(0xE1, b"Exif\0\0" + exif(turn)))

        assert (decode_image(turned, SIZE) == decode_image(JPEG, SIZE)).all()


def test_exif_with_any_byte_changed_spoils_nothing() -> None:
    block = exif(6)

    for place in range(len(block)):
        changed = block[:place] + b"\xff" + block[place + 1 :]
        for image in (
            in_jpeg(segment(0xE1, b"Exif\0\0" + changed)),
            in_webp(8, webp_chunk(b"EXIF", changed)),
        ):
            assert decode_image(image, SIZE).shape == (*SIZE, 3)


def test_exif_that_ends_anywhere_spoils_nothing() -> None:
    for length in range(len(exif(6))):
        cut = exif(6)[:length]
        for image in (
            in_jpeg(segment(0xE1, b"Exif\0\0" + cut)),
            in_png(png_chunk(b"eXIf", cut)),
            in_png(profile(cut)),
        ):
            assert decode_image(image, SIZE).shape == (*SIZE, 3)


UNREADABLE: dict[str, tuple[bytes, bytes]] = {
    # name: a file with metadata that cannot be read, the file without
    "jpeg-exif": (in_jpeg(segment(0xE1, b"Exif\0\0garbage!")), JPEG),
    "jpeg-exif-of-nothing": (in_jpeg(segment(0xE1, b"Exif\0\0")), JPEG),
    "jpeg-short-jfif": (
        JPEG.replace(JPEG[2:20], segment(0xE0, b"JFIF\0\1")),
        JPEG,
    ),
    "jpeg-short-profile": (in_jpeg(segment(0xE2, b"ICC_PROFILE\0")), JPEG),
    "jpeg-photoshop": (in_jpeg(segment(0xED, b"Photoshop 3.0\0008BIM\4")), JPEG),
    "jpeg-pictures": (in_jpeg(segment(0xE2, b"MPF\0MM")), JPEG),
    "png-checksum": (in_png(text(b"tEXt", b"k", b"v")[:-4] + bytes(4)), LYING),
    "png-long-text": (in_png(text(b"zTXt", b"k", zlib.compress(bytes(10**7)))), LYING),
    "png-text-that-is-not-packed": (in_png(text(b"zTXt", b"k", b"\1plain")), LYING),
    "png-long-profile": (
        in_png(png_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**7)))),
        LYING,
    ),
    "png-short-resolution": (in_png(png_chunk(b"pHYs", b"\0")), LYING),
    "png-short-gamma": (in_png(png_chunk(b"gAMA")), LYING),
    "png-exif": (in_png(png_chunk(b"eXIf", b"garbage!")), LYING),
    "png-imagemagick": (
        in_png(text(b"tEXt", b"Raw profile type exif", b"\nexif\n9\nxyz")),
        LYING,
    ),
    "png-hint-at-a-palette": (
        in_png(png_chunk(b"PLTE", b"abc")[:-4] + bytes(4)),
        LYING,
    ),
    "png-short-hint-at-a-palette": (in_png(png_chunk(b"PLTE", b"ab")), LYING),
    "png-frames": (in_png(png_chunk(b"acTL"), frame_control(7)), LYING),
    "png-text-cut-off": (LYING[:-12] + text(b"tEXt", b"k", bytes(99))[:50], LYING),
    "jpeg-no-length": (in_jpeg(b"\xff\xe1\0\0"), JPEG),
    "jpeg-length-of-one": (in_jpeg(b"\xff\xfe\0\1"), JPEG),
    "jpeg-bytes-between-segments": (in_jpeg(segment(0xE5, b"x") + b"junk"), JPEG),
    "jpeg-started-twice": (JPEG[:2] + JPEG, JPEG),
    "jpeg-comment-behind-the-frame": (
        JPEG.replace(b"\xff\xda", segment(0xE1, b"Exif\0\0x") + b"\xff\xda", 1),
        JPEG,
    ),
    "jpeg-bytes-behind": (JPEG + b"garbage", JPEG),
    "png-checksums": (
        in_png(
            *(png_chunk(kind)[:-4] + bytes(4) for kind in (b"iTXt", b"tIME", b"cHRM"))
        ),
        LYING,
    ),
    "png-twice": (in_png(*[png_chunk(b"gAMA", b"\0\0\xb1\x8f")] * 2), LYING),
    "png-text-behind-the-end": (LYING + text(b"tEXt", b"k", b"v"), LYING),
    "gif-short-control": (in_gif(b"!\xf9\2\0\0\0"), GIF),
    "gif-application-of-nothing": (in_gif(b"!\xff\0"), GIF),
    "gif-unknown-extension": (in_gif(b"!\x99\2ab\0"), GIF),
    "bmp-short-header": (in_bmp(16), BMP),
    "bmp-odd-header": (in_bmp(41), BMP),
    "bmp-long-header": (in_bmp(200), BMP),
    "bmp-wrong-length": (BMP[:2] + bytes(4) + BMP[6:], BMP),
    "webp-too-long": (riff_length(WEBP, len(WEBP) + 100), WEBP),
    "webp-too-short": (riff_length(WEBP, 0), WEBP),
    "webp-extended-too-long": (riff_length(in_webp(0), 10**6), WEBP),
    "webp-exif-cut-off": (in_webp(8, webp_chunk(b"EXIF", bytes(99)))[:-50], WEBP),
    "webp-exif-of-odd-length": (in_webp(8, webp_chunk(b"EXIF", b"odd")), WEBP),
    "webp-profile-first": (
        extended(0x20, (48, 36), webp_chunk(b"ICCP", b"abc") + WEBP[12:]),
        WEBP,
    ),
    "webp-exif": (in_webp(8, webp_chunk(b"EXIF", b"garbage!")), WEBP),
    "webp-exif-of-nothing": (in_webp(8, webp_chunk(b"EXIF")), WEBP),
    "webp-unannounced": (in_webp(0, webp_chunk(b"EXIF", exif(6))), WEBP),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_metadata_that_cannot_be_read_is_ignored(name: str) -> None:
    image, plain = UNREADABLE[name]

    assert (decode_image(image, SIZE) == decode_image(plain, SIZE)).all()


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("JPEG", in_jpeg(segment(0xE1, b"Exif\0\0secret"), segment(0xFE, b"secret"))),
        ("JPEG", in_jpeg(*[segment(0xE0 + number, b"secret") for number in range(16)])),
        ("PNG", in_png(text(b"tEXt", b"k", b"secret"), png_chunk(b"eXIf", b"secret"))),
        ("PNG", LYING[:-12] + text(b"tEXt", b"k", b"secret") + IEND),
        (
            "WebP",
            in_webp(
                0x2C, webp_chunk(b"EXIF", b"secret"), webp_chunk(b"ICCP", b"secret")
            ),
        ),
        ("GIF", gif((4, 4), [((4, 4), gif_run(2, 16))], b"!\xfe\6secret\0")),
    ],
)
def test_no_decoder_gets_metadata(name: str, image: bytes) -> None:
    stripped = strip_metadata(name, image).image

    assert b"secret" not in stripped
    assert len(stripped) < len(image)


def test_file_without_metadata_is_not_copied() -> None:
    for name, image in (
        ("JPEG", JPEG),
        ("WebP", WEBP),
        ("GIF", gif((4, 4), [((4, 4), gif_run(2, 16))])),
        ("BMP", noise(1, kind="BMP")),
    ):
        assert strip_metadata(name, image).image is image


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize(
    "notes",
    [
        (),
        (JFIF,),
        (JFIF[:-1].replace(b"\x10", b"\x0f"),),
        (adobe(0),),
        (adobe(1),),
        (adobe(2),),
        (JFIF, adobe(0)),
        (adobe(0), JFIF),
        (adobe(0), adobe(1)),
        (segment(0xE0, b"JFXX\0" + bytes(20)), adobe(0)),
    ],
)
def test_colours_are_what_libjpeg_takes_them_for(
    mode: str, notes: tuple[bytes, ...]
) -> None:
    plain = bytearray(JPEG[20:] if mode == "RGB" else cmyk())
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    for number, name in enumerate(b"RGBK"[: plain[frame + 9]]):
        plain[frame + 10 + 3 * number] = plain[scan + 5 + 2 * number] = name
    image = b"\xff\xd8" + b"".join((*notes, segment(0xFE, b"comment"))) + plain

    pillow = Image.open(io.BytesIO(image)).convert("RGB")
    assert (decode_image(image, (36, 48)) == np.asarray(pillow)).all()


def cmyk() -> bytes:
    image = encoded(photo().convert("CMYK"), "JPEG")
    return image[image.index(b"\xff\xdb") :]


def test_run_length_bmp_has_the_pixels_of_pillow() -> None:
    generator = random.Random(2)
    same = 0
    for number in range(300):
        image = run_length_bmp(generator, nibbles=number % 2 == 1)
        try:
            pillow = Image.open(io.BytesIO(image))
            pillow.load()
        except (OSError, ValueError):
            with pytest.raises(InvalidImageError):
                decode_image(image, SIZE)
            continue
        pixels = decode_image(image, pillow.size[::-1])
        assert (pixels == np.asarray(pillow.convert("RGB"))).all()
        same += 1
    assert same > 100


def run_length_bmp(generator: random.Random, *, nibbles: bool) -> bytes:
    width, height = generator.choice([1, 4, 7, 13]), generator.choice([1, 5, -5])
    tokens = [run_length_token(generator, nibbles) for _ in range(60)]
    data = b"".join(tokens) + generator.choice([b"\0\1", b"\0\2\xff\xff\0\1", b""])
    colours = generator.choice([1, 2, 3, 16, 200, 256])
    palette = generator.choice(
        [
            generator.randbytes(4 * colours),
            bytes(each for grey in range(colours) for each in (grey, grey, grey, 0)),
            b"\0\0\0\0\xff\xff\xff\0",
        ]
    )
    bits, code = (4, 2) if nibbles else (8, 1)
    return bmp((width, height), bits, data, code, palette)


def run_length_token(generator: random.Random, nibbles: bool) -> bytes:
    count = generator.randrange(3, 20)
    length = (count + 1) // 2 if nibbles else count
    plain = generator.randbytes(length) + bytes(length & 1)
    return generator.choice(
        [
            bytes([generator.randrange(1, 9), generator.randrange(256)]),
            b"\0\0",
            bytes([0, count]) + plain,
            b"\0\2" + bytes([generator.randrange(4), generator.randrange(2)]),
        ]
    )


FLOOD = 100_000
SECONDS = 1.0
"""Of processor time, for what ends within hundredths of one."""

MOST_SECONDS = 1.0
MOST_MEGABYTES = 150
OUTCOMES = {
    *(PIXELS, "undecodable_image", "unsupported_image"),
    *("too_complex", "too_many_pixels"),
}

SMALL_GIF = [((4, 4), gif_run(2, 16))]
PROGRESSIVE = encoded(Image.new("L", (64, 48), 90), "JPEG", progressive=True)


def webp(width: int, height: int) -> bytes:
    """An animation on a canvas of that size; its frames are small."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    image = bytearray(
        encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    )
    canvas = image.index(b"VP8X") + 12
    image[canvas : canvas + 3] = struct.pack("<I", width - 1)[:3]
    image[canvas + 3 : canvas + 6] = struct.pack("<I", height - 1)[:3]
    return bytes(image)


def flooded_jpeg(segment: bytes, count: int = FLOOD) -> bytes:
    jpeg = grey(9, kind="JPEG")
    return jpeg[:2] + segment * count + jpeg[2:]


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[str, float, int]]:
    """For each bomb what decoding came to, its seconds of a core, and its most MB."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.images.bombs"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    return {
        name: (came, float(seconds), int(megabytes))
        for name, came, seconds, megabytes in lines
    }


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_costs_little(
    bomb: str, measured: dict[str, tuple[str, float, int]]
) -> None:
    came, seconds, megabytes = measured[bomb]

    assert came in OUTCOMES
    assert seconds <= MOST_SECONDS
    assert megabytes <= MOST_MEGABYTES


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (png_header(65_000, 65_000) + png_chunk(b"IDAT"), "too_many_pixels"),
        (huge_png(10_000, 10_000), "too_many_pixels"),
        (png(b"\0", 8, 3), "undecodable_image"),
        (png(b"\0", 8, 0, png_chunk(b"abCd") * FLOOD), "too_complex"),
        (gif((65_535, 65_535), SMALL_GIF), "too_many_pixels"),
        (gif((4, 4), [((65_535, 65_535), b"\x05")]), "too_many_pixels"),
        (gif((4, 4), SMALL_GIF, b"!\xfe\0" * FLOOD), "too_complex"),
        (gif((4, 4), SMALL_GIF, b"!\xff" + b"\x01a" * FLOOD + b"\0"), "too_complex"),
        (gif((4, 4), SMALL_GIF, b"?" * FLOOD), "too_complex"),
        (flooded_jpeg(b"\xff\xfe\0\x02"), "too_complex"),
        (JPEGS["small-quantisation-tables"](), "too_complex"),
        (JPEGS["small-frames"](), "undecodable_image"),
        (jpeg_with_scans(PROGRESSIVE, 5000), "too_complex"),
        (webp(16_383, 16_383), "too_many_pixels"),
        (webp(8_000, 8_000), "too_many_pixels"),
        (bmp((4000, 4000), 8, b"\0\0" * 4000, compression=1), "too_complex"),
        (bmp((99, 99), 4, b"\1\1" * MAX_RLE_BYTES, compression=2), "too_complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bomb_is_refused_with_its_code(image: bytes, code: str) -> None:
    with pytest.raises(InvalidImageError) as refused:
        decode_image(image, SIZE)

    assert refused.value.code == code


@pytest.mark.parametrize(
    "image",
    [
        jpeg_with_scans(PROGRESSIVE, MAX_SCANS - PROGRESSIVE.count(b"\xff\xda")),
        grey(9, kind="JPEG") + b"\xff\xda" * FLOOD,
        PROGRESSIVE + b"\xff\xda" * FLOOD,
        flooded_jpeg(b"\xff\xfe\0\x02", MAX_PARTS - 100),
        flooded_jpeg(b"\xff"),
        png(b"\0", 8, 0, png_chunk(b"abCd") * (MAX_PARTS - 100)),
        png(b"\0", 8, 0, png_chunk(b"acTL", b"\x7f\xff\xff\xff\0\0\0\0")),
        gif((4, 4), SMALL_GIF * 5000),
        bmp((99, 99), 8, b"\x63\x05\0\0" * 99 + b"\0\1", 1, bytes(1024)),
    ],
    ids=[
        "most-scans",
        "video-behind-a-photo",
        "video-behind-a-progressive-photo",
        "most-segments",
        "filling",
        "most-chunks",
        "two-billion-frames",
        "many-frames",
        "run-length-bmp",
    ],
)
def test_unusual_file_is_decoded_at_once(image: bytes) -> None:
    begun = time.process_time()

    assert decode_image(image, SIZE).shape == (*SIZE, 3)
    assert time.process_time() - begun < SECONDS


def test_ordinary_photo_is_hardly_looked_at() -> None:
    photo = noise(1, (500, 375))
    begun = time.process_time()
    for _ in range(1000):
        strip_metadata("JPEG", photo)

    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_ordinary_photo_is_not_costly(kind: str) -> None:
    assert not is_costly(noise(1, (500, 375), kind)[: 1024 * 1024])


def test_progressive_or_lossless_photo_is_not_costly() -> None:
    assert not is_costly(PROGRESSIVE)
    assert not is_costly(encoded(noisy(430), "WEBP", lossless=True))


@pytest.mark.parametrize(
    "image",
    [
        noise(1, (500, 375)) + bytes(1024 * 1024),
        encoded(Image.new("L", (3000, 2000)), "JPEG"),
        huge_png(3000, 2000),
        encoded(Image.new("L", (3000, 2000)), "GIF"),
        encoded(Image.new("L", (3000, 2000)), "WEBP"),
        encoded(Image.new("L", (3000, 2000)), "WEBP", lossless=True),
        many_code_groups(600),
        webp(3000, 2000),
        bmp((3000, -2000), 24, b""),
        noise(1, (500, 375)).replace(b"\xff\xc0", b"\xff\xc9", 1),
        bmp((9, 9), 8, b"\0\1", compression=1),
        noise(1, (500, 375), "WEBP")[:20],
        bmp((9, 9), 8, b"")[:27],
        b"\xff\xd8\xff",
        b"BM",
    ],
)
def test_large_unusual_or_damaged_image_is_costly(image: bytes) -> None:
    assert is_costly(image)


def test_what_no_decoder_gets_is_not_costly() -> None:
    assert not is_costly(b"")
    assert not is_costly(b"%PDF-1.7")


def test_damaged_header_is_costly_or_not_but_no_error() -> None:
    files = originals()
    for number in range(1000):
        image = mutated(files, number)
        for length in (number % 60, len(image)):
            assert is_costly(image[:length]) in (True, False)


FILES = 5000
KNOWN = {
    PIXELS,
    "undecodable_image",
    "unsupported_image",
    "too_many_pixels",
    "too_complex",
    "empty_image",
}


def test_damaged_files_are_decoded_or_refused_never_more() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.models.images.mutations", "0", str(FILES)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    lines = run.stdout.splitlines()
    assert run.returncode == 0, f"ended at file {lines[-1:]}: {run.stderr[-2000:]}"
    outcomes = Counter(line.split()[1] for line in lines)
    assert set(outcomes) <= KNOWN
    assert sum(outcomes.values()) == FILES
    assert outcomes[PIXELS] > FILES / 20
    assert outcomes["undecodable_image"] > FILES / 20
