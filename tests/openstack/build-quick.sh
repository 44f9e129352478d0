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
# For the distribution's client.
export OS_CLOUD=$cloud
export IMGBUILD_OS_DIR=$checkout/tests/quick-installer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

say() { echo "build-quick: $*" >&2; }

# The distribution's client wants the distribution's own Python.
openstack() { PATH=/usr/sbin:/usr/bin:/sbin:/bin command openstack "$@"; }

# Everything that a build could leave, an ID a line.
things() {
    local kind
    {
        for kind in server volume "volume snapshot" image port "security group" "floating ip"; do
            # shellcheck disable=SC2086 # two words
            openstack $kind list -f value -c ID
        done
        openstack keypair list -f value -c Name
    } | sort
}

kernel="[source.kernel]
kernel = \"$fixture/linux\"
initrd = \"$fixture/initrd.gz\""
iso='[source.iso]
location = "quick.iso"
kernel = "linux"
initrd = "initrd.gz"'

spec() { # NAME SOURCE INSTALL OPENSTACK
    cat <<SPEC
version = 1
name = "$1"
os = "quick"

$2

[answer]
text = """
#imgbuild-quick
hostname = quickhost
"""

[install]
disk = "1 GiB"
cpus = 1
timeout = "15m"
$3

[verify]
console = "quickhost login:"

[platform.openstack]
cloud = "$cloud"
$4
SPEC
}

build() { # NAME TARGET [MORE…]
    say "$*"
    "$imgbuild" build "$1.toml" --target "$2" --format plain --work-dir runs "${@:3}"
}

settled() { # KIND ID: until it is available
    # shellcheck disable=SC2086 # two words
    until [ "$(openstack $1 show "$2" -f value -c status)" = available ]; do sleep 1; done
}

xorriso -as mkisofs -quiet -V QUICK -o quick.iso -r "$fixture/linux" "$fixture/initrd.gz"
spec image "$kernel" '' '' >image.toml
spec config-drive "$kernel" 'delivery = "config-drive"' 'config-drive = true' >config-drive.toml
spec volume-backed "$kernel" '' 'volume-backed = true' >volume-backed.toml
spec iso "$iso" '' '' >iso.toml
spec direct "$kernel" 'boot = "direct"' '' >direct.toml
spec direct-volume-backed "$kernel" 'boot = "direct"' 'volume-backed = true' >direct-volume-backed.toml
# Longer than the 255 bytes that Nova keeps of a property beside the image.
long=$(printf 'x%.0s' {1..260})
spec direct-snapshot "$kernel" "boot = \"direct\"
parameters = [\"filler=$long\"]" '' >direct-snapshot.toml
spec cached "$kernel" 'boot = "direct"' 'cache-media = true' >cached.toml
spec snapshot "$kernel" '' '' >snapshot.toml
spec iso-snapshot "$iso" '' '' >iso-snapshot.toml
# Changed and proved over SSH, at a floating IP with a key and a security group of its own.
spec reached "$kernel" '' "floating-ip = \"${IMGBUILD_TEST_EXTERNAL:-public}\"" |
    sed -e 's/^console = .*/ssh = { user = "root", command = "grep changed \/etc\/stage", files = ["\/etc\/stage"] }/' \
        -e 's/^hostname = .*/&\nauthorized_key = {{ build.ssh_public_key }}/' >reached.toml
cat >>reached.toml <<'STAGE'

[[stages]]
name = "change"
after = "install"
ssh = { run = ["echo changed > /etc/stage", "sync"], keep = true }
STAGE

# An image and a snapshot of one disk, installed and proved at an address that is given.
spec both "$kernel" '' "network = \"${IMGBUILD_TEST_NETWORK:-private}\"
fixed-ip = \"${IMGBUILD_TEST_ADDRESS:-10.11.12.99}\"

[target.volume]

[target.glance]" >both.toml

things >before
products=()
for name in image config-drive volume-backed iso direct direct-volume-backed cached reached; do
    products+=("$(build "$name" glance)")
done
snapshots=() volumes=()
for name in snapshot iso-snapshot direct-snapshot; do
    snapshot=$(build "$name" volume)
    snapshots+=("$snapshot")
    volumes+=("$(openstack volume snapshot show "$snapshot" -f value -c volume_id)")
done
read -r snapshot image < <("$imgbuild" build both.toml --format plain --work-dir runs)
snapshots+=("$snapshot")
volumes+=("$(openstack volume snapshot show "$snapshot" -f value -c volume_id)")
products+=("$image")
# The medium as the cloud has it: the image that the build left, and a snapshot.
products+=("$(build iso glance --force --source.image imgbuild-medium-quick.iso)")
medium=$(openstack volume create --image imgbuild-medium-quick.iso --size 1 medium -f value -c id)
settled volume "$medium"
held=$(openstack volume snapshot create --volume "$medium" medium -f value -c id)
settled 'volume snapshot' "$held"
products+=("$(build iso glance --force --source.volume-snapshot medium)")
openstack volume snapshot delete "$held"
while openstack volume snapshot show "$held" >/dev/null 2>&1; do sleep 1; done
openstack volume delete "$medium"
while openstack volume show "$medium" >/dev/null 2>&1; do sleep 1; done
# The installer's ISO stays for the next build, once; kernel and initrd where that
# is asked for, and the next build finds them. All of it can be given back.
products+=("$("$imgbuild" build cached.toml --force --target glance --format plain --work-dir runs)")
[ "$(openstack image list --tag imgbuild-medium -f value -c ID | wc -l)" = 1 ]
[ "$(openstack image list --tag imgbuild-cache -f value -c ID | wc -l)" = 2 ]
"$imgbuild" cleanup --cache --cloud "$cloud" --work-dir runs
# What started the installer is nothing of the product's.
marks='kernel_id|ramdisk_id|os_command_line|imgbuild_sha256'
for product in "${products[@]}"; do
    if openstack image show "$product" -f json | grep -E "$marks"; then exit 1; fi
done
for volume in "${volumes[@]}"; do
    if openstack volume show "$volume" -f json | grep -E "$marks"; then exit 1; fi
done

# Killed in the middle: everything is given back afterwards.
for seconds in 2 4 7 11 16 22 29 37 46 56; do
    say "killed after $seconds s"
    # One that was faster has made a product.
    product=$(timeout --signal=KILL "$seconds" "$imgbuild" build image.toml --force --target glance \
        --format plain --work-dir runs) || true
    if [ -n "$product" ]; then products+=("$product"); fi
    "$imgbuild" cleanup --work-dir runs
done

printf '%s\n' "${products[@]}" "${snapshots[@]}" "${volumes[@]}" | sort >wanted
things >after
comm -13 before after >extra
status=0
diff wanted extra || {
    say "error: what is in the cloud is not what was made"
    status=1
}
openstack image delete "${products[@]}"
openstack volume snapshot delete "${snapshots[@]}"
for snapshot in "${snapshots[@]}"; do
    until ! openstack volume snapshot show "$snapshot" >/dev/null 2>&1; do sleep 1; done
done
openstack volume delete "${volumes[@]}"
exit $status
