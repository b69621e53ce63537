"""What made the supervoxels of a dataset: one way for all cases, or several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunetv2_supervoxel.pages.entries import Entry
from nnunetv2_supervoxel.runners.reports import differing_settings


@dataclass(frozen=True)
class Making:
    """Cases that were made alike.

    Attributes:
        made_by: packages, checkpoints, config and device, as their JSON has it; empty if it doesn't say.
        cases: identifiers.
        differing: names of the settings that differ from those of most cases, and make other supervoxels.
        packages: those with another version than for most cases.
    """

    made_by: Mapping[str, Any]
    cases: tuple[str, ...]
    differing: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


def group_by_making(entries: Sequence[Entry]) -> list[Making]:
    """The ways in which a dataset's cases were made, that of most cases first."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.status in ("done", "empty"):
            groups.setdefault(json.dumps(entry.made_by, sort_keys=True), []).append(entry)
    by_size = sorted(groups.values(), key=lambda group: -len(group))
    return [_making(group, by_size[0][0].made_by) for group in by_size]


def _making(group: Sequence[Entry], usual: Mapping[str, Any]) -> Making:
    made_by = group[0].made_by
    versions, usual_versions = made_by.get("packages", {}), usual.get("packages", {})
    return Making(
        made_by=made_by,
        cases=tuple(entry.case for entry in group),
        differing=tuple(differing_settings(made_by, usual)) if "config" in usual else (),
        packages=tuple(sorted(name for name in versions if versions[name] != usual_versions.get(name))),
    )
