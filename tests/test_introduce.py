"""Teachers told of the data: other classes, other standardisations, images that were normalised otherwise."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import config, normal
from saved_runs import change, write_run
from torch import nn
from torch.testing import assert_close

from da.assemble import assemble
from da.data.rows import Draw
from da.introduce import introduce
from da.models.saved import read_run, saved_network
from da.models.teacher import Teacher

FIRST = Draw(torch.arange(4), 0)


def met(folder, *overrides):
    """A teacher that was introduced to the data of `overrides`, and four of its target rows."""
    data, net = assemble(config(*overrides))
    teacher = Teacher(folder, net)
    introduce(nn.ModuleDict({"inside": teacher}), data)
    return teacher, data.eval_set("target", "test")[FIRST].x


def write_arrays(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        x = ((seed + 1) * normal(40, 3, seed=seed) + 10 * seed).float().numpy()
        np.savez(folder / f"{name}.npz", x=x, y=np.arange(40) % 2)


def vectors(folder, source, target, *more):
    return "data=tensors", "net=mlp", f"data.source={folder / source}.npz", f"data.target={folder / target}.npz", *more


@pytest.mark.parametrize("policy", ["source", "none", "each"])
def test_numbers_reach_it_as_its_own_data_standardise_them(tmp_path, policy):
    write_arrays(tmp_path, "a", "b", "t")
    policy = f"data.standardise={policy}"
    theirs = vectors(tmp_path, "a", "t", policy)
    folder = write_run(tmp_path / "run", *theirs)
    (own, _), net = assemble(config(*theirs)), saved_network(read_run(folder))
    teacher, x = met(folder, *vectors(tmp_path, "b", "t", policy))
    assert_close(teacher(x), net(own.eval_set("target", "test")[FIRST].x), atol=1e-5, rtol=1e-5)
    assert (teacher.convert is None) == (not policy.endswith("source"))


def test_its_files_stay_closed(tmp_path):
    write_arrays(tmp_path, "a", "b", "t", "u")
    folder = write_run(tmp_path / "run", *vectors(tmp_path, "a", "u"))
    for gone in ("a", "u"):
        (tmp_path / f"{gone}.npz").unlink()
    teacher, x = met(folder, *vectors(tmp_path, "b", "t"))
    assert teacher(x)[1].isfinite().all()


def test_each_domain_by_itself_is_no_standardisation_by_the_source(tmp_path):
    write_arrays(tmp_path, "a", "b", "t")
    folder = write_run(tmp_path / "run", *vectors(tmp_path, "a", "t", "data.standardise=each"))
    with pytest.raises(ValueError, match=r"teacher .*run: data.standardise=each for it, but source here"):
        met(folder, *vectors(tmp_path, "b", "t"))


def test_other_classes_or_another_order_are_named(tmp_path):
    folder = write_run(tmp_path / "run", "data=toy", "net=mlp")
    recorded = json.loads((tmp_path / "run/data.json").read_text())
    (tmp_path / "run/data.json").write_text(json.dumps(recorded | {"classes": ["1", "0"]}))
    with pytest.raises(ValueError, match=r"teacher .*run: its classes are 1, 0, but those of the data are 0, 1"):
        met(folder, "data=toy", "net=mlp")


def test_other_columns_are_named(tmp_path):
    table = pl.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "ward": ["x", "y", "x", "y"], "label": ["a", "b", "a", "b"]})
    for name in "st":
        table.with_columns(pl.col("age") + (name == "t")).write_csv(tmp_path / f"{name}.csv")
    chosen = ["data=csv", "net=tabular", f"data.source={tmp_path}/s.csv", f"data.target={tmp_path}/t.csv"]
    folder = write_run(tmp_path / "run", *chosen)
    met(folder, *chosen)
    recorded = json.loads((tmp_path / "run/data.json").read_text())
    recorded["state"]["columns"]["categories"]["ward"] = ["y", "x"]  # so that x is 1 there
    (tmp_path / "run/data.json").write_text(json.dumps(recorded))
    with pytest.raises(ValueError, match=r"the columns of its rows are .*'y', 'x'.* but those of the data .*'x', 'y'"):
        met(folder, *chosen)


def test_images_are_converted_by_what_the_data_did_not_by_what_the_network_asks_for(tmp_path):
    # data=digits_demo scales pixels to [-1, 1] whatever net.input.mean says.
    folder = write_run(tmp_path / "run", "data=digits_demo", "data.source_rows=40", "net=cifar_resnet20")
    own, _ = assemble(config("data=digits_demo", "data.source_rows=40", "net=cifar_resnet20"))
    teacher, x = met(folder, "data=digits_demo", "data.source_rows=40", "net=lenet", "net.input.size=32")
    z, logits = saved_network(read_run(folder))(own.eval_set("target", "test")[FIRST].x)
    assert_close(teacher(x), (z, logits), atol=1e-5, rtol=1e-4)


def test_rows_prepared_in_a_way_of_their_own_must_be_prepared_alike(tmp_path):
    folder = write_run(tmp_path / "run", "data=toy", "net=mlp")
    data, net = assemble(config("data=toy", "net=mlp"))
    teacher = Teacher(folder, net)
    data.transforms = lambda name: (abs, abs)
    with pytest.raises(ValueError, match="no way between them"):
        introduce(teacher, data)


def test_a_checkpoint_has_nothing_to_be_told(tmp_path):
    folder = write_run(tmp_path / "run", "data=toy", "net=mlp")
    change(folder, data__num_classes=9)
    teacher, x = met(f"{folder}/checkpoints/selected.ckpt", "data=toy", "net=mlp")
    assert teacher(x)[1].shape == (4, 2)
