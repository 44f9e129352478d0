#!/bin/sh
# What udhcpc calls with a lease.
# shellcheck disable=SC2154 # udhcpc sets them

if [ "$1" = bound ]; then
    ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
    route add default gw "${router%% *}"
    for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    echo "guest: $interface $ip via $router, dns $dns" >/tmp/lease
fi
