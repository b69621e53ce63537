"""What scripts/offline_bundle.sh runs: this package and what it needs, in one folder, in one compressed file.

Packages come from the environment that runs this, so that the bundle holds the versions that are tested here. For
another Python version those with compiled parts are fetched by pip, in the same version.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distribution, distributions, version
from importlib.metadata import PackageNotFoundError as NotInstalled
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = "nnunetv2-supervoxel"
FOLDER = "nnunetv2_supervoxel_offline"
"""The name of the folder in the file."""

ALWAYS_THERE = ("torch", "torchvision", "numpy", "pillow")
"""What a machine that trains networks has. pillow comes with torchvision."""

MOSTLY_THERE = ("opencv-python-headless", "scipy", "scikit-image", "scikit-learn", "pandas", "matplotlib")
"""What such a machine mostly has; together twice as large as all the rest. Training imports all of it."""

NOT_NEEDED = {
    "imagecodecs": "tifffile reads compressed TIFF images with it",
    "hf-xet": "huggingface_hub downloads faster with it",
}
"""Packages that others name as a need and do without. imagecodecs alone is half as large as the bundle."""

TINY_CHECKPOINTS = "tiny_checkpoints"
NNINTERACTIVE = "nninteractive"
ON_DEMAND = (*MOSTLY_THERE, *NOT_NEEDED, NNINTERACTIVE, TINY_CHECKPOINTS)

COMMANDS_OF = (PACKAGE, "nnunetv2")
GLIBC_MINORS = range(5, 29)
"""Wheels are fetched for glibc 2.x up to 2.28, which RHEL 8 has."""


class PackingError(Exception):
    """Something that the user can correct."""


def main() -> int:
    arguments = _parse()
    try:
        _pack(arguments.out, arguments.python, arguments.extra, arguments.level)
    except PackingError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: nothing was written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/offline_bundle.sh",
        allow_abbrev=False,
        description="Pack this package and what it needs into one file, for Linux machines without a network.",
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT.tar.xz", help="the file to write")
    add("--python", default=_python_here(), metavar="3.12", help="Python version there (default: the one here)")
    add("--with", dest="extra", nargs="+", default=[], choices=ON_DEMAND, metavar="NAME", help=", ".join(ON_DEMAND))
    add("--level", type=int, default=6, choices=range(10), metavar="0-9", help="compression (default: 6)")
    arguments = parser.parse_args()
    if not re.fullmatch(r"3\.\d\d", arguments.python):
        parser.error(f"--python takes a version like 3.12, 3.10 or newer, not {arguments.python}")
    if not arguments.out.name.endswith(".tar.xz"):
        parser.error(f"the file's name must end in .tar.xz, {arguments.out} doesn't")
    return arguments


def _pack(out: Path, python: str, extra: list[str], level: int) -> None:
    _check_place(out)
    expected = [name for name in (*ALWAYS_THERE, *MOSTLY_THERE) if name not in extra]
    left_out = [name for name in (*NOT_NEEDED, NNINTERACTIVE, TINY_CHECKPOINTS) if name not in extra]
    names = [PACKAGE, *(name for name in extra if name != TINY_CHECKPOINTS)]
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        work = Path(folder)
        bundle = work / FOLDER
        print(f"Collecting packages for Python {python} ...", flush=True)
        packed = collect(names, {*expected, *left_out}, python, work / "fetched")
        for package in packed.values():
            _copy(package, bundle)
        _add_own_files(bundle, with_checkpoints=TINY_CHECKPOINTS in extra)
        _add_commands(bundle, {"python": python, "not_needed": left_out})
        (bundle / "README.txt").write_text(_readme(packed, expected, left_out, python))
        if python == _python_here():
            print("Checking that it works where only the expected packages are ...", flush=True)
            _check(bundle, expected, work / "machine")
        print(f"Compressing {len(packed)} packages, {_size(bundle)} MB ...", flush=True)
        _compress(bundle, work / out.name, level)
        os.replace(work / out.name, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, for Python {python} on Linux x86_64.")
    print(f"Not in it, must be there: {', '.join(expected)}.")
    print("Not in it, can do without:")
    for name, why in _why(left_out).items():
        print(f"    {name}: {why}")
    if python != _python_here():
        print(f"It wasn't tried: this is Python {_python_here()}. Call bin/check_bundle there.")


def _check_place(out: Path) -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise PackingError("bundles are for Linux on x86_64, and are made there.")
    if out.exists():
        raise PackingError(f"{out} is there already; remove it, or give another name.")
    if not out.parent.is_dir():
        raise PackingError(f"there is no folder {out.parent}.")
    if shutil.which("xz") is None:
        raise PackingError("the program xz is needed and isn't installed.")


# Which packages


def collect(names: Iterable[str], without: set[str], python: str, fetched: Path) -> dict[str, Distribution]:
    """Find packages and all they need, in this environment or with pip.

    Args:
        names: packages to begin with.
        without: packages that don't come along; what only they need doesn't either.
        python: version, `3.12`.
        fetched: folder for what pip fetches.

    Returns:
        packages by name.
    """

    def find(requirement: Requirement) -> Distribution:
        try:
            installed = distribution(requirement.name)
        except NotInstalled:
            return _fetch(f"{requirement.name}{requirement.specifier}", python, fetched)
        if python == _python_here() or canonicalize_name(requirement.name) == PACKAGE or _is_pure(installed):
            return installed
        return _fetch(f"{requirement.name}=={installed.version}", python, fetched)

    return with_needs(names, without, python, find)


def with_needs(
    names: Iterable[str], without: set[str], python: str, find: Callable[[Requirement], Distribution]
) -> dict[str, Distribution]:
    """Packages and all they need, by name; `find` looks one up."""
    found: dict[str, Distribution] = {}
    seen, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in without or (name, *sorted(requirement.extras)) in seen:
            continue
        seen.add((name, *sorted(requirement.extras)))
        found[name] = found.get(name) or find(requirement)
        there = {"python_version": python, "python_full_version": f"{python}.0"}
        for need in map(Requirement, found[name].requires or []):
            extras = requirement.extras or {""}
            if need.marker is None or any(need.marker.evaluate({**there, "extra": extra}) for extra in extras):
                waiting.append(need)
    return found


def _is_pure(package: Distribution) -> bool:
    return "Root-Is-Purelib: true" in (package.read_text("WHEEL") or "")


def _fetch(requirement: str, python: str, fetched: Path) -> Distribution:
    """Unpack a package's wheel for another Python version, with pip."""
    folder = fetched / re.sub(r"\W", "_", requirement)
    platforms = [f"manylinux_2_{minor}" for minor in reversed(GLIBC_MINORS)] + ["manylinux2014", "manylinux1"]
    print(f"    {requirement}", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += [f"--python-version={python}", *(f"--platform={name}_x86_64" for name in platforms)]
    command += ["--retries=1", "--target", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it didn't say why"]
        raise PackingError(f"pip has no wheel of {requirement} for Python {python} (is there a network?): {said[-1]}")
    (package,) = distributions(path=[str(folder)])
    return package


# What of them


def _copy(package: Distribution, bundle: Path) -> None:
    """Copy a package's files, without those that are of no use there."""
    for file in package.files or []:
        source = Path(str(file.locate()))
        if _is_useful(file.parts) and source.is_file():
            target = bundle.joinpath(*file.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _is_useful(parts: tuple[str, ...]) -> bool:
    top = parts[0].removesuffix(".py")
    if top == ".." or top in sys.stdlib_module_names:
        return False  # the package argparse is older than Python's own, and would hide it
    if top.endswith(".dist-info"):
        return parts[1] in ("METADATA", "WHEEL", "entry_points.txt") or "LICEN" in parts[1].upper()
    return not {"tests", "__pycache__"} & set(parts) and not parts[-1].endswith((".a", ".pth"))


def _add_own_files(bundle: Path, with_checkpoints: bool) -> None:
    """Copy this package out of the checkout; trainers and configs lie inside it then, as in its wheel."""
    own = bundle / "nnunetv2_supervoxel"
    unwanted = shutil.ignore_patterns("__pycache__", ".*", *([] if with_checkpoints else ["weights"]))
    shutil.copytree(REPOSITORY / "nnunetv2_supervoxel", own, ignore=unwanted, dirs_exist_ok=True)
    for name in ("trainers", "configs"):
        shutil.copytree(REPOSITORY / name, own / name, ignore=unwanted, dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "LICENSE", own)


def _add_commands(bundle: Path, facts: dict[str, object]) -> None:
    commands = bundle / "bin"
    commands.mkdir()
    for name in ("run.py", "check.py"):
        shutil.copy(Path(__file__).with_name(name), commands)
    (commands / "bundle.json").write_text(json.dumps(facts) + "\n")
    start = {entry.name: f"run.py {entry.name}" for name in COMMANDS_OF for entry in distribution(name).entry_points}
    for name, what in {**start, "check_bundle": "check.py"}.items():
        path = commands / name
        path.write_text(
            f'#!/bin/sh\nbin="$(dirname "$(readlink -f "$0")")"\nexec "${{PYTHON:-python3}}" "$bin"/{what} "$@"\n'
        )
        path.chmod(0o755)


def _readme(packed: dict[str, Distribution], expected: list[str], left_out: list[str], python: str) -> str:
    def listed(lines: Iterable[str]) -> str:
        return "\n".join(f"    {line}" for line in lines)

    return f"""nnunetv2-supervoxel {packed[PACKAGE].version} and what it needs, for Python {python} on Linux x86_64.

Nothing has to be installed. Call the commands in bin/; PYTHON=/path/to/python3 names another interpreter than python3:

    bin/check_bundle                                    # says what this machine lacks
    bin/nnUNetv2_supervoxel_generate -d 4
    export nnUNet_extTrainer="$(bin/nnUNetv2_supervoxel_trainers)"
    bin/nnUNetv2_train 4 3d_fullres all -tr SupervoxelPromptTrainer

Or set PYTHONPATH to this folder, and import nnunetv2_supervoxel.

SAM's and SAM 2's checkpoints aren't in it: copy the files to $nnUNet_supervoxel_checkpoints.

Not in it, must be there (in these versions where it was packed):
{listed(f"{name} {version(name)}" for name in expected)}

Not in it, not needed:
{listed(f"{name}: {why}" for name, why in _why(left_out).items())}

In it, each under its own licence (see NAME.dist-info):
{listed(f"{name} {package.version}" for name, package in sorted(packed.items()))}
"""


def _why(left_out: Iterable[str]) -> dict[str, str]:
    reasons = {
        **NOT_NEEDED,
        NNINTERACTIVE: "nnUNetv2_supervoxel_predict alone needs it",
        TINY_CHECKPOINTS: 'for trying it out with "-config tiny"',
    }
    return {name: reasons[name] for name in left_out}


def _size(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def _compress(bundle: Path, out: Path, level: int) -> None:
    def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with out.open("wb") as written:
        xz = subprocess.Popen(["xz", "-T0", f"-{level}"], stdin=subprocess.PIPE, stdout=written)
        with tarfile.open(fileobj=xz.stdin, mode="w|") as file:
            file.add(bundle, FOLDER, filter=without_owner)
        xz.communicate()
    if xz.returncode:
        raise PackingError("xz failed; nothing was written.")


# Does it work


def make_machine(folder: Path, names: Iterable[str]) -> Path:
    """A virtual environment that sees these packages of ours, and what they need, and nothing else.

    Returns:
        its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = folder / "lib" / f"python{_python_here()}" / "site-packages"
    for package in with_needs(names, set(), _python_here(), lambda need: distribution(need.name)).values():
        for name in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            if not (site / name).is_symlink():
                (site / name).symlink_to(Path(str(package.locate_file(name))))
    return folder / "bin" / "python"


def _check(bundle: Path, expected: Iterable[str], machine: Path) -> None:
    """Start it on such a machine: everything is imported, commands say how they are used."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(machine),
        "PYTHON": str(make_machine(machine, expected)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in ("check_bundle", "nnUNetv2_supervoxel_generate -h", "SuperVoxel_generate -h"):
        name, *arguments = command.split()
        program = str(bundle / "bin" / name)
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise PackingError(f"the bundle doesn't work, nothing was written; {command} says:\n{done.stderr.strip()}")


def _python_here() -> str:
    return "{}.{}".format(*sys.version_info)


if __name__ == "__main__":
    sys.exit(main())
