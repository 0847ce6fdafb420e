"""Validators in a run: they move no weight, see the labels they may see, and mix the rows of the data."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import TOY, config, everything
from processes import run_on
from torch.testing import assert_close

import da.callbacks.validation as validation
from da.data.rows import Rows
from da.models.state import load_checkpoint
from da.run import run
from da.types import HIDDEN, Encoded, Samples
from da.validators.few_shot_acc import FewShotAccuracy

SHORT = (*TOY, "trainer.limit_train_batches=6", "trainer.max_epochs=2", "method=dann")
FEW_SHOT, MIXVAL = (f"+validator@validators.{name}={name}" for name in ("few_shot_acc", "mixval"))


def weights(folder):
    return load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]


def test_all_validators_leave_the_weights_as_they_are(tmp_path):
    results = {}
    for name, words in {"standard": (), "all": ("validators=all", FEW_SHOT, MIXVAL)}.items():
        results[name] = run(config(*SHORT, *words, run_dir=tmp_path / name))
    a, b = weights(tmp_path / "standard"), weights(tmp_path / "all")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    few, many = (results[name]["validators"] for name in ("standard", "all"))
    assert few == {name: many[name] for name in few}
    assert {"dev", "class_ami", "mixval"} <= many.keys() - few.keys()
    assert None not in many.values()
    assert results["standard"]["target_labels"] == []
    assert (results["all"]["target_labels"], results["all"]["validation_labels"]) == (["validation"], 6)


def test_few_shot_accuracy_sees_its_own_rows_only_and_the_others_none(monkeypatch):
    y = torch.arange(20) % 4
    shown = {1: torch.arange(4), 2: torch.arange(8)}
    seen = {}

    class Spy(FewShotAccuracy):
        def score(self, rows):
            seen[self.labels_per_class] = rows.target.y
            return torch.tensor(0.0)

    none = Spy(1)
    none.labels_per_class = 0
    under_test = validation.Validation({"none": none, "one": Spy(1), "two": Spy(2)})
    monkeypatch.setattr(validation, "_shown_rows", lambda data, labels_per_class: shown[labels_per_class])
    under_test.open(("target",), frozenset(), SimpleNamespace())
    n = torch.arange(20)
    under_test.update("target", Encoded(torch.eye(20), torch.eye(20, 4), y, n * 0, n))
    under_test.compute(None)
    assert under_test.labels_seen == 8
    assert (seen[0] == HIDDEN).all()
    for k, numbers in shown.items():
        assert seen[k][numbers].tolist() == y[numbers].tolist()
        assert (seen[k][len(numbers) :] == HIDDEN).all()


def test_mixed_rows_are_rows_of_the_data_through_the_network(tmp_path, monkeypatch):
    make, compared = validation._mixer, []

    def compare(method, index):
        mix, net = make(method, index), method.net
        x = everything(method.data.eval_set("target", "val")).x[index]
        i = torch.arange(len(index))
        j = i.flip(0)
        assert not net.training
        assert_close(mix(i, j, 0.55), net(0.55 * x[i] + (1 - 0.55) * x[j])[1])
        assert_close(mix(i, j, 1.0), net(x)[1])
        compared.append(len(index))
        return mix

    monkeypatch.setattr(validation, "_mixer", compare)
    results = run(config(*SHORT, MIXVAL, "data.eval_batch_size=300", "data.val_rows=700", run_dir=tmp_path))
    assert compared == [600, 600]  # two batches, as this trainer limits them, of the 700 rows
    assert 0 <= results["validators"]["mixval"] <= 1


def test_texts_can_not_be_mixed():
    class Texts(Rows):
        def __getitem__(self, draw):
            n = draw.rows
            return Samples({"tokens": n[:, None]}, n, n, n)

    data = SimpleNamespace(eval_set=lambda *_: Texts(), eval_batch_size=4)
    method = SimpleNamespace(data=data, prepared=lambda rows: rows)
    n = torch.arange(6)
    with pytest.raises(ValueError, match="can't be mixed: leave mixval out"):
        validation._mixer(method, n)(n, n, 0.55)


@pytest.mark.ddp
def test_a_run_on_two_processes_has_the_scores_of_one(tmp_path):
    norm = "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true, dropout: 0.0}"
    short = ("data=toy", "net=mlp", "figures=none", norm, "data.steps_per_epoch=6", "trainer.max_epochs=2")
    for world, name, trainer in ((1, "one", "cpu"), (2, "two", "ddp_cpu")):
        words = ("method=mmd", *short, "validators=all", FEW_SHOT, MIXVAL, f"trainer={trainer}")
        run_on(world, config(*words, run_dir=tmp_path / name))
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert two["world_size"] == 2
    assert one["validators"].keys() >= {"mixval", "dev", "few_shot_acc"}
    assert two["validators"] == pytest.approx(one["validators"], abs=1e-4)
