from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = [DEPLOY / "Dockerfile", *sorted(DEPLOY.glob("*.Dockerfile"))]

_COPY = re.compile(r"^COPY (?!--from)(.+) (\S+)$", re.MULTILINE)
_REPORT = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
ours = "models", "export", "service", "worker", "kennel"
found = [m for n, m in sys.modules.items() if n.partition(".")[0] in ours]
print(json.dumps([m.__file__ for m in found if m.__file__]))
"""


def copies(dockerfile: Path) -> list[tuple[list[str], str]]:
    return [(a.split(), b) for a, b in _COPY.findall(dockerfile.read_text())]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_dockerfile_copies_reaches_the_build(dockerfile: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in ignore if line.startswith("!")}

    for sources, _ in copies(dockerfile):
        for source in sources:
            assert any(source.startswith(each) for each in admitted), source
            assert list(ROOT.glob(source)), source


def test_the_processes_import_only_what_their_image_holds(tmp_path: Path) -> None:
    for sources, destination in copies(DEPLOY / "Dockerfile"):
        if destination.startswith("/app/"):
            _copy(sources, tmp_path / destination.removeprefix("/app/"))
    modules = (
        *("service.main", "service.wsgi", "worker.main", "worker.reconciler"),
        "worker.alive",
        *("kennel.cli", "kennel.commands.doctor", "kennel.doctor.examination"),
    )

    answer = subprocess.run(
        [sys.executable, "-c", _REPORT, *modules],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = {Path(file) for file in json.loads(answer.stdout)}
    # The image compiles its own.
    compiled = {*(ROOT / "models").glob("_resampling.*.so")}
    foreign = {file for file in loaded - compiled if not file.is_relative_to(tmp_path)}
    assert foreign == set()
    assert not (tmp_path / "models" / "server").exists()
    assert not (tmp_path / "models" / "networks").exists()


def test_message_modules_are_all_that_leaves_tensorflows_wheel(tmp_path: Path) -> None:
    message = "tensorflow/core/framework/tensor_pb2.py"
    with ZipFile(tmp_path / "tensorflow-1-py3-none-any.whl", "w") as wheel:
        for name in (message, "tensorflow/__init__.py", "tensorflow/libtensorflow.so"):
            wheel.writestr(name, "")

    _extract(tmp_path, tmp_path / "out")

    out = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert [p.relative_to(tmp_path / "out").as_posix() for p in out] == [message]


def test_a_wheel_without_message_modules_stops_the_build(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "tensorflow-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tensorflow/__init__.py", "")

    with pytest.raises(FileNotFoundError, match="no message modules"):
        _extract(tmp_path, tmp_path / "out")


def test_an_image_may_have_more_extras() -> None:
    lean, wide = _requirements(), _requirements("s3", "tracing")
    wrong = subprocess.run(_command("s4"), capture_output=True, text=True, check=False)

    assert any(line.startswith("flask") for line in lean)
    assert [line for line in wide if line.startswith("s3fs")]
    assert set(lean) < set(wide)
    assert wrong.returncode == 1
    assert "no extra 's4'" in wrong.stderr


def _requirements(*extras: str) -> list[str]:
    command = _command(*extras)
    return subprocess.check_output(command, text=True).splitlines()


def _command(*extras: str) -> list[str]:
    script, pyproject = DEPLOY / "list_requirements.py", ROOT / "pyproject.toml"
    return [sys.executable, str(script), str(pyproject), *extras]


def _copy(sources: list[str], destination: Path) -> None:
    for source in sources:
        for path in ROOT.glob(source):
            if path.is_dir():
                shutil.copytree(path, destination)
            else:
                destination.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, destination)


def _extract(wheels: Path, destination: Path) -> None:
    script = DEPLOY / "extract_messages.py"
    spec = importlib.util.spec_from_file_location("extract_messages", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.extract_messages(wheels, destination)
