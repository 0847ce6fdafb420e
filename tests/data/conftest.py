"""No test reads a real data set, a cache or the network unless it says so."""

from urllib.error import URLError

import pytest

from da.data import download


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Neither a data folder, nor a cache, nor a network."""
    monkeypatch.delenv("DA_DATA_ROOT", raising=False)
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "CACHE", tmp_path / "cache")

    def refuse(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)
