"""A tokenizer of a few words, for the tests of what reads texts."""

import json
from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "book"]


def write_tokenizer(folder: Path) -> Path:
    """Write BERT's tokenizer for `WORDS` into a folder: it cuts at spaces."""
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
