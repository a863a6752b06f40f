"""The demo's model at work: one photo sent by itself, the test folder as a job."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kennel.api.answers import Job
from kennel.client import Client
from kennel.demo.photos import POSITIVE, DemoPhotos
from kennel.demo.stages import Stages
from kennel.demo.training import MODEL
from kennel.job_report import submitted_line
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack
from kennel.stack.processes import StackOptions


@dataclass(frozen=True)
class Served:
    """The job that is done, and the probabilities that its CSV was clipped from."""

    job: Job
    raw: NDArray[np.float64]


def serve_photos(
    photos: DemoPhotos, settings: KennelSettings, folder: Path, stages: Stages
) -> Served:
    """Run a stack below *folder* for one photo and one job; its CSV lies there then.

    Raises:
        KennelError: the stack, the request or the job failed.
    """
    # A state of its own, so that a stack that is running already is left alone.
    own = dataclasses.replace(
        settings,
        home=folder,
        runs_dir=folder / "runs",
        input_root=folder / "data",
        input_url=None,
    )
    free = StackOptions(port=0, model_server_port=0, redis_port=0)
    with (folder / "stack.log").open("w", encoding="utf-8") as log:
        stack = LocalStack(own, free, lambda line: print(line, file=log, flush=True))
        try:
            with stages.stage("start", "Start Redis, model server, API and workers"):
                stack.start()
                stack.wait_until_ready()
            client = Client(stack.url)
            with stack.tended():
                _predict_one(client, photos, stages)
                job = _submit(client, folder / "submission.csv", stages)
        finally:
            with stages.stage("stop", "Stop the stack"):
                stack.stop()
    return Served(job, _raw_probabilities(own, job))


def _predict_one(client: Client, photos: DemoPhotos, stages: Stages) -> None:
    with stages.stage("predict", "Send one photo to POST /v1/predict"):
        answer = client.predict([photos.test / "1.png"], model=MODEL)
    stages.say("  " + json.dumps(answer.to_json()))


def _submit(client: Client, csv: Path, stages: Stages) -> Job:
    with stages.stage("job", "Submit the test folder as a job") as progress:
        job = client.submit("test", model=MODEL, positive=POSITIVE)
        job = client.wait(
            job.id, lambda now: progress("classify the folder", now.done, now.total)
        )
        path = client.download(job.id, csv)
    stages.say(f"  {submitted_line(job)}: {path}")
    return job


def _raw_probabilities(settings: KennelSettings, job: Job) -> NDArray[np.float64]:
    from worker.records import JobRecords

    records = JobRecords(settings.runs_dir, settings.input_root)
    return np.array(list(records.raw_probabilities(job.id).values()))
