"""File formats by their first bytes, and the errors that say what to do with a file.

Names and Content-Types do not decide how a file is decoded: a renamed file stays what it
is. Names only decide which files of a folder count as photos (`is_photo`): one rule for
`prepare`, `train` and folder jobs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Final, TypeAlias

from models.errors import InvalidImageError, quoted

JPEG: Final = "JPEG"
PNG: Final = "PNG"
WEBP: Final = "WebP"
GIF: Final = "GIF"
BMP: Final = "BMP"

TOO_COMPLEX: Final = "too_complex"
UNSUPPORTED_IMAGE: Final = "unsupported_image"
"""Codes of `InvalidImageError`."""

FORMAT_NAMES: Final = "JPEG, PNG, WebP, GIF or BMP"
START_BYTES: Final = 512
"""Bytes from the start of a file that `identify_format` and `is_photo` need."""

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
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        *("$recycle.bin", "system volume information", "lost+found"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp"),
    }
)

_TO_JPEG: Final = "convert it to JPEG"
_TO_PNG: Final = "export it as PNG or JPEG"
_DECODE_FIRST: Final = "decode it first, then send the bytes"
_UNPACK: Final = "unpack it"
_ONE_FRAME: Final = "save one frame of it as JPEG"
_ONE_PAGE: Final = "export its page as JPEG or PNG"
_NO_PHOTO: Final = "send a photo"
_ITSELF: Final = "send the image itself"

_IMAGES: Final = (
    (0, b"\xff\xd8\xff", JPEG),
    (0, b"\x89PNG\r\n\x1a\n", PNG),
    (8, b"WEBP", WEBP),
    (0, b"GIF87a", GIF),
    (0, b"GIF89a", GIF),
    (0, b"BM", BMP),
)
_APPLE_PNG: Final = b"CgBI"

_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis", b"avio"), "an AVIF image"),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "a HEIC photo"
    ),
    **dict.fromkeys((b"mif1", b"mif2", b"msf1"), "a HEIF photo"),
    b"crx ": "a camera's raw photo (CR3)",
}
"""ISO base media files (ISO/IEC 14496-12) name their kind after ``ftyp``."""
_SOUND_BRANDS: Final = (b"M4A ", b"M4B ", b"M4P ", b"F4A ")

_Kinds: TypeAlias = tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...]
"""Of each kind: the offset of its magic bytes, these bytes, its name, the remedy."""

_PICTURES: Final[_Kinds] = (
    (8, b"CR\2\0", "a camera's raw photo (CR2)", _TO_JPEG),
    (0, (b"II*\0", b"MM\0*"), "a TIFF image or a camera's raw photo", _TO_JPEG),
    (0, (b"II+\0", b"MM\0+"), "a BigTIFF image", _TO_JPEG),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw photo (RAF)", _TO_JPEG),
    (0, (b"IIRO", b"IIRS", b"MMOR"), "a camera's raw photo (ORF)", _TO_JPEG),
    (0, b"IIU\0", "a camera's raw photo (RW2)", _TO_JPEG),
    (0, b"FOVb", "a camera's raw photo (X3F)", _TO_JPEG),
    (0, b"\0MRM", "a camera's raw photo (MRW)", _TO_JPEG),
    (6, b"HEAPCCDR", "a camera's raw photo (CRW)", _TO_JPEG),
    (0, b"II\xbc", "a JPEG XR image", _TO_JPEG),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image", _TO_JPEG),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", _TO_JPEG),
    (0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), "a JPEG XL image", _TO_JPEG),
    (0, b"FLIF", "a FLIF image", _TO_JPEG),
    (0, b"BPG\xfb", "a BPG image", _TO_JPEG),
    (12, _APPLE_PNG, "a PNG that only Apple's devices read (CgBI)", _TO_PNG),
    (0, b"\x8aMNG\r\n\x1a\n", "an MNG animation", _TO_PNG),
    (0, b"\x8bJNG\r\n\x1a\n", "a JNG image", _TO_PNG),
    (128, b"DICM", "a DICOM image", _TO_PNG),
    (0, b"SIMPLE  =", "a FITS image", _TO_PNG),
    (0, b"8BPS", "a Photoshop document", _TO_PNG),
    (0, b"gimp xcf", "a GIMP document", _TO_PNG),
    (0, b"Paint Shop Pro", "a Paint Shop Pro document", _TO_PNG),
    (0, b"icns", "an icon (ICNS)", _TO_PNG),
    (0, b"v/1\x01", "an OpenEXR image", _TO_PNG),
    (0, (b"#?RADIANCE", b"#?RGBE"), "a Radiance HDR image", _TO_PNG),
    (0, b"qoif", "a QOI image", _TO_PNG),
    (0, b"farbfeld", "a farbfeld image", _TO_PNG),
    (0, b"\xabKTX ", "a KTX texture", _TO_PNG),
    (0, b"DDS ", "a DDS texture", _TO_PNG),
    (0, (b"BLP1", b"BLP2"), "a BLP texture", _TO_PNG),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster image", _TO_PNG),
    (0, (b"\1\xda\0\1", b"\1\xda\1\1"), "an SGI image", _TO_PNG),
    (0, b"/* XPM", "an XPM image", _TO_PNG),
    (0, b"AT&TFORM", "a DjVu document", _TO_PNG),
    (0, b"NRRD0", "an NRRD image", _TO_PNG),
)

_PICTURE_SHAPES: Final = (
    (
        rb"P[1-6](?:\s|#[^\n]*\n)+\d+\s+\d+\s|P7\n|P[Ff]\n\d",
        "a Netpbm image (PBM, PGM, PPM, PAM, PFM)",
    ),
    (rb"\n[\x00\x02-\x05]\x01[\x01\x02\x04\x08]", "a PCX image"),
    (
        rb".(?:\x00[\x02\x03\x0a\x0b]\x00{5}|\x01[\x01\x09].{4}[\x0f\x10\x18\x20]).{4}"
        rb"(?!\x00\x00)..(?!\x00\x00)..[\x08\x0f\x10\x18\x20][\x00-\x3f]",
        "a TGA image",
    ),
    (rb"\x00\x00\x01\x00(?!\x00\x00)", "an icon (ICO)"),
    (rb"\x00\x00\x02\x00(?!\x00\x00)|RIFF....ACON", "a cursor (CUR, ANI)"),
    (rb"FORM....(?:ILBM|PBM )", "an IFF image"),
    (rb"BA.{12}BM", "a bitmap array of OS/2"),
)
"""Formats without magic bytes of their own."""

_FILES: Final[_Kinds] = (
    (0, b"%PDF", "a PDF document", _ONE_PAGE),
    (0, (b"%!PS", b"\xc5\xd0\xd3\xc6"), "a PostScript document", _ONE_PAGE),
    (0, b"{\\rtf", "a text document (RTF)", _ONE_PAGE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document", _ITSELF),
    (0, (b"\xd7\xcd\xc6\x9a", b"\1\0\t\0\0\3"), "a WMF drawing", _TO_PNG),
    (40, b" EMF", "an EMF drawing", _TO_PNG),
    (0, (b"PK\3\4", b"PK\5\6"), "a ZIP archive or an office document", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\7", "a RAR archive", _UNPACK),
    (4, b"1AY&SY", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x1aE\xdf\xa3", "a video", _ONE_FRAME),
    (0, (b"\0\0\1\xba", b"\0\0\1\xb3", b"FLV\1"), "a video", _ONE_FRAME),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)", _ONE_FRAME),
    (0, (b"ID3", b"OggS", b"fLaC"), "a sound file", _NO_PHOTO),
    (0, b"\x93NUMPY", "a NumPy array", "save it as PNG or JPEG"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its images as PNG or JPEG"),
    (0, b"MATLAB ", "a MATLAB file", "save its images as PNG or JPEG"),
    (344, (b"n+1\0", b"ni1\0"), "a NIfTI volume", "export its slices as PNG"),
    (0, b"PAR1", "a Parquet file", "save its images as PNG or JPEG"),
    (0, b"SQLite format 3\0", "a SQLite database", _NO_PHOTO),
    (
        0,
        (b"\0\5\x16\7", b"\0\5\x16\0"),
        "an AppleDouble file (._NAME) of macOS",
        _ITSELF,
    ),
    (0, b"\0\0\0\1Bud1", "a .DS_Store file of macOS", _NO_PHOTO),
    (0, b"bplist", "a property list of macOS", _NO_PHOTO),
    (0, b"L\0\0\0\1\x14\2\0", "a shortcut of Windows", "send what it points to"),
    (0, (b"\x7fELF", b"MZ\x90\0"), "a program", _NO_PHOTO),
    (
        0,
        (
            *(b"\xef\xbf\xbd\xef\xbf\xbd", b"\xef\xbf\xbdPNG", b"\xc2\x89PNG"),
            *(b"\xc3\xbf\xc3\x98\xc3\xbf", b"\x89PNG\n", b"\x89PNG\r\r"),
        ),
        "an image that was read or written as text",
        "send its bytes unchanged",
    ),
)

_FILE_SHAPES: Final = (
    (
        rb"RIFF....AVI |\x00...(?:moov|mdat|wide|free|skip|pnot)|G.{187}G.{187}G",
        "a video",
        _ONE_FRAME,
    ),
    (
        rb"RIFF....WAVE|FORM....AIF|\xff[\xf1-\xf3\xf9-\xfb]",
        "a sound file",
        _NO_PHOTO,
    ),
    (
        rb"(?:\xef\xbb\xbf|\s+)(?:\xff\xd8\xff|\x89PNG|GIF8[79]a|RIFF)",
        "an image with other bytes in front",
        "cut them off",
    ),
    (
        rb"\x80[\x02-\x05][\x95c}\](]",
        "a Python pickle",
        "save its images as PNG or JPEG",
    ),
)

_TEXT_BYTES: Final = 64 * 1024
"""How much of a text is searched for its kind: SVGs may begin with a licence."""

_PROLOG: Final = re.compile(
    rb"(?s)\s*+(?:<\?.*?\?>|<!--.*?-->"
    rb"|<!doctype(?!\s+html)[^>\[]*+(?:\[.*?\]\s*+)?+>)"
)
"""What XML has in front of its first element."""

_QUOTE: Final = rb"(?:b?['\"])?"
"""The quote around a string that JSON or Python printed."""

_TEXTS: Final = (
    (
        rb"<!doctype html|<(?:html|head|body|title|meta|base|link|script|style|div|span|a"
        rb"|b|i|br|img|h[1-6]|p|pre|center|font|table|ul|iframe|noscript)[\s/>]",
        "a web page",
        "save the image itself, not the page around it",
    ),
    (rb"<(?:[\w-]+:)?svg[\s>]", "an SVG drawing", _TO_PNG),
    (rb"<[?!\w]", "an XML document", _ITSELF),
    (rb"#define\s+\S+_width\s", "an XBM image", _TO_PNG),
    (_QUOTE + rb"data:[^,]*,", "a data URL", _DECODE_FIRST),
    (_QUOTE + rb"[/_]9j[/_]", "a JPEG in base64", _DECODE_FIRST),
    (_QUOTE + rb"ivborw0kggo", "a PNG in base64", _DECODE_FIRST),
    (_QUOTE + rb"r0lgod", "a GIF in base64", _DECODE_FIRST),
    (_QUOTE + rb"uklgr", "a WebP in base64", _DECODE_FIRST),
    (_QUOTE + rb"qk[0-3][\w+/-]{20}", "a BMP in base64", _DECODE_FIRST),
    (
        rb"(?:0x|\\\\?x)?(?:ffd8ff|89504e47)",
        "an image in hexadecimal digits",
        _DECODE_FIRST,
    ),
    (rb"b['\"]\\x", "the printed form of Python bytes", "send the bytes themselves"),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch the file: git lfs pull"),
    (rb"https?://", "a web address", "download the image, then send it"),
    (rb"\[internetshortcut\]", "a shortcut to a web page", _ITSELF),
    (rb"http/\d", "an HTTP message with its headers", "send its body alone"),
    (rb"--[^\s]+\r?\ncontent-", "a form with its boundaries", _ITSELF),
    (rb"[\[{]\s*[\"\[{\]}\d-]", "JSON", _ITSELF),
)
"""Beginnings of texts, in lower case."""

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Characters that no text holds."""


def is_system_file(name: str) -> bool:
    """Whether a file or folder of that name is the system's, not the user's.

    Hidden ones, and those that macOS, Windows, Linux and NAS systems add: never photos,
    passed over silently.
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_photo(name: str, read_start: Callable[[], bytes]) -> bool:
    """Whether the file called *name* counts as a photo.

    It does if its name has a photo's suffix, or else if its first bytes (*read_start*, at
    least `START_BYTES` of them, only called then) are an image's, even of a format that is
    not decoded here.
    """
    if is_system_file(name):
        return False
    if os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES:  # noqa: PTH122
        return True
    start = read_start()[:START_BYTES]
    return identify_format(start) is not None or _picture(start) is not None


def identify_format(start: bytes) -> str | None:
    """The format of the image whose first bytes are *start*; None: not decoded here."""
    for offset, magic, name in _IMAGES:
        if start.startswith(magic, offset):
            if name == WEBP and not start.startswith(b"RIFF"):
                return None
            is_apples = name == PNG and start.startswith(_APPLE_PNG, 12)
            return None if is_apples else name
    return None


def describe_file(start: bytes) -> str | None:
    """The kind of a file that begins with *start*, as "a web page"; None: unknown."""
    if image := identify_format(start):
        return f"a {image} image"
    found = _kind(start)
    return found and found[0]


def unsupported_image(image: bytes) -> InvalidImageError:
    """The error for a file, *image*, of none of the formats that are decoded."""
    found = _kind(image)
    if found is None and not image.strip(b"\0"):
        found = "a file of zeros", "copy it again"
    if found is None:
        message = f"not a {FORMAT_NAMES} image (it starts with {quoted(image[:8])}): convert it first"
    else:
        what, remedy = found
        message = f"this is {what}, not a {FORMAT_NAMES} image: {remedy}"
    return InvalidImageError(message, code=UNSUPPORTED_IMAGE)


def damaged(reason: str, what: str = "image") -> InvalidImageError:
    """The error for a file whose *what* is damaged, for a *reason*."""
    message = (
        f"the {what} is damaged ({reason}): send the whole file, or save the image "
        "again as JPEG or PNG"
    )
    return InvalidImageError(message)


def damaged_header(reason: str) -> InvalidImageError:
    """The error for a file that is damaged before its pixels."""
    return damaged(reason, "image's header")


def too_complex(what: str) -> InvalidImageError:
    """The error for a file, *what*, that takes undue work."""
    message = f"{what} takes too long to decode: save it again as an ordinary JPEG"
    return InvalidImageError(message, code=TOO_COMPLEX)


def undecodable(what: str) -> InvalidImageError:
    """The error for a file, *what*, of a variant of its format that is not decoded."""
    message = (
        f"this is a {what}, which is not decoded here: save it as an ordinary JPEG"
    )
    return InvalidImageError(message, code=UNSUPPORTED_IMAGE)


def _kind(start: bytes) -> tuple[str, str] | None:
    return _picture(start) or _other(start) or _text(start[:_TEXT_BYTES])


def _picture(start: bytes) -> tuple[str, str] | None:
    if start.startswith(b"ftyp", 4) and start[8:12] in _BRANDS:
        return _BRANDS[start[8:12]], _TO_JPEG
    for shape, what in _PICTURE_SHAPES:
        if re.match(shape, start, re.DOTALL):
            return what, _TO_PNG
    if _is_wbmp(start):
        return "a WBMP image", _TO_PNG
    return _find(_PICTURES, start)


def _other(start: bytes) -> tuple[str, str] | None:
    if start.startswith(b"ftyp", 4):
        is_sound = start.startswith(_SOUND_BRANDS, 8)
        return ("a sound file", _NO_PHOTO) if is_sound else ("a video", _ONE_FRAME)
    return _match(_FILE_SHAPES, start) or _find(_FILES, start)


def _find(kinds: _Kinds, start: bytes) -> tuple[str, str] | None:
    for offset, magic, what, remedy in kinds:
        if start.startswith(magic, offset):
            return what, remedy
    return None


def _match(
    shapes: Sequence[tuple[bytes, str, str]], text: bytes
) -> tuple[str, str] | None:
    for shape, what, remedy in shapes:
        if re.match(shape, text, re.DOTALL):
            return what, remedy
    return None


def _text(start: bytes) -> tuple[str, str] | None:
    text = _as_utf8(start).lower().lstrip()
    position = 0
    while prolog := _PROLOG.match(text, position):
        position = prolog.end()
    found = _match(_TEXTS, text[position:].lstrip() or text)
    if found is None and text and not _CONTROL.search(text[:START_BYTES]):
        return "a text file", _ITSELF
    return found


def _as_utf8(text: bytes) -> bytes:
    marked = text.startswith((b"\xff\xfe", b"\xfe\xff"))
    if marked or text.startswith((b"<\0", b"\0<")):
        order = "utf-16" if marked else "utf-16-le" if text[1] == 0 else "utf-16-be"
        return text.decode(order, "ignore").encode("utf-8", "ignore")
    return text.removeprefix(b"\xef\xbb\xbf")


def _is_wbmp(image: bytes) -> bool:
    # Two zeros, width, height and rows of bits: recognised by its length alone.
    found = re.match(
        rb"\x00\x00([\x80-\xff]?[\x01-\x7f])([\x80-\xff]?[\x01-\x7f])", image
    )
    if found is None:
        return False
    width, height = (
        reduce(lambda high, low: high << 7 | low & 127, side, 0)
        for side in found.groups()
    )
    return len(image) == found.end() + -(-width // 8) * height
