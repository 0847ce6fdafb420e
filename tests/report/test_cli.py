"""`da report` over folders."""

import csv
import io
import json
import subprocess
import sys

import pytest

from da.report.cli import main


@pytest.fixture
def runs(tmp_path):
    for seed, accuracy in enumerate((0.9123456789, 0.8)):
        content = {
            **{"schema": "da.results/1", "status": "complete", "error": None, "method": "dann", "data": "digits"},
            **{"net": "lenet", "source": "usps", "target": "mnist", "seed": seed, "config_hash": str(seed)},
            **{"target_labels": [], "test": {"target_acc": {"last": accuracy}}, "git_dirty": True},
        }
        folder = tmp_path / "runs" / str(seed)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(content))
    return tmp_path / "runs"


def test_the_table_is_printed_plain_where_there_is_no_terminal(runs, capsys):
    assert main([str(runs)]) == 0
    out, err = capsys.readouterr()
    assert "dann    85.6 ± 71.4 (2)\n" in out
    assert "\x1b" not in out
    assert err == ""


def test_markdown_is_a_table(runs, capsys):
    assert main([str(runs), "--format", "markdown"]) == 0
    assert "| method | usps→mnist |\n| --- | ---: |\n| dann | 85.6 ± 71.4 (2) |\n" in capsys.readouterr().out


def test_csv_parses_back_to_the_same_numbers_and_its_notes_stay_out_of_it(runs, capsys):
    assert main([str(runs), "--runs", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert [float(row["target_acc_last"]) for row in csv.DictReader(io.StringIO(out))] == [0.9123456789, 0.8]
    assert "versions of the code" in err


def test_json_has_records_and_notes(runs, tmp_path):
    assert main([str(runs), "--format", "json", "--out", str(tmp_path / "table.json")]) == 0
    content = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [record["mean"] for record in content["records"]] == [pytest.approx((0.9123456789 + 0.8) / 2)]
    assert content["notes"] == ["versions of the code: unknown with changes"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "PATHS"),
        (["runs", "--metric", "best"], 2, "invalid choice: 'best'"),
        (["runs", "--runs", "--metric", "last"], 2, "give one of them"),
        (["nowhere"], 1, "nowhere doesn't exist: give a run's folder"),
        (["runs", "--out", "no/such/folder/file.md"], 1, "no/such/folder/file.md"),
    ],
)
def test_an_error_is_one_line(runs, tmp_path, monkeypatch, capsys, words, status, said):
    monkeypatch.chdir(tmp_path)
    assert main(words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_broken_file_is_named(runs, capsys):
    (runs / "0" / "results.json").write_text("{")
    assert main([str(runs)]) == 1
    assert f"error: {runs / '0' / 'results.json'} isn't valid JSON" in capsys.readouterr().err


def test_broken_overrides_are_named_in_one_line(runs, capsys):
    (runs / "0" / ".hydra").mkdir()
    (runs / "0" / ".hydra" / "overrides.yaml").write_text("- [\n")
    assert main([str(runs)]) == 1
    err = capsys.readouterr().err
    assert f"{runs / '0' / '.hydra' / 'overrides.yaml'} isn't valid YAML" in err
    assert err.count("\n") == 1


def test_a_terminal_is_written_to_by_rich(runs, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([str(runs)]) == 0
    assert "85.6 ± 71.4 (2)" in capsys.readouterr().out


def test_the_report_loads_neither_torch_nor_matplotlib_nor_all_of_scipy(runs):
    code = (
        "import sys; from da.report.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('torch', 'matplotlib', 'scipy.stats', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(runs)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
