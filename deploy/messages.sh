#!/bin/sh
# Puts TensorFlow Serving's message modules into the folder $1, without TensorFlow: only
# *_pb2.py of the two wheels (about 1 MB). Without tensorflow/__init__.py the folder is a
# namespace package, so importing a message does not start TensorFlow.
set -eu
target=$1
constraints=$2
wheels=$(mktemp -d)
for name in tensorflow tensorflow-serving-api; do
  pinned=$(grep -E "^$name==" "$constraints" | head -n 1 | cut -d ' ' -f 1)
  pip download --quiet --no-deps --no-cache-dir --dest "$wheels" "$pinned"
done
python - "$wheels" "$target" <<'PYTHON'
import pathlib
import sys
import zipfile

wheels, target = map(pathlib.Path, sys.argv[1:])
for wheel in wheels.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            message = name.endswith(("_pb2.py", "_pb2_grpc.py"))
            serving = name.startswith("tensorflow_serving/") and name.endswith(".py")
            if serving or (message and name.startswith("tensorflow/")):
                archive.extract(name, target)
PYTHON
rm -rf "$wheels"
