#!/usr/bin/env bash
# Run the tests, two files at a time, in an environment of their own, which is made once. Arguments go to pytest.
# Usage: scripts/test.sh [ARGUMENTS]   for example: scripts/test.sh tests/files -k volumes   or scripts/test.sh -n 8
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,3s/^# //p' "$0"
    exit 0
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
cd "$repository"
# Threads that wait for each other's cores are slower than one.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
python -m pytest -n 2 --dist loadfile "$@"
