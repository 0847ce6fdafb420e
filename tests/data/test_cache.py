import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from da import cache_cli
from da.data import cache, store
from da.data.cache import cached_tensor

SHAPE = (50, 20)
BYTES = 50 * 20 * 4
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DA_CACHE_GB", raising=False)
    return tmp_path / "cache"


class Fill:
    """Writes the same numbers each time, and counts how often it had to."""

    def __init__(self, value=0.0):
        self.value, self.calls = value, 0

    def __call__(self, out):
        self.calls += 1
        out.copy_(torch.arange(out.numel()).view_as(out) + self.value)


def get(fill, key="a", kind="things", shape=SHAPE, dtype=torch.float32):
    return cached_tensor(kind, key, shape, dtype, fill)


def files(folder, suffix):
    return sorted(folder.glob(f"*{suffix}"))


def use(key, age):
    """As if the entry had been used so many seconds ago."""
    header = store.entry("things", key).header
    os.utime(header, (time.time() - age, time.time() - age))


def forget():
    """As in another process: nothing was checked yet."""
    cache._checked.clear()


def test_it_is_filled_once_and_is_the_same_after():
    fill = Fill()
    first, second = get(fill), get(fill)
    assert fill.calls == 1
    expected = torch.arange(1000.0).view(SHAPE)
    assert_close(first, expected, rtol=0, atol=0)
    assert_close(second, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float64, torch.bool])
def test_every_kind_of_number_comes_back(dtype):
    rows = torch.arange(6).view(2, 3).to(dtype)
    for _ in range(2):
        kept = get(lambda out: out.copy_(rows), shape=(2, 3), dtype=dtype)
        assert kept.dtype == dtype
        assert torch.equal(kept, rows)


@pytest.mark.parametrize("other", [{"key": "b"}, {"kind": "others"}])
def test_another_key_or_kind_is_another_entry(other):
    assert torch.equal(get(Fill(5)), get(Fill(5)))
    assert torch.equal(get(Fill(7), **other), get(Fill(5)) + 2)


def test_no_rows_are_no_file(folder):
    assert get(Fill(), shape=(0, 4)).shape == (0, 4)
    assert not folder.exists()


def test_writing_to_the_tensor_leaves_the_file_alone():
    get(Fill()).zero_()
    forget()
    assert get(Fill())[0, 1] == 1


def test_the_header_says_what_is_in_the_file(folder):
    get(Fill(), key="version 1")
    (data,), (header,) = files(folder, ".bin"), files(folder, ".json")
    said = json.loads(header.read_text())
    assert {"kind": "things", "key": "version 1", "dtype": "torch.float32", "shape": [50, 20]}.items() <= said.items()
    assert data.stat().st_size == said["size"] == BYTES
    assert data.name.startswith("things-")


def test_a_failed_fill_leaves_nothing(folder):
    def fail(out):
        out.fill_(1)
        raise KeyError("no such row")

    with pytest.raises(KeyError, match="no such row"):
        get(fail)
    assert not files(folder, ".bin") + files(folder, ".json") + files(folder, ".part")
    assert get(Fill())[0, 1] == 1


def cut(data, header):
    data.write_bytes(data.read_bytes()[:-100])


def alter(data, header):
    content = bytearray(data.read_bytes())
    content[123] ^= 1
    data.write_bytes(content)


def alter_secretly(data, header):
    """The time of the last change is what it was."""
    before = data.stat().st_mtime_ns
    alter(data, header)
    os.utime(data, ns=(before, before))


def remove_data(data, header):
    data.unlink()


def garble_header(data, header):
    header.write_text(header.read_text()[:40])


def swap_header(data, header):
    header.write_text(json.dumps(json.loads(header.read_text()) | {"key": "another"}))


@pytest.mark.parametrize("damage", [cut, alter, alter_secretly, remove_data, garble_header, swap_header])
def test_a_damaged_file_is_made_again_and_that_is_said(folder, capfd, damage):
    get(Fill())
    damage(files(folder, ".bin")[0], files(folder, ".json")[0])
    forget()
    fill = Fill()
    assert_close(get(fill), torch.arange(1000.0).view(SHAPE), rtol=0, atol=0)
    assert fill.calls == 1
    notice = capfd.readouterr().err
    assert notice.startswith("cache: things-")
    assert "made again" in notice


def test_a_file_without_a_header_is_not_trusted(folder, capfd):
    """A crash between the two: the header is written last."""
    get(Fill())
    files(folder, ".json")[0].unlink()
    fill = Fill()
    get(fill)
    assert fill.calls == 1


def test_the_checksum_is_computed_once_a_process(monkeypatch):
    get(Fill())
    forget()
    checked = []
    checksum = cache._crc32
    monkeypatch.setattr(cache, "_crc32", lambda path: checked.append(path) or checksum(path))
    for _ in range(3):
        get(Fill())
    assert len(checked) == 1


def test_a_large_file_is_checked_when_its_time_of_change_is_another(folder, monkeypatch):
    monkeypatch.setattr(cache, "CHECKED_WHOLE", 1000)
    get(Fill())
    forget()
    data = files(folder, ".bin")[0]
    with monkeypatch.context() as patched:
        patched.setattr(cache, "_crc32", lambda path: pytest.fail("the file was read"))
        get(Fill())
    alter(data, None)
    forget()
    fill = Fill()
    get(fill)
    assert fill.calls == 1


SCRIPT = """
import os, sys, time, torch
from pathlib import Path
from types import SimpleNamespace
from da.data.cache import cached_tensor
log, how = Path(sys.argv[1]), sys.argv[2]
def fill(out):
    with log.open("a") as file:
        file.write("filled\\n")
    out[:25] = 1.0
    if how == "crash":
        os.kill(os.getpid(), 9)
    time.sleep(1)
    out[25:] = 1.0
print(cached_tensor("things", "a", (50, 20), torch.float32, fill).sum().item())
"""


def start(log, how):
    command = [sys.executable, "-c", SCRIPT, str(log), how]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_fills_and_the_other_waits(tmp_path, folder):
    processes = [start(tmp_path / "log", "slowly") for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == ["1000.0", "1000.0"]
    assert (tmp_path / "log").read_text() == "filled\n"
    assert len(files(folder, ".bin")) == 1


def test_what_a_killed_process_left_is_neither_read_nor_kept(tmp_path, folder):
    process = start(tmp_path / "log", "crash")
    process.communicate()
    assert process.returncode == -9
    assert len(files(folder, ".part")) == 1
    assert not files(folder, ".bin")
    get(Fill(), key="another")  # makes room, and so finds it
    assert not files(folder, ".part")
    fill = Fill()
    assert_close(get(fill), torch.arange(1000.0).view(SHAPE), rtol=0, atol=0)
    assert fill.calls == 1


def keys(folder):
    return {json.loads(header.read_text())["key"] for header in files(folder, ".json")}


def test_the_least_recently_used_entries_go_first(folder, monkeypatch):
    monkeypatch.setenv("DA_CACHE_GB", str(3.6 * BYTES / 1e9))  # three entries and their headers
    for age, key in ((30, "a"), (20, "b"), (10, "c")):
        get(Fill(), key)
        use(key, age)
    get(Fill(), "a")  # just used
    get(Fill(), "d")
    assert keys(folder) == {"a", "c", "d"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3.6 * BYTES


def test_an_entry_that_this_process_uses_stays(folder, monkeypatch):
    monkeypatch.setenv("DA_CACHE_GB", str(2.6 * BYTES / 1e9))
    used = get(Fill(), "a")
    get(Fill(), "b")
    use("a", 20)
    use("b", 10)
    get(Fill(), "c")
    assert keys(folder) == {"a", "c"}
    assert used[0, 1] == 1


def test_what_does_not_fit_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setenv("DA_CACHE_GB", str(1.5 * BYTES / 1e9))
    used = get(Fill(), "a")
    with pytest.raises(ValueError, match=r"are in use, 0.00 GB are needed. Set .* DA_CACHE_GB"):
        get(Fill(), "b")
    del used
    get(Fill(), "b")


@pytest.mark.parametrize("limit", ["much", "-1", "inf", "nan"])
def test_a_bound_that_is_no_number_is_refused(monkeypatch, limit):
    monkeypatch.setenv("DA_CACHE_GB", limit)
    with pytest.raises(ValueError, match=f"DA_CACHE_GB='{limit}'"):
        get(Fill())


def test_a_full_disk_is_an_error_that_says_so(folder, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=9))
    with pytest.raises(OSError, match=r"needed in the cache folder .*No space left.*da cache clear.*DA_CACHE"):
        get(Fill())
    assert not files(folder, ".part")


def test_a_disk_that_fills_up_meanwhile_is_an_error_that_says_so(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left.*da cache clear"):
        get(Fill())
    assert not files(folder, ".part")


def test_a_folder_that_can_not_be_made_is_an_error_that_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(OSError, match=r"no cache in .*DA_CACHE to another folder"):
        get(Fill())


def test_a_mapping_may_be_larger_than_the_memory(tmp_path):
    """80 GB here: a private mapping is refused unless it asks for no reserve."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(80 * 2**30)
    with path.open("rb") as file:
        mapped = cache._map_copy(file.fileno())
    assert mapped[70 * 2**30] == 0
    mapped.close()


def test_a_note_is_kept_until_it_is_another(folder):
    assert store.read_note("photos") == {}
    store.write_note("photos", {"a.jpg": "1"})
    store.write_note("pages", {"b.txt": "2"})
    assert store.read_note("photos") == {"a.jpg": "1"}
    store.entry("hashes", "photos").header.write_text("{")
    assert store.read_note("photos") == {}


def test_the_command_shows_and_clears(folder, capsys):
    get(Fill(), "a")
    get(Fill(), "b")
    get(Fill(), "a", kind="others")
    (folder / "of-mine.bin").write_text("not an entry")
    assert cache_cli.main([]) == 0
    shown = capsys.readouterr().out
    assert str(folder) in shown
    assert "things         2 entries" in shown
    assert "others         1 entry" in shown
    assert cache_cli.main(["clear", "things"]) == 0
    assert "removed 2 entries" in capsys.readouterr().out
    assert [path.name.partition("-")[0] for path in files(folder, ".json")] == ["others"]
    assert cache_cli.main(["clear"]) == 0
    assert not files(folder, ".json")
    assert (folder / "of-mine.bin").exists()
    fill = Fill()
    get(fill)
    assert fill.calls == 1


def test_the_command_names_what_it_does_not_know(capsys):
    get(Fill())
    assert cache_cli.main(["clear", "pictures"]) == 1
    assert "nothing of the kind 'pictures'; it has things" in capsys.readouterr().err
    assert cache_cli.main(["wash"]) == 2


def test_clearing_leaves_what_is_being_made(capsys):
    def clear_now(out):
        assert cache_cli.main(["clear"]) == 0
        out.fill_(1)

    assert get(clear_now).sum() == 1000
    assert "1 stay" in capsys.readouterr().out
