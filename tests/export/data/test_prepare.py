"""`prepare` loses no file: when repeated, killed at any moment, or replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from export.data.layouts.collect import SourceOptions
from export.data.manifest import read_manifest
from export.data.prepare import Amount, parse_amount
from models.errors import ConflictError, DatasetError, InvalidRequestError
from tests.export.data.small_sources import prepared, tree, write_drivers, write_flat

_KILLED_AT = """
import os, resource, signal, sys
from pathlib import Path
from tests.export.data.small_sources import request_for
from export.data.prepare import prepare
source, stage, at, transfer, valid, force, limit = sys.argv[1:]
from export.data.prepare import parse_amount
def progress(now, done, total):
    if now == stage and done == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
prepare(request_for(Path(source), transfer=transfer, valid=parse_amount(valid),
                    force=force == "force"), progress)
"""


def run_killed(
    source: Path,
    stage: str,
    at: int,
    *,
    transfer: str = "move",
    valid: str = "0.25",
    force: str = "",
    limit: int = 0,
) -> subprocess.CompletedProcess[str]:
    arguments = [str(source), stage, str(at), transfer, valid, force, str(limit)]
    return subprocess.run(
        [sys.executable, "-c", _KILLED_AT, *arguments],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )


def main_contents(folder: Path) -> list[bytes]:
    """The contents of all files but samples and papers, sorted."""
    return sorted(
        content
        for name, content in tree(folder).items()
        if name.endswith(".png") and "sample/" not in name
    )


def test_running_again_changes_nothing(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    first = prepared(source)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}

    second = prepared(source)

    assert (first.changed, second.changed) == (True, False)
    assert second.manifest == first.manifest
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    prepared(source)

    with pytest.raises(ConflictError, match=r"seed 42, not 7.*--force"):
        prepared(source, seed=7)


def test_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")

    with pytest.raises(ConflictError, match=r"thesis\.tex"):
        prepared(source, force=True)

    assert tree(tmp_path / "out") == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize("inside", ["redux/out", "."])
def test_folders_in_one_another_are_misuse(tmp_path: Path, inside: str) -> None:
    source = write_flat(tmp_path / "redux")

    with pytest.raises(InvalidRequestError, match="outside"):
        prepared(source, dest=tmp_path / inside)


@pytest.mark.parametrize(("transfer", "links"), [("link", 2), ("copy", 1), ("move", 1)])
def test_transfers_link_copy_or_move(tmp_path: Path, transfer: str, links: int) -> None:
    source = write_flat(tmp_path / "redux")
    everything = main_contents(source)

    made = prepared(source, transfer=transfer, sample_train=0, sample_valid=0)

    assert main_contents(made.folder) == everything
    file = made.folder / made.manifest.files[0].file
    assert file.stat().st_nlink == links
    assert main_contents(source) == ([] if transfer == "move" else everything)


@pytest.mark.parametrize(
    ("stage", "at"), [("check photos", 5), ("place photos", 1), ("place photos", 40)]
)
def test_killed_move_loses_nothing_and_is_completed(
    tmp_path: Path, stage: str, at: int
) -> None:
    source = write_flat(tmp_path / "redux")
    everything = main_contents(source)

    killed = run_killed(source, stage, at)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    out = tmp_path / "out"
    assert sorted(main_contents(source) + main_contents(out)) == everything
    made = prepared(source, transfer="move")
    assert made.changed
    assert main_contents(out) == everything
    assert main_contents(source) == []
    assert not prepared(source, transfer="move").changed


def test_killed_rebuild_of_a_moved_folder_loses_nothing(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    everything = main_contents(source)
    out = prepared(source, transfer="move").folder

    killed = run_killed(source, "place photos", 20, valid="0.5", force="force")

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert main_contents(out) == everything
    with pytest.raises(DatasetError, match="not finished"):
        read_manifest(out)
    made = prepared(source, transfer="move", valid=Amount(share=0.5), force=True)
    assert len(made.manifest.part("valid")) == 20
    assert main_contents(out) == everything
    assert not list(out.glob("previous-*"))


def test_rebuild_keeps_files_that_it_does_not_know(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    out = prepared(source).folder
    (out / "train" / "cat" / "mine.png").write_bytes(b"a stranger's")

    prepared(source, seed=7, force=True)

    assert (out / "previous-1" / "train" / "cat" / "mine.png").exists()
    assert len(list(out.glob("previous-1/**/*.png"))) == 1


def test_rebuild_works_when_the_emptied_source_is_gone(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    everything = main_contents(source)
    out = prepared(source, transfer="move").folder
    for folder in (source / "train", source / "test", source):
        folder.rmdir()

    prepared(source, transfer="move", seed=7, force=True)

    assert main_contents(out) == everything


def test_full_disk_names_folder_and_bytes_and_the_run_goes_on(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    (source / "train" / "cat.0.png").write_bytes(
        (source / "train" / "cat.0.png").read_bytes() + b"\0" * 300_000
    )

    stopped = run_killed(source, "never", 0, transfer="copy", limit=200_000)

    assert "no room in" in stopped.stderr
    assert str(tmp_path / "out") in stopped.stderr
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    assert prepared(source, transfer="copy").changed
    assert main_contents(tmp_path / "out") == main_contents(source)


def test_two_groups_are_enough_for_a_split(tmp_path: Path) -> None:
    source = write_drivers(tmp_path / "drivers", drivers=2)

    made = prepared(source, source_options=SourceOptions(group_by="subject"))

    assert made.manifest.counts()["valid"] == {"c0": 5, "c1": 5}


def test_move_to_another_disk_copies_and_then_removes(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second disk at /dev/shm")
    source = write_flat(tmp_path / "redux")
    everything = main_contents(source)
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        prepared(source, dest=Path(folder, "out"), transfer="move")

        assert main_contents(Path(folder, "out")) == everything
        assert main_contents(source) == []


def test_vanished_file_is_named(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    made = prepared(source)
    (made.folder / made.manifest.files[3].file).unlink()

    with pytest.raises(DatasetError, match=r"1 files of .*cat"):
        prepared(source)


@pytest.mark.parametrize("text", ["0", "1.0", "-5", "0.0", "many", "120%", "1e3", ""])
def test_amount_that_is_neither_count_nor_share_is_misuse(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--valid"):
        parse_amount(text)


def test_layout_can_be_forced(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")

    with pytest.raises(DatasetError, match="in class folders"):
        prepared(source, source_options=SourceOptions(layout="classes"))
