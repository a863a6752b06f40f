"""Extracts TensorFlow Serving's message modules, and nothing else, from their wheels.

    python extract_messages.py WHEELS DESTINATION

The messages need protobuf only. Without ``tensorflow/__init__.py`` the package is a
namespace: 1 MB in the images instead of TensorFlow's 2 GB.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from zipfile import ZipFile

MESSAGE_MODULE = re.compile(r"tensorflow/.+_pb2\.py|tensorflow_serving/.+\.py")


def extract_messages(wheels: Path, destination: Path) -> int:
    """Unpack the message modules of every wheel in *wheels*; returns how many.

    ``installed.txt`` says which wheels they came from, for the bill of materials.

    Raises:
        FileNotFoundError: a wheel holds none, so that the images could not start.
    """
    count, lines = 0, []
    for wheel in sorted(wheels.glob("*.whl")):
        with ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if MESSAGE_MODULE.fullmatch(n)]
            if not names:
                raise FileNotFoundError(f"{wheel} holds no message modules")
            archive.extractall(destination, names)
        count += len(names)
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    (destination / "installed.txt").write_text("".join(lines), encoding="utf-8")
    return count


if __name__ == "__main__":
    found = extract_messages(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stderr.write(f"{found} message modules\n")
    sys.exit(0 if found else 1)
