"""Shares work between the processes of a training on several GPUs. On one GPU, the functions change nothing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import distributed as dist


def share_of_rank(entries: Sequence) -> Sequence:
    """This process's share of the entries."""
    return entries[dist.get_rank() :: dist.get_world_size()] if _several() else entries


def gathered(entries: list) -> list:
    """The entries of all processes."""
    if not _several():
        return entries
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, entries)
    return [entry for part in parts for entry in part]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
