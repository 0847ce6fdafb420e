"""Train every variant of a suite, or some: python benchmarks/transfer/sweep.py cifar10_halves [VARIANT ...].

DA_DATA_ROOT names the folder of the data. Runs that are complete already are skipped, so it can be stopped and started
again. JOBS variants (2) run at a time, one thread each.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def suite(name: str) -> dict[str, Any]:
    """What NAME.yaml says."""
    content: dict[str, Any] = yaml.safe_load((HERE / f"{name}.yaml").read_text())
    return content


def commands(name: str, variants: list[str]) -> list[tuple[str, list[list[str]]]]:
    """For every stage, which has to wait for the one before it, the sweeps that it consists of."""
    plan = suite(name)
    runs = f"runs/transfer/{name}"
    of_start = {start: f"{runs}/{start}/seed${{seed}}/checkpoints/last.ckpt" for start in plan["starts"]}
    of_variant = {
        variant: f"{runs}/{variant}/{folder(plan['over'])}seed${{seed}}/checkpoints/last.ckpt"
        for variant in plan["variants"]
    }
    common = [f"experiment={plan['experiment']}", *plan.get("options", ()), f"seed={','.join(map(str, plan['seeds']))}"]
    starts = [
        [*common, *words, f"hydra.sweep.dir={runs}/{start}", "hydra.sweep.subdir=seed${seed}"]
        for start, words in plan["starts"].items()
    ]
    first, second = [], []
    over = [f"{key}={','.join(map(str, values))}" for key, values in plan["over"].items()]
    for variant, words in plan["variants"].items():
        if variants and variant not in variants:
            continue
        needed = [other for other in of_variant if any(f"{{{other}}}" in word for word in words)]
        filled = [fill(word, of_start | of_variant) for word in words]
        place = [f"hydra.sweep.dir={runs}/{variant}", f"hydra.sweep.subdir={folder(plan['over'])}seed${{seed}}"]
        (second if needed else first).append([*common, *over, *filled, *place])
    return [("starts", starts), ("variants", first), ("variants of variants", second)]


def folder(over: Mapping[str, Any]) -> str:
    """Of a run below that of its variant, for Hydra to fill in."""
    return "".join(f"{key.rpartition('.')[2]}${{{key}}}-" for key in over)


def fill(word: str, places: Mapping[str, str]) -> str:
    """Put the checkpoints in the place of their names in braces."""
    for name, place in places.items():
        word = word.replace(f"{{{name}}}", place)
    return word


def train(words: list[str]) -> int:
    """Run one sweep; its exit status."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "da", "train", "-m", *words], cwd=ROOT, env=environment).returncode


def main(name: str, variants: list[str]) -> int:
    """Train what is missing, stage after stage, and write the tables."""
    failed = 0
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        for stage, sweeps in commands(name, variants):
            print(f"{stage}: {len(sweeps)} sweeps", flush=True)
            failed += sum(status != 0 for status in pool.map(train, sweeps))
    from tables import collect, write_tables

    collect(ROOT / "runs/transfer" / name, name)
    write_tables()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
