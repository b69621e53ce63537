"""The documentation tells the truth: the reference is the code's, examples run, commands and files exist."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import nnunetv2_supervoxel.config
import nnunetv2_supervoxel.training.objectives
from nnunetv2_supervoxel.config.base import Config
from nnunetv2_supervoxel.files import supervoxel_files
from nnunetv2_supervoxel.phantoms import make_phantom

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LONGEST_ROW = 130  # characters of a table's row that a screen shows

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))


@functools.cache
def reference() -> ModuleType:
    """The script that writes the reference."""
    spec = importlib.util.spec_from_file_location("reference", REPOSITORY / "scripts" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def help_of_commands() -> dict[str, str]:
    """What -h prints, by command."""
    found = re.findall(r'^(\w+) = "(\S+):main"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    return {name: reference().help_of(name, module) for name, module in found}


def kinds_of_settings() -> Iterator[type[Config]]:
    """Every class of settings that a user can write, wherever it is defined."""
    for package in (nnunetv2_supervoxel.config, nnunetv2_supervoxel.training.objectives):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    kinds = [Config]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return (kind for kind in kinds if not kind.__subclasses__())


@pytest.mark.parametrize("page", ["commands.md", "settings.md"])
def test_the_reference_is_the_codes(page: str) -> None:
    file = DOCS / "reference" / page
    text = reference().pages()[file]
    assert file.read_text().split() == text.split(), "run 'python scripts/reference.py'"  # Pythons wrap differently


def test_every_command_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "commands.md").read_text()
    for command, printed in help_of_commands().items():
        assert f"\n## {command}\n" in page
        assert "show this help message" in printed


def test_every_setting_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "settings.md").read_text()
    for kind in kinds_of_settings():
        for name, field in kind.model_fields.items():
            assert f"\n### {name}\n\n{field.description}\n\nDefault: `" in page, f"{kind.__name__}.{name}"


def test_what_a_setting_takes_is_said() -> None:
    page = (DOCS / "reference" / "settings.md").read_text()
    for name, values in (
        ("masks_per_image", "Default: `20`. Takes a whole number (at least 1)."),
        ("method", "Default: `sam`. Takes `sam` or `slic`."),
        ("max_patch_shift", "Default: `0.25`. Takes a number (at least 0, below 0.5)."),
        ("axis", "Default: `[0]`. Takes `auto` or a list of: a whole number (at least 0, at most 2)."),
        ("batch_size", "Default: `null`. Takes a whole number (at least 1) or `null`."),
    ):
        assert re.search(rf"### {name}\n\n.*\n\n{re.escape(values)}\n", page), name


class Addresses(HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.loaded += [found["src"]] if found.get("src") else []
        self.loaded += [found["href"]] if tag == "link" and found.get("href") else []


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_a_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        parser = Addresses()
        parser.feed((tmp_path / page.relative_to(DOCS)).with_suffix(".html").read_text())
        assert parser.loaded
        assert not [address for address in parser.loaded if "//" in address], page


@every_page
def test_rows_of_tables_fit_a_screen(page: Path) -> None:
    assert not [line for line in page.read_text().splitlines() if line.startswith("|") and len(line) > LONGEST_ROW]


@every_page
def test_files_that_are_mentioned_exist(page: Path) -> None:
    for path in re.findall(r"(?<![\w/])(?:scripts|configs)(?:/\w+)+\.\w+", page.read_text()):
        assert (REPOSITORY / path).is_file(), path


@every_page
def test_commands_and_their_flags_exist(page: Path) -> None:
    text = page.read_text()
    for command in set(re.findall(r"\b(?:nnUNetv2_supervoxel_\w+|SuperVoxel_\w+)", text)):
        assert command in help_of_commands(), command
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command, *words = shlex.split(line, comments=True) or [""]
            if command in help_of_commands():
                known = set(re.findall(r"(?<=[\s\[])-[\w-]+", help_of_commands()[command]))
                assert {word for word in words if re.match(r"-{1,2}[a-zA-Z]", word)} <= known, line


def python_examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_slurm_cluster_asks_for_a_gpu_per_worker() -> None:
    """Everything up to its submission to Slurm, which isn't here."""
    scope: dict = {}
    (example,) = python_examples("how_to/clusters.md")
    exec(example.partition("cluster.scale")[0], scope)
    with scope["cluster"] as cluster:
        script = cluster.job_script()
    for line in ("#SBATCH -p gpu", "#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=60G"):
        assert line in script.splitlines()
    (worker,) = [line for line in script.splitlines() if "dask_worker" in line]
    assert f"{cluster.scheduler_address} " in worker
    assert "--nthreads 1 " in worker


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    phantom = make_phantom((40, 88, 112), np.random.default_rng(1))
    scope = {"image": phantom.image, "label_map": phantom.labels}
    generate, write = python_examples("how_to/python.md")
    exec(generate, scope)
    assert scope["supervoxels"].dtype == np.uint8
    assert len(scope["supervoxels"]) >= 1
    assert scope["supervoxels"].shape[1:] == (40, 88, 112)
    exec(write, scope)
    provenance = supervoxel_files.read_provenance(scope["folder"], "case_001")
    assert (provenance["n"], provenance["spacing"]) == (len(np.unique(phantom.labels)) - 1, [3.0, 0.8, 0.8])
    assert supervoxel_files.is_done(
        "nnUNet_preprocessed/Dataset004_Hippocampus/nnUNetPlans_3d_fullres_supervoxels", "case_001"
    )
