#!/bin/sh
# The quick installer: /init of its initrd.
#
# Acts on a disk as an operating system's installer does, in seconds: network,
# answer file, partitions, files, boot loader, poweroff. README.md has its boot
# parameters, its answer file, and the ways in which it can go wrong.

/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys

answer=
cmdline_variant=
cmdline_disk=
log_host=
log_port=

say() {
    echo "imgbuild-quick: $*"
    if [ -S /dev/log ]; then logger -t imgbuild-quick "$*"; fi
    if [ -n "$log_port" ]; then echo "imgbuild-quick: $*" >"$log_port"; fi
}

forever() { while :; do sleep 3600; done; }

power_off() {
    sync
    poweroff -f
    forever
}

fail() {
    say "error: $*"
    if [ "$variant" = fail-hang ]; then forever; fi
    power_off
}

# The value of a key in the answer file, or the default.
answer_of() {
    value=$(sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" /answer | sed 's/[[:space:]]*$//;q')
    echo "${value:-$2}"
}

whole() { case $2 in '' | *[!0-9]*) fail "the answer \`$1\` is not a whole number: $2" ;; esac; }

load_modules() {
    while read -r module; do
        insmod "/modules/$module.ko" 2>/dev/null
    done </modules/order
    mdev -s
}

# As Anaconda does, without a word on the command line.
find_log_port() {
    for path in /sys/class/virtio-ports/*; do
        if [ "$(cat "$path/name" 2>/dev/null)" = imgbuild.quick.log.0 ]; then log_port=/dev/${path##*/}; fi
    done
}

read_boot_parameters() {
    read -r cmdline </proc/cmdline
    for word in $cmdline; do
        case $word in
        answer=*) answer=${word#answer=} ;;
        variant=*) cmdline_variant=${word#variant=} ;;
        disk=*) cmdline_disk=${word#disk=} ;;
        log_host=*) log_host=${word#log_host=} ;;
        esac
    done
    variant=$cmdline_variant
}

set_up_network() {
    ip link set lo up
    for path in /sys/class/net/*; do
        card=${path##*/}
        [ "$card" = lo ] && continue
        ip link set "$card" up
        if udhcpc -i "$card" -n -q -t 10 -T 1 -s /bin/udhcpc-script >/tmp/udhcpc 2>&1; then
            if [ -n "$log_host" ]; then syslogd -R "$log_host"; fi
            say "network: $card $(cat /tmp/address)"
            return 0
        fi
    done
    return 1
}

# Mounts the config drive, where there is one.
mount_config_drive() {
    drive=$(findfs LABEL=config-2 2>/dev/null) || return 1
    mkdir -p /config
    mount -o ro -t iso9660 "$drive" /config 2>/dev/null || mount -o ro -t vfat "$drive" /config 2>/dev/null
}

fetch_answer() {
    case $answer in
    '') if mount_config_drive; then answer=config-drive; else answer=http://169.254.169.254/latest/user-data; fi ;;
    config-drive)
        # A CD-ROM takes its time to be found.
        for _ in 1 2 3 4 5 6; do mount_config_drive && break || sleep 1; done
        [ -d /config/openstack ] || fail "no volume is labelled config-2"
        ;;
    esac
    case $answer in
    config-drive)
        cp /config/openstack/latest/user_data /answer 2>/dev/null || fail "the config drive holds no user data"
        umount /config
        ;;
    file:*) cp "${answer#file:}" /answer 2>/dev/null || fail "the answer file could not be read: $answer" ;;
    http://*)
        [ -n "$network" ] || fail "no network: no card, or nothing answers its DHCP requests"
        for _ in 1 2 3 4 5; do
            # busybox 1.35's own timeout, wget -T, crashes.
            timeout 10 wget -q -O /answer "$answer" 2>/tmp/wget && break
            rm -f /answer
            sleep 1
        done
        [ -e /answer ] || fail "the answer file could not be fetched from $answer ($(tail -n 1 /tmp/wget))"
        ;;
    *) fail "the boot parameter answer=$answer is not understood" ;;
    esac
    answer_sha256=$(sha256sum /answer | cut -d' ' -f1)
    # User-data may come compressed, to keep under a cloud's limit.
    if [ "$(head -c 2 /answer | xxd -p)" = 1f8b ]; then
        mv /answer /answer.gz
        gunzip /answer.gz || fail "the answer file is damaged"
    fi
    head -n 1 /answer | grep -q '^#imgbuild-quick' || fail "the answer file does not begin with #imgbuild-quick"
}

find_disk() {
    disk=${cmdline_disk:-$(answer_of disk)}
    if [ -n "$disk" ]; then
        [ -b "$disk" ] || fail "no such disk: $disk"
        return
    fi
    config_drive=$(findfs LABEL=config-2 2>/dev/null)
    for path in /sys/block/vd* /sys/block/sd* /sys/block/nvme*; do
        [ -e "$path" ] || continue
        disk=/dev/${path##*/}
        [ "$disk" != "$config_drive" ] && [ "$(cat "$path/ro")" = 0 ] && return
    done
    fail "no disk"
}

le32() {
    printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# One entry of a partition table, as octal escapes: active, type, first sector,
# sectors. Cylinders are out of range on purpose: everyone reads the sectors.
table_entry() { printf '\\%03o\\376\\377\\377\\%03o\\376\\377\\377%s%s' "$1" "$2" "$(le32 "$3")" "$(le32 "$4")"; }

boot_start=2048
boot_sectors=65536

partition() {
    sectors=$(blockdev --getsz "$disk") || fail "the disk cannot be read: $disk"
    root_start=$((boot_start + boot_sectors))
    # 64 MiB hold everything that is written.
    [ "$sectors" -ge $((root_start + 65536)) ] || fail "the disk is too small: $((sectors / 2048)) MiB, 65 MiB are needed"
    root_sectors=$((sectors - root_start))
    dd if=/dev/zero of="$disk" bs=1M count=1 2>/dev/null || fail "the disk cannot be written: $disk"
    {
        # An EFI system partition that a BIOS starts as well, then the root.
        printf 'QUIK\000\000'
        # shellcheck disable=SC2059 # the escapes are the point
        printf "$(table_entry 128 239 $boot_start $boot_sectors)$(table_entry 0 131 $root_start $root_sectors)"
        dd if=/dev/zero bs=32 count=1 2>/dev/null
        printf '\125\252'
    } >/tmp/table
    dd if=/tmp/table of="$disk" bs=1 seek=440 conv=notrunc 2>/dev/null
    sync
    blockdev --rereadpt "$disk" || fail "the kernel does not take the new partition table of $disk"
    case $disk in *[0-9]) part=${disk}p ;; *) part=$disk ;; esac
    n_tries=0
    until [ -b "${part}2" ]; do
        n_tries=$((n_tries + 1))
        [ $n_tries -le 50 ] || fail "partition 2 of $disk does not appear"
        usleep 100000
    done
    mke2fs -q -L quick-root -i 262144 -m 0 "${part}2" >/tmp/mke2fs 2>&1 || fail "mke2fs: $(tail -n 1 /tmp/mke2fs)"
}

# The key may enter as root.
write_ssh_server() {
    cp -R /system/ssh/* .
    cp /system/udhcpc.sh bin/udhcpc-script
    chmod 755 bin/udhcpc-script
    mkdir -p root/.ssh etc/dropbear
    chmod 700 root/.ssh etc/dropbear
    (umask 077 && echo "$key" >root/.ssh/authorized_keys)
    chmod 700 root
}

write_base_system() {
    mkdir -p /target
    mount -t ext4 "${part}2" /target || fail "the new root cannot be mounted"
    (
        cd /target || exit 1
        mkdir -p bin dev etc/acpi/PWRF proc root run sys tmp usr/share/packages
        cp /bin/busybox bin/
        mkdir -p sbin
        ln -s ../bin/busybox sbin/init
        cp /system/inittab /system/rc etc/
        ln -s ../rc-poweroff etc/acpi/PWRF/00000080
        printf '#!/bin/busybox sh\nexec /bin/busybox poweroff\n' >etc/acpi/rc-poweroff
        chmod 755 etc/rc etc/acpi/rc-poweroff
        answer_of hostname quick >etc/hostname
        answer_of marker '' >etc/marker
        echo "$answer_sha256" >etc/user-data.sha256
        echo 'Quick Linux, installed by imgbuild-quick, on \l' >etc/issue
        echo 'root:x:0:' >etc/group
        password=$(answer_of password)
        if [ -n "$password" ]; then password=$(printf '%s' "$password" | mkpasswd -m sha512 -P 0); fi
        echo "root:${password:-*}:0:0:root:/root:/bin/sh" >etc/passwd
        chmod 600 etc/passwd
        key=$(answer_of authorized_key)
        [ -z "$key" ] || write_ssh_server
    ) || fail "the base system could not be written"
}

install_packages() {
    n_packages=$(answer_of packages 10)
    pause=$(answer_of pause 0)
    [ "$variant" = slow ] && [ "$pause" = 0 ] && pause=3
    whole packages "$n_packages"
    whole pause "$pause"
    n=0
    while [ $n -lt "$n_packages" ]; do
        n=$((n + 1))
        say "packages $n/$n_packages"
        dd if=/bin/busybox of="/target/usr/share/packages/package-$n" bs=64k count=4 2>/dev/null ||
            fail "package-$n: no space left on the disk"
        # Works on rather than sleeps: the disk's counters move.
        [ "$pause" = 0 ] || { sync; sleep "$pause"; }
    done
}

install_boot_loader() {
    dd if=/system/boot.img of="${part}1" bs=1M 2>/dev/null || fail "the boot partition cannot be written"
    dd if=/system/mbr.bin of="$disk" bs=440 count=1 conv=notrunc 2>/dev/null
}

# What boots is spoilt in the way that the variant names.
spoil() {
    case $variant in
    unbootable) dd if=/dev/zero of="$disk" bs=440 count=1 conv=notrunc 2>/dev/null
        dd if=/dev/zero of="${part}1" bs=1M count=1 conv=notrunc 2>/dev/null ;;
    no-login) rm /target/sbin/init ;;
    esac
}

read_boot_parameters
load_modules
find_log_port
say "Debian $(uname -r), variant ${variant:-from the answer file}"

say "phase network"
if set_up_network; then network=yes; else network=; fi

say "phase components"
if [ "$variant" = no-answer-fetch ]; then
    echo '#imgbuild-quick' >/answer
    answer_sha256=none
else
    fetch_answer
fi
variant=${cmdline_variant:-$(answer_of variant ok)}
case $variant in
ok | fail | fail-hang | hang | ask | reboot | halt | panic | unbootable | no-login | slow | early-poweroff | no-answer-fetch) ;;
*) fail "the variant $variant is not known" ;;
esac

find_disk
if [ "$variant" = ask ]; then
    say "question disk: which disk is to be erased?"
    printf 'Prompt: [%s] ' "$disk"
    read -r disk
fi

say "phase partitioning"
partition
[ "$variant" = early-poweroff ] && power_off

say "phase base-system"
case $variant in
fail | fail-hang) fail "base system: the package base-files could not be unpacked" ;;
hang) forever ;;
panic) echo c >/proc/sysrq-trigger ;;
esac
write_base_system

say "phase packages"
install_packages

say "phase boot-loader"
install_boot_loader
spoil
umount /target
sync

say "phase end"
echo IMGBUILD-DONE
case $variant in
reboot) reboot -f ;;
halt) halt -f ;;
*) power_off ;;
esac
forever
