"""What the tests of backbones share."""

import pytest
import torch


@pytest.fixture
def nowhere(monkeypatch):
    monkeypatch.delenv("DA_DATA_ROOT", raising=False)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """The folder of a BERT of two layers and 16 features."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        BertModel(BertConfig(**sizes, intermediate_size=32)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "root" / "weights").mkdir(parents=True)
    monkeypatch.setenv("DA_DATA_ROOT", str(tmp_path / "root"))
    return tmp_path / "root" / "weights"
