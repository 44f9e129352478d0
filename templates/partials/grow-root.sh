#!/bin/sh
# At each boot: the partition of / takes the free room behind it, and its file
# system the partition. A kernel that cannot read the table again while a
# partition is in use is restarted, once.
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
part=$(df -P / | sed -n '2s/ .*//p')
part=$(readlink -f "$part")
name=${part##*/}
for sys in /sys/block/*/"$name"; do :; done
[ -e "$sys/start" ] || exit 0
disk=${sys%/*}
device=/dev/${disk##*/}
before=$(cat "$sys/size")
free=$(expr "$(cat "$disk/size")" - "$(cat "$sys/start")" - "$before")
if [ "$free" -gt 65536 ]; then
  number=$(echo "$name" | sed 's/.*[^0-9]//')
  table=$(sfdisk -d "$device" | sed -e '/^last-lba:/d' -e "s|^\($part *:.*\)size= *[0-9]*, *|\1|")
  echo "$table" | sfdisk --force --no-reread "$device"
  partx --update --nr "$number" "$device"
  if [ "$(cat "$sys/size")" = "$before" ] && [ ! -e /var/lib/grow-root ]; then
    : > /var/lib/grow-root
    sync
    reboot
    exit 0
  fi
fi
case $(sed -n 's|^[^ ]* / \([a-z0-9]*\) .*|\1|p' /proc/mounts | tail -n 1) in
  ext*) resize2fs "$part" || ext2online / ;;
  xfs) xfs_growfs / ;;
  btrfs) btrfs filesystem resize max / ;;
esac
