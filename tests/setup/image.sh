#!/usr/bin/env bash
# Builds specs/debian-13.toml into images/debian-13.qcow2: `make image`.
#
#   tests/setup/image.sh [MORE ARGUMENTS OF `imgbuild build`]
#
# The mirror is the one that this machine's apt uses. Where that lacks the
# installer's tree or some of its components, a mirror on loopback fills the
# gaps (tests/mirror), and is gone at the end. The image's path is the last line.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$checkout"
imgbuild=${IMGBUILD:-${CARGO_TARGET_DIR:-target}/release/imgbuild}
shim=tests/mirror/debian-mirror.py
cache=${IMGBUILD_MIRROR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/imgbuild/mirror}
# It fetches an installer and looks at its components before it serves.
shim_limit_seconds=600

say() { echo "image: $*" >&2; }

work=$(mktemp -d)
shim_pid=
build_pid=
finish() {
    trap '' INT TERM HUP
    if [ -n "$shim_pid" ]; then
        kill "$shim_pid" 2>/dev/null || true
        wait
    fi
    rm -rf "$work"
}
trap finish EXIT

# While imgbuild runs, a signal is for imgbuild: the first makes it tidy up, the
# second makes it stop at once. Both times it is waited for.
stop() {
    if [ -n "$build_pid" ]; then kill -s "$1" "$build_pid" 2>/dev/null || true; else exit "$2"; fi
}
trap 'stop INT 130' INT
trap 'stop TERM 143' TERM HUP

start_shim() {
    mkdir -p "$cache"
    # Ctrl-C is for imgbuild first, which may still be talking to the mirror.
    (
        trap '' INT
        exec python3 "$shim" --port 0 --cache "$cache" >"$work/shim.log" 2>&1
    ) &
    shim_pid=$!
    local until=$((SECONDS + shim_limit_seconds))
    until grep -q '^ready' "$work/shim.log"; do
        if ! kill -0 "$shim_pid" 2>/dev/null || [ $SECONDS -ge $until ]; then
            tail -n 20 "$work/shim.log" >&2
            say "error: the mirror on loopback did not start; its last lines are above"
            exit 1
        fi
        sleep 0.2
    done
    local port
    port=$(sed -n 's/^ready on [^,]*:\([0-9]*\),.*/\1/p' "$work/shim.log")
    # imgbuild fetches over loopback; the guest sees this machine as 10.0.2.2.
    # The mirror's index is changed, so its signature cannot hold.
    variables=(-v "mirror=http://10.0.2.2:$port/debian" -v "installer_mirror=http://127.0.0.1:$port/debian"
        -v allow_unauthenticated=true)
}

variables=()
if mirror=$(python3 "$shim" --probe --cache "$cache" 2>"$work/probe.log"); then
    # The last line names it.
    mirror=${mirror##*$'\n'}
    say "mirror $mirror"
    variables=(-v "mirror=$mirror")
else
    say "the host's mirror cannot serve an installation ($(tail -n 1 "$work/probe.log")): filling its gaps on loopback"
    start_shim
fi

mkdir -p images
# In the background, so that signals are taken at once, and in a process group
# of its own, so that it gets each of them once.
set -m
"$imgbuild" build specs/debian-13.toml --output images/debian-13.qcow2 "${variables[@]}" "$@" </dev/null >&2 &
build_pid=$!
set +m
# A signal ends `wait`, not imgbuild.
while
    status=0
    wait "$build_pid" || status=$?
    kill -0 "$build_pid" 2>/dev/null
do :; done
build_pid=
if [ $status != 0 ]; then
    [ ! -e "$work/shim.log" ] || { say "the mirror's last lines:" && grep -vE '^OK ' "$work/shim.log" | tail -n 5 >&2; }
    exit $status
fi
[ -s images/debian-13.qcow2 ] || { say "error: imgbuild ended well, yet images/debian-13.qcow2 is not there" && exit 1; }
echo "$checkout/images/debian-13.qcow2"
