"""Encoded bytes to the pixels that a model expects, and pixels back to bytes.

Training, serving and the batch job all decode here, so they cannot disagree. Formats
are recognised by their first bytes, never by name: a renamed EPS reaches no decoder.
Colour profiles are ignored: the numbers in the file are the model's numbers.

| what arrives            | what the model sees                                |
|-------------------------|----------------------------------------------------|
| EXIF orientation        | applied                                            |
| grey, palette, CMYK     | converted to RGB                                   |
| 16 bits, grey           | scaled to 8 bits, rounded                          |
| 16 bits, colour         | the upper 8 of them                                |
| transparency            | composited on white                                |
| animated, multi-picture | the first frame                                    |
| JPEG of 4 x the size    | decoded at 1/2, 1/4 or 1/8 of its width and height |
| any size                | squashed to the model's, bilinear with antialiasing |

RGB images are resized by `_resampling.c`, exactly to Pillow's pixels and in a fifth of its time:
0.23 instead of 1.08 ms of a core for a 500x375 photo (measured). It is compiled when Kennel is
installed where there is a C compiler, and runs on processors with AVX2. Everywhere else Pillow
resizes, and images above 4 megapixels too; the tests compare the pixels of both.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from models.errors import InvalidImageError
from models.images.files import MAX_SIDE, check_image_bytes, most_pixels
from models.images.formats import (
    BMP,
    GIF,
    JPEG,
    PNG,
    START_BYTES,
    UNSUPPORTED_IMAGE,
    WEBP,
    damaged,
    identify_format,
    unsupported_image,
)
from models.images.preprocessing import (
    NEWEST,
    WHOLE_PIXELS,
    Box,
    Preprocessing,
    drafted_pixels,
    least_size,
    turn_box,
)
from models.images.structure import (
    Stripped,
    TransparentColour,
    is_one_pass_jpeg,
    is_unusual,
    read_size,
    strip_metadata,
)

Pixels: TypeAlias = NDArray[np.uint8]
"""[height, width, 3], RGB."""

STRIP_PIXELS: Final = 1_000_000
"""Pixels that are converted at a time: a strip and its copies fit into 20 MB."""
COSTLY_BYTES: Final = 1024 * 1024
COSTLY_PIXELS: Final = 4 * 1024 * 1024

LEAST_WIDTH: Final = 4
"""Pixels of a row that the compiled resize takes at a time."""

_DECODERS: Final[dict[str, type[ImageFile]]] = {
    JPEG: JpegImageFile,
    PNG: PngImageFile,
    WEBP: WebPImageFile,
    GIF: GifImageFile,
    BMP: BmpImageFile,
}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn that makes an image upright, by its orientation."""
_BYTES: Final = re.compile(r"\bb'([^']*)'")
"""A chunk's name in Pillow's messages."""


def _load() -> Any:
    try:
        return import_module("models.images._resampling")
    except ImportError:
        return None


_compiled: Any = _load()


def decode_image(
    image: bytes, size: tuple[int, int], preprocessing: Preprocessing = NEWEST
) -> Pixels:
    """The pixels of an encoded *image*, uint8 RGB of *size* (height, width).

    *preprocessing* is that of the model: its card says which.

    Raises:
        InvalidImageError: not an image, damaged, or too large; ``code`` says which.
    """
    height, width = size
    upright, box = _decode(image, (2 * width, 2 * height), preprocessing)
    pixels = resize_rgb(upright, size, box)
    if pixels is not None:
        return pixels
    with _translated_errors():
        resized = upright.resize((width, height), Image.Resampling.BILINEAR, box)
        # convert() copies even where the mode is RGB already.
        return np.asarray(resized if resized.mode == "RGB" else resized.convert("RGB"))


def resize_rgb(
    image: Image.Image, size: tuple[int, int], box: Box | None = None
) -> NDArray[np.uint8] | None:
    """The pixels of *image*, or of its *box*, at *size* (height, width).

    Bilinear with antialiasing. None: this image has to be resized by Pillow.
    """
    if _compiled is None or image.mode != "RGB":
        return None
    if min(image.size[0], size[1]) < LEAST_WIDTH:
        return None
    try:
        _, pixels = image.__arrow_c_array__()
    except ValueError:
        return None  # above 4 megapixels Pillow keeps them in several blocks
    resized = np.empty((*size, 3), dtype=np.uint8)
    columns_first = _loses_more_rows(image.size, size)
    part = box or (0, 0, *image.size)
    _compiled.resize_rgb(pixels, image.size, part, resized, size[::-1], columns_first)
    return resized


def decode_thumbnail(image: bytes, longest_side: int) -> Pixels:
    """The pixels of a thumbnail, uint8 RGB, in the image's proportions.

    Raises:
        InvalidImageError: as `decode_image`.
    """
    upright, _ = _decode(image, (2 * longest_side, 2 * longest_side), NEWEST)
    with _translated_errors():
        thumbnail = upright.convert("RGB")
        thumbnail.thumbnail((longest_side, longest_side))
        return np.asarray(thumbnail)


def decode_grey(image: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The pixels of a small grey copy, to compare photos: uint8 [height, width] of *size*.

    The colours of JPEGs are not decoded, so this is quicker than `decode_image` and not
    the same pixels; it refuses the same images.

    Raises:
        InvalidImageError: as `decode_image`.
    """
    height, width = size
    # At three times the size a JPEG's coarse decoding no longer shows (measured).
    upright, _ = _decode(image, (3 * width, 3 * height), NEWEST, mode="L")
    with _translated_errors():
        grey = upright.convert("L")
        return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))


def is_costly(
    image: bytes, max_bytes: int = COSTLY_BYTES, max_pixels: int = COSTLY_PIXELS
) -> bool:
    """Whether decoding *image* may take long or much memory.

    True for more than *max_bytes* or *max_pixels*, for an unusual encoding, and for a
    header without a size. Only headers are read: it takes microseconds and never raises.
    """
    name = identify_format(image[:START_BYTES])
    if name is None:
        return False  # it is refused without being decoded
    size = read_size(name, image)
    if size is None or len(image) > max_bytes or size[0] * size[1] > max_pixels:
        return True
    return is_unusual(name, image)


def is_drafted(
    image: bytes, size: tuple[int, int], max_pixels: int, preprocessing: Preprocessing
) -> bool:
    """Whether *image* is a JPEG of which at most *max_pixels* are decoded for *size*.

    False for one in several scans, whose coefficients are all kept in memory. As for
    `is_costly`, only headers are read.
    """
    if preprocessing is Preprocessing.WHOLE or identify_format(image[:4]) != JPEG:
        return False
    found = read_size(JPEG, image)
    if found is None or min(found) < 1 or not is_one_pass_jpeg(image):
        return False
    height, width = size
    return drafted_pixels(found, (2 * width, 2 * height)) <= max_pixels


def encode_thumbnail(image: bytes, longest_side: int = 240) -> bytes:
    """The thumbnail of an encoded *image* as a JPEG, in the image's proportions.

    Raises:
        InvalidImageError: as `decode_image`.
    """
    return encode_jpeg(decode_thumbnail(image, longest_side))


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    """*pixels* [H, W, 3] RGB or [H, W] grey as a JPEG; *quality* 1 to 95."""
    return _encode(pixels, "JPEG", quality=quality)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """*pixels* [H, W, 3] RGB or [H, W] grey as a PNG, without loss."""
    return _encode(pixels, "PNG")


def encode_bmp(pixels: Pixels) -> bytes:
    """*pixels* as a BMP: `decode_image` gives exactly them, and encoding costs nothing."""
    return _encode(pixels, "BMP")


def _loses_more_rows(before: tuple[int, int], after: tuple[int, int]) -> bool:
    # Since version 13 Pillow mixes the rows of such images first (its Resample.c).
    rows, columns = before[1] - after[0], before[0] - after[1]
    return rows > 0 and rows > 2 * columns


def _encode(pixels: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@contextmanager
def _translated_errors(what: str = "image") -> Iterator[None]:
    # Around every call of Pillow: a decoder may raise anything for a malicious file (an
    # AssertionError for a PNG without its palette). The file is at fault, not this program.
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason.startswith("Unsupported"):
            message = (
                f"the {what} is of a kind that is not decoded here ({reason}): save it "
                "as PNG or JPEG"
            )
            raise InvalidImageError(message, code=UNSUPPORTED_IMAGE) from error
        raise damaged(reason, what) from error


def _decode(
    image: bytes,
    least: tuple[int, int],
    preprocessing: Preprocessing,
    mode: str | None = None,
) -> tuple[Image.Image, Box | None]:
    # Upright, and the part of it to resize; None: all. JPEGs are decoded at a fraction of
    # their size that is at least *least* (width, height), in the *mode* if there is one.
    opened, stripped = _open(image)
    with _translated_errors(stripped.what):
        box = _draft(opened, stripped, least, preprocessing, mode)
        opened.load()
        flat = _flatten(opened)
        if stripped.transparent is not None:
            mask = _transparent_pixels(opened, stripped.transparent, stripped.image)
            flat.paste("white", mask=mask)
        turn = _TURNS.get(stripped.orientation)
        return (flat if turn is None else flat.transpose(turn)), box


def _draft(
    opened: ImageFile,
    stripped: Stripped,
    least: tuple[int, int],
    preprocessing: Preprocessing,
    mode: str | None,
) -> Box | None:
    is_whole = preprocessing is Preprocessing.WHOLE
    if is_whole and opened.width * opened.height <= WHOLE_PIXELS:
        return None
    wanted = least_size(opened.size, least, stripped.orientation)
    drafted = opened.draft(mode, wanted)
    if drafted is None or is_whole:
        return None
    return turn_box(drafted[1], opened.size, stripped.orientation)


def _open(image: bytes) -> tuple[ImageFile, Stripped]:
    check_image_bytes(len(image), max(len(image), 1))
    name = identify_format(image[:START_BYTES])
    if name is None:
        raise unsupported_image(image)
    stripped = strip_metadata(name, image)
    _check_dimensions(name, stripped.size)
    with _translated_errors():
        opened = _DECODERS[name](io.BytesIO(stripped.image))
    _check_dimensions(name, opened.size)
    return opened, stripped


def _check_dimensions(name: str, size: tuple[int, int]) -> None:
    # Before a single pixel is decoded: a 10 kB file can hold 100 megapixels. The
    # decoder classes are called directly because Image.open only warns at this point.
    width, height = size
    if width < 1 or height < 1:
        message = (
            f"the image is {width} x {height} pixels: save it again as JPEG or PNG"
        )
        raise InvalidImageError(message)
    most = most_pixels()
    limit, remedy = f"{most:,}", "scale it down"
    if name != JPEG and most > WHOLE_PIXELS:
        limit, remedy = (
            f"{WHOLE_PIXELS:,} for a {name} ({limit} for a JPEG)",
            "scale it down, or save it as JPEG",
        )
        most = WHOLE_PIXELS
    if width * height > most or max(size) > MAX_SIDE:
        message = (
            f"the image is {width} x {height} pixels, the limit is {limit} and "
            f"{MAX_SIDE:,} a side: {remedy}"
        )
        raise InvalidImageError(message, code="too_many_pixels")


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _in_strips(image, "L", _scaled_to_8_bits)
    if (image.format, image.mode) == (BMP, "RGBA") and not image.getbbox():
        return image.convert("RGB")  # programs that know no alpha write zeros there
    if image.has_transparency_data:
        return _in_strips(image, "RGB", _on_white)
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    # Pillow cuts values above 255 off; 65535 / 257 = 255.
    wide = np.asarray(image).astype(np.float32) / 257
    return Image.fromarray(wide.clip(0, 255).round().astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    visible = image.convert("RGBA")
    paper = Image.new("RGBA", visible.size, "white")
    return Image.alpha_composite(paper, visible).convert("RGB")


def _transparent_pixels(
    image: Image.Image, transparent: TransparentColour, png: bytes
) -> Image.Image:
    # A mask of those whose colour is the transparent one.
    levels, is_wide = transparent
    if not is_wide or len(levels) == 1:
        return _in_strips(image, "1", _equal_to(levels))
    # Pillow reads the upper or the lower halves of 16-bit RGB, never both.
    upper = _in_strips(image, "1", _equal_to(level >> 8 for level in levels))
    lower = PngImageFile(io.BytesIO(png))
    lower.tile = [lower.tile[0]._replace(args="RGB;16L")]
    mask = _in_strips(lower, "1", _equal_to(level & 255 for level in levels))
    return ImageChops.logical_and(upper, mask)


def _equal_to(levels: Iterable[int]) -> Callable[[Image.Image], Image.Image]:
    wanted = tuple(levels)

    def compare(image: Image.Image) -> Image.Image:
        given = np.asarray(image.convert("L") if image.mode == "1" else image)
        return Image.fromarray((given.reshape(*given.shape[:2], -1) == wanted).all(-1))

    return compare


def _in_strips(
    image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    # The steps between take as much memory as the image each, so few rows at a time.
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    if height <= rows:
        return change(image)
    changed = Image.new(mode, image.size)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        changed.paste(change(strip), (0, top))
    return changed


def _reason(error: Exception) -> str:
    # Pillow raises these two with a sentence on the file; other errors are internal.
    text = str(error)
    is_public = isinstance(error, SyntaxError | OSError) and text and "<" not in text
    return _BYTES.sub(r"\1", text) if is_public else "its parts do not fit together"
