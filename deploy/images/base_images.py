"""The public images that ours are built from and run beside, pinned by digest.

    python -m deploy.images.base_images             # each one, and whether it is pinned
    python -m deploy.images.base_images --update    # ask the registry for the digests of all tags
    python -m deploy.images.base_images --tags      # PYTHON_IMAGE=python:... without the digests

A digest names the index of all platforms' images; the tag beside it is for readers.
References stand where they are used: in Dockerfiles, compose files, Kubernetes'
manifests and .env.example. All references to one tag are rewritten together.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
VARIABLES: Final[Mapping[str, str]] = {
    "python": "PYTHON_IMAGE",
    "redis": "REDIS_IMAGE",
    "nginx": "NGINX_IMAGE",
    "tensorflow/serving": "",
    "prom/prometheus": "PROMETHEUS_IMAGE",
    "grafana/grafana": "GRAFANA_IMAGE",
    "rclone/rclone": "",
}
"""By repository, the variable by which compose takes another image of the same kind.

Empty for the model server: MODEL_SERVER_IMAGE may name one of our own images.
"""

INSPECT: Final = (
    "docker buildx imagetools inspect --format '{{json .Manifest.Digest}}' IMAGE"
)
_REFERENCE: Final = re.compile(
    rf"(?<![\w/.@])(?<!\w-)({'|'.join(map(re.escape, VARIABLES))})"
    r":([A-Za-z0-9][\w.-]*)(?:@(sha256:[0-9a-f]{64}))?"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_FILES: Final = (
    *("deploy/Dockerfile", "deploy/*.Dockerfile"),
    *("docker-compose.yml", "deploy/compose.*.yml", ".env.example"),
    *("deploy/kubernetes/**/*.yaml",),
)


@dataclass(frozen=True)
class BaseImage:
    """One public image, as it is written in one place.

    Attributes:
        digest: of its index, as in ``sha256:...``; empty: the image is not pinned.
    """

    name: str
    tag: str
    digest: str

    @property
    def tagged(self) -> str:
        """Its name and tag."""
        return f"{self.name}:{self.tag}"

    def __str__(self) -> str:
        """The reference as it is written."""
        return f"{self.tagged}@{self.digest}" if self.digest else self.tagged


def files(root: Path = ROOT) -> list[Path]:
    """The files that may name a public image."""
    return sorted(path for pattern in _FILES for path in root.glob(pattern))


def find_images(text: str) -> Iterator[BaseImage]:
    """The public images that *text* names."""
    for name, tag, digest in _REFERENCE.findall(text):
        yield BaseImage(name, tag, digest)


def base_images(root: Path = ROOT) -> list[BaseImage]:
    """The public images that the files below *root* name, each once."""
    texts = (path.read_text(encoding="utf-8") for path in files(root))
    return sorted({image for text in texts for image in find_images(text)}, key=str)


def update(root: Path, inspect: str) -> list[str]:
    """Write the digest that each tag has now; returns the references that changed.

    Args:
        root: the checkout.
        inspect: the command that prints the digest of ``IMAGE``, as text or JSON.

    Raises:
        SystemExit: the command fails or prints no digest; nothing was written.
    """
    tagged = sorted({image.tagged for image in base_images(root)})
    digests = {each: _read_digest(inspect, each) for each in tagged}

    def pinned(found: re.Match[str]) -> str:
        image = BaseImage(*found.groups(""))
        return f"{image.tagged}@{digests[image.tagged]}"

    before = {str(image) for image in base_images(root)}
    for path in files(root):
        old = path.read_text(encoding="utf-8")
        new = _REFERENCE.sub(pinned, old)
        if new != old:
            path.write_text(new, encoding="utf-8")
    return [str(image) for image in base_images(root) if str(image) not in before]


def _read_digest(inspect: str, tagged: str) -> str:
    command = shlex.split(inspect.replace("IMAGE", tagged))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        other = "skopeo inspect --format {{.Digest}} docker://IMAGE"
        remedy = f"name another command in INSPECT, such as {other}"
        sys.exit(f"{command[0]} cannot be run ({error.strerror}): {remedy}")
    answer = done.stdout.strip()
    digest = answer.strip('"')
    if done.returncode or not _DIGEST.fullmatch(digest):
        sys.exit(f"no digest of {tagged}: {done.stderr.strip() or answer!r}")
    return digest


def tag_variables(root: Path = ROOT) -> list[str]:
    """``VARIABLE=name:tag`` for compose, where images have tags and no digests."""
    default = {image.name: image for image in reversed(base_images(root))}
    chosen = ((VARIABLES[name], image) for name, image in sorted(default.items()))
    return [f"{variable}={image.tagged}" for variable, image in chosen if variable]


def stand_ins(engine: str, root: Path = ROOT) -> list[str]:
    """As `tag_variables`, of the images that *engine* has by their tag only.

    They were built on this machine in place of the public images, which compose would
    fetch from the registry.
    """
    pinned = {image.tagged: str(image) for image in base_images(root) if image.digest}
    return [
        line
        for line in tag_variables(root)
        if (tagged := line.partition("=")[2]) in pinned
        and _has_image(engine, tagged)
        and not _has_image(engine, pinned[tagged])
    ]


def _has_image(engine: str, reference: str) -> bool:
    command = [engine, "image", "inspect", reference]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main(*arguments: str) -> int:
    """Run as the module's docstring says; 1: an image is not pinned."""
    if arguments == ("--update",):
        lines = update(ROOT, os.environ.get("INSPECT") or INSPECT)
        sys.stdout.write("".join(f"now {line}\n" for line in lines))
    elif arguments == ("--tags",):
        sys.stdout.write("".join(f"{line}\n" for line in tag_variables()))
        return 0
    elif arguments:
        sys.exit(f"unknown: {' '.join(arguments)}; there are --update and --tags")
    found = base_images()
    for image in found:
        state = "pinned    " if image.digest else "NOT PINNED"
        sys.stdout.write(f"{state} {image}\n")
    return int(not all(image.digest for image in found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
