"""The next case is read while one is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from nnunetv2_supervoxel.errors import UserError
from nnunetv2_supervoxel.runners.reading_ahead import Reader


@dataclass(frozen=True)
class Stub:
    """A case, as far as reading goes."""

    name: str
    read: Callable[[], str]


def test_the_next_case_that_is_not_done_is_read_while_one_runs() -> None:
    read, done = [], {"b"}
    proceed = {name: threading.Event() for name in "abcd"}

    def reads(name: str) -> str:
        read.append(name)
        proceed[name].set()
        if name == "c":
            raise UserError("c is damaged")
        return name

    cases = [Stub(name, partial(reads, name)) for name in "abcd"]
    with Reader(cases, lambda case: case.name not in done) as reader:
        assert reader.read(cases[0]) == "a"
        assert proceed["c"].wait(10)  # b is done, c is next
        with pytest.raises(UserError, match="c is damaged"):
            reader.read(cases[2])
        assert reader.read(cases[3]) == "d"
    assert read == ["a", "c", "d"]


def test_what_did_not_fit_beside_another_case_is_read_again() -> None:
    attempts = []

    def reads() -> str:
        attempts.append("b")
        if len(attempts) == 1:
            raise MemoryError
        return "b"

    cases = [Stub("a", lambda: "a"), Stub("b", reads)]
    with Reader(cases, lambda _: True) as reader:
        assert [reader.read(case) for case in cases] == ["a", "b"]
    assert len(attempts) == 2
