"""The five galleries: photos tell more than figures about what goes wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from export.report.content import ReportContent, ReportedPhotos
from export.report.drawing.markup import Markup, heading, join, paragraph, text
from export.report.drawing.numbers import percent
from export.report.drawing.pictures import photo
from export.report.galleries import MOST_LABELS, Gallery, choose_galleries

LARGE, SMALL = 240, 160
"""Longest sides in pixels; small with many labels, so that the file stays small."""

FEW_LABELS: Final = 4


def photos_section(content: ReportContent) -> Markup:
    """Random ones first, then by label, then those that the model cannot decide."""
    photos = content.photos
    chosen = choose_galleries(photos.probabilities, photos.classes, photos.labels)
    note = (
        "Photos that are most wrong are often labelled wrongly: look at them first. "
        "A percentage is the probability of the label that the photo is called."
    )
    if len(photos.labels) > MOST_LABELS:
        note += f" By label: the {MOST_LABELS} labels that are called wrongly most."
    return join(
        [
            paragraph(note, quiet=True),
            _mixed(photos, chosen.correct),
            _mixed(photos, chosen.wrong),
            _by_label(photos, "Most correct of each label", chosen.most_correct),
            _by_label(photos, "Most wrong of each label", chosen.most_wrong),
            _mixed(photos, chosen.uncertain),
        ]
    )


def describe_answer(photos: ReportedPhotos, index: int) -> str:
    """What a photo is called, how surely, and what it is."""
    called = photos.labels[int(photos.probabilities[index].argmax())]
    instead = _is_instead(photos, index)
    verdict = f"wrong, {instead}" if instead else "right"
    return f"{called} {_sure(photos, index)}: {verdict}"


def _sure(photos: ReportedPhotos, index: int) -> str:
    return percent(float(photos.probabilities[index].max()))


def _is_instead(photos: ReportedPhotos, index: int) -> str:
    true = int(photos.classes[index])
    if int(photos.probabilities[index].argmax()) == true:
        return ""
    return f"is {photos.labels[true]}"


def _by_label(
    photos: ReportedPhotos, title: str, galleries: Iterable[Gallery]
) -> Markup:
    shown = join(
        _gallery(
            gallery.title,
            4,
            [_figure(photos, each, _brief(photos, each)) for each in gallery.photos],
        )
        for gallery in galleries
    )
    return Markup(f'{heading(3, title)}<div class="by-label">{shown}</div>')


def _brief(photos: ReportedPhotos, index: int) -> str:
    # Below a title that names the label that the photo is called.
    instead = _is_instead(photos, index)
    return f"{_sure(photos, index)}, {instead}" if instead else _sure(photos, index)


def _mixed(photos: ReportedPhotos, gallery: Gallery) -> Markup:
    figures = [
        _figure(photos, each, describe_answer(photos, each)) for each in gallery.photos
    ]
    return _gallery(gallery.title, 3, figures)


def _gallery(title: str, level: int, figures: list[Markup]) -> Markup:
    items = f'<ul class="photos">{join(figures)}</ul>' if figures else "<p>None.</p>"
    return Markup(f'<div class="gallery">{heading(level, title)}{items}</div>')


def _figure(photos: ReportedPhotos, index: int, caption: str) -> Markup:
    kind = "wrong" if _is_instead(photos, index) else "right"
    side = LARGE if len(photos.labels) <= FEW_LABELS else SMALL
    file = photos.files[index]
    return Markup(
        f'<li class="{kind}"><figure>{photo(file, side)}<figcaption>{text(caption)}'
        f"<small>{text(file.name)}</small></figcaption></figure></li>"
    )
