"""Chooses between a local folder and object storage, for photos and for results."""

from __future__ import annotations

from pathlib import Path

from worker.sources.driver import load_driver
from worker.sources.local import LocalRoot
from worker.sources.objects import ObjectRoot
from worker.sources.results import LocalResults, ObjectResults, Results
from worker.sources.source import PhotoRoot
from worker.sources.store import ObjectStore
from worker.sources.waiting import AT_ONCE, Waiting, brief_waiting


def open_root(input_root: Path | str, waiting: Waiting | None = None) -> PhotoRoot:
    """Where users name folders: a local folder, or a URL of object storage.

    Cheap: what has to connect does so when it is first asked. Without *waiting*,
    object storage is asked as a request may wait, and a folder once.

    Raises:
        InvalidRequestError: there is no driver for the URL.
    """
    if isinstance(input_root, Path):
        return LocalRoot(input_root, waiting or AT_ONCE)
    store = ObjectStore.at(input_root, "INPUT_ROOT", waiting or brief_waiting())
    return ObjectRoot(store)


def open_results(place: Path | str | None, waiting: Waiting) -> Results | None:
    """Where results are copied to; None: nowhere.

    Raises:
        InvalidRequestError: there is no driver for the URL.
    """
    if place is None:
        return None
    if isinstance(place, Path):
        return LocalResults(place)
    return ObjectResults(place, ObjectStore.at(place, "RESULTS_URL", waiting))


def load_drivers(inputs: Path | str, results: Path | str | None) -> None:
    """Import what the URLs among them need, once for all processes forked from here.

    Raises:
        InvalidRequestError: there is no driver for one of them.
    """
    for setting, place in (("INPUT_ROOT", inputs), ("RESULTS_URL", results)):
        if isinstance(place, str):
            load_driver(place, setting)
