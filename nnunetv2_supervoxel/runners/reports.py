"""What became of a case, in the words that users read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nnunetv2_supervoxel.config import GenerationConfig
from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.generation.out_of_memory import is_out_of_memory
from nnunetv2_supervoxel.masks.supervoxel_sets import SupervoxelSet

Provenance = Mapping[str, Any]

# Settings that make no other supervoxels. Of the checkpoints the weights count, not the name.
_WITHOUT_EFFECT = {
    "file_format",
    "excluded_strings",
    "points_per_batch",
    "objects_per_batch",
    "keep_slices",
    "sam1_checkpoint",
    "sam2_checkpoint",
}


@dataclass(frozen=True)
class CaseReport:
    """What became of one case.

    Attributes:
        case: identifier.
        status: "made" now, "kept" from before, "empty" (nothing found, now or before), or "failed".
        supervoxels: how many there are.
        voxels: sum of their voxels.
        seconds: time spent now.
        message: why it failed or is empty, and anything odd; one sentence, or nothing.
        differing: names of the settings that are other ones now than when the case was made.
        dataset: name of the dataset or folder that it is of.
    """

    case: str
    status: Literal["made", "kept", "empty", "failed"]
    supervoxels: int = 0
    voxels: int = 0
    seconds: float = 0.0
    message: str = ""
    differing: tuple[str, ...] = ()
    dataset: str = ""


def report_made(case: str, supervoxels: SupervoxelSet, seconds: float) -> CaseReport:
    """Of a case that was done now."""
    status: Literal["made", "empty"] = "made" if len(supervoxels) else "empty"
    return CaseReport(case, status, len(supervoxels), supervoxels.voxels, seconds, "; ".join(supervoxels.notes))


def report_kept(case: str, before: Provenance, now: Provenance) -> CaseReport:
    """Of a case that was done before.

    Args:
        case: identifier.
        before: its provenance file.
        now: provenance of what would be made now.
    """
    voxels = sum(supervoxel["voxels"] for supervoxel in before["supervoxels"])
    status: Literal["kept", "empty"] = "kept" if before["n"] else "empty"
    return CaseReport(case, status, before["n"], voxels, differing=tuple(differing_settings(before, now)))


def report_failed(case: str, error: Exception, seconds: float) -> CaseReport:
    """Of a case that `error` ended."""
    return CaseReport(case, "failed", seconds=seconds, message=_reason(error))


def report_failed_elsewhere(case: str, reason: str) -> CaseReport:
    """Of a case that another run has just failed to do."""
    return CaseReport(case, "failed", message=reason)


def report_killed(case: str, who: str, last: str = "") -> CaseReport:
    """Of a case that those who did it died of, again and again.

    Args:
        case: identifier.
        who: "3 workers".
        last: address of the last one, where it is known.
    """
    message = (
        f"{who} died one after the other while they did it{f', the last one at {last}' if last else ''}; perhaps the "
        "system killed them for lack of memory (see its log). Do this case on a larger machine."
    )
    return CaseReport(case, "failed", message=message)


def differing_settings(before: Provenance, now: Provenance) -> list[str]:
    """Names, sorted, of the settings that make other supervoxels now than before; none if generation didn't make them.

    Args:
        before: a case's provenance file.
        now: provenance of what would be made now.
    """
    if "config" not in before:
        return []
    try:  # in today's words: a setting that is newer had its default
        then = GenerationConfig(**before["config"]).model_dump(mode="json")
    except (ValueError, TypeError):
        then = before["config"]
    different = [key for key, value in now["config"].items() if key not in _WITHOUT_EFFECT and then.get(key) != value]
    digests = [
        {model: checkpoint.get("sha256") for model, checkpoint in made_by.get("checkpoints", {}).items()}
        for made_by in (before, now)
    ]
    different += [
        f"{model}_checkpoint" for model in set().union(*digests) if digests[0].get(model) != digests[1].get(model)
    ]
    return sorted(different)


def _reason(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "it doesn't fit into memory, not even with one object and one point at a time; "
            "use -device cpu, or a machine with more memory."
        )
    lines = str(error).splitlines() or [""]
    return f"unexpected {type(error).__name__}: {lines[0]} (please report this)"
