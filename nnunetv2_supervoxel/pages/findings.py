"""What a user should look at: cases with something odd about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunetv2_supervoxel.config import PromptTrainingConfig
from nnunetv2_supervoxel.pages.entries import Entry
from nnunetv2_supervoxel.pages.making import Making
from nnunetv2_supervoxel.quality.description import DUPLICATE_IOU

FEW_SHARE = 0.5  # of the dataset's median number of supervoxels
TINY_VOXELS = PromptTrainingConfig().min_target_voxels  # training passes over smaller ones
HUGE_SHARE = 0.25  # of the case's voxels
CROWDED = 2.0  # supervoxels on a covered voxel, in the mean

COMPARED = ("supervoxels", "volume", "slices", "coverage", "overlap", "predicted_iou", "consistency")
_TO_DEVIATION = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution


@dataclass(frozen=True)
class Context:
    """What a case is compared with.

    Attributes:
        typical: medians of the dataset, by the names of `Entry.numbers`.
        differing: by case, the settings of its making that differ from those of most cases.
    """

    typical: Mapping[str, float]
    differing: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Kind:
    """One sort of finding.

    Attributes:
        key: of it, in the page.
        title: what a user reads.
        meaning: the rule, and what to do.
        detail: what is odd about a case, in words; nothing if it isn't odd in this way.
    """

    key: str
    title: str
    meaning: str
    detail: Callable[[Entry, Context], str]


@dataclass(frozen=True)
class Finding:
    """A sort of finding with the cases that have it, and what is odd about each."""

    kind: Kind
    cases: Mapping[str, str]


@dataclass(frozen=True)
class Oddness:
    """How far a case is from the dataset's median, in the number that differs most.

    Attributes:
        case: identifier.
        number: which one, of `COMPARED`.
        value: of the case.
        typical: median of the dataset.
        deviations: how many (robust) standard deviations lie between them.
    """

    case: str
    number: str
    value: float
    typical: float
    deviations: float


def find(entries: Sequence[Entry], makings: Sequence[Making]) -> list[Finding]:
    """All findings of a dataset, those without any case left out."""
    differing = {case: making.differing for making in makings for case in making.cases if making.differing}
    context = Context(typical_numbers(entries), differing)
    findings = []
    for kind in KINDS:
        details = {entry.case: detail for entry in entries if (detail := kind.detail(entry, context))}
        if details:
            findings.append(Finding(kind, details))
    return findings


def typical_numbers(entries: Sequence[Entry]) -> dict[str, float]:
    """Medians over the cases with supervoxels, by the names of `Entry.numbers`; NaN where no case has a value."""
    done = [entry.numbers for entry in entries if entry.status == "done"]
    return {name: _median([numbers[name] for numbers in done]) for name in COMPARED}


def rank_by_oddness(entries: Sequence[Entry]) -> list[Oddness]:
    """The cases with supervoxels, the oddest first.

    A number's distance from the median, divided by the median absolute deviation (times 1.4826), or if that is 0 by the
    standard deviation.
    """
    done = [entry for entry in entries if entry.status == "done"]
    values = np.array([[entry.numbers[name] for name in COMPARED] for entry in done]).reshape(-1, len(COMPARED))
    typical = np.array([_median(column) for column in values.T])
    distances = np.abs(values - typical)
    spread = np.array([_TO_DEVIATION * _median(column) or _deviation(column) for column in distances.T])
    scores = np.divide(distances, spread, out=np.zeros_like(distances), where=spread > 0)
    scores = np.nan_to_num(scores)
    odd = []
    for entry, row, score in zip(done, values, scores, strict=True):
        worst = int(score.argmax())
        odd.append(Oddness(entry.case, COMPARED[worst], row[worst], typical[worst], float(score[worst])))
    return sorted(odd, key=lambda one: (-one.deviations, one.case))


def _few(entry: Entry, context: Context) -> str:
    count, typical = entry.numbers.get("supervoxels", 0), context.typical["supervoxels"]
    return f"{count:.0f}, the median is {typical:.0f}" if entry.status == "done" and count < FEW_SHARE * typical else ""


def _tiny(entry: Entry, context: Context) -> str:
    voxels = entry.figures.description.voxels if entry.figures.description else ()
    tiny = sum(count < TINY_VOXELS for count in voxels)
    return f"{tiny} of {len(voxels)}" if tiny else ""


def _huge(entry: Entry, context: Context) -> str:
    return f"{entry.volume_share:.0%} of the volume" if entry.volume_share >= HUGE_SHARE else ""


def _duplicates(entry: Entry, context: Context) -> str:
    count = entry.numbers.get("duplicates", 0)
    return f"{count:.0f} of {entry.numbers['supervoxels']:.0f}" if count else ""


def _crowded(entry: Entry, context: Context) -> str:
    overlap = entry.numbers.get("overlap", 0)
    return f"{overlap:.1f} on a covered voxel" if overlap > CROWDED else ""


def _other_settings(entry: Entry, context: Context) -> str:
    return ", ".join(context.differing.get(entry.case, ()))


KINDS = (
    Kind(
        "failed",
        "Damaged",
        "Their files can't be read. nnUNetv2_supervoxel_verify says more, and --repair mends what can be mended.",
        lambda entry, context: entry.figures.error if entry.status == "failed" else "",
    ),
    Kind(
        "missing",
        "Without files",
        "Preprocessed, but generation hasn't done them, or they failed there. The same nnUNetv2_supervoxel_generate "
        "command again goes on with them.",
        lambda entry, context: (entry.figures.error or "not done yet") if entry.status == "missing" else "",
    ),
    Kind(
        "empty",
        "Empty",
        "Generation found nothing in them. Looser thresholds may help.",
        lambda entry, context: "nothing found" if entry.status == "empty" else "",
    ),
    Kind("few", "Few supervoxels", f"Fewer than {FEW_SHARE:.0%} of the median over cases.", _few),
    Kind("tiny", "Tiny supervoxels", f"Fewer than {TINY_VOXELS} voxels: training passes over them.", _tiny),
    Kind("huge", "Huge supervoxels", f"One has {HUGE_SHARE:.0%} of the case's voxels or more.", _huge),
    Kind("duplicates", "Duplicates", f"Nearly a copy of an earlier one: IoU of {DUPLICATE_IOU} or more.", _duplicates),
    Kind("crowded", "Much overlap", f"A covered voxel lies in more than {CROWDED:.0f} of them, in the mean.", _crowded),
    Kind(
        "settings",
        "Other settings",
        "Made with other settings or checkpoints than most cases. --overwrite makes them anew.",
        _other_settings,
    ),
    Kind("notes", "Notes", "What generation noted about them.", lambda entry, context: "; ".join(entry.notes)),
)


def _median(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if known.size else np.nan


def _deviation(distances: np.ndarray) -> float:
    known = distances[~np.isnan(distances)]
    return float(np.sqrt(np.mean(known**2))) if known.size else np.nan
