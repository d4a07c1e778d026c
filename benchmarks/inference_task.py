"""One exported model in a process of its own: durations and peak memory above the runtime's.

Called by ``speed.py``; prints one line of JSON. With OpenVINO, torch is never imported: the memory is that of a
deployment.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from backends import BACKENDS, start
from own_process import peak_mebibytes


def main() -> None:
    """Measure the task that the first argument tells."""
    task = json.loads(sys.argv[1])
    shape = (task["batch"], 3, task["size"], task["size"])
    images = np.random.default_rng(0).random(shape, np.float32)
    start(task["backend"])
    before = peak_mebibytes()
    _, load = BACKENDS[task["backend"], task["precision"]]
    run = load(Path(task["exported"]), shape)
    run(images)
    seconds = []
    for _ in range(task["repeats"]):
        begin = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "peak_mib": round(peak_mebibytes() - before)}))


if __name__ == "__main__":
    main()
