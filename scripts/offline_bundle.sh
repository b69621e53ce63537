#!/usr/bin/env bash
# Pack this package and what it needs into one file, for machines without a network (Linux, x86_64).
# Usage: scripts/offline_bundle.sh OUT.tar.xz [--python 3.12] [--with NAME ...] [--level 0-9]
#   --python   Python version there (default: the one here); for another, pip fetches the packages with compiled parts
#   --with     what to pack as well: packages from the list below, or tiny_checkpoints, nninteractive, imagecodecs, hf-xet
#   --level    compression, 0 (fast) to 9 (default: 6)
# There: tar xf OUT.tar.xz, then nnunetv2_supervoxel_offline/bin/check_bundle says what is missing.
# Not packed, because machines that train networks have it and it would make the file three times as large:
# torch, torchvision with pillow, numpy; opencv, scipy, scikit-image, scikit-learn, pandas, matplotlib.
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,9s/^# //p' "$0"
    exit 0
    ;;
esac
trap 'echo "Error: the environment to pack could not be made (is there a network?); nothing was written." >&2' ERR
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
trap - ERR
exec "$venv/bin/python" "$repository/scripts/offline_bundle/pack.py" "$@"
