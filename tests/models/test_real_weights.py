"""The pretrained weights know what they were trained on."""

import io
import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from nets import net_config
from omegaconf import OmegaConf
from PIL import Image
from torch.testing import assert_close

from da.build import build
from da.models.weight_files import read_weights

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


REAL = os.environ.get("DA_DATA_ROOT")
real = pytest.mark.skipif(not (REAL and (Path(REAL) / "weights").is_dir()), reason="DA_DATA_ROOT has no weights")
IMAGENET = {"backpack": {414}, "keyboard": {508}, "laptop": {620, 681}, "mouse": {673}, "mug": {504, 899, 968}}


def images(archive, names, size, mean, std):
    with ZipFile(Path(REAL) / "images" / archive) as files:
        opened = [Image.open(io.BytesIO(files.read(name))).convert("RGB").resize((size, size)) for name in names]
    x = torch.from_numpy(np.stack([np.asarray(image) for image in opened])).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.real
@real
def test_the_real_resnet20_knows_cifar10(monkeypatch):
    monkeypatch.setenv("DA_DATA_ROOT", REAL)
    cfg = net_config("cifar_resnet20")
    OmegaConf.update(cfg, "net.backbone.weights", "cifar_resnet20_cifar10")
    backbone = build(cfg.net.backbone, "net.backbone").eval()
    head = read_weights("cifar_resnet20_cifar10", "nothing")
    with ZipFile(Path(REAL) / "images" / "cifar10_jpg_subset.zip") as files:
        names = sorted(name for name in files.namelist() if name.startswith("test/") and name.endswith(".jpg"))[::20]
    classes = sorted({name.split("/")[1] for name in names})
    y = torch.tensor([classes.index(name.split("/")[1]) for name in names])
    x = images("cifar10_jpg_subset.zip", names, 32, cfg.net.input.mean, cfg.net.input.std)
    with torch.no_grad():
        predicted = (backbone(x) @ head["linear.weight"].T + head["linear.bias"]).argmax(dim=1)
    assert len(names) == 500
    assert (predicted == y).float().mean() >= 0.8  # 81.0 % on all 10,000


@pytest.mark.real
@real
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_0", "efficientnet_lite0"])
def test_the_real_imagenet_weights_know_common_things(monkeypatch, name):
    monkeypatch.setenv("DA_DATA_ROOT", REAL)
    from conftest import config

    cfg = config("data=digits_demo", f"net={name}")
    backbone = build(cfg.net.backbone, "net.backbone").eval()
    state = read_weights(cfg.net.backbone.weights, "nothing")
    kernel, bias = (
        state[next(k for k in state if k.startswith("classifier") and k.endswith(e))] for e in ("weight", "bias")
    )
    with ZipFile(Path(REAL) / "images" / "office_caltech10.zip") as files:
        listed = sorted(files.namelist())
    names, allowed = [], []
    for part, classes in IMAGENET.items():
        own = [n for n in listed if n.startswith("amazon/") and part in n.split("/")[1].lower() and n.endswith(".jpg")][
            :12
        ]
        names += own
        allowed += [classes] * len(own)
    x = images("office_caltech10.zip", names, cfg.net.input.size, cfg.net.input.mean, cfg.net.input.std)
    with torch.no_grad():
        if name == "squeezenet1_0":  # classifies every place and then takes the mean
            maps = backbone.model.features(x)
            logits = (
                torch.einsum("nchw,kc->nkhw", maps, kernel[:, :, 0, 0]).add(bias[:, None, None]).relu().mean(dim=(2, 3))
            )
        else:
            logits = backbone(x) @ kernel.T + bias
        OmegaConf.update(cfg, "net.backbone.classifier", True, force_add=True)
        assert_close(build(cfg.net.backbone, "net.backbone").eval()(x), logits, rtol=1e-3, atol=1e-3)
    right = [int(k) in classes for k, classes in zip(logits.argmax(dim=1), allowed, strict=True)]
    assert len(right) == 60
    assert np.mean(right) >= 0.5  # 0.58 to 0.80 on photos of nine such classes; by chance 0.002
