"""CONTRIBUTING.md's picture shows every folder and module of the package, and none that isn't there."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "nnunetv2_supervoxel"


def modules_in_the_picture() -> set[str]:
    """Paths below the package, as the indentation of the picture gives them."""
    picture = (REPOSITORY / "CONTRIBUTING.md").read_text().split("```")[1]
    found, folders = set(), []
    for line in picture.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        del folders[depth:]
        first = line.split()[0]
        if first.endswith("/"):
            folders.append(first)
        elif folders[0] == "nnunetv2_supervoxel/":
            found |= {"".join(folders[1:]) + name for name in re.findall(r"\w+\.py\b", line)}
    return found


def test_the_picture_shows_every_module() -> None:
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert modules_in_the_picture() == modules


def test_only_what_everything_uses_lies_at_the_top() -> None:
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert top == {"errors", "package_data", "progress", "randomness", "threads_and_heap", "worker_processes"}
