"""One worker: writes files of each kind to PROMETHEUS_MULTIPROC_DIR, prints its process id and ends with its input."""

import os
import sys

from prometheus_client import Counter, Gauge, Histogram, Summary

amount = float(sys.argv[1])
Counter("work", "Work done.", ["kind"]).labels("hard").inc(amount)
seconds = Histogram("work_seconds", "Time for a piece of it.", buckets=(0.5, 1, 2))
size = Summary("work_bytes", "Size of a piece.")
for observed in (0.25, 0.75, amount):
    seconds.observe(observed)
    size.observe(observed)
for mode in ("max", "livesum", "all"):
    Gauge(f"work_{mode}", "What a worker has.", multiprocess_mode=mode).set(amount)
print(os.getpid(), flush=True)
sys.stdin.read()
