import pytest
import torch
from conftest import TOY, config

from da.precision import fastest
from da.settings import config_hash

IMAGES, NUMBERS = {"channels": 1, "size": 28}, {"features": 5}


@pytest.fixture
def processor(monkeypatch):
    """A function that lets PyTorch say what the processor can; there is no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return lambda *can: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(can, True))


@pytest.mark.parametrize(
    ("can", "accelerator", "inputs", "expected"),
    [
        ((), "cpu", IMAGES, "32-true"),
        (("avx512_f", "amx_tile"), "cpu", IMAGES, "32-true"),
        (("amx_bf16",), "cpu", IMAGES, "bf16-mixed"),
        (("avx512_bf16",), "auto", IMAGES, "bf16-mixed"),
        (("bf16",), "cpu", IMAGES, "bf16-mixed"),
        (("amx_bf16",), "cpu", NUMBERS, "32-true"),
        (("amx_bf16",), "gpu", IMAGES, "32-true"),
        (("amx_bf16",), "mps", IMAGES, "32-true"),
    ],
)
def test_half_precision_is_chosen_where_the_processor_computes_in_it(can, accelerator, inputs, expected, processor):
    processor(*can)
    assert fastest(accelerator, inputs) == expected


@pytest.mark.parametrize("native", [True, False])
def test_on_a_gpu_the_gpu_decides(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not native})
    for accelerator in ("gpu", "auto"):
        assert fastest(accelerator, IMAGES) == ("bf16-mixed" if native else "32-true")


def test_what_was_chosen_is_what_the_run_is_known_by(processor):
    """The same command on another machine is another run, where it gives other numbers, and the same where not."""
    processor("avx512_bf16")
    half = config("precision=auto")
    assert half.trainer.precision == "bf16-mixed"
    assert config_hash(half) == config_hash(config("trainer.precision=bf16-mixed"))
    assert config_hash(config(*TOY, "precision=auto")) == config_hash(config(*TOY))
    assert config("experiment=office_caltech10", "precision=auto").trainer.precision == "32-true", "cached features"
    assert config("precision=auto", "trainer.precision=64-true").trainer.precision == "64-true", "what is given counts"
    processor()
    assert config_hash(config("precision=auto")) == config_hash(config())
