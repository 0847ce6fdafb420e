"""What a diagnosis suggests to try: a table of rules, each with what it rests on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from da.doctor.diagnosis import APART, SLIGHT, Diagnosis

UNEVEN = 0.75  # effective classes of the source, as a part of all
FEW_A_CLASS, FEW = 20, 200  # rows: of the source a class, and of the target

TABLE = "benchmarks/tasks/table.md"


class Rule(NamedTuple):
    """What to try if something is so."""

    name: str
    when: str
    fires: Callable[[Diagnosis], bool]
    methods: tuple[str, ...]  # options of `da train`, a method each, best first
    avoid: tuple[str, ...]  # methods that no other rule then suggests
    why: str
    rests_on: str


class Suggestion(NamedTuple):
    """A rule that fired, and what of its methods no other rule speaks against or has named before."""

    rule: Rule
    methods: tuple[str, ...]


def _something(d: Diagnosis) -> bool:
    return d.detected or d.novel or bool(d.overlap.missing)


def _few_rows(d: Diagnosis) -> bool:
    return d.rows[0] < FEW_A_CLASS * len(d.kept) or d.rows[1] < FEW


RULES = (
    Rule(
        name="weak_source",
        when="the classifier of the source is not 5 points better than always naming the largest class",
        fires=lambda d: d.overlap.accuracy.high < max(d.shares.source) + 0.05,
        methods=(),
        avoid=(),
        why="These features hardly tell the classes apart even in the source: no adaptation mends what fails there. "
        "Look at the labels, or take other features (a pretrained net) first.",
        rests_on="Ben-David et al. 2010: the target's error is bounded by the source's plus more",
    ),
    Rule(
        name="no_shift",
        when="no difference of the domains was found, and no hint at other classes",
        fires=lambda d: not _something(d),
        methods=("method=source_only",),
        avoid=(),
        why="Nothing was found that adaptation could remove. That is no proof that there is nothing: concept shift "
        "can't be seen.",
        rests_on="the test's level; with equal domains every method trains on noise",
    ),
    Rule(
        name="unknown_classes",
        when="over 5 % of the target lie outside of all classes, while its nearer half lies like the source",
        fires=lambda d: d.novel,
        methods=("method=source_only data.label_sets=open",),
        avoid=("mmd", "coral", "dann", "cdan"),
        why="Some target rows may be of classes that the source lacks; a shift that moves only some rows looks the "
        "same. Look at rows of low probability (da predict) first: all methods here pull them to the known classes.",
        rests_on="Panareda Busto & Gall 2017; Saito et al. 2018 (open-set back-propagation)",
    ),
    Rule(
        name="missing_classes",
        when="a class gets no target row, which chance would do in under 1 % of the cases",
        fires=lambda d: bool(d.overlap.missing),
        methods=("method=mcc data.label_sets=partial", "method=afn_step data.label_sets=partial"),
        avoid=("mmd", "coral", "dann", "cdan", "bnm", "infomax", "shot"),
        why="The target may lack classes of the source. What makes the clouds alike as wholes, or all classes equally "
        "frequent, then works against the truth.",
        rests_on="Cao et al. 2018 (PADA); MCC and SAFN report partial tasks in their papers",
    ),
    Rule(
        name="label_shift",
        when="the shares differ, and once they are made alike no difference is left",
        fires=lambda d: d.label_shift,
        methods=('method=source_only "+data.balance={source: class}"',),
        avoid=("mmd", "coral", "dann", "cdan", "mcc", "bnm", "infomax", "shot", "afn_step"),
        why="Other class shares explain what differs. Alignment of the clouds would mix classes; train on equally many "
        "rows of each class, and weigh predictions by the shares above.",
        rests_on="Lipton et al. 2018; Zhao et al. 2019 and Wu et al. 2019 (alignment under label shift)",
    ),
    Rule(
        name="uneven_classes",
        when="there is a covariate shift, and the source's effective classes are under three quarters of all",
        fires=lambda d: d.covariate_shift and d.effective < UNEVEN * len(d.counts),
        methods=("method=mmd",),
        avoid=("mcc", "bnm", "infomax", "shot"),
        why="Classes are far from equally frequent, which terms on the target's predictions presume. "
        "Judge by macro-F1.",
        rests_on=f"sp_sw_har in {TABLE}: one data set; the papers of the terms",
    ),
    Rule(
        name="slight_shift",
        when="there is a covariate shift of A-distance under 1",
        fires=lambda d: d.covariate_shift and d.distance.value < SLIGHT,
        methods=("method=source_only", "method=mmd", "method=coral"),
        avoid=(),
        why="To a linear classifier the domains overlap a lot: no adaptation may be good enough. One distance without "
        "a second network shows cheaply whether there is something to gain.",
        rests_on="Ben-David et al. 2010: the bound's second term is small",
    ),
    Rule(
        name="shift_pretrained",
        when="there is a covariate shift of A-distance 1 or more, in features of a pretrained network",
        fires=lambda d: d.covariate_shift and d.distance.value >= SLIGHT and d.pretrained,
        methods=("method=shot", "method=mcc", "method=cdan"),
        avoid=(),
        why="On pretrained features these gained most in this project's benchmark, the best one first.",
        rests_on=f"{TABLE}: office_caltech10, pacs, pacs_finetuned, reviews_text",
    ),
    Rule(
        name="shift_from_scratch",
        when="there is a covariate shift of A-distance 1 or more, in raw rows",
        fires=lambda d: d.covariate_shift and d.distance.value >= SLIGHT and not d.pretrained,
        methods=("method=mmd", "method=shot", "method=cdan"),
        avoid=(),
        why="With networks trained from scratch these gained most in this project's benchmark, the best one first.",
        rests_on=f"{TABLE}: amazon_reviews, fsdd, office_caltech10_surf, sp_sw_har",
    ),
    Rule(
        name="far_apart",
        when="there is a covariate shift whose A-distance is surely over 1.5",
        fires=lambda d: d.covariate_shift and d.distance.low > APART,
        methods=("method=finetune data.labels_per_class=5",),
        avoid=(),
        why="The domains hardly overlap, so that no theory promises a gain without labels. Five labels a class "
        "are a baseline to beat, and the only check of all of the above.",
        rests_on="Ben-David et al. 2010: the bound says nothing here; Saito et al. 2019 (S + T as the baseline)",
    ),
    Rule(
        name="unclear_shares",
        when="the shares seem to differ, and other differences are left",
        fires=lambda d: d.shares_differ and d.more_than_shares,
        methods=("method=dsan",),
        avoid=(),
        why="If you know that the class shares differ, align class by class: the estimate above can't be relied on.",
        rests_on="Zhu et al. 2020: rows weigh by class, each class the same",
    ),
    Rule(
        name="few_rows",
        when="under 20 source rows a class, or under 200 target rows",
        fires=_few_rows,
        methods=(),
        avoid=(),
        why="Few rows: keep a pretrained backbone frozen (net.freeze_backbone=true data.cache_features=true), and take "
        "the intervals above seriously.",
        rests_on="benchmarks/tasks/README.md: on PACS at 120 steps to train the backbone gained nothing",
    ),
)


def suggest(diagnosis: Diagnosis) -> list[Suggestion]:
    """Return the rules that fire, in the order of the table, each with what is left of its methods.

    A rule all of whose methods are spoken against or named before is left out, unless it speaks against some itself.
    """
    fired = [rule for rule in RULES if rule.fires(diagnosis)]
    avoided = {name for rule in fired for name in rule.avoid}
    named: set[str] = set()
    found = []
    for rule in fired:
        methods = tuple(words for words in rule.methods if method_of(words) not in avoided | named)
        named |= set(map(method_of, methods))
        if methods or rule.avoid or not rule.methods:
            found.append(Suggestion(rule, methods))
    return found


def method_of(words: str) -> str:
    """The name of the method in options of `da train`."""
    return next(word.removeprefix("method=") for word in words.split() if word.startswith("method="))


def to_compare(suggestions: Sequence[Suggestion], most: int = 3) -> list[str]:
    """Names of methods for one sweep without target labels, the baseline first."""
    names = [method_of(words) for suggestion in suggestions for words in suggestion.methods]
    return list(dict.fromkeys(["source_only", *(name for name in names if name != "finetune")]))[: most + 1]
