"""What the network sees: its first filters, and its answers to one photo a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from export.report.content import ReportContent, ReportedPhotos
from export.report.drawing.colours import heat_colours, shrink, signed_colours, stretch
from export.report.drawing.markup import Markup, heading, join, paragraph, text
from export.report.drawing.numbers import plural
from export.report.drawing.pictures import decode_readable, photo, strip, tiles
from export.report.galleries import choose_samples
from export.report.sections.network_input import input_size

if TYPE_CHECKING:
    from export.report.network import LayerActivations

MOST_SAMPLES: Final = 12
MAP_SIDE: Final = 96


def inside_section(content: ReportContent) -> Markup:
    """Filters of the first convolution, then maps of an early, middle and late one."""
    if content.classifier is None:
        return Markup("")
    from export.report.network import can_look_inside

    if not can_look_inside(content.classifier):
        return Markup("")
    return join([_filters(content.classifier), _activations(content)])


def _filters(classifier: Any) -> Markup:
    from export.report.network import first_layer_filters

    filters = first_layer_filters(classifier)
    count, height, width, _ = filters.shape
    note = (
        f"{plural(count, 'filter')} of {height} x {width} pixels, as they act on RGB. "
        "Middle grey is zero; a colour means that the filter answers to more of it. "
        "Plain blobs look for colours, stripes for edges."
    )
    pictures = [signed_colours(each) for each in filters]
    described = f"The {count} filters of the first convolution as small pictures"
    return join(
        [
            heading(3, "Filters of the first convolution"),
            paragraph(note, quiet=True),
            tiles(pictures, described),
        ]
    )


def _activations(content: ReportContent) -> Markup:
    photos = content.photos
    samples = choose_samples(photos.probabilities, photos.classes)
    shown = dict(list(samples.items())[:MOST_SAMPLES])
    size = input_size(content.classifier)
    pixels = decode_readable(photos.files, shown.values(), size)
    if not pixels:
        return Markup("")
    from export.report.network import activation_maps

    layers = activation_maps(content.classifier, np.stack(list(pixels.values())))
    note = (
        "For the photo of each label that the model is surest of: the four liveliest "
        "channels of an early, a middle and the last convolution. Bright is a strong "
        "answer; each map has its own scale."
    )
    figures = join(
        _sample(photos, index, row, layers) for row, index in enumerate(pixels)
    )
    return Markup(
        heading(3, "Answers to one photo of each label")
        + paragraph(note, quiet=True)
        + f'<div class="panels">{figures}</div>'
    )


def _sample(
    photos: ReportedPhotos,
    index: int,
    row: int,
    layers: tuple[LayerActivations, ...],
) -> Markup:
    label = photos.labels[int(photos.classes[index])]
    file = photos.files[index]
    rows = join(_layer(layer, row) for layer in layers)
    return Markup(
        f"<figure><figcaption>{text(label)}: {text(file.name)}</figcaption>"
        f'<div class="sample">{photo(file, MAP_SIDE * 2)}<div>{rows}</div></div></figure>'
    )


def _layer(layer: LayerActivations, row: int) -> Markup:
    maps = [_map_picture(each) for each in layer.maps[row]]
    height, width = layer.maps.shape[2:]
    channels = ", ".join(str(number) for number in layer.channels[row])
    named = f"{layer.layer}, {height} x {width}"
    described = f"Maps of {named}, channels {channels}"
    return Markup(f"{strip(maps, described)}<small>{text(named)}</small>")


def _map_picture(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    # Padding answers loudest of all: cut off, the photo itself is seen.
    calm = np.minimum(values, np.quantile(values, 0.99))
    colours = heat_colours(stretch(shrink(calm, MAP_SIDE)))
    return np.asarray(colours.round(), dtype=np.uint8)
