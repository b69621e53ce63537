#!/usr/bin/env bash
# Build the documentation (docs/) into site/. It is strict: a broken link is an error. Then open site/index.html, or
# serve it, which gives it a search, too: python -m http.server -d site. Nothing is loaded from a network.
# Usage: scripts/docs.sh [FOLDER]   (default: site/ in the repository)
set -euo pipefail

case "${1:-}" in -h | --help)
    sed -n '2,4s/^# //p' "$0"
    exit 0
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" test
mkdir -p "${1:-$repository/site}"
site="$(cd "${1:-$repository/site}" && pwd)"
export NO_MKDOCS_2_WARNING=1 # of the theme: mkdocs 2 isn't used here
"$venv/bin/mkdocs" build --strict --clean --config-file "$repository/mkdocs.yml" --site-dir "$site"
echo "$site/index.html"
