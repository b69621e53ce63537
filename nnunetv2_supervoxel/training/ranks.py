"""Shares work between the processes of a training on several GPUs. On one GPU, the functions change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from torch import distributed as dist

Entry = TypeVar("Entry")

MEET_EVERY = 5  # entries; NCCL ends a training in which one process waits for another for 10 minutes


def share_of_rank(entries: Sequence[Entry]) -> Iterator[Entry]:
    """This process's share of the entries. Every few entries, as long as all have some, processes wait for each other.

    All of them must take all entries of their share.
    """
    if not _several():
        yield from entries
        return
    everyone_has = len(entries) // dist.get_world_size()
    for number, entry in enumerate(entries[dist.get_rank() :: dist.get_world_size()], 1):
        yield entry
        if number % MEET_EVERY == 0 and number <= everyone_has:
            dist.barrier()


def gathered(entries: list[Entry]) -> list[Entry]:
    """The entries of all processes."""
    if not _several():
        return entries
    parts: list = [None] * dist.get_world_size()
    dist.all_gather_object(parts, entries)
    return [entry for part in parts for entry in part]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()
