"""Say what this machine lacks for the bundle to work, and import all of it. It lies in the bundle's bin/."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

MODULES = {"opencv-python-headless": "cv2", "scikit-image": "skimage", "scikit-learn": "sklearn", "pillow": "PIL"}
"""Packages whose module has another name; some machines have the module by another package (`opencv-python`)."""


def main(bundle: Path) -> int:
    facts = json.loads((bundle / "bin" / "bundle.json").read_text())
    if facts["python"] != "{}.{}".format(*sys.version_info):
        lacking = [f"this bundle is for Python {facts['python']}, {sys.executable} is {sys.version.split()[0]}"]
    else:
        lacking = requirements_not_met(bundle, facts["not_needed"]) or modules_that_fail(bundle)
    for line in lacking:
        print(f"Error: {line}", file=sys.stderr)
    if not lacking:
        import torch

        print(f"All that is needed is there. PyTorch {torch.__version__}, CUDA: {torch.cuda.is_available()}.")
    return bool(lacking)


def requirements_not_met(bundle: Path, not_needed: list[str]) -> list[str]:
    """One sentence for each package that something in the bundle needs and this machine lacks or has too old."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    needs: dict[str, set[str]] = {}
    for package in distributions(path=[str(bundle)]):
        for requirement in map(Requirement, package.requires or []):
            name = canonicalize_name(requirement.name)
            if name in not_needed or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            try:
                here = version(name)
                met, fact = requirement.specifier.contains(here, prereleases=True), f"{name} {here} is here"
            except PackageNotFoundError:
                met, fact = find_spec(MODULES.get(name, name)) is not None, f"{name} is not here"
            if not met:
                needs.setdefault(fact, set()).add(f"{package.name} needs {requirement.name}{requirement.specifier}")
    return [f"{fact}: {', '.join(sorted(needs[fact]))}" for fact in sorted(needs)]


def modules_that_fail(bundle: Path) -> list[str]:
    """One sentence for each reason why modules of the package, or trainers, can't be imported.

    Modules that want a package of an extra, such as Dask, may fail: their commands say what to install.
    """
    failed: dict[str, str] = {}
    of_extras = modules_of_extras(bundle)
    walk = walk_packages([str(bundle / "nnunetv2_supervoxel")], "nnunetv2_supervoxel.", onerror=lambda name: None)
    for module in walk:
        try:
            import_module(module.name)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] in of_extras:
                continue
            failed.setdefault(str(error), f"{module.name} can't be imported: {error}")
    trainers = bundle / "nnunetv2_supervoxel" / "trainers"
    os.environ["nnUNet_extTrainer"] = str(trainers)
    for path in sorted(trainers.glob("*.py")):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                import_module("nnunetv2.run.run_training")
                find = import_module("nnunetv2.utilities.find_objects").recursive_find_trainer_class_by_name
                find(path.stem)
        except Exception as error:
            failed.setdefault(str(error), f"nnU-Net can't load {path.stem}: {error}")
    return list(failed.values())


def modules_of_extras(bundle: Path) -> set[str]:
    """The modules of packages that only extras of this package name."""
    from packaging.requirements import Requirement

    [package] = distributions(name="nnunetv2-supervoxel", path=[str(bundle)])
    requirements = [Requirement(text) for text in package.requires or []]
    return {
        requirement.name.replace("-", "_")
        for requirement in requirements
        if requirement.marker and not requirement.marker.evaluate({"extra": ""})
    }


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    sys.path[0] = str(here)
    warnings.simplefilter("ignore")
    sys.exit(main(here))
