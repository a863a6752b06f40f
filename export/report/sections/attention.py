"""Grad-CAM on the most wrong photos: which places spoke for which label."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.report.content import ReportContent, ReportedPhotos
from export.report.drawing.colours import overlay_heat
from export.report.drawing.markup import Markup, join, paragraph, text
from export.report.drawing.pictures import decode_readable, picture
from export.report.galleries import choose_most_wrong
from export.report.sections.network_input import input_size
from export.report.sections.photos import describe_answer
from models.images.codec import Pixels

MOST_PHOTOS: Final = 6


def attention_section(content: ReportContent) -> Markup:
    """Each photo, and the heat for the label it is called and for the true one."""
    photos = content.photos
    chosen = choose_most_wrong(photos.probabilities, photos.classes, MOST_PHOTOS)
    if content.classifier is None or not chosen:
        return Markup("")
    # Keras takes seconds to import: only where there is a network.
    from export.report.network import can_look_inside

    size = input_size(content.classifier)
    if not can_look_inside(content.classifier):
        return Markup("")
    pixels = decode_readable(photos.files, chosen, size)
    if not pixels:
        return Markup("")
    note = (
        "Grad-CAM (Selvaraju et al. 2017) on the photos that are most wrong, at the "
        "size that the network sees. Warm places raised a label's score; places "
        "without colour did not."
    )
    heats = _heats(content.classifier, photos, pixels)
    figures = join(
        _figure(photos, index, pixels[index], heats[index]) for index in pixels
    )
    scale = Markup('<p class="heat-scale">nothing <i></i> most in this photo</p>')
    return Markup(
        f'{paragraph(note, quiet=True)}{scale}<div class="panels">{figures}</div>'
    )


def _heats(
    classifier: Any, photos: ReportedPhotos, pixels: dict[int, Pixels]
) -> dict[int, list[tuple[int, NDArray[np.float32]]]]:
    from export.report.network import grad_cams

    batch = np.stack(list(pixels.values()))
    indices = list(pixels)
    called = photos.probabilities[indices].argmax(axis=1)
    true = photos.classes[indices]
    choices = [called, true]
    both = list(zip(choices, grad_cams(classifier, batch, choices), strict=True))
    return {
        index: [(int(classes[row]), heat[row]) for classes, heat in both]
        for row, index in enumerate(indices)
    }


def _figure(
    photos: ReportedPhotos,
    index: int,
    pixels: Pixels,
    heats: list[tuple[int, NDArray[np.float32]]],
) -> Markup:
    name = photos.files[index].name
    columns = [(picture(pixels, f"photo {name}"), "photo")]
    for number, heat in heats:
        label = photos.labels[number]
        alternative = f"{name}, heat for {label}: {describe_heat(heat)}"
        columns.append(
            (picture(overlay_heat(pixels, heat), alternative), f"for {label}")
        )
    shown = join(
        Markup(f"<div>{image}<small>{text(words)}</small></div>")
        for image, words in columns
    )
    caption = f"{describe_answer(photos, index)} ({name})"
    return Markup(
        f"<figure><figcaption>{text(caption)}</figcaption>"
        f'<div class="columns">{shown}</div></figure>'
    )


def describe_heat(heat: NDArray[np.float32]) -> str:
    """Where the hottest place is, in words: for who cannot see it."""
    if not heat.any():
        return "nothing speaks for it"
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    down = ("top", "middle", "bottom")[int(3 * row / heat.shape[0])]
    across = ("left", "centre", "right")[int(3 * column / heat.shape[1])]
    return f"hottest at the {down} {across}"
