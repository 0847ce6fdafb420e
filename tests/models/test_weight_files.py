"""Files of weights: where they are looked for, what is refused."""

import pytest
import torch
from conftest import normal
from safetensors.torch import save_file
from torch.testing import assert_close
from torchvision import models

from da.models import weight_files
from da.models.pretrained import Torchvision
from da.models.weight_files import read_weights

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


def test_weights_are_found_by_path_and_by_name_and_halves_become_floats(root, tmp_path, monkeypatch):
    tensors = {"a": torch.ones(2).half(), "b": torch.tensor(3)}
    save_file(tensors, root / "inside.safetensors")
    save_file(tensors, tmp_path / "outside.safetensors")
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "outside"
    for name in (
        "inside",
        "inside.safetensors",
        "outside",
        "./outside.safetensors",
        str(outside),
        f"{outside}.safetensors",
    ):
        read = read_weights(name, "nothing")
        assert_close(read, {"a": torch.ones(2), "b": torch.tensor(3)})


def test_what_was_tried_is_listed(root, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        read_weights("gone.safetensors", "nothing")
    assert f"neither gone.safetensors nor {root / 'gone.safetensors'}" in str(error.value)
    monkeypatch.delenv("DA_DATA_ROOT")
    with pytest.raises(
        ValueError, match=r"=gone: resnet has DEFAULT; .* neither gone.safetensors \(DA_DATA_ROOT.*not set"
    ):
        read_weights("gone", "resnet has DEFAULT")


def test_a_known_name_with_another_content_is_refused(root):
    save_file({"a": torch.ones(2)}, root / "mobilenet_v2_imagenet.safetensors")
    with pytest.raises(
        ValueError, match=f"its sha256 is .*, expected {weight_files.SHA256['mobilenet_v2_imagenet.safetensors']}"
    ):
        Torchvision("mobilenet_v2", "mobilenet_v2_imagenet")


def test_a_file_cut_short_is_refused(root):
    save_file({"a": torch.ones(200)}, root / "whole.safetensors")
    (root / "half.safetensors").write_bytes((root / "whole.safetensors").read_bytes()[:400])
    with pytest.raises(ValueError, match=r"half.safetensors is damaged"):
        read_weights("half", "nothing")


def test_torchvision_reads_a_file_by_its_name(root):
    whole = models.squeezenet1_0()
    save_file({k: v.half() for k, v in whole.state_dict().items()}, root / "mine.safetensors")
    first = next(Torchvision("squeezenet1_0", "mine").parameters())
    assert_close(first, next(whole.parameters()).half().float())


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v3_small", "googlenet"])
def test_torchvision_keeps_the_whole_classifier_where_it_is_asked_to(root, name):
    whole = models.get_model(name, **({"init_weights": False} if name == "googlenet" else {})).eval()
    save_file(whole.state_dict(), root / "mine.safetensors")
    backbone, x = Torchvision(name, "mine", classifier=True).eval(), normal(2, 3, 65, 65, dtype=torch.float32)
    assert backbone.out_dim == 1000
    with torch.no_grad():
        assert_close(backbone(x), whole(x))
