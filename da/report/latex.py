"""Tables as LaTeX with booktabs."""

import re
from collections.abc import Sequence

from da.report.plots import MINUS
from da.report.tables import TEXT, Sheet

_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "→": r"$\to$", MINUS: "$-$", "†": r"$\dagger$"},
    **{"λ": r"$\lambda$", "·": r"$\cdot$", "…": r"\dots{}"},
}


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def latex(sheets: Sequence[Sheet], title: str, notes: Sequence[str]) -> str:
    """Return a table environment for each sheet, to be included; the preamble needs booktabs and graphicx."""
    begin = "% needs \\usepackage{booktabs,graphicx}\n"
    return begin + "\n".join(_table(sheet, title) for sheet in sheets) + "".join(f"% {note}\n" for note in notes)


def _table(sheet: Sheet, title: str) -> str:
    columns = "".join("l" if name in TEXT else "r" for name in sheet.columns)
    label = re.sub(r"\W+", "-", sheet.name.lower()).strip("-")
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escaped(f'{title} {sheet.name}.')}}}",
        rf"\label{{tab:{label}}}",
        # only what is wider than the line is made smaller
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escaped, sheet.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(escaped, row)) + r" \\" for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
