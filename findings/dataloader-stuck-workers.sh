#!/usr/bin/env bash
# torch 2.13.0, torch.utils.data.DataLoader with worker processes.
#
# Behaviour: an iterator whose workers are all busy with a long read is dropped. That takes 5 seconds for each worker: they
#   are joined one after another, each for 5 seconds, and are terminated only then. With 8 workers a process needs 40 seconds
#   to end, more than the 30 that torchrun waits between its SIGTERM and its SIGKILL.
# The good guess that was wrong: the 5 seconds are one time limit for all of them, so that the number of workers does not
#   matter.
# What helps: end the worker processes before the iterator is dropped; then it takes no time.
#
# Output seen: "1 worker: 5 s, 2 workers: 10 s, 4 workers: 20 s; 4 workers terminated first: 0 s".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy

cat >"$folder/drop.py" <<'PYTHON'
"""Print how many seconds it takes to drop an iterator whose workers are all reading something slow."""

import multiprocessing
import sys
import time

from torch.utils.data import DataLoader, Dataset


class SlowReads(Dataset):
    def __init__(self, reading):
        self.reading = reading

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        with self.reading.get_lock():
            self.reading.value += 1
        time.sleep(600)  # as on a network folder that does not answer


if __name__ == "__main__":
    workers, terminates = int(sys.argv[1]), "terminate" in sys.argv
    reading = multiprocessing.get_context("fork").Value("i", 0)
    iterator = iter(DataLoader(SlowReads(reading), num_workers=workers, multiprocessing_context="fork"))
    while reading.value < workers:
        time.sleep(0.01)
    if terminates:
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()
    began = time.monotonic()
    del iterator
    print(round(time.monotonic() - began))
PYTHON

drop() {
  "$folder/venv/bin/python" "$folder/drop.py" "$@" 2>/dev/null
}

one=$(drop 1)
two=$(drop 2)
four=$(drop 4)
mended=$(drop 4 terminate)
echo "1 worker: $one s, 2 workers: $two s, 4 workers: $four s; 4 workers terminated first: $mended s"
[[ "$one" == 5 && "$two" == 10 && "$four" == 20 && "$mended" == 0 ]]
