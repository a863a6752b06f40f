"""Routes that the pages call, for an application that does not have them (yet)."""

from __future__ import annotations

import io
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, request
from PIL import Image

from models.errors import ConflictError
from tests.pictures import grey
from tests.service.served_model import ServedModel
from worker.queue import JobQueue

LABELS = ("cat", "dog")


def add_stand_ins(app: Flask, queue: JobQueue, served: ServedModel) -> None:
    """Give *app* the routes below that it lacks."""
    known = {rule.rule for rule in app.url_map.iter_rules()}
    routes = Blueprint("stand_ins", __name__)

    def add(rule: str, view: Any, *methods: str) -> None:
        if rule not in known:
            routes.add_url_rule(rule, view_func=view, methods=methods)

    def scores(job: str) -> Response:
        return jsonify(_scores(queue, job))

    def explain() -> Response | tuple[Response, int]:
        if not getattr(served, "explains", True):
            detail = "this version cannot explain itself: export it again"
            return jsonify(detail=detail, code="not_implemented"), 501
        return _explanation()

    add("/v1/explain", explain, "POST")
    add("/v1/jobs/<job>/scores", scores, "GET")
    add("/v1/jobs/<job>/images/<image>", thumbnail, "GET")
    app.register_blueprint(routes)


def _explanation() -> Response:
    file = request.files["image"]
    with file.stream as stream:
        bright = Image.open(io.BytesIO(stream.read())).convert("L").getpixel((0, 0))
    assert isinstance(bright, int)
    explained = request.args.get("class") or LABELS[bright > 127]
    hot = [
        [round(0.7 ** ((x - 5) ** 2 + (y - 1) ** 2), 3) for x in range(7)]
        for y in range(7)
    ]
    return jsonify(
        model="pets",
        version=1,
        labels=LABELS,
        explained=explained,
        heatmap={"method": "grad-cam", "height": 7, "width": 7, "values": hot},
    )


def thumbnail(job: str, image: str) -> Response:
    return Response(grey(int(image) * 37 % 256, kind="JPEG"), mimetype="image/jpeg")


def _scores(queue: JobQueue, job: str) -> dict[str, Any]:
    status = queue.status(job)
    if status.state != "succeeded":
        raise ConflictError(f"job {job} is {status.state}: no scores yet")
    rows = queue.raw_probabilities(job)
    counts = {label: [0] * 20 for label in LABELS}
    for row in rows.values():
        for label, value in zip(LABELS, row, strict=True):
            counts[label][min(int(20 * value), 19)] += 1
    by_doubt = sorted(rows, key=lambda image: max(rows[image]))
    return {
        "job": job,
        "model": status.model,
        "version": status.version,
        "labels": LABELS,
        "images": len(rows),
        "unreadable": status.unreadable,
        "positive": None,
        "histogram": {"edges": [k / 20 for k in range(21)], "counts": counts},
        "predicted": {
            label: sum(row[k] == max(row) for row in rows.values())
            for k, label in enumerate(LABELS)
        },
        "uncertain": [
            {
                "id": image,
                "file": f"{image}.png",
                "label": LABELS[rows[image][1] > rows[image][0]],
                "probabilities": dict(zip(LABELS, rows[image], strict=True)),
                "thumbnail": f"/v1/jobs/{job}/images/{image}",
            }
            for image in by_doubt[:24]
        ],
    }
