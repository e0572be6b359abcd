#!/usr/bin/env bash
# tensorboardX 2.6.5, SummaryWriter.
#
# Behaviour: two writers that are opened in the same folder one after another, within the same second, use the same file
#   name (seconds since 1970 and the host), and the second one truncates the file: all events of the first, which was closed
#   properly, are gone. Nothing is raised or logged.
# The good guess that was wrong: a new SummaryWriter in a folder with event files always adds a file of its own, as
#   TensorBoard's own writer does, whose names end with the process id and a counter.
# What helps: a `filename_suffix` of one's own for each writer, such as the number of files that are there.
#
# Output seen: "without a suffix: steps [2], 1 file; with a suffix of its own: steps [1, 2], 2 files".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tensorboardX==2.6.5

cat >"$folder/write.py" <<'PYTHON'
"""Write one step with each of two writers, and print which steps are there afterwards."""

import struct
import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event


def steps_in(path):
    content, position, found = path.read_bytes(), 0, []
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        event = Event.FromString(content[position + 12 : position + 12 + length])
        found += [event.step] * len(event.summary.value)
        position += 16 + length
    return found


folder, has_suffix = Path(sys.argv[1]), len(sys.argv) > 2
while time.time() % 1 > 0.2:  # both within the same second
    time.sleep(0.01)
for step in (1, 2):
    suffix = f".{len(list(folder.glob('*')))}" if has_suffix else ""
    with SummaryWriter(str(folder), filename_suffix=suffix) as writer:
        writer.add_scalar("loss", 0.5, step)
paths = sorted(folder.iterdir())
print(f"steps {sorted(step for path in paths for step in steps_in(path))}, {len(paths)} file{'s' * (len(paths) > 1)}")
PYTHON

plain=$("$folder/venv/bin/python" "$folder/write.py" "$folder/plain")
named=$("$folder/venv/bin/python" "$folder/write.py" "$folder/named" suffix)
echo "without a suffix: $plain; with a suffix of its own: $named"
[ "$plain" = "steps [2], 1 file" ] && [ "$named" = "steps [1, 2], 2 files" ]
