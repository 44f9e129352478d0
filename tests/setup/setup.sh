#!/usr/bin/env bash
# Installs what imgbuild and its tests need from the distribution: `make setup`.
#
#   tests/setup/setup.sh            for builds and tests on x86_64
#   tests/setup/setup.sh aarch64    also what aarch64 guests need
#   tests/setup/setup.sh browser    also what looks at reports
#   tests/setup/setup.sh openstack  also the part of QEMU that reads Ceph, which the cloud for tests wants
#
# Knows apt, dnf and zypper. Says nothing and takes a moment when nothing is
# missing. Needs root, or sudo, only when something is.
set -euo pipefail

wanted_rust=1.91
# Software emulation of QEMU 7.2 (Debian 12) miscomputes: 6.12 kernels panic.
wanted_qemu=8

say() { echo "setup: $*"; }
warn() { echo "setup: warning: $*" >&2; }
die() {
    echo "setup: error: $1" >&2
    echo "  help: $2" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root: $*" "run \`make setup\` once as root, or install sudo"
    fi
}

# Whether the first version is at least the second.
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# What each family calls what is needed, and what is merely good to have.
name_packages() {
    case $1 in
    apt)
        needed=(qemu-system-x86 qemu-utils ovmf syslinux syslinux-common mtools dosfstools systemd-boot-efi gpgv
            debian-archive-keyring busybox-static cpio xz-utils python3 curl ca-certificates gcc libc6-dev xorriso)
        optional=(shellcheck libxml2-utils python3-pykickstart)
        [ "$2" != aarch64 ] || needed+=(qemu-system-arm qemu-efi-aarch64)
        [ "$2" != browser ] || needed+=(chromium)
        [ "$2" != openstack ] || needed+=(qemu-block-extra)
        ;;
    dnf)
        needed=(qemu-system-x86-core qemu-img edk2-ovmf syslinux mtools dosfstools systemd-boot-unsigned gnupg2
            cpio xz python3 curl ca-certificates gcc xorriso)
        optional=(debian-keyring busybox ShellCheck libxml2 pykickstart debconf)
        [ "$2" != aarch64 ] || needed+=(qemu-system-aarch64-core edk2-aarch64)
        [ "$2" != browser ] || needed+=(chromium)
        ;;
    zypper)
        needed=(qemu-x86 qemu-tools qemu-ovmf-x86_64 syslinux mtools dosfstools systemd-boot gpg2
            cpio xz python3 curl ca-certificates gcc xorriso)
        optional=(busybox-static ShellCheck libxml2-tools)
        [ "$2" != aarch64 ] || needed+=(qemu-arm qemu-uefi-aarch64)
        [ "$2" != browser ] || needed+=(chromium)
        ;;
    esac
}

# Prints those of the packages that are not installed.
missing_of() {
    local package installed
    if [ "$family" = apt ]; then
        installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    else
        # Provided names count too: distributions rename.
        installed=$(for package in "$@"; do rpm -q --whatprovides "$package" >/dev/null 2>&1 && echo "$package installed"; done || true)
    fi
    for package in "$@"; do
        grep -qxF "$package installed" <<<"$installed" || echo "$package"
    done
}

# Runs apt-get without questions, waiting for other package managers. What it
# reports is left out, what it complains of is not.
apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
        -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# A folder of sources that has the host's own and, on Debian, the backports of
# the same mirror. Prints nothing where there is no such mirror. Nothing of the
# host's is changed.
sources_with_backports() {
    local folder=$1 codename uri
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && [ "${ID-}" = debian ] && echo "${VERSION_CODENAME-}") || return 1
    # shellcheck disable=SC2016 # apt fills these in
    uri=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n "s/^$codename //p" | head -n 1)
    [ -n "$codename" ] && [ -n "$uri" ] || return 1
    cp /etc/apt/sources.list.d/* "$folder/" 2>/dev/null || true
    cp /etc/apt/sources.list "$folder/own.list" 2>/dev/null || true
    if ! grep -qs -e "$codename-backports" "$folder"/*; then
        printf 'Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\nSigned-By: %s\n' "$uri" "$codename" \
            /usr/share/keyrings/debian-archive-keyring.gpg >"$folder/imgbuild-backports.sources"
    fi
    chmod -R a+rX "$folder"
    echo "$codename-backports"
}

# The version of a package that apt would install, or has installed.
apt_candidate() {
    apt-cache policy "$1" | sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}//p'
}

# QEMU from the backports, as far as they can be reached, with these parts of it.
install_newer_qemu() {
    local folder suite
    folder=$(mktemp -d)
    if suite=$(sources_with_backports "$folder"); then
        local sources=(-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$folder")
        say "QEMU from $suite"
        # All by name: one from Debian 12 alone would remove the newer others.
        if ! { apt_get "${sources[@]}" update &&
            apt_get "${sources[@]}" install --no-install-recommends -t "$suite" qemu-system-x86 qemu-utils "$@"; }; then
            warn "$suite could not be used"
        fi
    fi
    rm -rf "$folder"
}

install_with_apt() {
    apt_get update || warn "not every package list could be updated"
    # Debian 12's own is faulty: take the newer one at once, if it can be had.
    local package older=() left
    for package in "$@"; do
        case $package in
        qemu-system-x86 | qemu-utils | qemu-block-extra)
            at_least "$(apt_candidate "$package")" $wanted_qemu || older+=("$package")
            ;;
        esac
    done
    [ ${#older[@]} = 0 ] || install_newer_qemu "${older[@]}"
    mapfile -t left < <(missing_of "$@")
    [ ${#left[@]} = 0 ] || apt_get install --no-install-recommends "${left[@]}"
}

install_packages() {
    say "installing $*"
    case $family in
    apt) install_with_apt "$@" ;;
    dnf) as_root dnf -q -y install --setopt=install_weak_deps=False "$@" ;;
    zypper) as_root zypper -n -q install --no-recommends "$@" ;;
    esac
}

check_rust() {
    local version
    export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    have cargo || die "cargo is missing" "install Rust $wanted_rust or newer from https://rustup.rs"
    version=$(cargo --version | cut -d' ' -f2)
    at_least "$version" $wanted_rust ||
        die "cargo $version is too old" "install Rust $wanted_rust or newer: \`rustup update stable\`"
}

check_qemu() {
    local version
    version=$(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p')
    at_least "$version" $wanted_qemu && return
    if [ "$family" = apt ]; then
        install_newer_qemu
        version=$(qemu-system-x86_64 --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p')
    fi
    at_least "$version" $wanted_qemu ||
        warn "QEMU $version: its software emulation is faulty, newer guests may panic; use $wanted_qemu or newer"
}

main() {
    local purpose=${1:-x86_64} needed=() optional=() missing=()
    case $purpose in
    x86_64 | aarch64 | browser | openstack) ;;
    *) die "\`$purpose\` is not known" "x86_64, aarch64, browser and openstack are" ;;
    esac
    if have apt-get; then
        family=apt
    elif have dnf; then
        family=dnf
    elif have zypper; then
        family=zypper
    else
        die "neither apt, dnf nor zypper is here" "install by hand: QEMU, OVMF, syslinux, mtools, gpgv, python3, curl, a C compiler"
    fi
    name_packages $family "$purpose"

    mapfile -t missing < <(missing_of "${needed[@]}")
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
    mapfile -t missing < <(missing_of "${needed[@]}")
    [ ${#missing[@]} = 0 ] || die "still missing: ${missing[*]}" "install them by hand, see the lines above"

    # Only tried where something else was installed too, or asked for by name:
    # what is optional must not cost every `make` a package manager's time.
    mapfile -t missing < <(missing_of "${optional[@]}")
    [ ${#missing[@]} = 0 ] || [ -z "${IMGBUILD_SETUP_OPTIONAL-}" ] ||
        install_packages "${missing[@]}" || warn "without ${missing[*]} some checks are left out"

    check_qemu
    # The quick installer's kernel comes from apt, whose lists a fresh machine may not have.
    if [ $family = apt ] && ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        apt_get update || warn "the package lists could not be updated"
    fi
    check_rust
}

main "$@"
