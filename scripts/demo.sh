#!/usr/bin/env bash
# From nothing to supervoxels on a real MRI: environment, dataset, nnU-Net preprocessing, generation, picture.
# Usage: scripts/demo.sh [FOLDER]   (default: demo/ in the repository). Run it again and it reuses what is there.
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,3s/^# //p' "$0"
    exit 0
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" demo
mkdir -p "${1:-$repository/demo}"
demo="$(cd "${1:-$repository/demo}" && pwd)"

export nnUNet_raw="$demo/nnUNet_raw" nnUNet_preprocessed="$demo/nnUNet_preprocessed" nnUNet_results="$demo/nnUNet_results"
mkdir -p "$nnUNet_raw" "$nnUNet_preprocessed" "$nnUNet_results"

echo "1/4 Dataset"
python "$repository/scripts/demo_dataset.py" -d 990

echo "2/4 nnUNetv2_plan_and_preprocess"
if [ ! -f "$demo/.preprocessed" ]; then
    nnUNetv2_plan_and_preprocess -d 990 -c 3d_fullres -np 2 -npfp 2 --verify_dataset_integrity > "$demo/preprocess.log" 2>&1 || {
        tail -n 20 "$demo/preprocess.log" >&2
        exit 1
    }
    touch "$demo/.preprocessed"
fi

echo "3/4 nnUNetv2_supervoxel_generate"
nnUNetv2_supervoxel_generate -d 990 -config demo -device cpu --report "$demo/report.csv"

echo "4/4 Overview"
python "$repository/scripts/demo_overview.py" -d 990 --report "$demo/report.csv" -o "$demo/overview.png"
