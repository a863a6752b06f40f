"""Fashion-MNIST from its IDX files to a scored CSV, by a user's commands.

    python -m benchmarks.fashion [--recipe lenet5] [--at-least 0.90]

Needs the files of Debian's package dataset-fashion-mnist (or --source). Everything goes
to a temporary KENNEL_HOME. Prints training time, test accuracy and log loss of the
10,000 test images that went through the queue, clipped at 0.93 and at the chosen bound.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LABELS = ",".join(f"c{number}" for number in range(10))
SOURCE = "/usr/share/datasets/fashion-mnist"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="lenet5")
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--at-least", type=float, default=0.0, help="test accuracy")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kennel-fashion-") as home:
        os.environ["KENNEL_HOME"] = home
        data = Path(home) / "data" / "fashion"
        kennel("prepare", options.source, str(data), "--labels", LABELS, "--valid=5000")
        began = time.monotonic()
        kennel(
            "train", str(data), "--name=fashion", "--recipe", options.recipe, "--run=f"
        )
        print(f"{options.recipe}: trained in {time.monotonic() - began:.0f} s")
        kennel("export", "f")
        accuracy = _submit(Path(home), data)
    if accuracy < options.at_least:
        raise SystemExit(f"test accuracy {accuracy} is below {options.at_least}")


def kennel(*arguments: str) -> str:
    command = [sys.executable, "-m", "kennel.cli", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _submit(home: Path, data: Path) -> float:
    from benchmarks.harness.stack import running_stack

    csv, truth = str(home / "submission.csv"), str(data / "truth.csv")
    score = {}
    with running_stack(data) as stack:
        os.environ["KENNEL_URL"] = stack.url
        for clip in ([], ["--clip=0.93"]):
            began = time.monotonic()
            kennel("submit", "test", "-o", csv, "--format=kaggle-multiclass", *clip)
            seconds = time.monotonic() - began
            score = json.loads(kennel("score", csv, truth, "--json"))
            print(
                f"10,000 test images in {seconds:.0f} s, {' '.join(clip) or 'chosen bound'}: "
                f"accuracy {score['accuracy']:.4f}, log loss {score['log_loss']:.4f}"
            )
    return float(score["accuracy"])


if __name__ == "__main__":
    main()
