#!/bin/sh
# Runs a command to which the package managers of this machine show only the folder that `packages.sh` made: it is mounted
# over what they read, out of the sight of every other process. Each manager downloads its lists first.
#
#   unshare --mount --propagation private own-managers.sh LAB COMMAND...
set -eu
lab=$1
shift
for folder in etc var/lib/rpm var/lib/dpkg var/lib/apt var/lib/pacman var/cache/dnf var/cache/zypp var/cache/apt; do
    # A manager that has never run has made none of its folders.
    mkdir -p "/$folder"
    mount --bind "$lab/$folder" "/$folder"
done
# zypper's lock is here, and must not meet that of another.
mount -t tmpfs tmpfs /run
rpm --initdb
rpm -i --justdb --nodeps --noscripts "$lab"/rpms/noarch/*-1.0-1.noarch.rpm 2>/dev/null
dnf --quiet makecache
zypper --quiet --non-interactive refresh
zypper --quiet --non-interactive addlock frozen
pacman -Sy >/dev/null
apt-get -qq update
exec "$@"
