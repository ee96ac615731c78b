#!/bin/sh
# Starts the private engine in namespaces of its own, in three stages. All
# values come in by the environment: PATH, HIVE_RUN (folder of this run),
# HIVE_CIDR (network between engine and host), HIVE_PORTS (first and last of
# its random ports), HIVE_LEGACY (folder with another iptables).
#
# Whatever happens to dockerd, its containers, mounts, addresses and ports end
# with the process namespace; nothing can be orphaned on the host.
set -eu
umask 022

case $1 in
processes)
    # The kernel gives the lock back however this ends, also after a reboot;
    # holding it is what "the engine is alive" means.
    exec 9<>"$HIVE_RUN/alive"
    flock -w 5 9
    echo $$ >"$HIVE_RUN/pid"
    # Mounts of the host stay visible in here, ours do not show there.
    exec unshare --mount --propagation slave --pid --fork --kill-child --mount-proc \
        docker-init -- sh "$0" network
    ;;
network)
    : >"$HIVE_RUN/host.net"
    : >"$HIVE_RUN/engine.net"
    # Published ports listen here, see forward.rs.
    mount --bind /proc/self/ns/net "$HIVE_RUN/host.net"
    unshare --net="$HIVE_RUN/engine.net" true
    # Egress without a bridge, rule or route on the host. It reads the host's
    # resolv.conf, hence before the next stage hides it.
    while :; do
        slirp4netns --configure --mtu=65520 --disable-host-loopback --cidr="$HIVE_CIDR" \
            --netns-type=path "$HIVE_RUN/engine.net" tap0 || true
        sleep 1
    done &
    exec nsenter --net="$HIVE_RUN/engine.net" unshare --mount --propagation slave sh "$0" daemon
    ;;
daemon)
    # dockerd, containerd and runc have fixed names in /run, where another
    # engine's files may be.
    resolv=$(readlink -f /etc/resolv.conf || true)
    mount -t tmpfs -o mode=755 tmpfs /run
    case $resolv in
    /run/*)
        mkdir -p "${resolv%/*}"
        cp "$HIVE_RUN/resolv.conf" "$resolv"
        ;;
    ?*)
        [ ! -e "$resolv" ] || mount --bind "$HIVE_RUN/resolv.conf" "$resolv"
        ;;
    esac
    # The bridge's state files of this network namespace; newer engines wait
    # for them at each start of a container.
    mkdir /run/sys
    mount --rbind /sys /run/sys
    if mount -t sysfs sysfs /sys; then
        for kept in fs/cgroup kernel/security; do
            ! mountpoint -q "/run/sys/$kept" || mount --rbind "/run/sys/$kept" "/sys/$kept"
        done
    fi
    umount --lazy /run/sys
    # The engine cannot see which of the host's ports are taken.
    echo "$HIVE_PORTS" >/proc/sys/net/ipv4/ip_local_port_range
    # Not every kernel has nf_tables.
    if ! iptables --wait -t nat -L -n >/dev/null 2>&1; then
        PATH=$HIVE_LEGACY:$PATH
    fi
    exec dockerd --config-file "$HIVE_RUN/daemon.json"
    ;;
esac
