import hashlib
import os
import time
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from da.data.files import Files, file_sha256

CONTENT = {"cat/a.jpg": b"one", "cat/old/b.jpg": b"two", "dog/a.jpg": b"three", "readme.txt": b"four"}
HIDDEN = {".DS_Store": b"x", "cat/.thumbs": b"x", "__MACOSX/cat/a.jpg": b"x", ".git/config": b"x"}


@pytest.fixture(params=["folder", "archive", "folder inside", "archive inside"])
def files(request, tmp_path):
    """The same files, in four ways; `empty` is a folder without a file."""
    kind, _, inside = request.param.partition(" ")
    base = "deep/down/" if inside else ""
    everything = {base + name: content for name, content in (CONTENT | HIDDEN).items()} | {base + "empty/": b""}
    if kind == "archive":
        with ZipFile(tmp_path / "photos.zip", "w", ZIP_DEFLATED) as archive:
            for name, content in everything.items():
                archive.writestr(name, content)
        return Files(tmp_path / "photos.zip", base.rstrip("/"))
    for name, content in everything.items():
        path = tmp_path / "photos" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if content:
            path.write_bytes(content)
    return Files(tmp_path / "photos", base.rstrip("/"))


def test_a_folder_and_an_archive_give_the_same_names(files):
    assert files.names == ["cat/a.jpg", "cat/old/b.jpg", "dog/a.jpg", "readme.txt"]
    assert files.folders == ["cat", "cat/old", "dog", "empty"]


def test_content_and_hashes_are_those_of_the_names(files):
    names = ["dog/a.jpg", "cat/a.jpg"]
    assert [files.read(name) for name in names] == [b"three", b"one"]
    assert files.sha256(names) == [hashlib.sha256(content).hexdigest() for content in (b"three", b"one")]


def test_what_can_not_be_read_has_no_hash(files):
    assert files.sha256(["cat/a.jpg", "cat/lost.jpg"]) == [hashlib.sha256(b"one").hexdigest(), ""]
    with pytest.raises(FileNotFoundError, match="lost.jpg"):
        files.read("cat/lost.jpg")


def make_old(*paths):
    for path in paths:
        os.utime(path, (time.time() - 60, time.time() - 60))


def count_reads(files, monkeypatch):
    read, names = files.read, []
    monkeypatch.setattr(files, "read", lambda name: names.append(name) or read(name))
    return names


def test_a_file_is_read_once_to_be_hashed(files, monkeypatch):
    make_old(files.where, *(path for path in files.where.rglob("*") if files.where.is_dir()))
    hashes = Files(files.where, str(files.inside)).sha256(files.names)
    read = count_reads(files, monkeypatch)
    assert files.sha256(files.names) == hashes
    assert read == []


def test_folders_of_one_archive_are_told_apart(tmp_path):
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        for domain in ("amazon", "webcam"):
            archive.writestr(f"{domain}/cat/a.jpg", domain)
    make_old(tmp_path / "all.zip")
    for _ in range(2):
        hashes = {
            domain: Files(tmp_path / "all.zip", domain).sha256(["cat/a.jpg"])[0] for domain in ("amazon", "webcam")
        }
        assert hashes == {name: hashlib.sha256(name.encode()).hexdigest() for name in hashes}


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_hashed_anew(tmp_path, change):
    path = tmp_path / "photos/a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"one")
    make_old(path)
    before = path.stat().st_mtime_ns
    Files(path.parent).sha256(["a.jpg"])
    new = b"four" if change == "size" else b"two"
    path.write_bytes(new)
    after = before if change == "size" else before + 10**9
    os.utime(path, ns=(after, after))
    assert Files(path.parent).sha256(["a.jpg"]) == [hashlib.sha256(new).hexdigest()]


def test_a_file_that_was_just_written_is_not_taken_for_settled(tmp_path):
    """Two changes within the clock's resolution would look like one."""
    path = tmp_path / "photos/a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"one")
    before = path.stat().st_mtime_ns
    Files(path.parent).sha256(["a.jpg"])
    path.write_bytes(b"two")
    os.utime(path, ns=(before, before))
    assert Files(path.parent).sha256(["a.jpg"]) == [hashlib.sha256(b"two").hexdigest()]


def test_the_hash_of_a_large_file_is_noted_too(tmp_path, monkeypatch):
    path = tmp_path / "all.zip"
    path.write_bytes(b"content")
    make_old(path)
    expected = hashlib.sha256(b"content").hexdigest()
    assert file_sha256(path) == expected
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("the file was read"))
    assert file_sha256(path) == expected


def test_only_the_named_files_are_looked_at(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "b.jpg").write_bytes(b"two")
    files = Files(tmp_path, names=["b.jpg"])
    assert files.names == ["b.jpg"]
    assert files.read("b.jpg") == b"two"


def test_links_to_folders_are_followed_and_rings_are_not(tmp_path):
    (tmp_path / "else/cat").mkdir(parents=True)
    (tmp_path / "else/cat/a.jpg").write_bytes(b"one")
    (tmp_path / "photos/dog").mkdir(parents=True)
    (tmp_path / "photos/cat").symlink_to(tmp_path / "else/cat")
    (tmp_path / "photos/tomcat").symlink_to(tmp_path / "else/cat")
    (tmp_path / "photos/dog/ring").symlink_to(tmp_path / "photos")
    assert Files(tmp_path / "photos").names == ["cat/a.jpg", "tomcat/a.jpg"]


def test_what_is_not_there_or_neither_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.txt").write_text("no archive")
    (tmp_path / "photos").mkdir()
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("amazon/cat/a.jpg", b"one")
    with pytest.raises(FileNotFoundError, match="no folder or archive .*nowhere"):
        Files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"a\.txt is neither a folder nor a zip archive"):
        Files(tmp_path / "a.txt")
    for where in ("all.zip", "photos"):
        with pytest.raises(FileNotFoundError, match=f"no folder webcam in .*{where}"):
            Files(tmp_path / where, "webcam")


def test_a_damaged_member_of_an_archive_has_no_hash(tmp_path):
    path = tmp_path / "all.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"first content")
        archive.writestr("b.jpg", b"other content")
    path.write_bytes(path.read_bytes().replace(b"first", b"worst"))
    files = Files(path)
    assert files.sha256(["a.jpg", "b.jpg"]) == ["", hashlib.sha256(b"other content").hexdigest()]
