import pytest
import torch
from conftest import TOY, config
from pytorch_lightning import Callback
from pytorch_lightning.profilers import SimpleProfiler

from da.overhead import LeanModule, Untimed, leave_out_unused_hooks
from da.run import run
from da.stage import build_trainer


class Counts(Callback):
    def __init__(self):
        self.called = []

    def on_train_batch_end(self, *_):
        self.called.append("batch")

    def on_before_zero_grad(self, *_):
        self.called.append("zero_grad")

    def on_train_end(self, *_):
        self.called.append("end")


def test_what_a_callback_does_is_called_and_what_it_does_not_is_not():
    callback = Counts()
    leave_out_unused_hooks([callback])
    assert callback.on_train_batch_start is callback.on_after_backward is None
    assert callable(callback.on_train_epoch_start), "not of each step"
    assert callable(Counts().on_train_batch_start), "nor of another callback"
    for hook in (callback.on_train_batch_end, callback.on_before_zero_grad, callback.on_train_end):
        hook()
    assert callback.called == ["batch", "zero_grad", "end"]


def test_a_run_calls_every_hook_that_a_callback_has(tmp_path, monkeypatch):
    counts = Counts()
    monkeypatch.setattr("da.run.fit", lambda *args, fit=run.__globals__["fit"]: fit(*args[:-1], [counts]))
    run(config(*TOY, "method=mmd", "trainer.max_epochs=2", "data.steps_per_epoch=3", run_dir=tmp_path))
    assert counts.called == ["zero_grad", "batch"] * 6 + ["end"]


def test_a_module_is_still_one_of_lightning():
    class Linear(LeanModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)
            self._current_fx_name = "training_step"

        def training_step(self, batch, batch_idx):
            return self.layer(batch).sum()

    module = Linear()
    assert len(list(module.parameters())) == 2
    assert module._current_fx_name == "training_step"
    assert list(Linear.training_step.__signature__.parameters) == ["self", "batch", "batch_idx"]


@pytest.mark.parametrize(("words", "kind"), [((), Untimed), (("+trainer.profiler=simple",), SimpleProfiler)])
def test_nothing_is_timed_unless_it_is_asked_for(words, kind, tmp_path):
    trainer = build_trainer(config(*TOY, *words), tmp_path)
    assert type(trainer.profiler) is kind
    with trainer.profiler.profile("a"), trainer.profiler.profile("b"):
        pass
    assert set(trainer.profiler.recorded_durations) == {"a", "b"} if words else trainer.profiler.summary() == ""
