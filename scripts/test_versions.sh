#!/usr/bin/env bash
# Run the tests with the lowest and with the newest versions of the dependencies that pyproject.toml admits.
# Usage: scripts/test_versions.sh [lowest|newest|both] [ARGUMENTS FOR PYTEST]
#   for example: scripts/test_versions.sh lowest tests/files tests/bad_inputs
# Each has an environment of its own (some 7 GB), .venv-lowest and .venv-newest, or below SUPERVOXEL_VENVS.
# PYTHON names another interpreter. "newest" is installed anew each time, "lowest" when pyproject.toml has changed.
set -euo pipefail

case "${1:-both}" in
    -h | --help)
        sed -n '2,6s/^# //p' "$0"
        exit 0
        ;;
    lowest | newest) versions="$1" ;;
    both) versions="lowest newest" ;;
    *)
        echo "Error: '$1' is none of lowest, newest and both." >&2
        exit 2
        ;;
esac
shift || true
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${SUPERVOXEL_VENVS:-$repository}"

# "name==version" of every dependency with a lowest version, "name" of the others.
lowest_versions() {
    "$1" - "$repository/pyproject.toml" <<'PYTHON'
import sys

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.version import Version

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
for text in project["dependencies"]:
    requirement = Requirement(text)
    lowest = [part.version for part in requirement.specifier if part.operator == ">="]
    if lowest:
        print(f"{requirement.name}=={max(lowest, key=Version)}")
PYTHON
}

install() { # NAME: lowest or newest
    local venv="$folder/.venv-$1" stamp
    stamp="$venv/.installed-$(cksum < "$repository/pyproject.toml" | cut -d' ' -f1)"
    if [ "$1" = lowest ] && [ -f "$stamp" ]; then return; fi
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    local pip=("$venv/bin/python" -m pip install --quiet)
    "${pip[@]}" --upgrade pip wheel setuptools
    if [ "$1" = lowest ]; then
        lowest_versions "$venv/bin/python" > "$venv/constraints.txt"
        pip+=(--constraint "$venv/constraints.txt")
    else
        pip+=(--upgrade --upgrade-strategy eager)
    fi
    "${pip[@]}" torch torchvision
    SAM2_BUILD_CUDA=0 "${pip[@]}" --no-build-isolation sam2
    "${pip[@]}" --editable "$repository[test]"
    touch "$stamp"
}

failed=""
for name in $versions; do
    echo "Installing the $name versions into $folder/.venv-$name ..."
    install "$name"
    python="$folder/.venv-$name/bin/python"
    "$python" -m pip list --format freeze | grep -iE '^(nnunetv2|blosc2|numpy|torch|sam2|pydantic|SimpleITK)=='
    (cd "$repository" && "$python" -m pytest "$@") || failed="$failed $name"
done
[ -z "$failed" ] || {
    echo "Tests failed with:$failed" >&2
    exit 1
}
