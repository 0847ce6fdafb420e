"""Train the runs of a suite with every validator: python benchmarks/selection/sweep.py office_caltech10 [SEED ...].

DA_DATA_ROOT names the folder of the data. One process a task, JOBS (2) at a time, one thread each; runs that are
complete are skipped, so it can be stopped and started again. Then results/NAME.csv and table.md are written.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tables import BOUND, HERE, collect, page

from da.benchmark.suite import find_suite

ROOT = HERE.parents[1]


def main(name: str, seeds: list[str]) -> int:
    """Train what is missing, then write the tables; the exit status."""
    suite, runs = find_suite(f"selection/{name}"), Path("runs/selection") / name
    methods = [method for method in suite.methods if method != BOUND]
    assert all(suite.methods[method].options == (f"method={method}",) for method in methods), "methods by name only"
    common = [*suite.options, f"method={','.join(methods)}", f"seed={','.join(seeds or map(str, suite.seeds))}"]

    def train(task: tuple[str, ...]) -> int:
        command = [sys.executable, "-m", "da", "train", "-m", *common, *task, f"runs={runs}"]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode

    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        failed = sum(status != 0 for status in pool.map(train, suite.tasks.values()))
    collect(ROOT / runs, name)
    (HERE / "table.md").write_text(page())
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
