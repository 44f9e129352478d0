#!/usr/bin/env bash
# Builds the quick installer's system in a real cloud, in every way there is, and
# looks from outside whether anything but the products was left.
#
#   IMGBUILD_TEST_CLOUD=oslab tests/openstack/build-quick.sh IMGBUILD
#
# `make test-openstack` calls it. The products are removed at the end.
set -euo pipefail

imgbuild=$(realpath "$1")
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cloud=${IMGBUILD_TEST_CLOUD:?names a cloud of clouds.yaml}
fixture=${CARGO_TARGET_DIR:-$checkout/target}/quick-installer
export IMGBUILD_OS_DIR=$checkout/tests/quick-installer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

say() { echo "build-quick: $*" >&2; }

# Everything that a build could leave, an ID a line.
things() {
    local kind
    for kind in server volume "volume snapshot" image port; do
        # shellcheck disable=SC2086 # two words
        openstack --os-cloud "$cloud" $kind list -f value -c ID
    done | sort
}

spec() {
    cat <<SPEC
version = 1
name = "$1"
os = "quick"

[source.kernel]
kernel = "$fixture/linux"
initrd = "$fixture/initrd.gz"

[answer]
text = """
#imgbuild-quick
hostname = quickhost
"""

[install]
disk = "1 GiB"
cpus = 1
timeout = "15m"
$2

[verify]
console = "quickhost login:"

[platform.openstack]
cloud = "$cloud"
$3
SPEC
}

spec image '' '' >image.toml
spec config-drive 'delivery = "config-drive"' 'config-drive = true' >config-drive.toml
spec volume-backed '' 'volume-backed = true' >volume-backed.toml
spec snapshot '' '' >snapshot.toml

things >before
products=()
for name in image config-drive volume-backed; do
    say "$name"
    products+=("$("$imgbuild" build "$name.toml" --target glance --format plain --work-dir runs)")
done
say snapshot
snapshot=$("$imgbuild" build snapshot.toml --target volume --format plain --work-dir runs)
volume=$(openstack --os-cloud "$cloud" volume snapshot show "$snapshot" -f value -c volume_id)
printf '%s\n' "${products[@]}" "$snapshot" "$volume" | sort >wanted

# Killed in the middle: everything is given back afterwards.
for seconds in 3 12 30 45; do
    say "killed after $seconds s"
    timeout --signal=KILL "$seconds" "$imgbuild" build image.toml --force --target glance --format plain \
        --work-dir runs || true
    "$imgbuild" cleanup --work-dir runs
done

things >after
comm -13 before after >more
status=0
diff wanted more || {
    say "error: what is in the cloud is not what was made"
    status=1
}
openstack --os-cloud "$cloud" image delete "${products[@]}"
openstack --os-cloud "$cloud" volume snapshot delete "$snapshot"
until ! openstack --os-cloud "$cloud" volume snapshot show "$snapshot" >/dev/null 2>&1; do sleep 1; done
openstack --os-cloud "$cloud" volume delete "$volume"
exit $status
