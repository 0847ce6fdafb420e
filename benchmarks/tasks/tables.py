"""Write table.md: the mean over the tasks of every suite of one experiment and all eight methods."""

from pathlib import Path

from da.benchmark.suite import Suite, find_suite, read_rows
from da.benchmark.tables import cell, seed_means
from da.report.results import method_order

HERE = Path(__file__).parent
SUITES = (
    *("amazon_reviews", "speech", "office_caltech10", "office_caltech10_surf"),
    *("pacs", "pacs_finetuned", "reviews_text", "sensors"),
)


def experiment(suite: Suite) -> str:
    """Name of the experiment of a suite."""
    return suite.options[0].removeprefix("experiment=")


def overview() -> str:
    """Mean over the tasks of every suite by method."""
    suites = [find_suite(str(HERE.parent / name)) for name in SUITES]
    means = [seed_means(read_rows(suite.results), "target_acc_last", list(suite.tasks)) for suite in suites]
    methods = sorted({method for of_method in means for method in of_method}, key=method_order)
    lines = ["| method | " + " | ".join(f"{experiment(suite)} ({len(suite.tasks)})" for suite in suites) + " |"]
    lines.append("|---|" + "---:|" * len(suites))
    for method in methods:
        cells = [cell(list(of_method[method].values())) for of_method in means]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    said = "Target test accuracy, %, mean over the tasks (their number) ± 95 % interval over the seeds."
    return "\n".join([said, "", *lines]) + "\n"


if __name__ == "__main__":
    (HERE / "table.md").write_text(overview())
