"""The HTML report on a set of labelled, predicted photos: one file, no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.evaluation.metrics import confusion_matrix
from export.report.galleries import Gallery, choose_galleries
from models.errors import InvalidImageError
from models.images import encode_thumbnail, read_image_file
from models.probabilities import clip, log_loss
from models.storage import write_atomically

CHART_BOUNDS: Final = 1 - np.geomspace(0.3, 1e-4, 60)
_WIDTH, _HEIGHT, _MARGIN = 640, 260, 48

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8886; --good: #2a78; --bad: #c338; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .3rem .8rem; text-align: right;
  border: 1px solid var(--line); } th:first-child, td:first-child { text-align: left; }
td.right { background: var(--good); } td.wrong { background: var(--bad); }
.photos { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 10rem; } figure img { width: 10rem; height: 10rem;
  object-fit: contain; border: 1px solid var(--line); }
figcaption { font-size: .8rem; } svg { max-width: 100%; height: auto; }
svg text { fill: currentColor; font: 12px system-ui, sans-serif; }
"""


@dataclass(frozen=True)
class ReportedPhotos:
    """N photos with their true classes and calibrated, unclipped probabilities [N, K]."""

    title: str
    labels: Sequence[str]
    files: Sequence[Path]
    classes: NDArray[np.int64]
    probabilities: NDArray[Any]
    clip_bound: float | None
    figures: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def write_report(photos: ReportedPhotos, path: Path) -> None:
    """Write the report on *photos* to *path*, atomically."""
    galleries = choose_galleries(photos.probabilities, photos.classes, photos.labels)
    body = [
        f"<h1>{escape(photos.title)}</h1>",
        f"<p>{escape(photos.note)}</p>" if photos.note else "",
        _table([("Figure", "Value"), *photos.figures.items()]),
        "<h2>Confusion matrix</h2>",
        _confusion(photos),
        "<h2>Log loss against the clip bound</h2>",
        _loss_chart(photos),
        *(_gallery(photos, each) for each in galleries),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(photos.title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    write_atomically(path, page)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    head, *rest = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rest
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _confusion(photos: ReportedPhotos) -> str:
    matrix = confusion_matrix(photos.probabilities, photos.classes)
    heads = "".join(f"<th>called {escape(label)}</th>" for label in photos.labels)
    rows = "".join(
        f"<tr><th>is {escape(photos.labels[true])}</th>"
        + "".join(
            f'<td class="{"right" if true == called else "wrong"}">{count}</td>'
            for called, count in enumerate(row)
        )
        + "</tr>"
        for true, row in enumerate(matrix)
    )
    return f"<table><tr><th></th>{heads}</tr>{rows}</table>"


def _loss_chart(photos: ReportedPhotos) -> str:
    bounds = CHART_BOUNDS[1 / len(photos.labels) < CHART_BOUNDS]
    losses = np.array([_clipped_loss(photos, float(bound)) for bound in bounds])
    exponents = np.log10(1 - bounds)
    x = _scale(-exponents, _MARGIN, _WIDTH - 16)
    y = _scale(-losses, 16, _HEIGHT - _MARGIN)
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    ticks = "".join(
        _tick(bounds, x, wanted) for wanted in (0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
    )
    best = int(losses.argmin())
    shown = f"least here: {losses[best]:.4f} at {bounds[best]:.4f}"
    chosen = (
        f"; chosen on validation photos: {photos.clip_bound:g}, "
        f"{_clipped_loss(photos, photos.clip_bound):.4f}"
        if photos.clip_bound
        else ""
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="Log loss for each clip bound; {shown}">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" '
        f'stroke-width="2"/><circle cx="{x[best]:.1f}" cy="{y[best]:.1f}" r="5"/>'
        f'<text x="4" y="20">{losses.max():.3f}</text>'
        f'<text x="4" y="{_HEIGHT - _MARGIN}">{losses.min():.3f}</text>{ticks}</svg>'
        f"<p>Unclipped {_clipped_loss(photos, None):.4f}; {shown}{chosen}.</p>"
    )


def _clipped_loss(photos: ReportedPhotos, bound: float | None) -> float:
    rows = clip(photos.probabilities, bound)
    return log_loss(rows, photos.classes, normalise=False)


def _scale(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    span = float(np.ptp(values)) or 1.0
    return np.asarray(low + (values - values.min()) / span * (high - low))


def _tick(bounds: NDArray[Any], x: NDArray[Any], wanted: float) -> str:
    at = float(np.interp(-np.log10(1 - wanted), -np.log10(1 - bounds), x))
    bottom = _HEIGHT - 20
    return f'<text x="{at:.1f}" y="{bottom}" text-anchor="middle">{wanted:g}</text>'


def _gallery(photos: ReportedPhotos, gallery: Gallery) -> str:
    figures = "".join(_figure(photos, index) for index in gallery.photos)
    none = "<p>None.</p>"
    return (
        f'<h2>{escape(gallery.title)}</h2><div class="photos">{figures or none}</div>'
    )


def _figure(photos: ReportedPhotos, index: int) -> str:
    row = photos.probabilities[index]
    called, true = int(row.argmax()), int(photos.classes[index])
    file = photos.files[index]
    caption = (
        f"{file.name}: called {photos.labels[called]} ({row[called]:.3f}), "
        f"is {photos.labels[true]}"
    )
    return (
        f'<figure><img src="{_data_url(file)}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _data_url(file: Path) -> str:
    try:
        thumbnail = encode_thumbnail(read_image_file(file))
    except InvalidImageError:
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode()
