#!/usr/bin/env bash
# Run the tests in an environment of their own, which is made once. Arguments go to pytest.
# Usage: scripts/test.sh [ARGUMENTS]   for example: scripts/test.sh tests/files -k volumes
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,3s/^# //p' "$0"
    exit 0
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
cd "$repository"
python -m pytest "$@"
