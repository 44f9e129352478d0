#!/usr/bin/env bash
# Checks of what is not Rust.
#
#   tests/setup/checks.sh lint       shell and Python scripts are well-formed; shellcheck where it is installed
#   tests/setup/checks.sh scripts    their syntax alone, and the scripts' own tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Every script that git knows and whose first line names the interpreter.
scripts_of() {
    git ls-files -co --exclude-standard | while read -r path; do
        if [ -f "$path" ] && head -n 1 "$path" 2>/dev/null | tr -d '\0' | grep -qE "^#!.*\b($1)\$"; then echo "$path"; fi
    done
}

lint() {
    local shell python path
    mapfile -t shell < <(scripts_of 'sh|bash')
    mapfile -t python < <(scripts_of python3)
    for path in "${shell[@]}"; do
        case $(head -n 1 "$path") in
        *bash) bash -n "$path" ;;
        *) sh -n "$path" ;;
        esac
    done
    if [ "$1" = syntax ]; then
        :
    elif command -v shellcheck >/dev/null; then
        shellcheck -x --source-path=SCRIPTDIR --severity=warning "${shell[@]}"
    else
        echo "checks: shellcheck is not installed: the scripts' syntax alone was checked"
    fi
    for path in "${python[@]}"; do
        # Compiled in memory: no __pycache__ is left behind.
        python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$path"
    done
    echo "checks: ${#shell[@]} shell and ${#python[@]} Python scripts are well-formed"
}

case ${1-} in
lint) lint all ;;
scripts)
    lint syntax
    tests/runners/selftest-checksum
    tests/runners/selftest-note
    ;;
*)
    echo "usage: tests/setup/checks.sh lint|scripts" >&2
    exit 2
    ;;
esac
