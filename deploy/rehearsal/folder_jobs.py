"""A folder of photos becomes a CSV, and says what a single prediction says."""

from __future__ import annotations

import csv
import shutil
import time

from deploy.trial.deployment import PATIENCE_SECONDS, Deployment
from models.errors import KennelError


def rehearse(deployment: Deployment) -> list[str]:
    """Submit the demo's test photos and compare the CSV.

    Raises:
        KennelError: ids or probabilities are not those expected.
    """
    photos = deployment.photos
    inputs = deployment.folder / "var/data/test"
    shutil.copytree(photos[0].parent, inputs)
    began = time.monotonic()
    with deployment.client() as client:
        answer = client.predict(photos[:1])
        label = answer.labels[-1]
        job = client.submit(inputs.name, positive=label)
        client.wait(job.id, timeout_seconds=PATIENCE_SECONDS)
        lines = client.submission(job.id).decode().splitlines()
    rows = list(csv.reader(lines))[1:]
    if [row[0] for row in rows] != [photo.stem for photo in photos]:
        raise KennelError(f"the CSV's ids are not those of the photos: {rows}")
    probability = answer.predictions[0].probabilities[label]
    if abs(float(rows[0][1]) - probability) > 0.01:
        raise KennelError(f"POST /v1/predict said {probability}, the CSV {rows[0]}")
    return [f"{len(rows)} CSV rows, ids in order, in {time.monotonic() - began:.0f} s"]
