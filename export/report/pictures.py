"""Pictures of the report: galleries, Grad-CAM, filters and maps, augmentation.

Each section's function takes the content and gives what its template shows; None where
its input is missing. Pictures are data URLs, so that the report is one file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.data.sources.reading import read_photo
from export.report.content import ReportContent, ReportedPhotos
from export.report.figures import percent
from models.errors import InvalidImageError
from models.images.codec import (
    Pixels,
    decode_image,
    encode_jpeg,
    encode_png,
    encode_thumbnail,
)

if TYPE_CHECKING:
    from export.report.network import LayerActivations

PHOTOS_EACH: Final = 4
MOST_LABELS: Final = 12
"""With more labels than this, only those with most mistakes get galleries of their own."""

FEW_LABELS: Final = 4
LARGE, SMALL = 240, 160
"""Longest sides in pixels; small with many labels, so that the file stays small."""

MOST_HEATS: Final = 6
MOST_SAMPLES: Final = 12
MAP_SIDE: Final = 96
PREVIEW_SIDE: Final = 160
SHARP_SIDE: Final = 32
"""Maps up to this side are PNG: JPEG would blur their edges when they are enlarged."""

ANY_SIZE: Final = 224
"""Side of the photos for networks that take any size: most were designed for it."""

HEAT: Final = np.array(
    [[20, 20, 70], [110, 30, 130], [205, 55, 95], [250, 140, 40], [255, 235, 120]],
    dtype=np.float64,
)
"""From cold to hot; lightness only rises, so it reads in grey and to every eye."""

MOST_OPAQUE: Final = 0.75


class Picture(NamedTuple):
    """A data URL and its alternative text, or the problem with a photo."""

    source: str
    alternative: str
    problem: str = ""


class Strip(NamedTuple):
    """Pictures in one row; one description speaks for all."""

    pictures: Sequence[Picture]
    description: str


class ShownPhoto(NamedTuple):
    """A photo in a gallery, and the label that the model gives it."""

    picture: Picture
    caption: str
    file: str
    is_wrong: bool


class ShownGallery(NamedTuple):
    """Photos under one title."""

    title: str
    photos: Sequence[ShownPhoto]


class Photos(NamedTuple):
    """The five galleries; ``labels_shown`` is 0 where all labels have galleries."""

    correct: ShownGallery
    wrong: ShownGallery
    most_correct: Sequence[ShownGallery]
    most_wrong: Sequence[ShownGallery]
    uncertain: ShownGallery
    labels_shown: int


def photos(content: ReportContent) -> Photos:
    """The five galleries of photos: right, wrong and uncertain ones."""
    shown = content.photos
    chosen = choose_galleries(shown.probabilities, shown.classes, shown.labels)

    def mixed(gallery: Gallery) -> ShownGallery:
        captions = [describe_answer(shown, each) for each in gallery.photos]
        return _gallery(shown, gallery, captions)

    def of_label(gallery: Gallery) -> ShownGallery:
        captions = [_brief_answer(shown, each) for each in gallery.photos]
        return _gallery(shown, gallery, captions)

    return Photos(
        mixed(chosen.correct),
        mixed(chosen.wrong),
        [of_label(each) for each in chosen.most_correct],
        [of_label(each) for each in chosen.most_wrong],
        mixed(chosen.uncertain),
        MOST_LABELS if len(shown.labels) > MOST_LABELS else 0,
    )


def _gallery(
    shown: ReportedPhotos, gallery: Gallery, captions: Sequence[str]
) -> ShownGallery:
    side = LARGE if len(shown.labels) <= FEW_LABELS else SMALL
    found = [
        ShownPhoto(
            _thumbnail(shown.files[index], side),
            caption,
            shown.files[index].name,
            bool(_true_label(shown, index)),
        )
        for index, caption in zip(gallery.photos, captions, strict=True)
    ]
    return ShownGallery(gallery.title, found)


def describe_answer(shown: ReportedPhotos, index: int) -> str:
    """The label that a photo is called, its probability, and whether it is right."""
    called = shown.labels[int(shown.probabilities[index].argmax())]
    instead = _true_label(shown, index)
    verdict = f"wrong, {instead}" if instead else "right"
    return f"{called} {_sure(shown, index)}: {verdict}"


def _brief_answer(shown: ReportedPhotos, index: int) -> str:
    # Below a title that names the label that the photo is called.
    instead = _true_label(shown, index)
    return f"{_sure(shown, index)}, {instead}" if instead else _sure(shown, index)


def _sure(shown: ReportedPhotos, index: int) -> str:
    return percent(float(shown.probabilities[index].max()))


def _true_label(shown: ReportedPhotos, index: int) -> str:
    true = int(shown.classes[index])
    if int(shown.probabilities[index].argmax()) == true:
        return ""
    return f"is {shown.labels[true]}"


class Gallery(NamedTuple):
    """A title and the indices of the photos under it."""

    title: str
    photos: tuple[int, ...]


class Galleries(NamedTuple):
    """The five galleries; those by class hold one for each label that is shown."""

    correct: Gallery
    wrong: Gallery
    most_correct: tuple[Gallery, ...]
    most_wrong: tuple[Gallery, ...]
    uncertain: Gallery


def choose_galleries(
    probabilities: NDArray[Any],
    classes: NDArray[np.int64],
    labels: Sequence[str],
    seed: int = 0,
) -> Galleries:
    """Random correct and incorrect, most correct and incorrect by class, most uncertain.

    *probabilities* [N, K], true *classes* [N]. The galleries are those of the fast.ai
    course; the labels of those by class are the predicted ones, as there: "said cat, and
    was sure".
    """
    generator = np.random.default_rng(seed)
    predicted = probabilities.argmax(axis=1)
    right = predicted == classes
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    shown = _labels_shown(predicted[~right], len(labels))

    def gallery(title: str, order: NDArray[Any]) -> Gallery:
        return Gallery(title, tuple(int(index) for index in order[:PHOTOS_EACH]))

    def of_label(number: int, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.asarray(surest[(chosen & (predicted == number))[surest]])

    return Galleries(
        gallery("Correct, at random", generator.permutation(np.flatnonzero(right))),
        gallery("Wrong, at random", generator.permutation(np.flatnonzero(~right))),
        tuple(
            gallery(f"Most correct: {labels[each]}", of_label(each, right))
            for each in shown
        ),
        tuple(
            gallery(f"Most wrong: called {labels[each]}", of_label(each, ~right))
            for each in shown
        ),
        gallery("Most uncertain", surest[::-1]),
    )


def _labels_shown(called: NDArray[np.int64], labels: int) -> list[int]:
    mistakes = np.bincount(called, minlength=labels)
    most = np.argsort(-mistakes, kind="stable")[:MOST_LABELS]
    return sorted(int(each) for each in most)


class AttentionPhoto(NamedTuple):
    """A photo: (picture, title) of itself and of its heat for two labels."""

    caption: str
    columns: Sequence[tuple[Picture, str]]


def attention(content: ReportContent) -> list[AttentionPhoto] | None:
    """Grad-CAM on the most wrong photos, for the label called and for the true one."""
    shown, network = content.photos, content.classifier
    chosen = choose_most_wrong(shown.probabilities, shown.classes, MOST_HEATS)
    if not chosen or not _has_maps(network):
        return None
    pixels = _decode_readable(shown.files, chosen, _input_size(network))
    if not pixels:
        return None
    heats = _heats(network, shown, pixels)
    return [
        AttentionPhoto(
            f"{describe_answer(shown, index)} ({shown.files[index].name})",
            _attention_columns(shown, index, pixels[index], heats[index]),
        )
        for index in pixels
    ]


def choose_most_wrong(
    probabilities: NDArray[Any], classes: NDArray[np.int64], count: int
) -> list[int]:
    """The *count* photos that are called something else with the most confidence."""
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = probabilities.argmax(axis=1) != classes
    return [int(index) for index in surest[wrong[surest]][:count]]


def _heats(
    network: Any, shown: ReportedPhotos, pixels: Mapping[int, Pixels]
) -> dict[int, list[tuple[int, NDArray[np.float32]]]]:
    from export.report.network import grad_cams

    batch = np.stack(list(pixels.values()))
    indices = list(pixels)
    called = shown.probabilities[indices].argmax(axis=1)
    choices = [called, shown.classes[indices]]
    both = list(zip(choices, grad_cams(network, batch, choices), strict=True))
    return {
        index: [(int(classes[row]), heat[row]) for classes, heat in both]
        for row, index in enumerate(indices)
    }


def _attention_columns(
    shown: ReportedPhotos,
    index: int,
    pixels: Pixels,
    heats: Iterable[tuple[int, NDArray[np.float32]]],
) -> list[tuple[Picture, str]]:
    name = shown.files[index].name
    columns = [(_jpeg(pixels, f"photo {name}"), "photo")]
    for number, heat in heats:
        label = shown.labels[number]
        alternative = f"{name}, heat for {label}: {describe_heat(heat)}"
        picture = _jpeg(overlay_heat(pixels, heat), alternative)
        columns.append((picture, f"for {label}"))
    return columns


def describe_heat(heat: NDArray[np.float32]) -> str:
    """The hottest place in words, for people who cannot see it."""
    if not heat.any():
        return "nothing speaks for it"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    down = ("top", "middle", "bottom")[int(3 * row / heat.shape[0])]
    across = ("left", "centre", "right")[int(3 * column / heat.shape[1])]
    return f"hottest at the {down} {across}"


class Filters(NamedTuple):
    """The first convolution's filters."""

    number: int
    height: int
    width: int
    strip: Strip


class Sample(NamedTuple):
    """A photo, and for each layer shown its maps and its name."""

    caption: str
    photo: Picture
    layers: Sequence[tuple[Strip, str]]


class Inside(NamedTuple):
    """The inside of the network: its first filters, and its activations for some photos."""

    filters: Filters
    samples: Sequence[Sample]


def inside(content: ReportContent) -> Inside | None:
    """First filters, then maps of one photo a label: an early, a middle, a late layer."""
    if not _has_maps(content.classifier):
        return None
    return Inside(_filters(content.classifier), _samples(content))


def _filters(network: Any) -> Filters:
    from export.report.network import first_layer_filters

    filters = first_layer_filters(network)
    number, height, width, _ = filters.shape
    pictures = [_png(signed_colours(each)) for each in filters]
    description = f"The {number} filters of the first convolution as small pictures"
    return Filters(number, height, width, Strip(pictures, description))


def _samples(content: ReportContent) -> list[Sample]:
    from export.report.network import activation_maps

    shown = content.photos
    samples = choose_samples(shown.probabilities, shown.classes)
    chosen = list(samples.values())[:MOST_SAMPLES]
    pixels = _decode_readable(shown.files, chosen, _input_size(content.classifier))
    if not pixels:
        return []
    layers = activation_maps(content.classifier, np.stack(list(pixels.values())))
    return [
        Sample(
            f"{shown.labels[int(shown.classes[index])]}: {shown.files[index].name}",
            _thumbnail(shown.files[index], 2 * MAP_SIDE),
            [_maps(layer, row) for layer in layers],
        )
        for row, index in enumerate(pixels)
    ]


def choose_samples(
    probabilities: NDArray[Any], classes: NDArray[np.int64]
) -> dict[int, int]:
    """For each class with photos, the photo that is given to it with most confidence."""
    samples = {}
    for number in range(probabilities.shape[1]):
        members = np.flatnonzero(classes == number)
        if len(members):
            surest = members[probabilities[members, number].argmax()]
            samples[number] = int(surest)
    return samples


def _maps(layer: LayerActivations, row: int) -> tuple[Strip, str]:
    pictures = [_small_picture(_map_colours(each)) for each in layer.maps[row]]
    height, width = layer.maps.shape[2:]
    channels = ", ".join(str(number) for number in layer.channels[row])
    name = f"{layer.layer}, {height} x {width}"
    return Strip(pictures, f"Maps of {name}, channels {channels}"), name


def _map_colours(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Padding answers loudest of all: cut off, the photo itself is seen.
    calm = np.minimum(values, np.quantile(values, 0.99))
    colours = heat_colours(stretch(shrink(calm, MAP_SIDE)))
    return np.asarray(colours.round(), dtype=np.uint8)


def augmentation(content: ReportContent) -> list[Strip] | None:
    """Photos as training varied them: a row for each, a column for each variation."""
    grid = content.augmentations
    if grid is None or not grid.size:
        return None
    # Every other pixel of large ones: a preview needs no more.
    step = -(-max(grid.shape[2:4]) // PREVIEW_SIDE)
    return [
        Strip(
            [_small_picture(pixels[::step, ::step]) for pixels in row],
            f"Training photo {number}, varied {len(row)} times",
        )
        for number, row in enumerate(grid, start=1)
    ]


def _has_maps(network: Any) -> bool:
    if network is None:
        return False
    # Keras takes seconds to import: only where there is a network.
    from export.report.network import has_convolutions

    return has_convolutions(network)


def _input_size(network: Any) -> tuple[int, int]:
    _, height, width, _ = network.input_shape
    return height or ANY_SIZE, width or ANY_SIZE


def _decode_readable(
    files: Sequence[Path], indices: Iterable[int], size: tuple[int, int]
) -> dict[int, Pixels]:
    # By index; photos that cannot be read are left out.
    decoded = {}
    for index in indices:
        with suppress(InvalidImageError):
            decoded[index] = decode_image(read_photo(files[index]), size)
    return decoded


def _thumbnail(file: Path, longest_side: int) -> Picture:
    try:
        thumbnail = encode_thumbnail(read_photo(file), longest_side)
    except InvalidImageError as error:
        return Picture("", "", f"{file.name} cannot be shown: {error}")
    return Picture(_data_url(thumbnail, "jpeg"), f"photo {file.name}")


def _jpeg(pixels: NDArray[np.uint8], alternative: str = "") -> Picture:
    return Picture(_data_url(encode_jpeg(pixels), "jpeg"), alternative)


def _png(pixels: NDArray[np.uint8]) -> Picture:
    return Picture(_data_url(encode_png(pixels), "png"), "")


def _small_picture(pixels: NDArray[np.uint8]) -> Picture:
    return _png(pixels) if max(pixels.shape[:2]) <= SHARP_SIDE else _jpeg(pixels)


def _data_url(image: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def heat_colours(heat: NDArray[Any]) -> NDArray[np.float64]:
    """*heat* 0..1 of any shape -> RGB 0..255, with a last axis of 3."""
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(heat, stops, HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1)


def overlay_heat(pixels: Pixels, heat: NDArray[Any]) -> Pixels:
    """*heat* [h, w] 0..1 enlarged and laid over a photo's *pixels* [H, W, 3].

    Where it is cold, the photo shows through unchanged.
    """
    enlarged = enlarge(heat, (pixels.shape[0], pixels.shape[1]))
    opacity = (MOST_OPAQUE * enlarged)[..., None]
    mixed = pixels * (1 - opacity) + heat_colours(enlarged) * opacity
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)


def enlarge(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """[h, w] -> *size* (height, width), bilinear between the centres of cells."""
    rows = _interpolation(values.shape[0], size[0])
    columns = _interpolation(values.shape[1], size[1])
    return np.asarray(rows @ np.asarray(values, np.float64) @ columns.T)


def shrink(values: NDArray[Any], longest_side: int) -> NDArray[np.float64]:
    """[h, w] -> means of square blocks, until no side is above *longest_side*."""
    block = -(-max(values.shape) // longest_side)
    height, width = (side - side % block for side in values.shape)
    cut = np.asarray(values[:height, :width], np.float64)
    blocks = cut.reshape(height // block, block, width // block, block)
    return np.asarray(blocks.mean(axis=(1, 3)))


def stretch(values: NDArray[Any]) -> NDArray[np.float64]:
    """*values* moved and scaled to 0..1; all 0 where they are all the same."""
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / ((high - low) or 1.0), dtype=np.float64)


def signed_colours(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values around 0 -> 0..255 with 0 at the middle grey, the largest at an end."""
    largest = float(np.abs(values).max()) or 1.0
    return np.asarray((127.5 + 127.5 * values / largest).round(), dtype=np.uint8)


def _interpolation(before: int, after: int) -> NDArray[np.float64]:
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    places = np.clip(centres, 0, before - 1)
    distances = np.abs(places[:, None] - np.arange(before))
    return np.asarray(np.maximum(0, 1 - distances))
