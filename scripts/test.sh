#!/usr/bin/env bash
# Run the tests in an environment of their own. Arguments go to pytest: scripts/test.sh -k store
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
cd "$repository"
python -m pytest "$@"
