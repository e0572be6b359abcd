#!/usr/bin/env bash
# Aim 3.29.1, aim.Run and aim.Repo; Python up to 3.12, for which alone there are wheels.
#
# Behaviour: a run that was tracked and closed is in the repository, but `Repo.iter_runs()` yields none: reading goes
#   through an index, which `aim up` keeps while it runs, or `aim storage reindex` makes. Nothing is raised or logged.
# The good guess that was wrong: once `Run.close()` has returned, any process that opens the repository sees the run, its
#   attributes and its values.
# What helps: `aim storage --repo FOLDER reindex -y` before reading. Names, tags and descriptions are in an SQLite file,
#   so `query_runs` finds a run by these without the index.
#
# Output seen: "before the index: 0 runs, 1 by its tag; after: 1 run with loss [(5, 0.25)]".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aim==3.29.1 aimrocks==0.5.2

cat >"$folder/write.py" <<'PYTHON'
"""Track one value and close the run."""

import sys

from aim import Run

run = Run(repo=sys.argv[1], system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
run.add_tag("mine")
run.track(0.25, name="loss", step=5)
run.close()
PYTHON
cat >"$folder/read.py" <<'PYTHON'
"""Print what another process sees."""

import sys

from aim import Repo

repo = Repo.from_path(sys.argv[1])
runs = list(repo.iter_runs())
if runs:
    values = [(step, value[0]) for metric in runs[0].metrics() for step, value in metric.data.items()]
    print(f"{len(runs)} run with loss {values}")
else:
    tagged = list(repo.query_runs("'mine' in run.tags", report_mode=0).iter_runs())
    print(f"0 runs, {len(tagged)} by its tag")
PYTHON

"$folder/venv/bin/python" "$folder/write.py" "$folder/repo"
before=$("$folder/venv/bin/python" "$folder/read.py" "$folder/repo")
"$folder/venv/bin/aim" storage --repo "$folder/repo" reindex -y >"$folder/log" 2>&1
after=$("$folder/venv/bin/python" "$folder/read.py" "$folder/repo")
echo "before the index: $before; after: $after"
[ "$before" = "0 runs, 1 by its tag" ] && [ "$after" = "1 run with loss [(5, 0.25)]" ]
