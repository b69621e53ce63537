# Sourced by the other scripts here and by .ci/run: a virtual environment with this package and the extras in $1, made once and reused.
# SUPERVOXEL_VENV names another place for it; PYTHON another interpreter.

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${SUPERVOXEL_VENV:-$repository/.venv}"
stamp="$venv/.installed-$1-$(cksum < "$repository/pyproject.toml" | cut -d' ' -f1)"

if [ ! -f "$stamp" ]; then
    echo "Installing into $venv (a few minutes, once) ..."
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
        echo "Error: Python 3.10 or newer is needed; name one with PYTHON=/path/to/python3." >&2
        exit 1
    }
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade pip wheel setuptools
    "$venv/bin/python" -m pip install --quiet torch torchvision
    # sam2 builds from source: without its CUDA extension (not needed here), and against the torch just installed
    # instead of a second copy.
    SAM2_BUILD_CUDA=0 "$venv/bin/python" -m pip install --quiet --no-build-isolation sam2
    "$venv/bin/python" -m pip install --quiet -e "$repository[$1]"
    touch "$stamp"
fi
export PATH="$venv/bin:$PATH"
