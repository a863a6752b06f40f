"""JPEG and PNG decoded in the graph, as `models.images` decodes them outside.

Upright by Exif, transparency on white, squashed with antialiasing; pixels differ by
rounding. It ignores an orientation in XMP or in old ImageMagick's text, transparency of
formats other than PNG, and CMYK without Adobe's marker.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import tensorflow as tf

from models.images.preprocessing import (
    FRACTIONS,
    FROM_THE_BOTTOM,
    FROM_THE_RIGHT,
    SIDEWAYS,
    Preprocessing,
)

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_EXIF: Final = 0x45786966
"""``Exif``, as a number."""

_PNG_EXIF: Final = 0x65584966
_PNG_END: Final = 0x49454E44
_LITTLE: Final = 0x49492A00
_BIG: Final = 0x4D4D002A
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
"""Exif's number for two bytes; four are the other way in which programs write it."""

_MOST_PARTS: Final = 200
"""Segments or chunks among which Exif is looked for."""

_SPARE: Final = 32
"""Zeros behind the file, so that whatever begins within it can be read."""


def decode_encoded(
    image: Any, size: tuple[int, int], preprocessing: Preprocessing
) -> Any:
    """The pixels of one encoded *image* (a string), uint8 [height, width, 3] of *size*."""
    is_jpeg, is_png = _starts_with(image, _JPEG), _starts_with(image, _PNG)
    data = tf.concat([tf.io.decode_raw(image, tf.uint8), tf.zeros(_SPARE, tf.uint8)], 0)
    exif = tf.case(
        [(is_jpeg, lambda: _find_in_jpeg(data)), (is_png, lambda: _find_in_png(data))],
        default=lambda: _length(data),
    )
    orientation = _orientation(data, exif)
    is_whole = preprocessing is Preprocessing.WHOLE
    least = None if is_whole else (2 * size[0], 2 * size[1])
    pixels, extent = tf.case(
        [
            (is_jpeg, lambda: _decode_jpeg(image, least, orientation)),
            (is_png, lambda: _with_extent(_decode_png(image))),
        ],
        default=lambda: _with_extent(
            tf.io.decode_image(image, 3, expand_animations=False)
        ),
    )
    pixels = tf.ensure_shape(pixels, [None, None, 3])
    return _resize_upright(pixels, extent, orientation, size)


def _resize_upright(
    pixels: Any, extent: Any, orientation: Any, size: tuple[int, int]
) -> Any:
    # Of the last row and column of a fraction only a part may belong to the photo.
    extent = tf.where(_is_among(orientation, *SIDEWAYS), extent[::-1], extent)
    upright = _turn(pixels, orientation)
    spare = tf.cast(tf.shape(upright)[:2], tf.float32) - extent
    is_behind = tf.stack(
        [
            _is_among(orientation, *FROM_THE_BOTTOM),
            _is_among(orientation, *FROM_THE_RIGHT),
        ]
    )
    scale = tf.cast(size, tf.float32) / extent
    shift = -tf.where(is_behind, spare, 0.0) * scale
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.cast(upright, tf.float32)[None],
        size=size,
        scale=scale,
        translation=shift,
        kernel_type="triangle",
    )[0]
    return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)


def _with_extent(pixels: Any) -> Any:
    return pixels, tf.cast(tf.shape(pixels)[:2], tf.float32)


def _starts_with(image: Any, start: bytes) -> Any:
    return tf.equal(tf.strings.substr(image, 0, len(start)), start)


def _decode_jpeg(image: Any, least: tuple[int, int] | None, orientation: Any) -> Any:
    # At the smallest fraction that is at least *least* when it is upright; None: whole.
    whole = tf.io.extract_jpeg_shape(image)[:2]

    def decode(part: int) -> Any:
        pixels = tf.io.decode_jpeg(image, 3, ratio=part, dct_method="INTEGER_ACCURATE")
        return pixels, tf.cast(whole, tf.float32) / part

    if least is None:
        return decode(1)
    is_sideways = _is_among(orientation, *SIDEWAYS)
    lying = tf.where(is_sideways, least[::-1], least)
    *fractions, full = FRACTIONS
    return tf.case(
        [(tf.reduce_all(whole // p >= lying), partial(decode, p)) for p in fractions],
        default=partial(decode, full),
    )


def _decode_png(image: Any) -> Any:
    pixels = tf.cast(tf.io.decode_png(image, 4), tf.float32)
    colours, opacity = pixels[..., :3], pixels[..., 3:]
    # What has no transparency gets the greatest number of its own depth, not 255.
    depth = tf.cast(
        tf.io.decode_raw(tf.strings.substr(image, 24, 1), tf.uint8), tf.float32
    )
    is_opaque = tf.reduce_all(tf.equal(opacity, 2**depth - 1))
    shown = 255 + (colours - 255) * opacity / 255
    return tf.cast(tf.round(tf.where(is_opaque, colours, shown)), tf.uint8)


def _turn(pixels: Any, orientation: Any) -> Any:
    for orientations, change in (
        (SIDEWAYS, lambda each: tf.transpose(each, [1, 0, 2])),
        (FROM_THE_RIGHT, lambda each: tf.reverse(each, [1])),
        (FROM_THE_BOTTOM, lambda each: tf.reverse(each, [0])),
    ):
        wanted = _is_among(orientation, *orientations)
        pixels = tf.cond(wanted, lambda p=pixels, c=change: c(p), lambda p=pixels: p)
    return pixels


def _is_among(orientation: Any, *orientations: int) -> Any:
    return tf.reduce_any(tf.equal(orientation, orientations))


def _length(data: Any) -> Any:
    return tf.size(data, tf.int64) - _SPARE


def _number(data: Any, place: Any, count: int, little: Any = False) -> Any:
    # A number of *count* bytes; 0 behind the end of the file.
    place = tf.minimum(place, _length(data))
    given = tf.cast(data[place : place + count], tf.int64)
    given = tf.where(little, given[::-1], given)
    return tf.reduce_sum(given * [256**power for power in reversed(range(count))])


def _find_in_jpeg(data: Any) -> Any:
    def goes_on(place: Any) -> Any:
        is_exif = tf.equal(_number(data, place + 4, 4), _EXIF)
        is_scan = tf.equal(_number(data, place, 2), 0xFFDA)
        starts = tf.equal(_number(data, place, 1), 0xFF)
        return starts & ~is_scan & ~is_exif

    def step(place: Any) -> list[Any]:
        length = tf.maximum(_number(data, place + 2, 2), 2)
        is_filling = tf.equal(_number(data, place + 1, 1), 0xFF)
        return [place + tf.where(is_filling, tf.constant(1, tf.int64), 2 + length)]

    return _search(goes_on, step, 2) + 10


def _find_in_png(data: Any) -> Any:
    def goes_on(place: Any) -> Any:
        kind = _number(data, place + 4, 4)
        return ~tf.reduce_any(tf.equal(kind, [_PNG_EXIF, _PNG_END, 0]))

    def step(place: Any) -> list[Any]:
        return [place + 12 + _number(data, place, 4)]

    return _search(goes_on, step, len(_PNG)) + 8


def _search(goes_on: Any, step: Any, start: int) -> Any:
    first = [tf.constant(start, tf.int64)]
    return tf.while_loop(goes_on, step, first, maximum_iterations=_MOST_PARTS)[0]


def _orientation(data: Any, exif: Any) -> Any:
    # 1 to 8; 1 where there is none. *exif* is where a TIFF header may be.
    order = _number(data, exif, 4)
    little = tf.equal(order, _LITTLE)
    directory = exif + _number(data, exif + 4, 4, little)
    count = _number(data, directory, 2, little)
    first = tf.minimum(directory + 2, _length(data))
    listed = tf.cast(data[first : first + 12 * count], tf.int64)
    entries = tf.reshape(listed[: tf.size(listed) // 12 * 12], [-1, 12])
    tags = tf.where(little, entries[:, 1], entries[:, 0]) * 256
    tags += tf.where(little, entries[:, 0], entries[:, 1])
    is_short = tf.equal(tf.where(little, entries[:, 2], entries[:, 3]), _SHORT)
    values = tf.where(is_short, entries[:, 9], entries[:, 11])
    values = tf.where(little, entries[:, 8], values)
    known = tf.equal(tags, _ORIENTATION) & (values >= 1) & (values <= 8)
    known &= tf.equal(order, _LITTLE) | tf.equal(order, _BIG)
    upright = tf.constant([1], tf.int64)
    return tf.concat([tf.boolean_mask(values, known), upright], 0)[0]
