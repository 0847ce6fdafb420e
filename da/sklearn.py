"""Domain adaptation as a scikit-learn classifier."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from da.memory_run import compose_config, describe_rows, drop_method, set_weight, train, undisturbed
from da.models.saved import build_network
from da.use import choose_device, network_logits

PREDICTED = 1024  # rows at a time


class AdaptationClassifier(ClassifierMixin, BaseEstimator):
    """A network trained on labelled source rows and adapted to target rows without labels.

    X is what the network takes: [n, features] for net="mlp", images [n, c, h, w] or series [n, c, t] for others, as
    float32, and not scaled here: put a StandardScaler before it. It trains by the same configs as `da train`, in
    memory: no files are written, nothing is validated, and the weights after the last epoch are kept.

    Args:
        method: a name of conf/method.
        net: a name of conf/net.
        weight: the method's lambda, where it has one, at the end of its schedule; None: as in conf/method.
        epochs: passes over the larger of the two domains.
        batch_size: rows of each domain in a batch; at most all of them.
        learning_rate: of the optimizer.
        overrides: more options, as on the command line: ("net.feature_dim=32", "optimizer=adam").
        device: "cpu", "cuda", or "auto": CUDA where there is a device.
        random_state: seed of the initial weights, of the order of the rows and of dropout.

    Attributes:
        classes_: the classes of the source, sorted.
        network_: the trained `da.models.network.Network`, in evaluation mode.
        config_: the resolved config that it was trained by.
        n_features_in_: columns of X, or channels of images and series; `feature_shape_` is that of a row.
    """

    def __init__(
        self,
        method: str = "coral",
        net: str = "mlp",
        weight: float | None = None,
        epochs: int = 50,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        overrides: Sequence[str] = (),
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.method = method
        self.net = net
        self.weight = weight
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.overrides = overrides
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_domain: Any = None, X_target: Any = None) -> "AdaptationClassifier":  # noqa: N803
        """Train on the source rows of X, and adapt to the target rows.

        Args:
            X: rows [n, ...] of all domains.
            y: [n] labels; those of target rows are ignored, whatever they are.
            sample_domain: [n] integers as in skada: positive for rows of a source, negative for rows of a target;
                several of one sign are several domains. None: all rows of X are the source's.
            X_target: rows [m, ...] of the target, instead of `sample_domain`.

        Without a target there is nothing to adapt to: it warns, and trains on the source alone.

        Raises ValueError for what is wrong with the rows, the labels or a parameter.
        """
        device = choose_device(self.device)
        x, labels, domain = self._rows(X, y, sample_domain, X_target)
        source = domain > 0
        self.classes_, numbers = np.unique(labels[source], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"the source has one class only, {self.classes_[0]!r}: there is nothing to tell apart")
        self.feature_shape_ = x.shape[1:]
        coded = np.zeros(len(x), dtype=np.int64)
        coded[source] = numbers
        cfg = self._config(device)
        if source.all() and self.method != "source_only":
            warnings.warn(f"no target rows: trained on the source alone, without method={self.method}", stacklevel=2)
            drop_method(cfg)
        rows = torch.tensor(x), torch.tensor(coded), torch.tensor(domain)
        describe_rows(cfg, rows[0], rows[2], len(self.classes_))
        with undisturbed(device):
            self.network_ = train(cfg, *rows)
        self.config_ = OmegaConf.to_container(cfg, resolve=True)
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the most likely class of every row, [n]."""
        best = self.predict_proba(X).argmax(axis=1)  # before `classes_`: it tells whether there was a fit
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return probabilities [n, classes], in the order of `classes_`."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float32, allow_nd=True)
        if x.shape[1:] != self.feature_shape_:
            raise ValueError(f"X has rows of shape {x.shape[1:]}, but was fitted with {self.feature_shape_}")
        batches = (torch.tensor(x[i : i + PREDICTED]) for i in range(0, len(x), PREDICTED))
        logits = network_logits(self.network_, batches, choose_device(self.device))
        return np.asarray(logits.double().softmax(dim=1).numpy())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # A network with weight-normalised layers can't be pickled, its weights can.
        state = dict(super().__getstate__())
        if "network_" in state:
            state["network_"] = self.network_.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state.pop("network_", None)
        super().__setstate__(state)
        if weights is not None:
            self.network_ = build_network(OmegaConf.create(self.config_).net)
            self.network_.load_state_dict(weights)

    def _rows(self, X: Any, y: Any, sample_domain: Any, X_target: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # noqa: N803
        """Return the rows of all domains, their labels, and the domain of each row."""
        if sample_domain is not None and X_target is not None:
            raise ValueError("give sample_domain or X_target, not both")
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        x = validate_data(self, X, dtype=np.float32, allow_nd=True)
        labels = column_or_1d(y, warn=True)
        check_consistent_length(x, labels)
        domain = np.ones(len(x), dtype=np.int64) if sample_domain is None else _domains(sample_domain, len(x))
        assert_all_finite(labels[domain > 0], input_name="y")
        check_classification_targets(labels[domain > 0])
        if X_target is not None:
            x_target = validate_data(self, X_target, reset=False, dtype=np.float32, allow_nd=True)
            if x_target.shape[1:] != x.shape[1:]:
                raise ValueError(f"X_target has rows of shape {x_target.shape[1:]}, but X of {x.shape[1:]}")
            x = np.concatenate([x, x_target])
            domain = np.concatenate([domain, np.full(len(x_target), -1)])
            labels = np.concatenate([labels, labels[:1].repeat(len(x_target))])  # any: they are ignored
        return x, labels, domain

    def _config(self, device: torch.device) -> DictConfig:
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        options = (
            f"trainer={'gpu' if device.type == 'cuda' else 'cpu'}",
            f"trainer.max_epochs={self.epochs}",
            f"optimizer.lr={self.learning_rate}",
            f"+data.batch_size={{source: {self.batch_size}, target: {self.batch_size}}}",
        )
        cfg = compose_config(self.method, self.net, _seed(self.random_state), (*options, *self.overrides))
        if self.weight is not None:
            set_weight(cfg, self.weight)
        return cfg


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _domains(sample_domain: Any, rows: int) -> np.ndarray:
    """Return the domain of each row, checked."""
    domain = column_or_1d(sample_domain)
    if not np.issubdtype(domain.dtype, np.integer) or (domain == 0).any():
        raise ValueError("sample_domain must be integers: positive for the rows of a source, negative for a target's")
    if len(domain) != rows:
        raise ValueError(f"sample_domain has {len(domain)} entries, but X has {rows} rows")
    if not (domain > 0).any():
        raise ValueError("sample_domain has no positive entry: there are no source rows to learn from")
    return domain.astype(np.int64)
