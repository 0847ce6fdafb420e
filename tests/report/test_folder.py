"""`da report --out DIR`: what is in the folder."""

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from written_results import TASKS, write_failed, write_result, write_study, write_weights

from da.report.against import compare
from da.report.axes import rows_by_axes
from da.report.classes import class_gains
from da.report.cli import main
from da.report.folder import sections
from da.report.lambdas import lambda_curves
from da.report.latex import escaped
from da.report.quality import correlation, selected_by, spearman
from da.report.results import find_results

SECTIONS = ("accuracy", "against", "ranks", "lambda", "validators", "cost", "classes", "failed", "audit")
PAIR = ("source_only", "mmd")


def study(root, **options):
    results = find_results([root])
    rows = rows_by_axes(results, **options)
    return rows, {one.name: one for one in sections(rows, results)}


def words(section):
    cells = [cell for sheet in section.sheets for row in sheet.rows for cell in row]
    return "\n".join([*section.text, *cells])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def folder(runs):
    pytest.importorskip("plotly")
    out = runs.parent / "report"
    assert main([str(runs), "--out", str(out)]) == 0
    return out


class Links(HTMLParser):
    """Collects what a page would load, the ids in it, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.ids, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.loaded += [value for key, value in found.items() if key in ("src", "href", "action", "data")]
        self.ids.append(found.get("id"))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_has_every_section(folder):
    page = Links((folder / "index.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert set(SECTIONS) <= set(page.ids)
    assert page.loaded
    assert all(link.startswith(("#", "data:")) for link in page.loaded)


def test_every_run_is_a_row_of_the_numbers(folder, runs):
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(find_results([runs]))
    assert [line["status"] for line in lines][-1] == "failed"
    first = json.loads((runs / "mnist-svhn" / "mmd" / "seed0" / "results.json").read_text())
    (line,) = [one for one in lines if one["folder"].endswith("mnist-svhn/mmd/seed0")]
    assert float(line["target_acc_last"]) == first["test"]["target_acc"]["last"]


def test_latex_is_balanced_and_has_the_rules_of_booktabs(folder):
    text = (folder / "table.tex").read_text(encoding="utf-8")
    unescaped = re.sub(r"\\[{}&%$#_\\]", "", text.replace(r"\\", "\n"))
    depth = 0
    for letter in re.sub(r"%.*", "", unescaped):
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    tables = text.count(r"\begin{tabular}")
    assert tables == 4
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"\begin{table}", r"\end{table}"):
        assert text.count(rule) == tables
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if "&" in line}) == 1
    assert r"source\_only" in text
    assert "".join(line for line in text.splitlines() if not line.startswith("%")).isascii()


def test_what_latex_reads_as_a_command_is_escaped():
    assert escaped(r"50% of a_b & {x} #1 $2 ~ ^ \ <") == (
        r"50\% of a\_b \& \{x\} \#1 \$2 \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{}"
    )


def test_markdown_has_the_tables(folder):
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert "**digits, last epoch**" in text
    assert "mnist→svhn ORACLE" in text
    assert "NEGATIVE TRANSFER: below source" in text


def test_no_number_is_bare(runs):
    _, found = study(runs)
    for sheet in found["accuracy"].sheets:
        start = 1 if sheet.columns[0] == "method" else 3
        assert all(re.search(r"± .*\(n=\d\)|no interval|^-$", cell) for row in sheet.rows for cell in row[start:])


def test_one_seed_has_a_value_without_interval_and_no_test(tmp_path):
    write_study(tmp_path, PAIR, TASKS[:1], (0,))
    _, found = study(tmp_path)
    assert "(n=1, no interval)" in found["accuracy"].sheets[0].rows[0][1]
    assert "one shared seed: no test" in words(found["against"])


def test_without_source_only_it_is_said(tmp_path):
    write_study(tmp_path, ("mmd", "dann"), TASKS[:1], (0, 1))
    _, found = study(tmp_path)
    assert "There is no source_only among the runs" in words(found["against"])
    assert "No method shares a seed with source_only" in words(found["classes"])


def test_the_seed_pairs_a_method_with_source_only_of_the_same_settings(tmp_path):
    accuracy = {
        ("source_only", 0.1): 0.5,
        ("mmd", 0.1): 0.6,
        ("source_only", 0.2): 0.7,
        ("mmd", 0.2): 0.65,
        ("dann", 0.3): 0.8,
    }
    for (method, rate), value in accuracy.items():
        for seed, spread in enumerate((0.0, 0.01, 0.02)):
            reached = value + spread * (1.1 if method == "mmd" else 1)
            folder = tmp_path / f"{method}{rate}{seed}"
            write_result(folder, method, seed, accuracy=reached, config={"optimizer": {"lr": rate}})
    rows, _ = study(tmp_path, by_settings=True)
    found = {one.row.name: one for one in compare(rows)}
    assert found["mmd (optimizer.lr=0.1)"].paired.difference.mean == pytest.approx(0.101)
    assert found["mmd (optimizer.lr=0.1)"].verdict == "above source_only"
    assert found["mmd (optimizer.lr=0.2)"].verdict == "NEGATIVE TRANSFER: below source_only"
    assert found["dann"].verdict == "no source_only with these settings"
    assert found["dann"].adjusted is None


def test_harm_is_marked_and_a_doubtful_one_with_a_question_mark(tmp_path):
    values = {"source_only": (0.80, 0.81, 0.82), "mmd": (0.70, 0.72, 0.71), "dann": (0.79, 0.83, 0.77)}
    for method, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            write_result(tmp_path / f"{method}{seed}", method, seed, accuracy=value)
    rows, _ = study(tmp_path)
    assert {one.row.method: one.verdict for one in compare(rows)} == {
        "mmd": "NEGATIVE TRANSFER: below source_only",
        "dann": "NEGATIVE TRANSFER? below source_only, the interval holds 0",
    }


def test_the_gap_to_the_oracle_is_on_the_rows_of_the_oracle(tmp_path):
    for seed in (0, 1):
        oracle = {"best_target_acc": 0.9, "best_epoch": 1, "last_target_acc": 0.7, "selected_target_acc": 0.8}
        write_result(tmp_path / str(seed), seed=seed, accuracy=0.5, oracle=oracle)
    _, found = study(tmp_path)
    assert found["accuracy"].sheets[-1].rows[0][3:] == ["10.0 ± 0.0 (n=2)", "20.0 ± 0.0 (n=2)"]


def test_ranks_need_tasks_and_leave_out_who_saw_labels(runs, tmp_path):
    _, found = study(runs)
    assert [row[0] for row in found["ranks"].sheets[0].rows] == ["mcc", "dann", "mmd", "source_only", "afn_hard"]
    assert "Left out, as they used target labels: target_only." in found["ranks"].text
    write_study(tmp_path, PAIR, TASKS[:2], (0,))
    _, found = study(tmp_path)
    assert "there are 2 methods on 2 tasks" in words(found["ranks"])
    assert not found["ranks"].figures


def test_a_curve_over_one_weight(tmp_path):
    write_weights(tmp_path, values=(1.0, 0.0, 0.3))
    rows, found = study(tmp_path, axes=("method.weights.align.high",))
    ((key, by_task),) = lambda_curves(rows).items()
    assert key == ("digits", "mmd", "method.weights.align.high")
    assert {task: list(curve) for task, curve in by_task.items()} == {
        "mnist→svhn": [0, 0.3, 1],
        "mnist→usps": [0, 0.3, 1],
    }
    assert len(found["lambda"].figures) == 1


def epochs(*pairs):
    return [
        {"epoch": k, "source_acc": None, "validators": {"v": v}, "normalised": {}, "oracle": {"target_acc": a}}
        for k, (v, a) in enumerate(pairs)
    ]


def test_a_validator_is_judged_by_the_first_epoch_with_its_highest_score(tmp_path):
    write_result(tmp_path / "a", seed=0, epochs=epochs((1.0, 0.5), (3.0, 0.7), (3.0, 0.1), (None, 0.9)))
    write_result(tmp_path / "b", seed=1, epochs=epochs((5.0, 0.6), (1.0, 0.6)))
    rows, _ = study(tmp_path)
    accuracy, gap = selected_by(rows, "v")
    assert (accuracy.mean, gap.mean, gap.n) == (pytest.approx(0.65), pytest.approx(0.1), 2)
    assert selected_by(rows, "other") is None


def test_correlations_are_within_tasks(tmp_path):
    # within each task perfect, over both together not: the scores of one are larger and its accuracies lower
    write_result(tmp_path / "a", task=("usps", "mnist"), epochs=epochs((1, 0.8), (2, 0.85), (3, 0.9)))
    write_result(tmp_path / "b", task=("mnist", "usps"), epochs=epochs((11, 0.2), (12, 0.3), (13, 0.4), (None, 0.5)))
    rows, _ = study(tmp_path)
    assert correlation(rows[0].runs, "v", spearman) == (pytest.approx(1), 6, 2)


def test_old_results_have_sections_that_say_what_is_missing(tmp_path):
    for method in PAIR:
        folder = write_result(tmp_path / method, method)
        raw = json.loads((folder / "results.json").read_text())
        for key in ("epochs", "oracle", "cost", "data_hashes", "validation_labels"):
            del raw[key]
        del raw["test"]["target_class_acc"]
        (folder / "results.json").write_text(json.dumps(raw))
        (folder / "data.json").unlink()
    _, found = study(tmp_path)
    assert "2 of 2 runs have no `epochs`" in words(found["validators"])
    assert "No run has a cost" in words(found["cost"])
    assert "No method shares a seed" in words(found["classes"])
    assert "0 of 2 complete runs have a data.json" in words(found["audit"])
    assert "No run has the hashes of its data" in words(found["audit"])


def test_gains_of_classes_are_paired_by_seed(tmp_path):
    def test_of(values):
        return {"test": {"target_acc": {"last": 0.5}, "target_class_acc": {"last": values}}}

    write_result(tmp_path / "s0", "source_only", 0, **test_of([0.5, None]))
    write_result(tmp_path / "m0", "mmd", 0, **test_of([0.7, 0.9]))
    write_result(tmp_path / "m1", "mmd", 1, **test_of([0.0, 0.0]))
    rows, _ = study(tmp_path)
    ((_, task, classes, values, n),) = class_gains(rows)
    assert (task, classes, values, n) == ("usps→mnist", ("0", "1"), [pytest.approx(0.2), None], 1)


def test_the_audit_names_leaks_other_data_labels_and_statistics(tmp_path):
    leak = "leak: 3 of the 9 test rows of mnist are among its training rows too"
    first = write_result(tmp_path / "a", config={"data": {"standardise": "each"}})
    (first / "data.json").write_text(
        json.dumps(
            {"classes": [], "notices": [leak, "a is b"], "state": {"scale": {"mean": [0.0, 1.0], "std": [1.0, 1.0]}}}
        )
    )
    changes = {"data_hashes": {"mnist": "9" * 64}, "target_labels": ["labeled", "selection"], "validation_labels": 30}
    write_result(tmp_path / "b", "finetune", selection_metric="oracle", **changes)
    write_failed(tmp_path / "c")
    _, found = study(tmp_path, by_settings=True)
    said = words(found["audit"])
    assert leak in said
    assert "a is b" not in said
    assert "did NOT READ THE SAME DATA of digits mnist" in said
    assert "stream 'labeled'; selection of the epoch (selection_metric=oracle)" in said
    assert "validators that ask for some: 30" in said
    assert "mean and standard deviation of 2 features\nevery domain's own training rows" in said
    assert "infomax is nan: take another one" in words(found["failed"])


def test_calibration_is_shown_where_it_was_measured(tmp_path):
    test = {"target_acc": {"last": 0.5}, "target_ece": {"last": 0.125}, "target_brier": {"last": None}}
    write_result(tmp_path / "a", test=test)
    _, found = study(tmp_path)
    assert found["calibration"].sheets[0].rows == [["digits", "usps→mnist", "mmd", "0.125 (n=1, no interval)", "-"]]


def test_energy_is_shown_where_it_was_measured(tmp_path):
    write_result(tmp_path / "a", cost={"seconds": 1.0, "energy_wh": 2.5})
    _, found = study(tmp_path)
    assert "energy [Wh]" in found["cost"].sheets[0].columns


def test_text_of_runs_cannot_end_the_script_or_make_a_tag(tmp_path):
    pytest.importorskip("plotly")
    write_result(tmp_path / "a", task=("</script><b>", "mnist"))
    assert main([str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert Links(text).open == []
    assert "<b>" not in text.replace("&lt;b&gt;", "").split("<script>")[0]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--axis", "net"], 2, "--axis and --by-settings are for a folder"),
        (["--out", "report", "--format", "csv", "--by-settings"], 2, "for a folder"),
        (["--out", "report"], 1, "the runs differ in optimizer.lr"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, status, said):
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    for rate in (0.1, 0.2):
        write_result(tmp_path / "runs" / str(rate), config={"optimizer": {"lr": rate}})
    assert main(["runs", *arguments]) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_without_plotly_the_extra_is_named(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert main([str(runs), "--out", f"{tmp_path}/report/"]) == 1
    assert capsys.readouterr().err.endswith("needs plotly: pip install 'lambda-da[report]'\n")


def test_a_table_may_still_go_to_a_file_without_a_suffix(runs, tmp_path):
    assert main([str(runs), "--format", "markdown", "--out", str(tmp_path / "table")]) == 0
    assert (tmp_path / "table").read_text(encoding="utf-8").startswith("Target test accuracy")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium to open the page")
def test_a_browser_draws_the_page(folder, tmp_path):
    import numpy as np
    from PIL import Image

    picture = tmp_path / "page.png"
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-sync --window-size=1400,2400 --virtual-time-budget=5000"
    )
    where = [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", (folder / "index.html").as_uri()]
    subprocess.run(["chromium", *flags.split(), *where], check=True, capture_output=True, timeout=120)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.int64)
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 80
    assert coloured.sum() > 1000  # the points of the first figure: text and lines are grey


def test_many_rows_are_drawn_below_one_another(tmp_path):
    write_weights(tmp_path, values=[k / 10 for k in range(21)], seeds=(0,))
    _, found = study(tmp_path, axes=("method.weights",))
    (figure,) = found["accuracy"].figures
    assert len(figure["layout"]["yaxis"]["ticktext"]) == 22
