"""A diagnosis as a report: text for people, json for programs."""

import re
import shlex
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from da.doctor.advice import Suggestion, to_compare
from da.doctor.diagnosis import Diagnosis, as_numbers
from da.doctor.findings import Finding

COLUMNS = 100


class Report(NamedTuple):
    """What `da doctor` found, and what to say of it."""

    facts: dict[str, Any]
    diagnosis: Diagnosis
    findings: list[Finding]
    suggestions: list[Suggestion]
    commands: list[list[str]]  # of each suggestion

    def as_json(self) -> dict[str, Any]:
        """Return everything in json's types; the page on `da doctor` describes it."""
        return {
            "data": self.facts,
            "measured": as_numbers(self.diagnosis),
            "findings": {finding.name: finding.says for finding in self.findings},
            "suggestions": [
                {
                    "rule": rule.name,
                    "when": rule.when,
                    "why": rule.why,
                    "rests_on": rule.rests_on,
                    "commands": commands,
                    "avoid": list(rule.avoid),
                }
                for (rule, _), commands in zip(self.suggestions, self.commands, strict=True)
            ],
        }


def command(words: Sequence[str], method: str, knows_label_sets: bool = True) -> str:
    """The user's options with another method; without the label sets where the data know none."""
    kept = [word for word in words if not re.match(r"[+~]*(method|term|discrepancy|pretrain)[.@=]", word)]
    if not knows_label_sets:
        method = re.sub(r" data\.label_sets=\w+", "", method)
    return " ".join(["da train", *map(shlex.quote, kept), method])


def lines(report: Report, words: Sequence[str]) -> list[str]:
    """Return the report as text, wrapped at 100 columns where it may be."""
    text = _header(report)
    for number, finding in enumerate(report.findings, start=1):
        text += ["", f"{number}. {finding.question}", *_wrapped(finding.says, "   ")]
        wide = max((len(name) for name, _ in finding.numbers), default=0)
        for name, value in finding.numbers:
            text += _wrapped(value, f"     {name:{wide}}  ", " " * (wide + 7))
    text += ["", "What to try. Rules suggest; they do not know your data."]
    for (rule, _), commands in zip(report.suggestions, report.commands, strict=True):
        text += _wrapped(f"{rule.why} ({rule.name})", " - ", "   ")
        for own in commands:
            text += _wrapped(own, "     ", "       ", " \\")
        if rule.avoid:
            text += _wrapped(f"Leave for later: {', '.join(rule.avoid)}.", "   ")
    compared = to_compare(report.suggestions)
    if len(compared) > 1:
        sweep = command(words, f"method={','.join(compared)} seed=0,1,2").replace("da train", "da train -m", 1)
        text += _wrapped("Compare them with no adaptation, on several seeds:", " - ", "   ")
        text += _wrapped(sweep, "     ", "       ", " \\")
    return text


def _header(report: Report) -> list[str]:
    facts, d = report.facts, report.diagnosis
    largest = max(range(len(d.counts)), key=lambda c: d.counts[c])
    share = f"{d.counts[largest] / d.rows[0]:.1%} {facts['classes'][largest]}"
    kind = "raw rows" if facts["features"] == "raw" else f"backbone of net={facts['net']}"
    known = "" if facts["features"] == "raw" else ", pretrained" if d.pretrained else ", whose weights are random"
    text = _wrapped(f"{facts['source']} -> {facts['target']}, {len(d.counts)} classes. Target labels are not read.", "")
    source = f"{d.rows[0]} of {facts['source_rows']} rows, {d.effective:.1f} effective classes, most are {share}"
    looked_at = f"{d.components} components of {d.numbers} numbers, {d.variance:.0%} of their variance"
    parts = [("source", source), ("target", f"{d.rows[1]} of {facts['target_rows']} rows")]
    parts.append(("features", f"{kind}{known}: {looked_at}"))
    notes = list(facts["leaks"])
    if facts["left_out"]:
        notes.append(f"classes with too few rows, not looked at one by one: {', '.join(facts['left_out'])}")
    if facts["standardise"] == "each":
        notes.append("data.standardise=each: every domain has its own scale, which hides shifts of mean and scale")
    for name, said in [*parts, *(("note", note) for note in notes)]:
        text += _wrapped(said, f"     {name:8}  ", " " * 15)
    return text


def _wrapped(text: str, first: str, rest: str | None = None, broken: str = "") -> list[str]:
    """Lines of at most 100 columns; `broken` ends those that go on."""
    found = textwrap.wrap(
        text,
        COLUMNS - len(broken),
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line + broken for line in found[:-1]] + found[-1:]
