"""Where shipped data sets are looked for, and what is said when they are nowhere."""

from pathlib import Path

import pytest

from da.data import download, shipped
from da.data.shipped import Origin, locate

PLACES = ("sound/made.npz", "sound/published", "sound/published.zip")
OPEN = Origin(PLACES, "published.zip from its owner, and put it into <root>/sound", "https://owner.example/p.zip")


@pytest.fixture
def network(monkeypatch):
    """A web site that gives out 7 bytes; returns the addresses that were fetched."""
    fetched = []

    def fetch(url, target, **_):
        fetched.append(url)
        Path(target).write_bytes(b"archive")

    monkeypatch.setattr(download, "_probe", lambda url: None)
    monkeypatch.setattr(shipped, "download_url_to_file", fetch)
    return fetched


def test_first_place_that_is_there_is_read(tmp_path):
    (tmp_path / "sound/published").mkdir(parents=True)
    (tmp_path / "sound/published.zip").touch()
    assert locate(OPEN, str(tmp_path)) == tmp_path / "sound/published"
    (tmp_path / "sound/made.npz").touch()
    assert locate(OPEN, str(tmp_path)) == tmp_path / "sound/made.npz"


def test_missing_archive_is_downloaded_once_to_where_it_is_looked_for(tmp_path, network):
    paths = [locate(OPEN, str(tmp_path)) for _ in range(2)]
    assert paths == [tmp_path / "sound/published.zip"] * 2
    assert paths[0].read_bytes() == b"archive"
    assert network == [OPEN.url]


def test_without_a_root_it_is_downloaded_into_the_cache(tmp_path, network):
    assert [locate(OPEN, None) for _ in range(2)] == [tmp_path / "cache/sound/published.zip"] * 2
    assert len(network) == 1


@pytest.mark.parametrize("origin", [OPEN, OPEN._replace(url=None)])
def test_missing_archive_says_what_to_get_and_where_to_put_it(tmp_path, origin):
    with pytest.raises(FileNotFoundError) as error:
        locate(origin, str(tmp_path))
    for part in (*PLACES, str(tmp_path), origin.fetch, "DA_DATA_ROOT", "data.root"):
        assert part in str(error.value)
    assert ("no network" in str(error.value)) == (origin.url is not None)


def test_nothing_is_downloaded_without_leave(tmp_path, network):
    with pytest.raises(FileNotFoundError, match="no leave"):
        locate(OPEN._replace(url=None), str(tmp_path))
    assert not network
