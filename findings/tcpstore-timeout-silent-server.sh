#!/usr/bin/env bash
# torch 2.13.0, torch.distributed.TCPStore with a timeout of 3 seconds.
#
# Behaviour: the timeout holds only while the server answers. `get` of a missing key at a live server ends after 3 seconds.
#   When the server has fallen silent (its process stopped here; a machine without power or a cut cable in the field), `get`,
#   `wait` with a timeout of its own, `multi_get`, `check` and `compare_set` do not come back within 12 (`get` and `wait` not
#   within 75 either; once of three `wait` ended after 16): as we read it, on the timeout the client sends
#   the server that it cancels, and waits without limit for that to be acknowledged; `check` has no limit at all. torchrun's
#   agent asks its store ten times a second, so on the machines that survive it hangs as well, until TCP gives up.
# The good guess that was wrong: a call with a timeout raises when that is over, above all when the server is gone.
# What helps: TCP's own limits on the sockets (TCP_USER_TIMEOUT, keep-alive) for a machine that is gone.
#
# Output seen: "live, missing key: 3 s; silent: get more than 12 s, wait more than 12 s, multi_get more than 12 s, check more
#   than 12 s, compare_set more than 12 s".
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy

cat >"$folder/ask.py" <<'PYTHON'
"""Print how many seconds one call takes, at a live server or at a silent one."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

from torch.distributed import TCPStore

LIMIT_SECONDS = 12
SERVER = """
import time
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
store.set("key", "value")
print(store.port, flush=True)
time.sleep(600)
"""

call, is_silent = sys.argv[1], sys.argv[2] == "silent"
server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
timeout = timedelta(seconds=3)
store = TCPStore("127.0.0.1", int(server.stdout.readline()), is_master=False, wait_for_workers=False, timeout=timeout)
if is_silent:
    os.kill(server.pid, signal.SIGSTOP)
    while open(f"/proc/{server.pid}/stat").read().rpartition(") ")[2][0] != "T":
        time.sleep(0.01)

calls = {
    "get": lambda: store.get("key" if is_silent else "missing"),
    "wait": lambda: store.wait(["key"], timeout),
    "multi_get": lambda: store.multi_get(["key"]),
    "check": lambda: store.check(["key"]),
    "compare_set": lambda: store.compare_set("key", "value", "other"),
}
began = time.monotonic()
client = os.fork()
if client == 0:
    try:
        calls[call]()
    except Exception:
        pass
    os._exit(0)
while os.waitpid(client, os.WNOHANG)[0] == 0 and time.monotonic() - began < LIMIT_SECONDS:
    time.sleep(0.1)
seconds = time.monotonic() - began
print(f"more than {LIMIT_SECONDS} s" if seconds >= LIMIT_SECONDS else f"{seconds:.0f} s")
for process in (client, server.pid):
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
PYTHON

ask() {
  "$folder/venv/bin/python" "$folder/ask.py" "$@" 2>/dev/null
}

live=$(ask get live)
silent=()
for call in get wait multi_get check compare_set; do
  silent+=("$call $(ask "$call" silent)")
done
listed=$(printf '%s, ' "${silent[@]}")
echo "live, missing key: $live; silent: ${listed%, }"
[[ "$live" == "3 s" ]]
for answer in "${silent[@]}"; do [[ "$answer" == *"more than 12 s" ]]; done
