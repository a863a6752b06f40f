"""An export that is killed or finds the disk full leaves nothing that servers load."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from export.publication.listing import list_versions
from export.publication.served import read_served
from models.errors import KennelError
from models.wire.config import published_versions
from tests.export.publication.versions import serve, write_versions
from tests.processes import wait_until

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

pytestmark = pytest.mark.tensorflow

KILLED_BEFORE_RENAME = """
import os, signal, sys
name = sys.argv.pop(1)
def kill(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(name):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
from kennel.cli import main
main()
"""


@contextmanager
def exporting(
    run: TrainedRun, models_dir: Path, start: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A real ``kennel export`` of *run*, ended at the end of the block."""
    home = {"KENNEL_HOME": str(models_dir), "RUNS_DIR": str(run.folder.parents[1])}
    process = subprocess.Popen(
        [sys.executable, *start, "export", run.folder.name],
        env={**os.environ, **home, "MODELS_DIR": str(models_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def kill_before_rename(run: TrainedRun, models_dir: Path, name: str) -> None:
    with exporting(run, models_dir, ("-c", KILLED_BEFORE_RENAME, name)) as process:
        assert process.wait(60) == -signal.SIGKILL


def publish_again(run: TrainedRun, models_dir: Path) -> int:
    from export.publication.publish import publish

    version = publish(run, models_dir).version
    assert not list((models_dir / "pets").glob(".tmp-*"))
    assert list_versions(models_dir)[0].state == "answers"
    assert read_served(models_dir)["pets"].loaded([version]) == [version]
    return version


def test_export_killed_while_it_writes_the_graph(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    with exporting(small_run, tmp_path, ("-m", "kennel.cli")) as process:
        wait_until(
            lambda: process.poll() or list(tmp_path.glob("pets/.tmp-1-*/variables")),
            "the beginning of the export",
            60,
        )
        assert process.poll() is None
        process.kill()

    assert published_versions(tmp_path / "pets") == []
    assert read_served(tmp_path) == {}
    assert publish_again(small_run, tmp_path) == 1


def test_export_killed_before_the_version_takes_its_name(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    write_versions(tmp_path, 1, 2, 3)
    serve(tmp_path, 3, 2, 1, stable=1)

    kill_before_rename(small_run, tmp_path, "pets/4")

    entry = read_served(tmp_path)["pets"]
    assert entry.loaded(published_versions(tmp_path / "pets")) == [3, 1]
    assert dict(entry.labels) == {"stable": 1}
    assert publish_again(small_run, tmp_path) == 4


def test_export_killed_before_a_new_model_is_configured(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    kill_before_rename(small_run, tmp_path, "models.config")

    assert not (tmp_path / "models.config").exists()
    assert [each.problem for each in list_versions(tmp_path)] == [""]
    assert publish_again(small_run, tmp_path) == 2


def test_full_disk_is_told_and_leaves_nothing(
    small_run: TrainedRun, tmp_path: Path
) -> None:
    from export.publication.publish import publish

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(KennelError, match="is the disk full") as caught:
            publish(small_run, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "Nothing was published" in str(caught.value)
    assert [each.name for each in (tmp_path / "pets").iterdir()] == [".lock"]
    assert not (tmp_path / "models.config").exists()
