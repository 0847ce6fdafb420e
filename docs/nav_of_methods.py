"""Puts every page of pages/methods into the navigation, so that a new method needs no edit of mkdocs.yml."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the entry `methods/` by the index and the pages, in alphabetical order."""
    folder = Path(config.docs_dir) / "methods"
    pages = [f"methods/{path.name}" for path in sorted(folder.glob("*.md")) if path.stem != "index"]
    for entry in config.nav:
        for title, target in entry.items():
            if target == "methods/":
                entry[title] = ["methods/index.md", *pages]
    return config
