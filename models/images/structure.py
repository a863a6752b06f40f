"""The structure of image files: headers and pixels for the decoder, without metadata.

Decoders read metadata at length and believe its counts: Pillow takes 13 s of a core for
19,900 Exif segments, 8 s and 0.8 GB for an orientation of 4 million fractions. So a file is
cut here to what its pixels need, within bounds, before a decoder opens it. The one piece of
metadata that pixels need, the orientation, is read here. What cannot be read is ignored.

Pixels too can be coded so that they take undue work, as in thousands of scans over one
JPEG: such files are refused. Figures: one core of a 2-core EPYC.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from models.errors import InvalidImageError
from models.images.bmp import bmp_size, is_unusual_bmp, plain_bmp
from models.images.formats import (
    BMP,
    GIF,
    JPEG,
    PNG,
    TOO_COMPLEX,
    WEBP,
    damaged_header,
    too_complex,
    undecodable,
)

MAX_PARTS: Final = 20_000
"""Most segments, chunks or blocks before the pixels: 20 ms. Photos have tens."""

MAX_TABLE_BYTES: Final = 256 * 1024
"""Most bytes of tables before the pixels of a JPEG. Encoders write 1 to 3 kB."""

MAX_SCANS: Final = 50
"""Most scans of a JPEG: 30 ms each for 49 megapixels of grey. Encoders make 10 to 14."""

MAX_COEFFICIENT_BYTES: Final = 700_000_000
"""Most memory for a progressive JPEG's DCT coefficients: 324 to 648 MB for 12,000 x 9,000
pixels."""

MAX_METADATA_BYTES: Final = 64 * 1024
"""How much of a block of metadata is searched for the orientation. In a JPEG it cannot be
longer."""

HEADER_PARTS: Final = 200
"""How many parts of a file `read_size` searches for the size: microseconds."""

ORDINARY_WEBP_BYTES: Final = 120_000_000
"""Memory of an ordinary lossless WebP. It may have a set of code tables for each 16 pixels:
at least 28 bits in the file, 5.4 kB in memory; a pixel takes 27 bytes (measured)."""

UPRIGHT: Final = 1


class TransparentColour(NamedTuple):
    """A colour that is transparent wherever it stands: PNG's tRNS for grey and RGB."""

    levels: tuple[int, ...]
    """The level of grey, or of red, green and blue; below 16 bits scaled to 8 bits."""
    is_wide: bool
    """Whether levels have 16 bits."""


class Stripped(NamedTuple):
    """An image file without metadata, its size, and the orientation it was given."""

    image: bytes
    size: tuple[int, int]
    """Width and height by the header, unchecked: nothing of that size is allocated yet."""
    orientation: int = UPRIGHT
    """1 to 8 as Exif counts them; 1 is upright."""
    what: str = "image"
    """Its name in the error for damaged pixels."""
    transparent: TransparentColour | None = None
    """The transparent colour of a PNG that names one."""


def strip_metadata(name: str, image: bytes) -> Stripped:
    """The parts that the pixels of an *image* of the format *name* need.

    Raises:
        InvalidImageError: damaged, or made to take undue work; ``code`` says which.
    """
    try:
        return _STRIPPERS[name](image)
    except (struct.error, IndexError, ValueError) as error:
        raise damaged_header("it ends within its header") from error


def is_unusual(name: str, image: bytes) -> bool:
    """Whether the encoding of an *image* may cost much more than its size suggests."""
    if name not in _UNUSUAL:
        return False
    try:
        return _UNUSUAL[name](image)
    except (struct.error, IndexError, ValueError, InvalidImageError):
        return True


def is_one_pass_jpeg(image: bytes) -> bool:
    """Whether *image* is a Huffman-coded JPEG whose one scan holds all of its pixels.

    libjpeg decodes such a JPEG row by row: nothing of it stays in memory but the pixels.
    """
    try:
        return _is_one_pass_jpeg(image)
    except (struct.error, IndexError, ValueError, InvalidImageError):
        return False


def read_size(name: str, image: bytes) -> tuple[int, int] | None:
    """Width and height by the header of an *image* of the format *name*, unchecked.

    None: the header is damaged, or not found among the first parts of the file.
    """
    try:
        return _SIZES[name](image)
    except (struct.error, IndexError, ValueError, InvalidImageError):
        return None


# --- orientation ----------------------------------------------------------------------

_EXIF: Final = b"Exif\0\0"
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION: Final = 0x0112
_WHOLE_NUMBERS: Final = {3: "H", 4: "I", 8: "h", 9: "i"}
"""Exif's numbers of integer types. Cameras write the first, some programs the second."""
_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def _orientation(exif: bytes, xmp: bytes) -> int:
    found = _exif_orientation(exif[:MAX_METADATA_BYTES])
    if found is None:
        match = _XMP_ORIENTATION.search(xmp[:MAX_METADATA_BYTES])
        found = int(match[1]) if match else UPRIGHT
    return found if 1 <= found <= 8 else UPRIGHT


def _exif_orientation(exif: bytes) -> int | None:
    tiff = exif.removeprefix(_EXIF).removeprefix(_EXIF)
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return None
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    count = tiff[directory : directory + 2]
    entries = int.from_bytes(count, "little" if order == "<" else "big")
    whole = min(entries, (len(tiff) - directory - 2) // 12)
    listed = tiff[directory + 2 :][: 12 * max(whole, 0)]
    for tag, kind, number, value in struct.iter_unpack(f"{order}HHI4s", listed):
        if tag == _ORIENTATION and kind in _WHOLE_NUMBERS and number == 1:
            (found,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], value)
            return int(found)
    return None


# --- JPEG -----------------------------------------------------------------------------

_START: Final = b"\xff\xd8"
_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_MARKER: Final = re.compile(rb"\xff[\x01-\xfe]")
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The end of a scan's data: any marker but a restart."""

_SOS: Final = 0xDA
_APP1: Final = 0xE1
_COMMENTS: Final = frozenset([*range(0xE0, 0xF0), 0xFE, 0xDC])
"""Application segments, comments, and the number of lines (DNL), which libjpeg skips."""
_TABLES: Final = frozenset([0xC4, 0xCC, 0xDB, 0xDD])
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH: Final = frozenset([0x01, *range(0xD0, 0xDA)])
_ONE_PASS: Final = frozenset(_FRAMES - {0xC2, 0xC6, 0xCA, 0xCE})
_UNDECODABLE: Final = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "hierarchical JPEG"),
    0xF7: "JPEG-LS image",
}
"""Frames of JPEGs that libjpeg does not decode, or not at a fraction of the size."""
_DEPTHS: Final = frozenset([12, 16])
"""Bits per colour in medical images; Pillow's libjpeg decodes 8."""
_ARITHMETIC: Final = frozenset([0xC9, 0xCA])
_ORDINARY_FRAMES: Final = frozenset([0xC0, 0xC1, 0xC2])
"""Huffman-coded, in one pass or several."""

_COLOUR_NOTES: Final = {0xE0: (b"JFIF\0", 18), 0xEE: (b"Adobe", 16)}
"""Segments from which libjpeg takes the colour space, and their least length."""
_JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"


def _segments(image: bytes) -> Iterator[tuple[int, int, int]]:
    # Kind, start and stop of each; the last is the header of the first scan.
    position = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.search(image, position)
        if found is None:
            raise damaged_header("it holds no pixels")
        start = found.start()
        kind = image[start + 1]
        if kind in _WITHOUT_LENGTH:
            position = start + 2
            continue
        # A length includes its own two bytes; libjpeg takes a smaller one as two.
        length = max(2, int.from_bytes(image[start + 2 : start + 4]))
        position = start + 2 + length
        if position > len(image):
            raise damaged_header("a segment is longer than the file")
        yield kind, start, position
        if kind == _SOS:
            return
    raise too_complex(f"a JPEG with more than {MAX_PARTS:,} segments")


def _strip_jpeg(image: bytes) -> Stripped:
    kept, notes, start = _sort_segments(image)
    frame = next((part for part in kept if part[1] in _FRAMES), None)
    if frame is None:
        raise damaged_header("it has no frame")
    length = sum(map(len, kept))
    if length > MAX_TABLE_BYTES:
        raise too_complex(f"a JPEG with {length:,} bytes of tables")
    _check_scans(image, start, frame)
    height, width = struct.unpack_from(">HH", frame, 5)
    if length < start:
        image = b"".join((*kept, memoryview(image)[start:]))
    what = "arithmetic-coded JPEG" if frame[1] in _ARITHMETIC else "image"
    return Stripped(image, (width, height), _orientation(*notes.values()), what)


def _sort_segments(image: bytes) -> tuple[list[bytes], dict[bytes, bytes], int]:
    # What the decoder gets, Exif and XMP, and where the first scan starts.
    kept, notes, start = [_START], {_EXIF: b"", _JPEG_XMP: b""}, 2
    framed = False
    for kind, start, stop in _segments(image):
        if kind == _SOS:
            break
        if kind in _UNDECODABLE:
            raise undecodable(_UNDECODABLE[kind])
        if kind in _TABLES or _tells_colours(kind, image, start, stop):
            kept.append(image[start:stop])
        elif kind in _COMMENTS:
            _note(image, start, stop, notes)
        elif kind in _FRAMES and not framed and _has_length(image, start, stop):
            if image[start + 4] in _DEPTHS:
                raise undecodable(f"JPEG of {image[start + 4]} bits a colour")
            kept.append(image[start:stop])
            framed = True
        else:
            raise damaged_header(f"unexpected marker {kind:#x}")
    return kept, notes, start


def _has_length(image: bytes, start: int, stop: int) -> bool:
    # A frame's header has three bytes for each component.
    return stop - start == 10 + 3 * image[start + 9]


def _tells_colours(kind: int, image: bytes, start: int, stop: int) -> bool:
    signature, length = _COLOUR_NOTES.get(kind, (b"", 0))
    if not signature or stop - start < length:
        return False
    return image.startswith(signature, start + 4)


def _note(image: bytes, start: int, stop: int, notes: dict[bytes, bytes]) -> None:
    if image[start + 1] != _APP1:
        return
    for signature, noted in notes.items():
        if not noted and image.startswith(signature, start + 4):
            notes[signature] = image[start + 4 : stop]


def _check_scans(image: bytes, start: int, frame: bytes) -> None:
    if _is_one_pass(frame, image, start):
        return
    needed = _coefficient_bytes(frame)
    if needed > MAX_COEFFICIENT_BYTES:
        message = (
            f"a progressive JPEG of this size takes {needed // 10**6:,} MB to decode, "
            f"the limit is {MAX_COEFFICIENT_BYTES // 10**6}: save it as a baseline JPEG "
            "(without progressive), or scale it down"
        )
        raise InvalidImageError(message, code=TOO_COMPLEX)
    # Pictures and videos appended to a photo hold such bytes too: count scans exactly only
    # where there are many.
    if image.count(_SCAN, start) > MAX_SCANS and _scans(image, start) > MAX_SCANS:
        raise too_complex(f"a JPEG with more than {MAX_SCANS} scans")


def _is_one_pass(frame: bytes, image: bytes, scan: int) -> bool:
    # The first scan holds every component: libjpeg reads no other.
    return frame[1] in _ONE_PASS and image[scan + 4] == frame[9]


def _coefficient_bytes(frame: bytes) -> int:
    # libjpeg keeps all coefficients of a JPEG in several scans in memory, at any fraction.
    height, width = int.from_bytes(frame[5:7]), int.from_bytes(frame[7:9])
    sampling = [(each >> 4, each & 15) for each in frame[11::3]]
    across = max(1, *(wide for wide, _ in sampling))
    down = max(1, *(high for _, high in sampling))
    return 2 * sum(
        (-(-width * wide // across) + 7) * (-(-height * high // down) + 7)
        for wide, high in sampling
    )


def _scans(image: bytes, position: int) -> int:
    scans = 0
    for _ in range(MAX_PARTS):
        found = _NEXT_MARKER.search(image, position)
        if found is None or found[0] == _END:
            return scans
        scans += found[0] == _SCAN
        length = int.from_bytes(image[found.end() : found.end() + 2])
        position = found.end() + max(length, 2)
    return MAX_SCANS + 1


def _jpeg_size(image: bytes) -> tuple[int, int]:
    height, width = struct.unpack_from(">HH", _find_frame(image), 5)
    return width, height


def _is_unusual_jpeg(image: bytes) -> bool:
    return _find_frame(image)[1] not in _ORDINARY_FRAMES


def _find_frame(image: bytes) -> bytes:
    for kind, start, stop in islice(_segments(image), HEADER_PARTS):
        if kind in _FRAMES:
            return image[start:stop]
    raise damaged_header("it has no frame")


def _is_one_pass_jpeg(image: bytes) -> bool:
    frame = b""
    for kind, start, stop in islice(_segments(image), HEADER_PARTS):
        if kind in _FRAMES:
            frame = image[start:stop]
        elif kind == _SOS:
            return frame[1] in _ORDINARY_FRAMES and _is_one_pass(frame, image, start)
    return False


# --- PNG ------------------------------------------------------------------------------

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_HEADER: Final = b"IHDR"
_PNG_DATA: Final = b"IDAT"
_PNG_PALETTE: Final = b"PLTE"
_PNG_TRANSPARENT: Final = b"tRNS"
_PNG_KEPT: Final = {_PNG_HEADER: 13, _PNG_PALETTE: 768, _PNG_TRANSPARENT: 256}
"""Chunks before the data that pixels depend on, and their greatest length."""
_INDEXED: Final = 3
"""The colour type of a PNG whose pixels are palette entries."""
_LEVELS: Final = {0: 1, 2: 3}
"""Levels per pixel of a PNG's colour types grey and RGB."""
_SCALES: Final = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1}
"""Factors by which a decoder scales levels to 8 bits, by their depth."""
_PNG_XMP: Final = b"XML:com.adobe.xmp\0"
_PNG_PROFILE: Final = b"Raw profile type exif\0"
"""ImageMagick's Exif, in hexadecimal digits, from before PNG had a chunk for it."""


def _chunks(image: bytes) -> Iterator[tuple[bytes, int, int]]:
    # Kind of each, and where its contents start and stop (perhaps beyond the file's end).
    position, kind, found = 8, b"", False
    for _ in range(MAX_PARTS):
        header = image[position : position + 8]
        kind = header[4:]
        if len(header) < 8 or not kind.isalpha() or kind == b"IEND":
            return
        stop = position + 8 + int.from_bytes(header[:4])
        yield kind, position + 8, stop
        position = stop + 4
        found = found or kind == _PNG_DATA
    if not found or kind == _PNG_DATA:
        raise too_complex(f"a PNG with more than {MAX_PARTS:,} chunks")


def _strip_png(image: bytes) -> Stripped:
    kept, data, texts = _sort_chunks(image)
    header = kept.get(_PNG_HEADER)
    if not data or header is None:
        raise damaged_header("it has no header" if data else "it holds no pixels")
    width, height, depth, colour = struct.unpack_from(">8xIIBB", header)
    if not _is_sound(header):
        raise damaged_header("the checksum of its size is wrong")
    palette = kept.pop(_PNG_PALETTE, None)  # to other colours it is only a hint
    if colour == _INDEXED:
        kept[_PNG_PALETTE] = _check_palette(palette)
    transparent = _take_transparent_colour(kept, depth, _LEVELS.get(colour, 0))
    orientation = _orientation(_png_exif(texts), _png_xmp(texts))
    whole = _join_png(kept, data)
    return Stripped(whole, (width, height), orientation, transparent=transparent)


def _is_sound(chunk: bytes | memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _check_palette(chunk: memoryview | None) -> memoryview:
    # Length, kind and checksum take 12 bytes, a colour 3.
    if chunk is None or len(chunk) == 12 or len(chunk) % 3:
        raise damaged_header("it has no palette of whole colours")
    if not _is_sound(chunk):
        raise damaged_header("the checksum of its palette is wrong")
    return chunk


def _take_transparent_colour(
    kept: dict[bytes, memoryview], depth: int, levels: int
) -> TransparentColour | None:
    # Pillow applies the one of grey and RGB at some depths only, so it is removed here.
    chunk = kept.get(_PNG_TRANSPARENT)
    if chunk is None:
        return None
    scale = _SCALES.get(depth, 0) if _is_sound(chunk) else 0
    if levels or not scale:
        del kept[_PNG_TRANSPARENT]
    if not levels or not scale or len(chunk) != 12 + 2 * levels:
        return None
    most = (1 << depth) - 1
    given = struct.unpack_from(f">8x{levels}H", chunk)
    return TransparentColour(
        tuple((level & most) * scale for level in given), depth == 16
    )


def _sort_chunks(
    image: bytes,
) -> tuple[dict[bytes, memoryview], list[memoryview], dict[bytes, bytes]]:
    # Headers and pixels for the decoder, and metadata that may hold the orientation.
    view = memoryview(image)
    kept: dict[bytes, memoryview] = {}
    data: list[memoryview] = []
    texts: dict[bytes, bytes] = {}
    last = b""
    for kind, start, stop in _chunks(image):
        if kind == _PNG_DATA:
            if last == kind or not data:  # decoders read only consecutive ones
                data.append(view[start:stop])
        elif not data and stop - start <= _PNG_KEPT.get(kind, -1):
            kept[kind] = view[start - 8 : stop + 4]
        else:
            _note_text(kind, bytes(view[start:stop][:MAX_METADATA_BYTES]), texts)
        last = kind
    return kept, data, texts


def _png_size(image: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", image, 16)
    return width, height


def _join_png(kept: dict[bytes, memoryview], data: list[memoryview]) -> bytes:
    # One chunk of data, without its checksum, which no decoder compares.
    length = struct.pack(">I", sum(map(len, data)))
    headers = [kept[kind] for kind in _PNG_KEPT if kind in kept]
    start: list[bytes | memoryview] = [_PNG_START, *headers, length, _PNG_DATA]
    return b"".join([*start, *data, b"\0\0\0\0", _PNG_END])


def _note_text(kind: bytes, text: bytes, texts: dict[bytes, bytes]) -> None:
    if kind == b"eXIf":
        texts[kind] = text
    elif kind == b"iTXt" and text.startswith(_PNG_XMP):
        texts[kind] = text[len(_PNG_XMP) :]
    elif kind in (b"tEXt", b"zTXt") and text.startswith(_PNG_PROFILE):
        texts[kind] = text[len(_PNG_PROFILE) :]


def _png_exif(texts: dict[bytes, bytes]) -> bytes:
    if b"eXIf" in texts:
        return texts[b"eXIf"]
    packed = texts.get(b"zTXt")
    text = texts.get(b"tEXt", b"") if packed is None else _unpack_text(packed[1:])
    # A line with the name, one with the length, then the digits.
    digits = b"".join(text.split(b"\n")[3:])
    try:
        return bytes.fromhex(digits[: len(digits) & ~1].decode("ascii"))
    except ValueError:
        return b""


def _png_xmp(texts: dict[bytes, bytes]) -> bytes:
    text = texts.get(b"iTXt", b"\0")
    return text if text[:1] == b"\0" else _unpack_text(text[2:].lstrip(b"\0"))


def _unpack_text(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, 2 * MAX_METADATA_BYTES)
    except zlib.error:
        return b""


# --- WebP -----------------------------------------------------------------------------

_EXTENDED: Final = b"VP8X"
_LOSSY: Final = b"VP8 "
_LOSSLESS: Final = b"VP8L"
_ALPHA: Final = b"ALPH"
_FRAME: Final = b"ANMF"
_PICTURES: Final = frozenset([_FRAME, _LOSSY, _LOSSLESS])
_WITHIN_FRAME: Final = frozenset([_ALPHA, _LOSSY, _LOSSLESS])
_WITHIN_FILE: Final = _WITHIN_FRAME | {_FRAME, b"ANIM"}
_WEBP_METADATA: Final = {b"EXIF": 0x08, b"XMP ": 0x04}
"""Metadata chunks, and the header's bits that announce them."""
_WEBP_FLAGS: Final = 0x12
"""The header's bits for transparent and animated."""
_FRAME_HEADER: Final = 16


def _webp_chunks(
    image: bytes, position: int, stop: int
) -> Iterator[tuple[bytes, int, int]]:
    # As _chunks; only the first image or frame matters.
    found = False
    for _ in range(MAX_PARTS):
        kind, start = image[position : position + 4], position + 8
        position = start + int.from_bytes(image[position + 4 : start], "little")
        if position > stop:
            return
        yield kind, start, position
        position += position & 1
        found = found or kind in _PICTURES
    if not found:
        raise too_complex(f"a WebP with more than {MAX_PARTS:,} chunks")


def _strip_webp(image: bytes) -> Stripped:
    size = _webp_size(image)
    if not image.startswith(_EXTENDED, 12):
        return Stripped(_with_length(image), size)
    kept: dict[bytes, bytes] = {}
    notes = dict.fromkeys(_WEBP_METADATA, b"")
    for kind, start, end in _webp_chunks(image, 12, len(image)):
        if kind in _WITHIN_FILE and not kept.keys() & {kind, *_PICTURES}:
            kept[kind] = _webp_chunk(image, kind, start, end)
        elif image[20] & _WEBP_METADATA.get(kind, 0) and not notes[kind]:
            notes[kind] = image[start : min(end, start + MAX_METADATA_BYTES)]
    header = bytearray(image[12:30])
    header[4:9] = 10, 0, 0, 0, image[20] & _WEBP_FLAGS
    body = b"".join((b"WEBP", header, *kept.values()))
    return Stripped(_riff(body), size, _orientation(*notes.values()))


def _with_length(image: bytes) -> bytes:
    # The file length in the header may be wrong; the chunk's length counts.
    stop = 20 + int.from_bytes(image[16:20], "little")
    if stop > len(image):
        raise damaged_header("it ends early")
    if 8 + int.from_bytes(image[4:8], "little") == stop + (stop & 1):
        return image
    return _riff(image[8:stop] + bytes(stop & 1))


def _riff(body: bytes) -> bytes:
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _webp_chunk(image: bytes, kind: bytes, start: int, stop: int) -> bytes:
    if kind != _FRAME:
        return image[start - 8 : stop] + bytes(stop & 1)
    kept: dict[bytes, bytes] = {}
    for inner, begin, end in _webp_chunks(image, start + _FRAME_HEADER, stop):
        if inner in _WITHIN_FRAME and not kept.keys() & {inner, *_PICTURES}:
            kept[inner] = _webp_chunk(image, inner, begin, end)
    contents = image[start : start + _FRAME_HEADER] + b"".join(kept.values())
    return kind + len(contents).to_bytes(4, "little") + contents


def _may_take_much_memory(image: bytes) -> bool:
    width, height = _webp_size(image)
    sets = min(width * height // 16, len(image) * 8 // 28)
    most = 5400 * sets + 27 * width * height
    return most > ORDINARY_WEBP_BYTES and _is_lossless(image)


def _is_lossless(image: bytes) -> bool:
    kind, start, stop = _first_picture(image, 12, len(image))
    if kind == _FRAME:
        kind, start, _ = _first_picture(image, start + _FRAME_HEADER, stop)
    return kind != _LOSSY and not (kind == _ALPHA and image[start] & 3 == 0)


def _first_picture(image: bytes, start: int, stop: int) -> tuple[bytes, int, int]:
    chunks = islice(_webp_chunks(image, start, stop), HEADER_PARTS)
    kinds = _PICTURES | {_ALPHA}
    return next((chunk for chunk in chunks if chunk[0] in kinds), (b"", start, stop))


def _webp_size(image: bytes) -> tuple[int, int]:
    (bits,) = struct.unpack_from("<I", image, 21)
    width, height = struct.unpack_from("<HH", image, 26)
    if image.startswith(_EXTENDED, 12):
        sides = image[24:27], image[27:30]
        width, height = (int.from_bytes(side, "little") for side in sides)
        return width + 1, height + 1
    if image.startswith(_LOSSLESS, 12):
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return width & 0x3FFF, height & 0x3FFF


# --- GIF ------------------------------------------------------------------------------

_GRAPHIC_CONTROL: Final = 0xF9
_PALETTE: Final = 0x80
"""The flag of a screen or frame that has its own palette."""


def _strip_gif(image: bytes) -> Stripped:
    position, transparent = _first_gif_frame(image, MAX_PARTS)
    size = _gif_frame_size(image, position)
    head = image[: 13 + _gif_palette_bytes(image[10])]
    if image[position + 9] & _PALETTE:
        # The frame has its own palette; Pillow confuses the two if that is all grey.
        head = image[:10] + bytes([image[10] & ~_PALETTE]) + image[11:13]
    control = b""
    if transparent is not None:
        control = bytes([0x21, _GRAPHIC_CONTROL, 4, 1, 0, 0, transparent, 0])
    if len(head) < position:
        image = b"".join((head, control, memoryview(image)[position:]))
    return Stripped(image, size)


def _first_gif_frame(image: bytes, most: int) -> tuple[int, int | None]:
    # Its start, and the transparent entry of its palette.
    position, transparent = 13 + _gif_palette_bytes(image[10]), None
    while most > 0:
        start = image[position]
        if start == ord(","):
            return position, transparent
        if start == ord(";"):
            raise damaged_header("it holds no frame")
        position += 1
        most -= 1
        if start != ord("!"):
            continue
        label, count, flags = image[position : position + 3]
        if label == _GRAPHIC_CONTROL and count >= 4 and flags & 1:
            transparent = image[position + 5]
        position, blocks = _behind_blocks(image, position + 1, most)
        most -= blocks
    raise too_complex(f"a GIF with more than {MAX_PARTS:,} blocks before its pixels")


def _behind_blocks(image: bytes, position: int, most: int) -> tuple[int, int]:
    for number in range(most):
        count = image[position]
        position += 1 + count
        if count == 0:
            return position, number
    return position, most


def _gif_palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & _PALETTE else 0


def _gif_frame_size(image: bytes, position: int) -> tuple[int, int]:
    screen = struct.unpack_from("<HH", image, 6)
    left, top, width, height = struct.unpack_from("<HHHH", image, position + 1)
    return max(screen[0], left + width), max(screen[1], top + height)


def _gif_size(image: bytes) -> tuple[int, int]:
    position, _ = _first_gif_frame(image, HEADER_PARTS)
    return _gif_frame_size(image, position)


# --- BMP ------------------------------------------------------------------------------


def _strip_bmp(image: bytes) -> Stripped:
    size = bmp_size(image)
    return Stripped(plain_bmp(image, size), size)


# --- by format ------------------------------------------------------------------------

_STRIPPERS: Final[Mapping[str, Callable[[bytes], Stripped]]] = MappingProxyType(
    {
        JPEG: _strip_jpeg,
        PNG: _strip_png,
        WEBP: _strip_webp,
        GIF: _strip_gif,
        BMP: _strip_bmp,
    }
)
_SIZES: Final[Mapping[str, Callable[[bytes], tuple[int, int]]]] = MappingProxyType(
    {
        JPEG: _jpeg_size,
        PNG: _png_size,
        WEBP: _webp_size,
        GIF: _gif_size,
        BMP: bmp_size,
    }
)
_UNUSUAL: Final[Mapping[str, Callable[[bytes], bool]]] = MappingProxyType(
    {JPEG: _is_unusual_jpeg, WEBP: _may_take_much_memory, BMP: is_unusual_bmp}
)
