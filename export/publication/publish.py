"""Publication: a trained run becomes the next served version, in one rename."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from itertools import islice
from pathlib import Path

import tensorflow as tf

from export.data.checks import check_utf8
from export.data.splits import in_turns
from export.progress import Progress, silent
from export.publication.precision import check_precision, pick_precision
from export.publication.pruning import next_version, remove_dead_exports
from export.publication.savedmodel import check_savedmodel, write_savedmodel
from export.publication.served import (
    announce,
    close_rollout,
    find_rollout,
    hold,
    locked,
    read_served,
    write_served,
)
from export.report.page import write_report
from export.report.run_content import run_content
from export.training.classifier import build_ensemble, decode_files, photo_files
from export.training.runs import TrainedRun, make_card
from models.contract import (
    KNOWN_ANSWERS_FILE,
    KNOWN_PHOTOS,
    REPORT_FILE,
    KnownAnswers,
    ModelCard,
)
from models.errors import ConflictError, KennelError
from models.files import sync_path, temporary_beside, write_atomically
from models.wire.config import (
    PER_MODEL_FILE,
    check_model_name,
    published_versions,
    read_batching_parameters,
)

log = logging.getLogger(__name__)


def publish(
    run: TrainedRun,
    models_dir: Path,
    precision: str = "",
    *,
    hold_back: bool = False,
    progress: Progress = silent,
) -> ModelCard:
    """Export *run* as the next version of its model below *models_dir*.

    *precision*: of the graph; "": the run's own; "auto": the fastest on this machine. Less
    than float32 must be about as good on the validation photos (`pick_precision`).

    The version appears complete, after it was loaded once and compared with Keras, or not
    at all. It answers from then on, also if its model was rolled back; labels stay where
    they are. With *hold_back*, or while a rollout is under way, it is not even loaded:
    `kennel rollout start` loads it.

    Raises:
        ConflictError: the answers in that precision are worse than in float32; the first
            version of a model cannot be held back; or the model was removed while this
            export waited for another one.
        ModelContractError: the SavedModel does not answer as Keras does.
        DatasetError: the run's weights or photos are gone, or *models_dir* is not UTF-8.
        InvalidRequestError: *precision* is "int8" and the run was trained in another; the
            model's name cannot be a folder; or models.config or the model's batching
            parameters are broken.
        KennelError, OSError: the disk is full or read-only; nothing is left behind.
    """
    check_utf8([str(models_dir)])
    check_precision(run, precision)
    base = models_dir / check_model_name(run.name)
    base.mkdir(parents=True, exist_ok=True)
    # A broken file stops us here, not after minutes.
    read_served(models_dir)
    if (base / PER_MODEL_FILE).is_file():
        read_batching_parameters(base / PER_MODEL_FILE)
    with locked(base):
        if not base.exists():
            message = f"{base} was removed meanwhile: export again"
            raise ConflictError(message)
        remove_dead_exports(base)
        number = next_version(models_dir, run.name)
        if hold_back and not published_versions(base):
            message = f"nothing answers for {run.name} yet: export without --hold"
            raise ConflictError(message)
        choice = pick_precision(run, precision, progress)
        card = make_card(choice.run, number)
        card = dataclasses.replace(card, precisions=choice.to_card())
        temporary = temporary_beside(base / str(number))
        try:
            card = _export(choice.run, card, temporary)
            _serve(models_dir, card, temporary, hold_back)
        except tf.errors.OpError as error:
            message = (
                f"{base / str(number)} could not be written ({error.message}): is the "
                "disk full? Nothing was published: make room (kennel prune), then "
                "export again"
            )
            raise KennelError(message) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return card


def _export(run: TrainedRun, card: ModelCard, folder: Path) -> ModelCard:
    ensemble = build_ensemble(run)
    turns = in_turns(run.split.valid, run.split.labels)
    photos = list(islice(turns, KNOWN_PHOTOS))
    pixels = decode_files(run, photo_files(run, photos))
    card = write_savedmodel(ensemble, card, folder)
    answers = check_savedmodel(folder, card, pixels, ensemble)
    known = KnownAnswers(tuple(photo.file for photo in photos), pixels, *answers)
    write_atomically(folder / KNOWN_ANSWERS_FILE, known.to_bytes())
    _write_report(run, card, folder)
    batching = folder.parent / PER_MODEL_FILE
    if batching.is_file():
        shutil.copyfile(batching, folder / PER_MODEL_FILE)
    return card


def _serve(models_dir: Path, card: ModelCard, finished: Path, hold_back: bool) -> None:
    base = models_dir / card.name
    with locked(models_dir):
        served = read_served(models_dir)
        known = served.get(card.name)
        if known is not None:
            # First the configuration: the rename must not push a labelled version out
            # of the newest. A server only warns of a named version that is not there.
            versions = published_versions(base)
            rollout = find_rollout(models_dir, card.name)
            if hold_back or (rollout is not None and rollout.is_open):
                served[card.name] = hold(known, versions, card.version)
            else:
                close_rollout(models_dir, card.name, card.version)
                served[card.name] = announce(known, versions, card.version)
        else:
            # A killed removal of a model of that name may have left its rollout.
            close_rollout(models_dir, card.name, card.version)
        if served:
            # Also for a new model: the others keep their order, and it comes last.
            write_served(models_dir, served)
        finished.rename(base / str(card.version))
        sync_path(base)
        # A new model comes last: TensorFlow Serving waits for its first version.
        write_served(models_dir, read_served(models_dir))


def _write_report(run: TrainedRun, card: ModelCard, folder: Path) -> None:
    # A model whose report cannot be written is published without one.
    # VGG16 and 393 validation photos: 2.5 s, 0.6 MB.
    try:
        content = run_content(run)
        versioned = dataclasses.replace(
            content,
            title=f"{card.name} {card.version}: {len(content.photos.classes)} "
            "validation photos",
            card=dataclasses.asdict(card),
        )
        write_report(versioned, folder / REPORT_FILE)
    except KennelError as error:
        log.warning("%s version %d has no report: %s", card.name, card.version, error)
