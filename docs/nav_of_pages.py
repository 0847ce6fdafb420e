"""Puts the generated pages into the navigation, so that a new method, term or discrepancy needs no edit."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace an entry that ends in a slash by the folder's index and its pages, in alphabetical order."""
    for entry in config.nav:
        for title, target in entry.items():
            if isinstance(target, str) and target.endswith("/"):
                pages = sorted((Path(config.docs_dir) / target).glob("*.md"))
                entry[title] = [f"{target}index.md", *(f"{target}{p.name}" for p in pages if p.stem != "index")]
    return config
