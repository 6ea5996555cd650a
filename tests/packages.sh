#!/usr/bin/env bash
# The packages as an operator meets them: installed by real dpkg and rpm into systems of their own, initialised, enrolled,
# started under a real systemd, seen over the API, upgraded, removed and purged.
#
# Needs root and what packaging/needs lists; says that it was skipped where they are missing. The base system is fetched once
# and kept in ${XDG_CACHE_HOME:-~/.cache}/upkeep.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

# Fetching a base system is the longest step; everything after it takes seconds.
if [ -z "${UPKEEP_PACKAGES_BOUNDED:-}" ]; then
    UPKEEP_PACKAGES_BOUNDED=1 exec timeout --kill-after=30 1500 "$0" "$@"
fi

began=$SECONDS
passed=0 skipped=0
work='' leader='' container='' closed=''

close() {
    closed=yes
    printf '%s passed, %s failed, %s skipped\n' "$passed" "$1" "$skipped"
    printf 'packages: %s s\n' "$((SECONDS - began))"
}

skip() {
    printf 'skipped: %s: %s\n' "$1" "$2"
    skipped=$((skipped + 1))
}

# Runs one step; the first that fails ends the test, since the later ones stand on it.
step() {
    local name=$1 start=$SECONDS log=$work/step.log status=0
    shift
    set +e
    (
        set -Eeuo pipefail
        trap 'printf "failed at line %s: %s\n" "$LINENO" "$BASH_COMMAND"' ERR
        "$@"
    ) >"$log" 2>&1
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        printf 'FAILED: %s\n' "$name"
        sed 's/^/    /' "$log"
        tell_more
        close 1
        exit 1
    fi
    passed=$((passed + 1))
    printf 'ok: %s (%s s)\n' "$name" "$((SECONDS - start))"
}

tell_more() {
    [ -n "$leader" ] || return 0
    if booted; then
        inside journalctl --no-pager --lines=60 --unit='upkeep-*' 2>&1 | sed 's/^/    /' || true
    else
        tail -n 30 "$work"/*.service.log 2>/dev/null | sed 's/^/    /' || true
    fi
}

# With its first process the whole container ends, and then the program that started it.
end_container() {
    [ -n "$container" ] || return 0
    pkill -KILL --parent "$container" || true
    until_true 5 has_ended "$container" >/dev/null || kill -KILL "$container" || true
    wait "$container" 2>/dev/null || true
    leader='' container=''
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

clean_up() {
    [ -n "$closed" ] || close 1
    end_container
    [ -z "$work" ] || rm -rf --one-file-system "$work"
}

# Waits until a command succeeds, for so many seconds.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "waited in vain for: $*"
            return 1
        fi
        sleep 0.2
    done
}

equal() {
    [ "$1" = "$2" ] && return
    printf 'got:  %s\nwant: %s\n' "$1" "$2"
    return 1
}

# --- the base system -----------------------------------------------------------------------------------------------------------

# The release of this machine, so that what was built here also runs there.
release_of_this_machine() {
    (. /etc/os-release && printf '%s %s\n' "$ID" "${VERSION_CODENAME:-}")
}

mirror_of() {
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v release="$1" '$1 == release { print $2; exit }'
}

make_base() {
    local release=$1 archive=$2 folder
    folder=$(mktemp -d "$(dirname "$archive")/base.XXXXXX")
    chmod 0755 "$folder"
    # In a mount namespace of its own nothing stays mounted, whatever happens.
    unshare --mount debootstrap --variant=minbase --include="$base_includes" "$release" "$folder" "$(mirror_of "$release")"
    rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
    tar -C "$folder" --numeric-owner -cf "$archive.part" .
    mv "$archive.part" "$archive"
    rm -rf --one-file-system "$folder"
}

unpack_base() {
    local name cache archive
    base_includes=systemd,systemd-sysv,dbus,iproute2
    read -r name release <<<"$(release_of_this_machine)"
    cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/upkeep
    mkdir -p "$cache"
    archive=$cache/$name-$release-$(dpkg --print-architecture).tar
    (
        flock 9
        [ -f "$archive" ] || make_base "$release" "$archive"
    ) 9>"$cache/lock"
    for tree in "$deb_tree" "$rpm_tree"; do
        mkdir "$tree"
        tar -C "$tree" --numeric-owner -xf "$archive"
        echo lab >"$tree/etc/hostname"
        echo 127.0.0.1 localhost lab >"$tree/etc/hosts"
    done
}

# --- a machine in a folder -----------------------------------------------------------------------------------------------------

inside() {
    timeout "${patience:-60}" nsenter --target "$leader" --all --root --wd \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root "$@"
}

booted() { [ "$boots" = yes ]; }

# The first process of the container. On its way there is a child that is not in it yet, and soon gone.
has_leader() {
    local namespace
    leader=$(pgrep --parent "$container" | tail -n 1)
    namespace=$(readlink "/proc/${leader:-none}/ns/pid")
    [ -n "$namespace" ] && [ "$namespace" != "$(readlink /proc/self/ns/pid)" ]
}

system_is_up() {
    case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) return 1 ;; esac
}

boot() {
    local version
    version=$(chroot "$deb_tree" systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
    # From 256 on systemd starts on a unified hierarchy only.
    [ "$version" -lt 256 ] || export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    # Debian's own timers may elapse at any time, and what they leave would be taken for ours.
    ln -sf /dev/null "$deb_tree/etc/systemd/system/apt-daily.timer"
    ln -sf /dev/null "$deb_tree/etc/systemd/system/apt-daily-upgrade.timer"
    systemd-nspawn --quiet --directory "$deb_tree" --boot --register=no --keep-unit --private-network --hostname=lab \
        --console=pipe --capability=all </dev/null >"$work/console.log" 2>&1 &
    container=$!
    until_true 10 has_leader >/dev/null || return 1
    until_true 60 system_is_up >/dev/null
}

# Without systemd: the same folder as root of a few processes with mounts and a loopback device of their own.
hold() {
    # shellcheck disable=SC2016 # Expanded by the inner shell.
    unshare --mount --pid --net --uts --ipc --fork --kill-child sh -c '
        mount --bind "$1" "$1" && cd "$1" && pivot_root . mnt && cd / && hostname lab &&
        mount -t proc proc /proc && umount --lazy /mnt && ip link set lo up && exec sleep 100000
    ' sh "$deb_tree" 2>"$work/console.log" &
    container=$!
    until_true 10 has_leader >/dev/null
    until_true 10 inside ip link show up dev lo >/dev/null
}

why_not_booted() {
    tail -n 1 "$work/console.log" 2>/dev/null || true
    [ -z "$leader" ] || inside sh -c 'systemctl is-system-running; systemctl list-jobs --no-legend' 2>&1 | xargs || true
}

start_machine() {
    boots=yes
    boot && return
    skip 'systemd in a container' "it does not boot here: $(why_not_booted)"
    end_container
    boots=no
    hold
}

start_service() {
    if booted; then
        inside systemctl start "$1"
    else
        patience=1000 inside sh -c "umask 077 && exec runuser -u $1 -- /usr/bin/$1 $2" >"$work/$1.service.log" 2>&1 &
    fi
}

services_of_machine() { pgrep --ns "$leader" --nslist pid --full '^/usr/bin/upkeep-'; }

no_service_runs() { [ -z "$(services_of_machine)" ]; }

# --- packages pending in the machine ---------------------------------------------------------------------------------------------

# An installed package, and a newer one in a repository of the given origin.
offer_update() {
    local package=$1 label=$2 suite=$3 repository=$deb_tree/srv/lab/$1 size sum
    mkdir -p "$work/$package/DEBIAN" "$repository"
    printf 'Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: lab <lab@upkeep.invalid>\nDescription: lab\n' \
        "$package" >"$work/$package/DEBIAN/control"
    dpkg-deb --build "$work/$package" "$deb_tree/srv/lab/$package.deb"
    inside dpkg --install "/srv/lab/$package.deb"
    {
        sed 's/^Version: .*/Version: 2.0/' "$work/$package/DEBIAN/control"
        printf 'Filename: ./%s.deb\nSize: 1\nSHA256: %064d\n' "$package" 0
    } >"$repository/Packages"
    read -r size sum <<<"$(stat -c %s "$repository/Packages") $(sha256sum <"$repository/Packages" | cut -d' ' -f1)"
    printf 'Origin: Debian\nLabel: %s\nSuite: %s\nVersion: 12\nArchitectures: all\nSHA256:\n %s %s Packages\n' \
        "$label" "$suite" "$sum" "$size" >"$repository/Release"
    echo "deb [trusted=yes] file:/srv/lab/$package ./" >>"$deb_tree/etc/apt/sources.list"
}

offer_updates() {
    rm -rf "$deb_tree"/etc/apt/sources.list "$deb_tree"/etc/apt/sources.list.d/*
    offer_update upkeep-lab-plain Debian stable
    offer_update upkeep-lab-fix Debian-Security stable-security
    inside apt-get update
    inside apt-get -s dist-upgrade | grep '^Inst upkeep-lab-fix .*Debian-Security'
}

# --- steps -----------------------------------------------------------------------------------------------------------------------

build_packages() { PROFILE=dev OUT=$work/packages packaging/build; }

exposure() {
    systemd-analyze security --offline=true --no-pager --threshold="$2" "packaging/systemd/$1.service"
}

# Everything that packages may leave behind: files by name, users and groups by content.
footprint() {
    inside find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
        -o -path /var/lib/dpkg -o -path /var/cache -o -path /dev -o -path /var/lib/systemd/random-seed \) -prune \
        -o -print | grep -vE '^/etc/(passwd|group|shadow|gshadow)-$|^/etc/\.pwd\.lock$' | sort
    inside sort /etc/passwd /etc/group
}

install_debs() {
    mkdir -p "$deb_tree/srv/packages"
    cp "$work"/packages/*.deb "$deb_tree/srv/packages/"
    inside sh -c 'dpkg --install /srv/packages/*.deb'
}

owner_and_mode() { inside stat -c '%U %a' "$1"; }

installed_as_described() {
    local name version
    for name in agent collector; do
        inside getent passwd "upkeep-$name" | grep '/nologin$'
        equal "$(owner_and_mode "/var/lib/upkeep-$name")" "upkeep-$name 700"
        equal "$(owner_and_mode "/usr/bin/upkeep-$name")" 'root 755'
        equal "$(owner_and_mode "/etc/upkeep/$name.toml")" 'root 644'
        inside dpkg-query --show --showformat '${Conffiles}' "upkeep-$name" | grep "/etc/upkeep/$name.toml"
        version=$(inside dpkg-query --show --showformat '${Version}' "upkeep-$name")
        inside "upkeep-$name" --version | grep --fixed-strings " ${version%-*}"
    done
    inside dpkg --verify upkeep-agent upkeep-collector
}

# The shipped files set nothing, and name only keys that there are: the same with every key set is accepted too.
configuration_is_known() {
    local name
    mkdir "$deb_tree/srv/full"
    # The files that the shipped ones name as examples.
    cp /etc/ssl/certs/ca-certificates.crt "$deb_tree/srv/full/mimir-root.pem"
    echo token >"$deb_tree/srv/full/mimir.token"
    for name in agent collector; do
        inside "upkeep-$name" check-config
        if grep -vE '^(#.*|\[[a-z.]+\]|)$' "$deb_tree/etc/upkeep/$name.toml"; then return 1; fi
        sed -E 's/^#([a-z0-9_]+ = |\[\[)/\1/; s#/etc/upkeep/mimir#/srv/full/mimir#' \
            "$deb_tree/etc/upkeep/$name.toml" >"$deb_tree/srv/full/$name.toml"
        inside "upkeep-$name" --config "/srv/full/$name.toml" check-config
    done
    rm -r "$deb_tree/srv/full"
}

services_are_off() {
    local name
    for name in upkeep-agent upkeep-collector; do
        equal "$(inside systemctl is-enabled "$name")" enabled
        equal "$(inside systemctl show --value --property=ActiveState,Result "$name" | sort | xargs)" 'inactive success'
        inside systemctl start "$name"
        equal "$(inside systemctl show --value --property=ActiveState,ConditionResult "$name" | sort | xargs)" 'inactive no'
    done
    equal "$(inside systemctl list-units --failed --no-legend --plain 'upkeep-*')" ''
    for name in helper clock; do
        equal "$(inside systemctl is-enabled "upkeep-agent-$name.socket")" enabled
        equal "$(inside systemctl is-active "upkeep-agent-$name.socket")" active
        equal "$(inside stat -c '%U %G %a' "/run/upkeep-agent/$name.sock")" 'root upkeep-agent 660'
    done
    equal "$(inside systemctl is-enabled upkeep-agent-refresh.timer || true)" disabled
    equal "$(inside systemctl is-active upkeep-agent-refresh.timer || true)" inactive
}

collector_is_ready() { ask /-/ready >/dev/null 2>&1; }

# A GET by the name that the certificate is for; the token is read from a file.
ask() {
    local path=$1
    shift
    nsenter --target "$leader" --net curl --silent --show-error --fail-with-body --max-time 10 --noproxy '*' \
        --cacert "$deb_tree/var/lib/upkeep-collector/ca/root.pem" --header "@$work/authorization" --get \
        "$@" "https://localhost:9443$path"
}

start_collector() {
    inside upkeep-collector init --address localhost
    start_service upkeep-collector serve
    : >"$work/authorization"
    until_true 30 collector_is_ready
    printf 'Authorization: Bearer %s\n' "$(inside upkeep-collector api-token create lab --scope admin)" >"$work/authorization"
    ask /api/v1/hosts | jq --exit-status '.data.hosts == []'
}

enroll_agent() {
    local strange
    # A token that others may read is warned of, and deleted once it is used up.
    install -m 0644 /dev/null "$deb_tree/root/token"
    inside upkeep-collector token create --address localhost:8443 >"$deb_tree/root/token"
    inside upkeep-agent enroll --token-file /root/token 2>&1 | tee "$work/enrolled"
    grep '^Enrolled as lab ' "$work/enrolled"
    grep 'others can read /root/token (mode 0644)' "$work/enrolled"
    test ! -e "$deb_tree/root/token"
    # One that was not used stays, and a closed one is no reason to warn.
    install -m 0600 /dev/null "$deb_tree/root/token"
    inside upkeep-collector token create --address localhost:8443 >"$deb_tree/root/token"
    if inside upkeep-agent enroll --token-file /root/token >"$work/enrolled" 2>&1; then return 1; fi
    grep 'enrolled already as lab' "$work/enrolled"
    if grep 'others can read' "$work/enrolled"; then return 1; fi
    rm "$deb_tree/root/token"
    for name in upkeep-agent upkeep-collector; do
        strange=$(inside find "/var/lib/$name" -perm /077 -o ! -user "$name")
        equal "$strange" ''
    done
}

# The first value of an instant query.
value_of() {
    ask /api/v1/query --data-urlencode "query=$1" | jq --raw-output '.data.result[0].value[1] // empty'
}

has_value() { [ "$(value_of "$1")" = "$2" ]; }

# File systems whose sizes nothing else on the machine has.
mount_file_systems() {
    mkdir -p "$deb_tree/srv/closed"
    inside mount -t tmpfs -o size=24m tmpfs /home
    inside mount -t tmpfs -o size=12m,ro tmpfs /srv/closed
}

# Units whose fates the agent has to tell: one that has failed, one that will, and one that a timer starts.
make_units() {
    local folder=$deb_tree/etc/systemd/system
    printf '[Service]\nType=oneshot\nExecStart=/bin/false\n' | tee "$folder/lab-failed.service" >"$folder/lab-fails.service"
    printf '[Service]\nType=oneshot\nExecStart=/bin/true\n' >"$folder/lab-timed.service"
    printf '[Timer]\nOnActiveSec=0\nAccuracySec=1ms\n' >"$folder/lab-timed.timer"
    inside systemctl daemon-reload
    if inside systemctl start lab-failed.service; then return 1; fi
    inside systemctl start lab-timed.timer
}

# Failures are looked for every second; the rest is as it is shipped.
start_agent() {
    mount_file_systems
    mkdir "$deb_tree/etc/upkeep/conf.d"
    printf '[changes]\ninterval = "1s"\n' >"$deb_tree/etc/upkeep/conf.d/lab.toml"
    if booted; then make_units; fi
    start_service upkeep-agent run
    until_true 60 has_value 'up{instance="lab",job="node"}' 1
    rm -r "$deb_tree/etc/upkeep/conf.d"
}

patches() { ask /api/v1/hosts/lab/patches | jq "$@"; }

patches_are_known() { patches --exit-status '.data.summary.status == "known"' >/dev/null 2>&1; }

probes_deliver() {
    local size folder
    until_true 30 patches_are_known || { patches . && return 1; }
    equal "$(patches --raw-output '.data.updates[] | "\(.package) \(.installed) \(.offered) \(.security)"' | sort | xargs)" \
        'upkeep-lab-fix 1.0 2.0 true upkeep-lab-plain 1.0 2.0 false'
    until_true 30 has_value 'sum(apt_upgrades_pending{instance="lab"})' 2
    size=$(inside stat --file-system --format '%b %S' / | awk '{ printf "%.0f", $1 * $2 }')
    equal "$(value_of 'node_filesystem_size_bytes{instance="lab",mountpoint="/"}' | awk '{ printf "%.0f", $1 }')" "$size"
    equal "$(value_of 'node_filesystem_readonly{instance="lab",mountpoint="/"}')" 0
    # Not what the sandbox makes of them: a file system of its own at /home, and one that may only be read.
    for folder in /home /srv/closed; do
        size=$(inside df --block-size=1 --output=size "$folder" | tail -n 1 | xargs)
        equal "$(value_of "node_filesystem_size_bytes{instance=\"lab\",mountpoint=\"$folder\"}" | awk '{ printf "%.0f", $1 }')" "$size"
    done
    equal "$(value_of 'node_filesystem_readonly{instance="lab",mountpoint="/home"}')" 0
    equal "$(value_of 'node_filesystem_readonly{instance="lab",mountpoint="/srv/closed"}')" 1
    # Every probe works inside the sandbox, without any exception; the clock is asked of its reader.
    equal "$(ask /api/v1/query --data-urlencode 'query=node_scrape_collector_success{instance="lab"} != 1' | jq --compact-output '.data.result')" '[]'
    test "$(value_of 'count(node_scrape_collector_success{instance="lab"})')" -gt 35
    equal "$(value_of 'count(node_timex_offset_seconds{instance="lab"})')" 1
    equal "$(value_of 'node_timex_tick_seconds{instance="lab"}')" 0.01
    value_of 'node_timex_sync_status{instance="lab"}' | grep -E '^[01]$'
}

event_is_told() {
    ask /api/v1/events --data-urlencode host=lab --data-urlencode kind=unit_failed |
        jq --exit-status --arg unit "$1" '.data.events[] | select(.subject == $unit) | .after == "failed: exit-code"'
}

# systemd answers the sandbox: which units failed, when timers last ran, and what fails while the agent looks.
units_are_told() {
    local told active
    equal "$(value_of 'node_systemd_unit_state{instance="lab",name="lab-failed.service",state="failed",type="oneshot"}')" 1
    test "$(value_of 'node_systemd_units{instance="lab",state="failed"}')" -ge 1
    active=$(value_of 'node_systemd_units{instance="lab",state="active"}')
    test "$active" -gt 20
    told=$(value_of 'node_systemd_timer_last_trigger_seconds{instance="lab",name="lab-timed.timer"}' | awk '{ printf "%d", $1 }')
    equal "$(LC_ALL=C date --utc --date "@$told" '+%a %F %T UTC')" \
        "$(inside systemctl show --value --property=LastTriggerUSec lab-timed.timer)"
    if inside systemctl start lab-fails.service; then return 1; fi
    until_true 30 event_is_told lab-fails.service
    # What had failed before the first look is no change.
    if event_is_told lab-failed.service; then return 1; fi
    inside systemctl stop lab-timed.timer
    rm "$deb_tree"/etc/systemd/system/lab-*
    inside systemctl daemon-reload
    inside systemctl reset-failed
}

# Every unit with its states, and the names of all else, as node_exporter has them; what Debian's leaves out is in
# docs/node-exporter.md.
units_are_as_node_exporter_has_them() {
    cp "$exporter" "$deb_tree/srv/node-exporter"
    inside systemd-run --quiet --unit=lab-exporter /srv/node-exporter --web.listen-address=127.0.0.1:9100 \
        --collector.disable-defaults --collector.systemd --collector.systemd.enable-task-metrics \
        --collector.systemd.enable-restarts-metrics --collector.systemd.enable-start-time-metrics \
        --collector.systemd.unit-exclude='.+\.(automount|device|mount|scope|slice)'
    until_true 10 exporter_says "$work/exporter.prom"
    inside upkeep-agent metrics --all >"$work/agent.prom"
    inside systemctl stop lab-exporter.service
    diff <(units_of "$work/exporter.prom") <(units_of "$work/agent.prom")
    test "$(units_of "$work/agent.prom" | wc -l)" -gt 300
    rm "$deb_tree/srv/node-exporter"
}

exporter_says() {
    nsenter --target "$leader" --net curl --silent --fail --max-time 10 --noproxy '*' http://127.0.0.1:9100/metrics >"$1"
}

units_of() {
    grep '^node_systemd_' "$1" | grep -vE '^node_systemd_virtualization|"upkeep-agent-(helper|clock)@' |
        sed -E -e 's/,type=""//' -e '/^node_systemd_unit_state/!s/ [^ ]*$//' | sort
}

# Runs another command in the sandbox of a unit; what it says is left in /srv/inside.
run_in_sandbox() {
    local unit=$1 command=$2
    sed -E -e '/^(Condition|Restart|Standard|SyslogLevel|LogLevel)/d' -e 's/^Type=.*/Type=oneshot/' \
        -e "s#^ExecStart=.*#StandardOutput=file:/srv/inside\nExecStart=$command#" \
        "packaging/systemd/$unit.service" >"$deb_tree/run-once.service"
    rm -f "$deb_tree/srv/inside"
    inside systemctl link --runtime --quiet /run-once.service
    inside systemctl start run-once.service
    inside systemctl disable --runtime --quiet run-once.service
    rm "$deb_tree/run-once.service"
}

# Everything that the agent sees, once inside its sandbox and once as root: all series by name and labels, and what file
# systems and sensors say.
sandbox_hides_nothing() {
    run_in_sandbox upkeep-agent '/usr/bin/upkeep-agent metrics --all'
    inside upkeep-agent metrics --all >"$deb_tree/srv/outside"
    diff <(names_of "$deb_tree/srv/outside") <(names_of "$deb_tree/srv/inside")
    diff <(steady_of "$deb_tree/srv/outside") <(steady_of "$deb_tree/srv/inside")
    test "$(names_of "$deb_tree/srv/inside" | wc -l)" -gt 300
    rm "$deb_tree/srv/inside" "$deb_tree/srv/outside"
}

# Without the states in which processes are just then, and the units that looking starts.
names_of() {
    grep -E '^[a-z]' "$1" | grep -vE '^node_processes_(threads_)?state|"(run-once|upkeep-agent-(helper|clock)@)' |
        sed 's/ [^ ]*$//' | sort
}

steady_of() { grep -E '^node_(filesystem_(size|readonly|device|files\{|mount)|hwmon_|systemd_version|timex_tick)' "$1" | sort; }

# The call that reads the clock is allowed there, and still does not set it: the same length of a tick as the clock has.
clock_cannot_be_set() {
    local number
    case $(uname -m) in x86_64) number=159 ;; *) number=171 ;; esac
    # Read by perl: the structure has its flags first, ADJ_TICK, and the tick in its twelfth long.
    # shellcheck disable=SC2016
    printf '%s\n' 'my ($number, $flags) = @ARGV; my $clock = pack("q26", hex $flags, (0) x 10, 10000, (0) x 14);' \
        'print syscall($number, $clock) < 0 ? "refused: $!\n" : "done\n";' >"$deb_tree/srv/clock.pl"
    equal "$(inside perl /srv/clock.pl "$number" 0)" 'done'
    run_in_sandbox upkeep-agent-clock@ "/usr/bin/perl /srv/clock.pl $number 0"
    equal "$(cat "$deb_tree/srv/inside")" 'done'
    run_in_sandbox upkeep-agent-clock@ "/usr/bin/perl /srv/clock.pl $number 0x4000"
    equal "$(cat "$deb_tree/srv/inside")" 'refused: Operation not permitted'
    run_in_sandbox upkeep-agent "/usr/bin/perl /srv/clock.pl $number 0"
    equal "$(cat "$deb_tree/srv/inside")" 'refused: Operation not permitted'
    rm "$deb_tree/srv/inside" "$deb_tree/srv/clock.pl"
}

# Asks the helper at a socket as a user; the whole line is given. Perl is part of every Debian.
ask_helper() {
    # shellcheck disable=SC2016 # Read by perl.
    inside runuser -u "$1" -- perl -MIO::Socket::UNIX -e '
        my $socket = IO::Socket::UNIX->new(Peer => "/run/upkeep-agent/$ARGV[1].sock") or die "cannot connect: $!\n";
        print $socket "$ARGV[0]\n"; $socket->flush; print while <$socket>;
    ' "$2" "${3:-helper}" 2>&1 || true
}

helper_says() { ask_helper upkeep-agent "{\"version\":1,\"verb\":\"$1\"}" "${2:-helper}"; }

helper_answers() {
    local file drop_in
    # Another user's program, deleted while it runs: an ordinary user may not know.
    cp "$deb_tree/bin/sleep" "$deb_tree/usr/local/bin/lab-stale"
    inside systemd-run --quiet --unit=lab-stale --property=User=nobody /usr/local/bin/lab-stale 1000
    until_true 10 inside systemctl is-active --quiet lab-stale.service
    rm "$deb_tree/usr/local/bin/lab-stale"
    helper_says restarts | tee /dev/stderr | jq --exit-status '.answer.restarts | .unreadable == 0 and (.processes[] |
        select(.unit == "lab-stale.service") | .files == ["/usr/local/bin/lab-stale"])'
    inside systemctl stop lab-stale.service

    # What only root may read. A machine without firmware has none of it, so files with the same permissions stand in.
    for file in class/dmi/id/product_uuid class/powercap/intel-rapl:0/energy_uj; do
        mkdir -p "$deb_tree/srv/sys/${file%/*}"
        install -m 0400 /dev/null "$deb_tree/srv/sys/$file"
        echo 4711 >"$deb_tree/srv/sys/$file"
    done
    drop_in=$deb_tree/etc/systemd/system/upkeep-agent-helper@.service.d
    mkdir "$drop_in"
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/upkeep-agent --path.sysfs /srv/sys helper\n' >"$drop_in/lab.conf"
    inside systemctl daemon-reload
    helper_says dmi | tee /dev/stderr | jq --exit-status '.answer.dmi == {fields: {product_uuid: "4711"}, faults: []}'
    helper_says energy | tee /dev/stderr | jq --exit-status '.answer.energy | .zones[0].energy_uj == 4711 and .faults == []'
    rm -r "$drop_in" "$deb_tree/srv/sys"
    inside systemctl daemon-reload
    helper_says dmi | tee /dev/stderr | jq --exit-status '.answer.dmi.faults == []'

    # The clock is answered by a process of its own, and by no other.
    helper_says clock clock | tee /dev/stderr | jq --exit-status '.answer.clock.tick == 10000'
    helper_says clock | tee /dev/stderr | jq --exit-status '.failed | contains("adjtimex")'

    # No disk is seen from here: a program stands in for smartctl, and says what it was given.
    helper_says smart | jq --exit-status '.absent | contains("smartctl")'
    printf '%s\n' '#!/bin/sh' \
        'case $1 in --scan-open) echo "{\"devices\":[{\"name\":\"/dev/sda\",\"type\":\"sat\",\"protocol\":\"ATA\"}]}" ;; *) echo "$@"; env; exit 4 ;; esac' \
        >"$deb_tree/usr/sbin/smartctl"
    chmod 0755 "$deb_tree/usr/sbin/smartctl"
    equal "$(helper_says smart | jq --raw-output '.answer.smart.devices[0] | "\(.exit) \(.stdout)"' | grep -vE '^(PWD|OLDPWD|_|SHLVL)=' | sort | xargs)" \
        '4 --json --all --nocheck=standby --device=sat /dev/sda LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin'
    rm "$deb_tree/usr/sbin/smartctl"
}

helper_refuses() {
    ask_helper nobody '{"version":1,"verb":"dmi"}' | grep 'cannot connect: Permission denied'
    ask_helper nobody '{"version":1,"verb":"clock"}' clock | grep 'cannot connect: Permission denied'
    # Whoever gets through the socket's permissions is still asked who he is.
    inside chmod 0666 /run/upkeep-agent/helper.sock
    ask_helper nobody '{"version":1,"verb":"dmi"}' | jq --exit-status '.refused | endswith("may not ask")'
    inside chmod 0660 /run/upkeep-agent/helper.sock
    helper_says shell | jq --exit-status '.refused | contains("unknown variant `shell`")'
    ask_helper upkeep-agent '{"version":1,"verb":"smart","device":"/dev/sda"}' | jq --exit-status '.refused | contains("unknown field")'
    mkdir "$deb_tree/etc/upkeep/conf.d"
    printf '[helper]\nverbs = ["dmi"]\n' >"$deb_tree/etc/upkeep/conf.d/lab.toml"
    helper_says energy | jq --exit-status '.refused == "energy is switched off in the configuration"'
    helper_says dmi | jq --exit-status '.answer.dmi'
    rm -r "$deb_tree/etc/upkeep/conf.d"
    inside systemctl stop upkeep-agent-helper.socket
    helper_says dmi | grep 'cannot connect: No such file or directory'
    inside systemctl start upkeep-agent-helper.socket
    equal "$(inside systemctl list-units --no-legend --plain --state=failed 'upkeep-*')" ''
}

# From the repository of a folder, as the machine has no other.
lists_are_refreshed() {
    touch --date=@1000000000 "$deb_tree"/var/cache/apt/pkgcache.bin
    inside systemctl start upkeep-agent-refresh.service
    test "$(stat -c %Y "$deb_tree"/var/cache/apt/pkgcache.bin)" -gt 1000000000
    inside systemctl enable --quiet --now upkeep-agent-refresh.timer
    equal "$(inside systemctl is-active upkeep-agent-refresh.timer)" active
    inside systemctl disable --quiet --now upkeep-agent-refresh.timer
}

status_tells_all() {
    inside upkeep-agent status >"$work/status"
    grep -E '^helper +answers smart, dmi, energy, restarts, clock$' "$work/status"
    grep -E '^probes +all work$' "$work/status"
    inside systemctl stop upkeep-agent-helper.socket
    inside upkeep-agent status | grep -E '^helper .*not there; enable upkeep-agent-helper.socket$'
    inside systemctl start upkeep-agent-helper.socket
}

sandbox_holds() {
    local name process
    for name in upkeep-agent upkeep-collector; do
        process=$(inside systemctl show --value --property=MainPID "$name")
        equal "$(inside awk '/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ { print $2 }' "/proc/$process/status" | xargs)" \
            '0000000000000000 0000000000000000 1 2'
        equal "$(inside stat -c %U "/proc/$process")" "$name"
        for folder in / /etc /usr /home /var/lib; do
            if inside nsenter --target "$process" --mount touch "$folder/upkeep-was-here"; then
                echo "$name may write to $folder"
                return 1
            fi
        done
        inside nsenter --target "$process" --mount touch "/var/lib/$name/lab" && rm "$deb_tree/var/lib/$name/lab"
    done
}

configuration_survives_upgrade() {
    echo '# changed by the operator' >>"$deb_tree/etc/upkeep/agent.toml"
    inside sh -c 'dpkg --install /srv/packages/*.deb'
    tail -n 1 "$deb_tree/etc/upkeep/agent.toml" | grep 'changed by the operator'
    if booted; then
        equal "$(inside systemctl is-active upkeep-agent upkeep-collector | xargs)" 'active active'
    fi
    until_true 30 collector_is_ready
}

remove_debs() {
    # Nobody but systemd would end them.
    # shellcheck disable=SC2046 # One word a process.
    booted || kill $(services_of_machine)
    inside dpkg --remove upkeep-agent upkeep-collector
    until_true 20 no_service_runs
    if booted; then equal "$(inside systemctl list-units --no-legend --plain --state=failed 'upkeep-*')" ''; fi
    test ! -e "$deb_tree/usr/bin/upkeep-agent"
    test -e "$deb_tree/var/lib/upkeep-agent/identity.json"
    test -e "$deb_tree/var/lib/upkeep-collector/ca/root.pem"
    test -e "$deb_tree/etc/upkeep/agent.toml"
}

purge_debs() {
    inside dpkg --purge upkeep-agent upkeep-collector
    inside umount /home /srv/closed
    rm -r "$deb_tree/srv/packages" "$deb_tree/srv/closed"
    footprint >"$work/after"
    diff "$work/before" "$work/after"
}

in_rpm_tree() {
    unshare --mount sh -c "mount -t proc proc '$rpm_tree/proc' && exec \"\$@\"" sh "$@"
}

rpm_in_tree() { in_rpm_tree rpm --root "$rpm_tree" --dbpath /var/lib/rpm "$@"; }

install_rpms() {
    rpm_in_tree --initdb
    rpm_in_tree --install --nodeps "$work"/packages/*.rpm
    rpm_in_tree --verify --nodeps upkeep-agent upkeep-collector
    for name in agent collector; do
        equal "$(in_rpm_tree chroot "$rpm_tree" stat -c '%U %a' "/var/lib/upkeep-$name")" "upkeep-$name 700"
        chroot "$rpm_tree" "/usr/bin/upkeep-$name" --version
        rpm_in_tree --query --configfiles "upkeep-$name" | grep "/etc/sysconfig/upkeep-$name"
        test ! -e "$rpm_tree/etc/default/upkeep-$name"
    done
}

erase_rpms() {
    echo '# changed by the operator' >>"$rpm_tree/etc/upkeep/agent.toml"
    touch "$rpm_tree/var/lib/upkeep-agent/identity.json"
    rpm_in_tree --erase upkeep-agent upkeep-collector
    equal "$(rpm_in_tree --query --all)" ''
    equal "$(find "$rpm_tree/etc/upkeep" -type f)" "$rpm_tree/etc/upkeep/agent.toml.rpmsave"
    equal "$(find "$rpm_tree/usr" "$rpm_tree/etc/systemd" -name '*upkeep*')" ''
    test -e "$rpm_tree/var/lib/upkeep-agent/identity.json"
}

# --- the way through -------------------------------------------------------------------------------------------------------------

if [ "$(id -u)" != 0 ]; then
    skip 'the packages' 'installing them into a system of their own needs root'
    exit 0
fi
if ! missing=$(packaging/install-needs --missing build package tree); then
    skip 'the packages' "missing on this machine: $missing"
    exit 0
fi

trap clean_up EXIT
trap 'exit 1' INT TERM
work=$(mktemp -d /var/tmp/upkeep-packages.XXXXXX)
deb_tree=$work/deb rpm_tree=$work/rpm boots=no

step 'packages are built' build_packages
step 'agent: exposure of at most 1.6' exposure upkeep-agent 16
step 'helper: exposure of at most 2.2' exposure upkeep-agent-helper@ 22
step 'reader of the clock: exposure of at most 0.6' exposure upkeep-agent-clock@ 6
step 'refresh: exposure of at most 2.8' exposure upkeep-agent-refresh 28
step 'collector: exposure of at most 1.3' exposure upkeep-collector 13
step 'two clean systems are unpacked' unpack_base
start_machine
step 'the clean system has two updates pending' offer_updates
footprint >"$work/before"
step 'debs install' install_debs
step 'users, files and modes are as described' installed_as_described
step 'default configuration names only keys that there are' configuration_is_known
if booted; then step 'services stay off, quietly, before init and enrollment' services_are_off; fi
step 'collector is initialised, serves, and knows nobody' start_collector
step 'agent is enrolled with a token from a file' enroll_agent
step 'agent runs and is seen' start_agent
step 'every probe works in the sandbox; filesystems, clock and pending updates come out of it' probes_deliver
if booted; then
    step 'units that failed, timers and new failures come out of the sandbox' units_are_told
    if exporter=$(packaging/peers prometheus-node-exporter)/usr/bin/prometheus-node-exporter && [ -x "$exporter" ]; then
        step 'units are told as node_exporter tells them' units_are_as_node_exporter_has_them
    else
        skip 'units as node_exporter tells them' 'prometheus-node-exporter cannot be had on this machine'
    fi
    step 'sandbox holds' sandbox_holds
    step 'clock can be read and not be set' clock_cannot_be_set
    step 'sandbox hides nothing from the probes' sandbox_hides_nothing
    step 'helper answers the agent out of its sandbox' helper_answers
    step 'helper refuses others, other questions, and what is switched off' helper_refuses
    step 'status tells of helper and probes' status_tells_all
    step 'package lists are refreshed where that is wanted' lists_are_refreshed
fi
step 'changed configuration and running services survive an upgrade' configuration_survives_upgrade
step 'state and configuration survive removal' remove_debs
step 'purge leaves nothing over' purge_debs
step 'rpms install with users, modes and configuration' install_rpms
step 'rpms are erased; changed configuration and state stay' erase_rpms
close 0
