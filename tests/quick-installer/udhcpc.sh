#!/bin/sh
# What udhcpc calls with a lease: address, routes and resolver of the card.
# shellcheck disable=SC2154 # udhcpc sets the variables

case $1 in
bound | renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/${mask:-24}" dev "$interface"
    for gateway in $router; do
        ip route add default via "$gateway" dev "$interface"
        break
    done
    # Routes of their own (DHCP option 121), such as a cloud's to its metadata.
    # shellcheck disable=SC2086 # pairs of words
    set -- ${staticroutes-}
    while [ $# -ge 2 ]; do
        ip route add "$1" via "$2" dev "$interface"
        shift 2
    done
    # Without any, the metadata address is taken to be on this very link.
    [ -n "${router-}${staticroutes-}" ] || ip route add 169.254.169.254 dev "$interface"
    for server in ${dns-}; do echo "nameserver $server"; done >/etc/resolv.conf
    echo "$ip" >/tmp/address
    ;;
esac
