"""A finished run put to use: `da predict` and `da export`, for data of every kind."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from conftest import call
from photos import write_domain
from scipy.io import wavfile
from texts import WORDS, write_tokenizer
from torch.testing import assert_close
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from da import export, exported
from da.use import open_run

SHORT = ("method=coral", "trainer.max_epochs=1", "+data.steps_per_epoch=3", "figures=none", "run_dir=run")
SHORT += ("data.batch_size.source=8", "data.batch_size.target=8")
N = 21  # not a multiple of the batch size
CLASSES = ("cat", "dog", "eel")


def table(seed):
    """Numbers, categories and texts that tell something of the class."""
    random = np.random.default_rng(seed)
    y = np.arange(N) % 3
    return pl.DataFrame(
        {
            "age": y + random.normal(seed, 1, N),
            "height": random.normal(0, 9, N),
            "ward": random.choice(["x", "y", "z"], N),
            "review": [" ".join(random.choice(WORDS[5:], 4)) for _ in y],
            "label": [CLASSES[c] for c in y],
        }
    )


def tables(folder, *kept):
    for seed, name in enumerate("ab"):
        table(seed).select(*kept, "label").write_csv(folder / f"{name}.csv")
    table(1).select(kept).write_csv(folder / "new.csv")  # without labels
    return "data=csv", "data.source=a.csv", "data.target=b.csv"


def arrays(folder, *shape):
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        y = np.arange(N) % 3
        x = (random.normal(seed, 1, (N, *shape)) + y.reshape(N, *[1] * len(shape))).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=y)
    np.savez(folder / "new.npz", x=x)
    return "data=tensors", "data.source=a.npz", "data.target=b.npz"


def photos(folder):
    for seed, name in enumerate("ab"):
        write_domain(folder / name, dict.fromkeys(CLASSES, N // 3), seed=seed, suffix=".png")
    shutil.make_archive(str(folder / "new"), "zip", folder / "b")
    return "data=folder", "data.source=a", "data.target=b"


def sounds(folder):
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        for c, word in enumerate(CLASSES):
            (folder / name / word).mkdir(parents=True)
            for i in range(N // 3):
                wave = np.sin(np.arange(2000) * (0.2 + 0.3 * c)) * 6000 + random.normal(0, 3000, 2000)
                wavfile.write(folder / name / word / f"{i}.wav", 8000, wave.astype(np.int16))
    shutil.copytree(folder / "b", folder / "new")
    return "data=folder", "data.source=a", "data.target=b"


def bert(folder):
    """Write a BERT of one layer that knows a few words."""
    from transformers import BertConfig, BertModel

    sizes = {"vocab_size": len(WORDS), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**sizes, intermediate_size=16)).save_pretrained(folder / "bert")
    write_tokenizer(folder / "bert")
    return "net=transformer", f"net.backbone.name={folder / 'bert'}", "net.input.max_length=8"


SMALL = ("net=lenet", "net.input={channels: 3, size: 32}", "data.resize=36")
KINDS = {
    "categories": (lambda f: ("net=tabular", *tables(f, "age", "height", "ward")), "new.csv"),
    "texts": (lambda f: (*bert(f), *tables(f, "review"), "data.text=review"), "new.csv"),
    "vectors": (lambda f: ("net=mlp", *arrays(f, 4)), "new.npz"),
    "series": (lambda f: ("net=cnn1d", *arrays(f, 3, 50)), "new.npz"),
    "images": (lambda f: (*SMALL, *photos(f)), "new.zip"),
    "cached": (lambda f: (*SMALL, *photos(f), "+net.freeze_backbone=true", "data.cache_features=true"), "new.zip"),
    "sounds": (lambda f: ("net=logmel", *sounds(f)), "new"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make and train on data of a kind, once; return the folder."""
    folders = {}

    def get(kind):
        if kind not in folders:
            folder = folders[kind] = tmp_path_factory.mktemp(kind)
            with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
                patch.chdir(folder)
                patch.setenv("DA_CACHE", str(folder / "cache"))
                torch.manual_seed(0)
                chosen = KINDS[kind][0](folder)
                assert call("train", *chosen, *SHORT) == 0
            for gone in (folder / "a", folder / "a.csv", folder / "a.npz", folder / "cache"):  # no longer needed
                shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)
        return folders[kind]

    return get


@pytest.fixture
def here(made, monkeypatch, capfd):
    """Stand in the folder of a kind, with an empty cache, and with nothing said yet."""

    def go(kind):
        folder = made(kind)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DA_CACHE", str(folder / "cache"))
        capfd.readouterr()  # what training said, if it was done just now
        return folder

    return go


def truth(folder, paths):
    """The true classes of the target's rows, in the order of these paths."""
    if (folder / "b").is_dir():
        return [path.split("/")[0] for path in paths]
    if (folder / "b.npz").is_file():
        assert paths == list(map(str, range(N)))
        return np.load(folder / "b.npz")["y"].astype(str).tolist()
    return pl.read_csv(folder / "b.csv")["label"].to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_the_target_are_those_that_the_run_was_scored_on(here, kind, capfd):
    folder = here(kind)
    out = folder / "answers.parquet"
    assert call("predict", "run", KINDS[kind][1], "--out", out, "--probabilities", "--batch-size", 5) == 0
    assert f"{N} rows: " in capfd.readouterr().err
    found = pl.read_parquet(out)
    right = np.array(truth(folder, found["path"].to_list())) == found["label"].to_numpy()
    test = json.loads((folder / "run/results.json").read_text())["test"]
    assert right.mean() == pytest.approx(test["target_acc"]["selected"], abs=1e-6)
    classes = json.loads((folder / "run/data.json").read_text())["classes"]
    assert found.columns == ["path", "label", "probability", *(f"p_{name}" for name in classes)]
    p = found[:, 3:].to_numpy()
    assert p.sum(axis=1).tolist() == pytest.approx([1] * N)
    assert found["label"].to_list() == [classes[c] for c in p.argmax(axis=1)]
    assert found["probability"].to_list() == p.max(axis=1).tolist()


def read_back(form, path):
    """What the file computes, by its own library alone."""
    if form == "torch_export":
        module = torch.export.load(path).module()
        return lambda *x: [part.detach().numpy() for part in module(*x)]
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda *x: session.run(None, dict(zip(names, (part.numpy() for part in x), strict=True)))


@pytest.mark.parametrize("form", ["torch_export", "onnx"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_network_says_what_predict_says(here, kind, form, capfd):
    folder = here(kind)
    assert call("export", "run", "--format", form, "--check", KINDS[kind][1]) == 0
    assert "outputs differ from the checkpoint's by at most" in capfd.readouterr().out
    path = folder / f"run/network{exported.SUFFIX[form]}"
    program, inside = exported.load(form, path)
    beside = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert beside == inside
    run = open_run(folder / "run")
    rows, names = run.data.inputs(KINDS[kind][1])
    (batch,) = run.data.eval_loader(rows, shared=False)
    _, p = program(batch.x)
    assert call("predict", "run", KINDS[kind][1], "--out", "all.csv", "--probabilities") == 0
    expected = pl.read_csv("all.csv")
    assert beside["classes"] == [name.removeprefix("p_") for name in expected.columns[3:]]
    assert_close(p.detach().double(), torch.from_numpy(expected[:, 3:].to_numpy().copy()), rtol=0, atol=1e-4)
    assert expected["path"].cast(pl.String).to_list() == list(names)
    shapes = {name: part["shape"][1:] for name, part in beside["inputs"].items()}
    given = batch.x if isinstance(batch.x, dict) else {"x": batch.x}
    assert shapes == {name: list(part.shape[1:]) for name, part in given.items()}


@pytest.mark.parametrize("form", ["torch_export", "onnx"])
def test_with_its_transform_the_file_takes_numbers_as_they_are_in_the_table(here, form):
    folder = here("vectors")
    path = folder / f"whole{exported.SUFFIX[form]}"
    assert call("export", "run", "--format", form, "--with-transform", "--out", path, "--check", "new.npz") == 0
    x = torch.from_numpy(np.load("new.npz")["x"])
    _, p = read_back(form, path)(x)
    assert call("predict", "run", "new.npz", "--out", "all.csv", "--probabilities") == 0
    np.testing.assert_allclose(p, pl.read_csv("all.csv")[:, 3:].to_numpy(), rtol=0, atol=1e-4)
    assert json.loads((folder / f"{path.name}.json").read_text())["transform_in_file"] is True


@pytest.mark.parametrize("form", ["torch_export", "onnx"])
def test_with_its_transform_the_file_takes_bytes_of_images(here, form):
    folder = here("images")
    path = folder / f"whole{exported.SUFFIX[form]}"
    assert call("export", "run", "--format", form, "--with-transform", "--out", path) == 0
    shutil.unpack_archive("new.zip", "unpacked")
    images = ImageFolder("unpacked", v2.Compose([v2.PILToTensor(), v2.Resize((36, 36), antialias=True)]))
    _, p = read_back(form, path)(torch.stack([x for x, _ in images]))
    assert call("predict", "run", "new.zip", "--out", "all.csv", "--probabilities") == 0
    expected = pl.read_csv("all.csv")
    assert expected["path"].to_list() == [str(name).removeprefix("unpacked/") for name, _ in images.samples]
    # PIL and torchvision resize to bytes that differ by one here and there
    np.testing.assert_allclose(p, expected[:, 3:].to_numpy(), rtol=0, atol=0.02)


def test_a_file_that_differs_from_the_checkpoint_is_not_written(here, monkeypatch, capfd):
    folder = here("vectors")
    loaded = exported.load

    def wrong(form, path):
        program, metadata = loaded(form, path)
        return lambda x: tuple(part + 0.01 for part in program(x)), metadata

    monkeypatch.setattr(exported, "load", wrong)
    before = sorted(folder.rglob("*"))
    assert call("export", "run", "--format", "torch_export", "--out", "wrong.pt2") == 1
    assert "differs from run/checkpoints/selected.ckpt by 0.01, more than 0.0001" in capfd.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_constant_output_is_not_taken_for_an_equal_one():
    one, nan = torch.ones(2, 3), torch.full((2, 3), torch.nan)
    assert export._difference((one, one), (one, one)) == 0
    assert not export._difference((nan, one), (one, one)) <= export.TOLERANCE


def test_the_weights_that_are_named_are_used(here, tmp_path):
    folder = here("series")
    checkpoint = torch.load(folder / "run/checkpoints/last.ckpt", weights_only=False)
    for value in checkpoint["state_dict"].values():
        value.zero_()
    torch.save(checkpoint, tmp_path / "zeros.ckpt")
    assert call("predict", "run", "new.npz", "--weights", tmp_path / "zeros.ckpt", "--out", "z.csv") == 0
    assert pl.read_csv("z.csv")["probability"].to_list() == pytest.approx([1 / 3] * N)


def test_without_out_the_table_is_printed_and_the_rest_goes_to_stderr(here, capfd):
    here("vectors")
    assert call("predict", "run", "new.npz") == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "path,label,probability"
    assert len(out.splitlines()) == 1 + N
    assert err.startswith(f"{N} rows: ")


def test_a_file_that_cannot_be_read_is_an_error_or_left_out_and_counted(here, tmp_path, capfd):
    here("images")
    shutil.unpack_archive("new.zip", tmp_path / "new")
    first = tmp_path / "new/cat/000.png"
    first.write_bytes(first.read_bytes()[:200])
    assert call("predict", "run", tmp_path / "new") == 1
    assert "1 of 21 files" in (said := capfd.readouterr().err)
    assert "cat/000.png" in said
    assert call("predict", "run", tmp_path / "new", "--on-bad", "skip") == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == N
    assert "1 of 21 files left out: cat/000.png" in err
    assert call("predict", "run", tmp_path / "new/cat/001.png") == 0
    assert capfd.readouterr().out.splitlines()[1].startswith("001.png,")


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("vectors", ("predict", "nowhere", "new.npz"), "there is no folder nowhere"),
        (
            "vectors",
            ("predict", ".", "new.npz"),
            ". is not the folder of a run: .*there are 1 runs below it, such as run",
        ),
        ("vectors", ("predict", "run", "gone.npz"), "gone.npz"),
        ("vectors", ("predict", "run", "new.npz", "--out", "x.txt"), "--out x.txt must end in .csv or .parquet"),
        ("vectors", ("predict", "run", "new.npz", "--device", "cuda"), "device=cuda, but PyTorch finds no CUDA device"),
        ("vectors", ("predict", "run", "new.npz", "--batch-size", "0"), "batch_size=0 must be at least 1"),
        ("vectors", ("predict", "run", "new.npz", "--weights", "best"), "best"),
        ("series", ("predict", "run", "short.npz"), r"\[3, 40\] in short.npz, but \[3, 50\]"),
        (
            "categories",
            ("predict", "run", "less.csv"),
            "less.csv has no column ward; the network reads age, height, ward",
        ),
        ("vectors", ("export", "run", "--format", "onnx", "--out", "x.pt2"), "a file of --format onnx ends in .onnx"),
        ("vectors", ("export", "run"), "--format.*see da export --help"),
    ],
)
def test_what_is_wrong_is_named(here, kind, words, message, capfd, monkeypatch):
    here(kind)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    np.savez("short.npz", x=np.zeros((2, 3, 40), dtype=np.float32))
    pl.DataFrame({"age": [1.0], "height": [2.0]}).write_csv("less.csv")
    assert call(*words) in (1, 2)
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert re.search(f"error: .*{message}", err), err


def test_a_run_that_did_not_finish_has_no_selected_weights(here, tmp_path, capfd):
    folder = here("vectors")
    shutil.copytree(folder / "run", tmp_path / "run")
    results = json.loads((tmp_path / "run/results.json").read_text())
    (tmp_path / "run/results.json").write_text(json.dumps({**results, "status": "failed"}))
    assert call("predict", tmp_path / "run", "new.npz") == 1
    assert "did not finish (status 'failed'" in capfd.readouterr().err
    assert call("predict", tmp_path / "run", "new.npz", "--weights", "last") == 0


def test_without_the_packages_of_onnx_the_extra_is_named(here, monkeypatch, capfd):
    here("vectors")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(exported, "import_module", missing)
    assert call("export", "run", "--format", "onnx") == 1
    assert "--format onnx needs onnx: pip install 'lambda-da[onnx]'" in capfd.readouterr().err
