"""Networks rebuilt from the folders of runs: what they say, that they stay as they are, and what is refused."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import config, normal
from saved_runs import WIDE, change, write_run
from torch.testing import assert_close

from da.build import build
from da.models.saved import read_run, saved_network
from da.models.teacher import Teacher

TOY = ("data=toy", "net=mlp")
IMAGES = ("data=digits_demo", "data.source_rows=40")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "wide", *TOY, *WIDE)


def student(*overrides):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return build(config(*(overrides or TOY)).net, "net")


def test_it_says_what_the_network_of_the_run_says(folder):
    x = normal(6, 2, dtype=torch.float32)
    expected = saved_network(read_run(folder))(x)
    assert_close(Teacher(folder, student())(x), expected, rtol=0, atol=0)
    assert not expected[1].allclose(student()(x)[1])


def test_it_is_no_part_of_the_state_or_the_parameters_and_follows_to_another_type(folder):
    holder = torch.nn.ModuleDict({"teacher": Teacher(folder, student())})
    assert not holder.state_dict()
    assert not list(holder.parameters())
    holder.train().double()
    x = normal(6, 2)
    inner = holder["teacher"].module
    assert not inner.training
    assert_close(holder["teacher"](x), saved_network(read_run(folder)).double()(x))
    again = pickle.loads(pickle.dumps(holder))
    assert_close(again["teacher"](x), holder["teacher"](x), rtol=0, atol=0)


def test_it_gives_no_gradient_and_stays_as_it_is(folder):
    teacher = Teacher(folder, student())
    before = {name: value.clone() for name, value in teacher.module.state_dict().items()}
    x = normal(6, 2, dtype=torch.float32).requires_grad_()
    teacher.train()
    assert not teacher(x)[1].requires_grad
    assert_close(teacher.module.state_dict(), before, rtol=0, atol=0)


def test_it_shows_the_layers_that_are_asked_for(folder):
    teacher = Teacher(folder, student(), ("backbone", "bottleneck.0"))
    z, _ = teacher(normal(6, 2, dtype=torch.float32))
    assert teacher.watched["backbone"].shape == teacher.watched["bottleneck.0"].shape == z.shape == (6, 8)
    assert_close(teacher.watched["bottleneck.0"], teacher.module.bottleneck[0](teacher.watched["backbone"]))
    with pytest.raises(ValueError, match=r"the network has no layers \['nowhere'\]"):
        Teacher(folder, student(), ("nowhere",))


def test_a_checkpoint_is_that_of_the_students_network(folder, tmp_path):
    net = student()
    torch.save({"state_dict": {f"net.{name}": value + 1 for name, value in net.state_dict().items()}}, tmp_path / "x")
    assert_close(Teacher(tmp_path / "x", net).module.head.bias, net.head.bias + 1)
    with pytest.raises(ValueError, match="does not fit the net of this run"):
        Teacher(read_run(folder).checkpoint, net)


def test_images_are_converted_by_what_the_networks_read(tmp_path):
    large = ("net=lenet", "net.input.channels=3", "net.input.size=32", "+net.input.mean=0.4", "+net.input.std=0.2")
    path = write_run(tmp_path / "large", *IMAGES, *large)
    x = normal(2, 1, 28, 28, dtype=torch.float32)
    teacher = Teacher(path, student(*IMAGES, "net=lenet"))
    pixels = torch.nn.functional.interpolate(x * 0.5 + 0.5, size=(32, 32), mode="bilinear", antialias=True)
    expected = saved_network(read_run(path))(((pixels - 0.4) / 0.2).expand(-1, 3, -1, -1))
    assert_close(teacher(x), expected)


def broken(folder, tmp_path, what):
    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    match what:
        case "missing":
            shutil.rmtree(copy)
        case "no run":
            shutil.rmtree(copy)
            shutil.copytree(folder, copy / "below")
        case "no config":
            (copy / "config.yaml").unlink()
        case "failed":
            results = json.loads((copy / "results.json").read_text())
            (copy / "results.json").write_text(json.dumps(results | {"status": "failed", "error": "E: x"}))
        case "classes":
            change(copy, net__num_classes=3)
            state = {
                f"net.{k}": v
                for k, v in build(config(*TOY, *WIDE, "net.num_classes=3").net, "net").state_dict().items()
            }
            torch.save({"state_dict": state}, copy / "checkpoints/selected.ckpt")
        case "other weights":
            change(copy, net__feature_dim=9)
        case "pickle":
            torch.save({"state_dict": {}, "code": Path("x")}, copy / "checkpoints/selected.ckpt")
        case "input":
            change(copy, net__input={"features": 2, "more": 1})
    return copy


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("missing", FileNotFoundError, "there is no folder .*broken"),
        ("no run", ValueError, "not the folder of a run.*there are 1 runs below it"),
        ("no config", ValueError, "has no config.yaml: the run ended too early"),
        ("failed", ValueError, r"did not finish \(status 'failed': E: x\)"),
        ("classes", ValueError, "tells 3 classes apart, but the student 2"),
        ("other weights", ValueError, "does not fit the net of this run"),
        ("pickle", ValueError, "more than tensors and plain values, and was not loaded"),
        ("input", ValueError, r"broken does not read the student's rows: .*net.input=\{'features': 2, 'more': 1\}"),
    ],
)
def test_what_can_not_teach_is_named(folder, tmp_path, what, error, message):
    with pytest.raises(error, match=message):
        Teacher(broken(folder, tmp_path, what), student())


def test_features_that_were_cached_are_not_what_a_teacher_reads(folder):
    net = student()
    net.reads_features = True
    with pytest.raises(ValueError, match="data.cache_features=true"):
        Teacher(folder, net)
