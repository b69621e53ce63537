"""Say what this machine lacks for the bundle to work, and import all of it. It lies in the bundle's bin/."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

MODULES = {"opencv-python-headless": "cv2", "scikit-image": "skimage", "scikit-learn": "sklearn", "pillow": "PIL"}
"""Packages whose module has another name; some machines have the module by another package (`opencv-python`)."""

NNUNET = ("nnunetv2.run.run_training", "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints")


def main(bundle: Path) -> int:
    facts = json.loads((bundle / "bin" / "bundle.json").read_text())
    if facts["python"] != "{}.{}".format(*sys.version_info):
        lacking = [f"this bundle is for Python {facts['python']}, {sys.executable} is {sys.version.split()[0]}"]
    else:
        lacking = requirements_not_met(bundle, facts["not_needed"]) + modules_that_fail()
    for line in lacking:
        print(f"Error: {line}", file=sys.stderr)
    if not lacking:
        import torch

        print(f"All that is needed is there. PyTorch {torch.__version__}, CUDA: {torch.cuda.is_available()}.")
    return bool(lacking)


def requirements_not_met(bundle: Path, optional: list[str]) -> list[str]:
    """One sentence for each package that something in the bundle needs and this machine lacks or has too old."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lacking = {}
    for package in distributions(path=[str(bundle)]):
        for requirement in map(Requirement, package.requires or []):
            name = canonicalize_name(requirement.name)
            if name in optional or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            by = f"{package.name} needs {requirement.name}{requirement.specifier}"
            try:
                here = version(name)
                if not requirement.specifier.contains(here, prereleases=True):
                    lacking[name, by] = f"{by}, {here} is here"
            except PackageNotFoundError:
                if find_spec(MODULES.get(name, name)) is None:
                    lacking[name, by] = f"{by}, which is not here"
    return list(lacking.values())


def modules_that_fail() -> list[str]:
    """One sentence for each module of the package, and for nnU-Net's training, that can't be imported."""
    try:
        package = import_module("nnunetv2_supervoxel")
    except Exception as error:
        return [f"nnunetv2_supervoxel can't be imported: {error}"]
    failed = []
    trainers = Path(str(package.__file__)).parent / "trainers"
    names = [
        module.name for module in walk_packages(package.__path__, "nnunetv2_supervoxel.", onerror=lambda name: None)
    ]
    sys.path.append(str(trainers))
    for name in (*NNUNET, *(path.stem for path in sorted(trainers.glob("*.py"))), *names):
        try:
            import_module(name)
        except Exception as error:
            failed.append(f"{name} can't be imported: {error}")
    return failed


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    sys.path[0] = str(here)
    sys.exit(main(here))
