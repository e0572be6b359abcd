#!/usr/bin/env bash
# prometheus-client 0.26.0 (Python), a NaN given to Histogram.observe, Summary.observe and Counter.inc.
#
# Behaviour: nothing is raised or warned. The histogram does not count the observation, not even in le="+Inf", yet its sum is NaN
#   from then on; so the mean by rate(_sum) / rate(_count) is NaN until the process restarts, with no count of what was lost. The
#   summary counts it, with the same sum. The counter refuses a negative increment, takes NaN, and is NaN for good, so that
#   increase() and every alert on it are silent.
# The good guess that was wrong: a NaN (a diverged loss, a duration of a clock that failed) is refused as a negative increment is,
#   or falls into the last bucket, +Inf, which takes every value.
# Cause: the buckets are searched with "value <= bound", which no NaN satisfies; the sum is added to in any case.
# What helps: count values that are not finite in a counter of their own, and observe the others.
#
# Output seen:
#   histogram: buckets 1 2 2, count 2, sum NaN
#   summary: count 3, sum NaN
#   counter: negative refused; after 1, NaN, 1: NaN
# Exits 0 while that holds, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check prometheus-client==0.26.0

"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/output"
from prometheus_client import CollectorRegistry, Counter, Histogram, Summary, generate_latest

registry = CollectorRegistry()
histogram = Histogram("histogram", "losses", registry=registry, buckets=(1, 2))
summary = Summary("summary", "losses", registry=registry)
counter = Counter("counter", "seconds", registry=registry)
for value in (0.5, float("nan"), 1.5):
    histogram.observe(value)
    summary.observe(value)
refused = "not refused"
for value in (1, float("nan"), -1, 1):
    try:
        counter.inc(value)
    except ValueError:
        refused = "refused"
samples = dict(line.rsplit(" ", 1) for line in generate_latest(registry).decode().splitlines() if not line.startswith("#"))
buckets = " ".join(f"{float(count):g}" for name, count in samples.items() if "_bucket" in name)
print(f"histogram: buckets {buckets}, count {float(samples['histogram_count']):g}, sum {samples['histogram_sum']}")
print(f"summary: count {float(samples['summary_count']):g}, sum {samples['summary_sum']}")
print(f"counter: negative {refused}; after 1, NaN, 1: {samples['counter_total']}")
PYTHON
diff "$folder/output" - <<'SEEN'
histogram: buckets 1 2 2, count 2, sum NaN
summary: count 3, sum NaN
counter: negative refused; after 1, NaN, 1: NaN
SEEN
