"""The README is short, and tells the truth: its links, scripts and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
PROJECT = (REPOSITORY / "pyproject.toml").read_text()


def test_it_is_what_a_newcomer_reads() -> None:
    assert len(README.splitlines()) <= 150


def test_the_two_commands_of_the_beginning() -> None:
    first = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[0]
    assert [line.split()[0] for line in first.splitlines()] == ["scripts/demo.sh", "scripts/test.sh"]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert len(links) > 10
    for link in links:
        assert (REPOSITORY / link).is_file(), link


def test_files_that_are_mentioned_exist() -> None:
    for path in re.findall(r"(?:scripts|docs|configs)(?:/\w+)+\.\w+", README):
        assert (REPOSITORY / path).is_file(), path


def test_commands_that_are_mentioned_exist() -> None:
    for command in set(re.findall(r"\b(?:nnUNetv2_supervoxel_\w+|SuperVoxel_\w+)", README)):
        assert f"\n{command} = " in PROJECT, command


def test_every_command_is_in_the_table() -> None:
    for command in re.findall(r"^(\w+) = \"\S+:main\"$", PROJECT, re.MULTILINE):
        assert f"\n| `{command}` | " in README, command
