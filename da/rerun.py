"""`da rerun`: a run once more, from what lies in its folder, and whether it came out the same."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from da.command import Parser, run_command
from da.record import CONFIG_FILE, RESULTS_FILE

EPILOG = """Exit status: 0 if the weights are the same to the last bit, 1 if they are not, and then it is said what else
differs: data, commit, versions."""


def main(argv: list[str]) -> int:
    """Run `da rerun` with the words after it: 0 for the same weights, 1 for others or an error."""
    same: list[bool] = []
    status = run_command("rerun", lambda: same.append(_rerun(_arguments(argv))))
    return status or int(not same[0])


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="da rerun", description="Train a run again by its config.yaml, and compare.", epilog=EPILOG)
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run of da train that is complete")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the new run (default: rerun/NAME-OF-RUN)")
    return parser.parse_args(argv)


def _rerun(arguments: argparse.Namespace) -> bool:
    folder: Path = arguments.run
    before = _results(folder)
    out: Path = arguments.out or Path("rerun") / folder.resolve().name
    if out.resolve() == folder.resolve():
        raise ValueError(f"--out {out} is the run itself: give another folder")
    cfg = _config(folder, out)
    from da.run import run
    from da.stage import leads

    run(cfg)
    if not leads():
        return True  # the first process says it
    after = _results(out)
    same = _same_weights(folder, out)
    for line in _compared(before, after):
        print(line)
    print(f"weights: {'the same to the last bit' if same else 'not the same'} ({folder}, {out})")
    return same


def _results(folder: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads((folder / RESULTS_FILE).read_text())
    except OSError as error:
        raise ValueError(f"{folder} is no folder of a run: it has no {RESULTS_FILE}") from error
    if results["status"] != "complete":
        raise ValueError(f"the run in {folder} is not complete ({results['status']}): there is nothing to compare with")
    return results


LATER = {"checkpoint_minutes": 10, "figures_every": None}
"""Options that runs of earlier versions have not."""


def _config(folder: Path, out: Path) -> DictConfig:
    """The configuration of the run, resolved as it was then, for another folder."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {CONFIG_FILE}: it is of a version that did not write it")
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    cfg.pop("resume", None)  # what ckpt_path was called once
    own = {"run_dir": str(out.resolve()), "ckpt_path": "auto", "force": False}
    return OmegaConf.merge(OmegaConf.create(LATER), cfg, own)  # type: ignore[return-value]


def _same_weights(a: Path, b: Path) -> bool:
    import torch

    from da.models.state import load_checkpoint

    one, other = (load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (a, b))
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def _compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line an accuracy, and one for everything else that is not as it was."""
    lines = []
    for role in ("source_acc", "target_acc"):
        values = [results["test"][role]["last"] for results in (before, after)]
        shown = ["no labels" if value is None else f"{value:.2%}" for value in values]
        lines.append(f"test {role}, last weights: {shown[0]} then, {shown[1]} now")
    pairs = [(key, before.get(key), after.get(key)) for key in ("config_hash", "git_commit", "git_dirty", "world_size")]
    pairs += [("data_hashes", before["data_hashes"], after["data_hashes"])]
    pairs += [(name, version, after["versions"].get(name)) for name, version in before["versions"].items()]
    return lines + [f"differs: {name} was {was}, is {now}" for name, was, now in pairs if was != now]
