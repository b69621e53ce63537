#!/usr/bin/env bash
# Build the documentation (docs/, strict: a broken link is an error) into site/; open site/index.html.
# Usage: scripts/docs.sh [FOLDER]   (default: site/ in the repository). No network is needed but for the environment.
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,3s/^# //p' "$0"
    exit 0
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
mkdir -p "${1:-$repository/site}"
site="$(cd "${1:-$repository/site}" && pwd)"
export NO_MKDOCS_2_WARNING=1 # of the theme: mkdocs 2 isn't used here
"$venv/bin/mkdocs" build --strict --clean --config-file "$repository/mkdocs.yml" --site-dir "$site"
echo "$site/index.html"
