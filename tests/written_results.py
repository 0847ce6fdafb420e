"""Folders of runs that never trained: results.json, config.yaml and data.json with made-up numbers, always the same."""

import json
import math
import random
import zlib
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

CLASSES = [str(digit) for digit in range(10)]
DOMAINS = ("mnist", "svhn", "usps")
TASKS = tuple(permutations(DOMAINS, 2))
STRENGTH = {"source_only": 0.0, "mmd": 0.03, "dann": 0.06, "mcc": 0.12, "afn_hard": -0.06, "target_only": 0.25}
"""What a method adds to the accuracy of source_only."""


def write_result(
    folder: Path,
    method: str = "mmd",
    seed: int = 0,
    task: tuple[str, str] = ("usps", "mnist"),
    accuracy: float | None = None,
    config: Mapping[str, Any] | None = None,
    notices: Sequence[str] = (),
    **changes: Any,
) -> Path:
    """Write the folder of one complete run; `changes` are fields of results.json, `config` goes into config.yaml."""
    draw = random.Random(zlib.crc32(repr((method, seed, task, sorted((config or {}).items(), key=str))).encode()))
    source, target = task
    if accuracy is None:
        hard = 0.62 + 0.05 * TASKS.index(task) if task in TASKS else 0.7
        accuracy = min(0.99, hard + STRENGTH.get(method, 0.04) + draw.gauss(0, 0.012))
    epochs = [_epoch(k, accuracy, draw) for k in range(10)]
    results = {
        **{"schema": "da.results/1", "status": "complete", "error": None, "method": method, "data": "digits"},
        **{"net": "lenet", "source": source, "target": target, "seed": seed, "selection_metric": "infomax"},
        "config_hash": f"{zlib.crc32(str(folder).encode()):012x}",
        **{
            "git_commit": "0" * 40,
            "git_dirty": False,
            "data_hashes": {d: d.encode().hex().ljust(64, "0") for d in task},
        },
        "target_labels": ["oracle"] if method == "target_only" else [],
        "validation_labels": 0,
        **_measured(accuracy, epochs, draw),
        "cost": {
            "seconds": 60 + 20 * len(method) + draw.random(),
            "peak_memory_mib": 900.0 + 40 * len(method),
            **{"parameters": 430000, "trainable_parameters": 430000, "macs": 2300000},
        },
        **changes,
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    whole = {"seed": seed, "selection_metric": "infomax", "data": {"source": source, "target": target, "seed": seed}}
    whole |= {"optimizer": {"lr": 0.01}, "method": {"name": method}}
    # every JSON is YAML
    (folder / "config.yaml").write_text(json.dumps(_merged(whole, config or {})))
    data = {"classes": CLASSES, "state": {"classes": CLASSES}, "notices": list(notices)}
    (folder / "data.json").write_text(json.dumps(data))
    return folder


def write_failed(folder: Path, error: str = "ValueError: infomax is nan: take another one", **changes: Any) -> Path:
    """Write the folder of a run that failed before it knew its domains."""
    names = {"method": "wdgrl", "data": "digits", "net": "lenet", "source": None, "target": None, "seed": 0}
    content = {
        "schema": "da.results/1",
        "status": "failed",
        "error": error,
        **names,
        "config_hash": "f" * 12,
        **changes,
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def write_study(
    root: Path,
    methods: Sequence[str] = tuple(STRENGTH),
    tasks: Sequence[tuple[str, str]] = TASKS,
    seeds: Sequence[int] = (0, 1, 2),
) -> Path:
    """Write the runs of methods on tasks with seeds, one of which names a leak, and a failed one."""
    for method in methods:
        for task in tasks:
            for seed in seeds:
                leak = ("leak: 12 of the 2007 test rows of usps are among its training rows too",) * (task[1] == "usps")
                write_result(root / "-".join(task) / method / f"seed{seed}", method, seed, task, notices=leak)
    write_failed(root / "failed")
    return root


def write_weights(
    root: Path, values: Sequence[float] = (0.0, 0.1, 0.3, 1.0, 3.0), seeds: Sequence[int] = (0, 1, 2)
) -> Path:
    """Write runs of mmd that differ in one weight, on two tasks, and source_only beside them."""
    for task in TASKS[:2]:
        for seed in seeds:
            write_result(root / "-".join(task) / f"source_only{seed}", "source_only", seed, task)
            for value in values:
                hill = 0.1 * math.exp(-((math.log10(value + 0.05)) ** 2))
                gain = 0.75 - 0.05 * TASKS.index(task) + hill + random.Random(seed).gauss(0, 0.01)
                weight = {"method": {"weights": {"align": {"high": value}}}}
                write_result(
                    root / "-".join(task) / f"mmd{seed}-{value}",
                    "mmd",
                    seed,
                    task,
                    gain - 0.05 * TASKS.index(task),
                    weight,
                )
    return root


def _epoch(k: int, accuracy: float, draw: random.Random) -> dict[str, Any]:
    value = accuracy - 0.25 * math.exp(-k / 2) - 0.004 * max(0, k - 6) + draw.gauss(0, 0.006)
    scores = {
        "infomax": 2 * value + draw.gauss(0, 0.05),
        "entropy": value - 1.5 + draw.gauss(0, 0.15),
        "snd": 6 - value + draw.gauss(0, 0.3),
        "source_acc": min(1.0, 0.9 + 0.01 * k + draw.gauss(0, 0.005)),
    }
    return {
        **{"epoch": k, "source_acc": scores["source_acc"], "validators": scores},
        **{"normalised": dict.fromkeys(scores, 0.5), "oracle": {"target_acc": value}},
    }


def _measured(accuracy: float, epochs: list[dict[str, Any]], draw: random.Random) -> dict[str, Any]:
    true = [one["oracle"]["target_acc"] for one in epochs]
    chosen = max(range(len(epochs)), key=lambda k: epochs[k]["validators"]["infomax"])
    classes = [min(1.0, max(0.0, accuracy + draw.gauss(0, 0.08))) for _ in CLASSES]
    selected = min(0.99, accuracy + true[chosen] - true[-1])
    return {
        "test": {
            "source_acc": {"last": 0.98, "selected": 0.97},
            "target_acc": {"last": accuracy, "selected": selected},
            "target_class_acc": {"last": classes, "selected": classes},
        },
        "validators": epochs[-1]["validators"],
        "epochs": epochs,
        "oracle": {
            **{"best_target_acc": max(true), "best_epoch": true.index(max(true))},
            **{"last_target_acc": true[-1], "selected_target_acc": true[chosen]},
        },
    }


def _merged(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(whole)
    for key, value in part.items():
        both = isinstance(value, dict) and isinstance(whole.get(key), dict)
        merged[key] = _merged(whole[key], value) if both else value
    return merged
