"""What the pages of methods, terms and discrepancies say of a yaml, and of the classes that it names."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from da.build import build
from da.methods.base import JointMethod
from da.methods.weighted_sum import WeightedSum

CONF = Path(__file__).resolve().parents[1] / "conf"


class Group(NamedTuple):
    """A folder of conf/ whose files have a page each."""

    name: str
    folder: str  # below docs/pages
    overrides: tuple[str, ...]  # what composes with NAME in place of {}
    nodes: tuple[str, ...]  # of the config, which the page shows
    about: str


GROUPS = (
    Group(
        "method",
        "methods",
        ("method={}",),
        ("method", "discrepancy", "pretrain"),
        """\
# Methods

Choose one with `da train method=NAME`. The first is the lower bound, the last is the upper bound. A *sum* is an
equation: the yaml on its page is all of it. A *procedure* makes several updates a batch, or works between epochs, and
is a Python file.
""",
    ),
    Group(
        "term",
        "terms",
        ("method=source_only", "term={}"),
        ("method.terms", "method.weights", "discrepancy"),
        """\
# Terms

Add one to the sum of any method with `da train method=METHOD term=NAME`, or several with `term=[NAME,NAME]`. A sum
and never a mean: a new term does not re-weight the others. Its weight λ is `method.weights.NAME`.
""",
    ),
    Group(
        "discrepancy",
        "discrepancies",
        ("method=align", "discrepancy={}"),
        ("discrepancy",),
        """\
# Discrepancies

D(F_s, F_t): how far two clouds of features lie apart. Choose one with `da train method=align discrepancy=NAME`,
the layer with `method.terms.align.layer=features` (or `logits`, `probabilities`, a layer inside the network, or a list
of them: their distances are added up). All are computed on the batch of all processes together. The columns say
whether D(x, x) = 0, D(x, y) = D(y, x), a moved cloud makes a difference, a rotation of both or the order of the rows
none, and how many rows a domain must have: what `tests/discrepancies/test_properties.py` holds each to.
""",
    ),
)


def composed(group: Group, name: str) -> DictConfig:
    """The whole configuration under the defaults, with this choice."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [override.format(name) for override in group.overrides]
        return compose("train", overrides=[*overrides, "data=toy", "net=mlp"])


def yaml_text(group: Group, name: str) -> str:
    """The configuration file."""
    return (CONF / group.name / f"{name}.yaml").read_text(encoding="utf-8")


def first_line(group: Group, name: str) -> tuple[str, str]:
    """Equation and command of the yaml's first line; `# @package` may stand above it."""
    lines = yaml_text(group, name).splitlines()
    line = lines[lines[0].startswith("# @package")]
    match = re.fullmatch(r"# (.+?) {2,}(da train .+)", line)
    if match is None:
        raise ValueError(f"conf/{group.name}/{name}.yaml must begin with '# equation  da train ...', not with {line!r}")
    return match[1], match[2]


def built(cfg: DictConfig) -> Any:
    """The method of a config."""
    return build(cfg.method, "method", net=build(cfg.net, "net"), optimizer=build(cfg.optimizer, "optimizer"))


def kind(cfg: DictConfig) -> tuple[str, str]:
    """Sum or procedure, and the streams that the method reads."""
    method = built(cfg)
    how = "sum" if isinstance(method, WeightedSum) else "procedure"
    updates = how if isinstance(method, JointMethod) else f"{how}, {len(method.updates())} updates a batch"
    first = "source, then " if cfg.pretrain is not None else ""
    return updates, first + ", ".join(sorted(method.streams))


def nodes(group: Group, cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """The parts of the config that a page shows, by their names; of a term without the task it is added to."""
    for key in group.nodes:
        node = OmegaConf.select(cfg, key)
        if node is not None:
            plain = OmegaConf.to_container(node, resolve=False)
            yield key, {k: v for k, v in plain.items() if group.name != "term" or k != "task"}


def settings(group: Group, cfg: DictConfig) -> str:
    """A table of every option, with its default."""
    lines = ["| option | default |", "|---|---|"]
    for key, node in nodes(group, cfg):
        lines += [f"| `{option}` | `{value}` |" for option, value in flat(node, key)]
    return "\n".join(lines) + "\n" if len(lines) > 2 else "It has none.\n"


def flat(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and values of a config node, as they are written on the command line."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}.{key}")
        elif not key.startswith("_"):
            is_word = value is None or isinstance(value, bool)
            yield f"{prefix}.{key}", json.dumps(value) if is_word else str(value)


def classes(group: Group, cfg: DictConfig) -> str:
    """The docstrings of the classes that the method's config names, and of the functions that those name."""
    found: dict[str, str] = {}
    for _, node in nodes(group, cfg):
        for path in targets(node):
            thing = get_object(path)
            found[path] = inspect.getdoc(thing) or ""
            module = inspect.getmodule(thing)
            for word in re.findall(r"`(\w+)`", found[path]):
                function = getattr(module, word, None)
                if inspect.isfunction(function):
                    found[f"{function.__module__}.{word}"] = inspect.getdoc(function) or ""
    return "\n".join(f"### {path}\n\n{block('text', text)}" for path, text in found.items())


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` below a config node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


def block(language: str, text: str) -> str:
    """A fenced code block."""
    return f"```{language}\n{text.strip()}\n```\n"


def escaped(text: str) -> str:
    """Text in which Markdown sees no table, emphasis or link."""
    return re.sub(r"([|*_\[\]\\])", r"\\\1", text)
