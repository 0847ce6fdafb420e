"""Every term in conf/, as a node to build, for the tests that hold all of them to the same rules."""

import functools
from typing import Any

from conftest import TOY, config, encoded, normal, options
from omegaconf import DictConfig, OmegaConf

from da.build import build
from da.terms.base import Term

SIZES = {"feature_dim": 5, "num_classes": 3, "dropout": 0.0}
"""What the network of the tests has. Dropout would make two calls differ."""
SURE = 0.4
"""The highest threshold: none of its rows is surer of its class."""


@functools.cache
def term_nodes() -> dict[str, dict[str, Any]]:
    """Each term of conf/term by its file's name (`align` under every discrepancy), and those that only a method has."""
    found: dict[str, dict[str, Any]] = {}
    for name in options("term"):
        for choice in [f"discrepancy={d}" for d in options("discrepancy")] if name == "align" else [None]:
            cfg = config(*TOY, "method=source_only", f"term={name}", *([choice] if choice else []))
            for key, node in _terms(cfg).items():
                if key != "task":
                    found[f"{name}-{choice.partition('=')[2]}" if choice else name] = node
    for method in options("method"):
        for key, node in _terms(config(*TOY, f"method={method}")).items():
            if node not in found.values():
                found[f"{method}-{key}"] = node
    return found


def _terms(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    OmegaConf.resolve(cfg)
    terms = OmegaConf.to_container(cfg.method).get("terms", {})
    return {name: _resized(node) for name, node in terms.items()}


def _resized(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    resized = {key: SIZES.get(key, _resized(value)) for key, value in node.items()}
    return resized | {key: min(value, SURE) for key, value in resized.items() if key == "threshold"}


def make_term(node: dict[str, Any], net: Any) -> Term:
    """Build a term as a method would: with the network shown to it before the first step."""
    return begin(build(OmegaConf.create(node), "term"), net)


def begin(term: Term, net: Any) -> Term:
    """Show the network to a term, and all rows that it wants to see before training."""
    term.prepare(net)
    if not term.fits_on:
        return term
    rows = encoded(24, c=net.num_classes_of("target"))
    layers = {"head.source": normal(24, net.num_classes_of("source"), seed=3)}
    term.fit({stream: rows._replace(layers=layers) for stream in term.fits_on})
    return term
