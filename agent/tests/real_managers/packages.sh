#!/bin/sh
# Makes a folder with all that apt, dnf, zypper and pacman read: installed packages in version 1.0, repositories with
# version 2.0 of them, an advisory, and settings that keep one of them back. `own-managers.sh` shows it to the programs.
#
#   packages.sh LAB
set -eu
lab=$1
umask 022
cd "$lab"
cp -a /etc etc
rm -rf etc/apt etc/dnf etc/yum.repos.d etc/zypp etc/pacman.conf etc/rpm
mkdir -p srv etc/rpm etc/dnf etc/yum.repos.d etc/zypp/repos.d etc/apt/apt.conf.d etc/apt/preferences.d \
    etc/apt/sources.list.d etc/apt/trusted.gpg.d var/lib/rpm var/lib/dpkg/info var/lib/dpkg/updates \
    var/lib/apt/lists/partial var/lib/pacman/local var/lib/pacman/sync var/cache/dnf var/cache/zypp \
    var/cache/apt/archives/partial

# Packages of RPM. Without the setting, Debian's rpm keeps its database in the home folder.
echo '%_dbpath /var/lib/rpm' >etc/rpm/macros
mkdir specs
rpm_spec() {
    cat >"specs/$1-$2.spec" <<SPEC
Name: $1
Version: $2
Release: 1
Summary: A package for tests
License: MIT
BuildArch: noarch
%description
A package for tests.
%files
SPEC
}
for version in 1.0 2.0; do
    for name in lamp engine frozen; do rpm_spec $name $version; done
done
HOME=$lab rpmbuild --quiet -bb --define "_topdir $lab/build" --define "_rpmdir $lab/rpms" specs/*.spec >/dev/null 2>&1
mkdir srv/rpm
mv rpms/noarch/*-2.0-1.noarch.rpm srv/rpm
createrepo_c --quiet srv/rpm
cat >updateinfo.xml <<'XML'
<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="lab@example.org" status="final" type="security" version="1">
    <id>LAB-2026:0001</id>
    <title>Security update for engine</title>
    <severity>Important</severity>
    <issued date="2026-01-01 00:00:00"/>
    <references><reference href="https://example.org" id="CVE-2026-1000" title="CVE-2026-1000" type="cve"/></references>
    <description>A hole is closed.</description>
    <pkglist><collection short="lab"><name>lab</name>
      <package name="engine" version="2.0" release="1" epoch="0" arch="noarch" src="engine-2.0-1.src.rpm">
        <filename>engine-2.0-1.noarch.rpm</filename>
      </package>
    </collection></pkglist>
  </update>
</updates>
XML
modifyrepo_c --mdtype=updateinfo updateinfo.xml srv/rpm/repodata >/dev/null

# dnf and zypper.
cat >etc/yum.repos.d/lab.repo <<REPO
[lab]
name=Lab
baseurl=file://$lab/srv/rpm
enabled=1
gpgcheck=0
REPO
cp etc/yum.repos.d/lab.repo etc/zypp/repos.d/lab.repo
printf '[main]\nexcludepkgs=frozen\n' >etc/dnf/dnf.conf

# pacman: its database is a folder a package on the host, and an archive of such folders in a repository.
pacman_package() { # FOLDER NAME VERSION
    mkdir -p "$1/$2-$3"
    printf '%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%FILENAME%%\n%s-%s-any.pkg.tar.gz\n\n%%ARCH%%\nany\n\n' \
        "$2" "$3" "$2" "$3" >"$1/$2-$3/desc"
    printf '%%CSIZE%%\n10\n\n%%ISIZE%%\n10\n\n%%BUILDDATE%%\n1700000000\n\n%%INSTALLDATE%%\n1700000001\n\n' >>"$1/$2-$3/desc"
    printf '%%FILES%%\n' >"$1/$2-$3/files"
}
mkdir -p pacman-core srv/pacman
echo 9 >var/lib/pacman/local/ALPM_DB_VERSION
for name in lamp frozen; do
    pacman_package var/lib/pacman/local $name 1.0-1
    pacman_package pacman-core $name 2.0-1
done
rm pacman-core/*/files
tar -czf srv/pacman/core.db -C pacman-core lamp-2.0-1 frozen-2.0-1
cat >etc/pacman.conf <<CONF
[options]
Architecture = auto
IgnorePkg = frozen
SigLevel = Never
[core]
Server = file://$lab/srv/pacman
CONF

# apt: two suites of a repository, one of them for security updates.
apt_suite() { # SUITE LABEL PACKAGE...
    suite=$1 label=$2
    shift 2
    mkdir -p "srv/apt/dists/$suite/main/binary-all" "srv/apt/dists/$suite/main/binary-amd64"
    for name in "$@"; do
        printf 'Package: %s\nVersion: 2.0\nArchitecture: all\nMaintainer: Lab <lab@example.org>\n' "$name"
        printf 'Filename: pool/%s_2.0_all.deb\nSize: 10\nSHA256: %064d\nDescription: A package for tests\n\n' "$name" 0
    done >"srv/apt/dists/$suite/main/binary-amd64/Packages"
    cd "srv/apt/dists/$suite"
    {
        printf 'Origin: Debian\nLabel: %s\nSuite: %s\nCodename: %s\nArchitectures: amd64 arm64\n' "$label" "$suite" "$suite"
        printf 'Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n'
        printf ' %s %s main/binary-amd64/Packages\n' \
            "$(sha256sum <main/binary-amd64/Packages | cut -d' ' -f1)" "$(wc -c <main/binary-amd64/Packages)"
    } >Release
    cd "$lab"
}
apt_suite stable Debian lamp frozen
apt_suite stable-security Debian-Security engine
for suite in stable stable-security; do
    printf 'deb [arch=amd64 trusted=yes] file:%s/srv/apt %s main\n' "$lab" $suite
done >etc/apt/sources.list
for name in lamp engine frozen leftover; do
    [ $name = frozen ] && wanted=hold || wanted=install
    printf 'Package: %s\nStatus: %s ok installed\nVersion: 1.0\nArchitecture: all\n' $name $wanted
    printf 'Maintainer: Lab <lab@example.org>\nDescription: A package for tests\n\n'
done >var/lib/dpkg/status
# One that came because others needed it, and nothing does.
printf 'Package: leftover\nArchitecture: %s\nAuto-Installed: 1\n\n' "$(dpkg --print-architecture)" >var/lib/apt/extended_states
