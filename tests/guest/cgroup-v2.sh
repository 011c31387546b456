# Runs inside the test guest (tests/guest/run), started by tests/integration/test_cgroup_v2.py: the limits of a sandbox on a system
# that has nothing but cgroup version 2. Prints one line a test: "ok NAME", "not ok NAME: why" or "skip NAME: reason".

out=/tmp/out err=/tmp/err rc=0 took=0

ok() { echo "ok $1"; }
not_ok() { echo "not ok $1: $2"; }

# What the last command did, on one line.
said() { echo "exit $rc after $took s; out: $(head -c 160 $out | tr '\n' ' '); err: $(head -c 300 $err | tr '\n' ' ')"; }

now() { cut -d ' ' -f 1 /proc/uptime; }

# Any command, with its output kept and its time taken.
try() {
        start=$(now)
        timeout 30 "$@" >$out 2>$err
        rc=$?
        took=$(echo "$(now) $start" | awk '{ printf "%.1f", $1 - $2 }')
}

class=native
sandbox() { try creto-runtime run --runtime $class "$@"; }

# The same as the user "agent". The command line is one string for its shell.
sandbox_as_agent() { try su agent -c "cd && creto-runtime run --runtime $class $1"; }

# check NAME CONDITION...: the condition is a command.
check() {
        name=$1
        shift
        if "$@"; then ok "$name"; else not_ok "$name" "$(said)"; fi
}

exits() { [ "$rc" = "$1" ]; }
prints() { [ "$rc" = 0 ] && [ "$(cat $out)" = "$1" ]; }
exits_naming() { [ "$rc" = "$1" ] && grep -qi "$2" $err; }
fails_naming() { [ "$rc" != 0 ] && grep -qi "$1" $err; }
names() { grep -qi "$1" $err; }

groups() { find /sys/fs/cgroup -type d -name 'creto*' | wc -l; }
mounts() { wc -l </proc/mounts; }
loops() { losetup -a | wc -l; }
processes() { grep -l creto /proc/[0-9]*/comm 2>/dev/null | wc -l; }
state() { echo "groups $(groups) mounts $(mounts) loops $(loops) processes $(processes)"; }

before=$(state)

# The groups themselves

if [ -x /usr/bin/unit-cgroup ]; then
        unit-cgroup | sed -n -e 's/^ok /ok v2 groups: /p' -e 's/^not ok /not ok v2 groups: /p' -e 's/^skip \([^:]*\)/not ok v2 groups: \1: skipped/p'
else
        echo "skip v2 groups: unit-cgroup is not built"
fi

# Running at all

sandbox -- /bin/busybox echo hi
check "v2 runs a command" prints hi
sandbox -- /bin/sh -c 'exit 42'
check "v2 passes an exit status on" exits 42
sandbox -- /bin/sh -c 'kill -TERM $$; sleep 5'
check "v2 passes a death by signal on" exits 143
sandbox -- /bin/busybox cat /proc/self/cgroup
check "v2 hides the host's groups" grep -qx '0::/' $out

# Memory

sandbox --memory 64M -- /bin/busybox dd if=/dev/zero of=/dev/null bs=16M count=1
check "v2 memory below the limit" exits 0
sandbox --memory 64M -- /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1
check "v2 memory above the limit is killed and named" exits_naming 137 'memory limit'

# Processes

sandbox --pids 20 -- /bin/sh -c 'i=0; while [ $i -lt 60 ]; do sleep 3 & i=$((i + 1)); done; wait'
check "v2 pids above the limit are refused and named" names 'pids\? limit'
sandbox --pids 20 -- /bin/sh -c 'b() { b | b & }; b; sleep 1'
check "v2 a fork bomb is held and named" names 'pids\? limit'

# CPU: 0.2 of a core over five seconds is one second of work; the shell's second line of "times" is that of its children.

sandbox --cpu 200 -- /bin/sh -c 'timeout 5 sh -c "while :; do :; done"; times'
used=$(tail -n 1 $out | grep '[0-9]m' | tr 'ms' '  ' | awk '{ printf "%.2f", $1 * 60 + $2 + $3 * 60 + $4 }')
if awk "BEGIN { exit !(${used:-0} > 0.6 && ${used:-0} < 1.5) }"; then ok "v2 cpu is limited"; else not_ok "v2 cpu is limited" "used $used s in 5 s; $(said)"; fi

# Disk

sandbox --disk 16M -- /bin/busybox dd if=/dev/zero of=/tmp/fill bs=1M count=40
check "v2 disk above the limit is refused" exits_naming 1 'no space left'
sandbox --memory 32M --disk 128M -- /bin/busybox dd if=/dev/zero of=/tmp/fill bs=1M count=80
check "v2 disk is not memory" exits 0

# An ordinary user: nothing delegated, then a delegated group. A limit that cannot be kept is refused, never dropped.

sandbox_as_agent "-- /bin/busybox echo hi"
check "v2 runs for an ordinary user" prints hi
sandbox_as_agent "-- /bin/sh -c 'exit 42'"
check "v2 passes a user's exit status on" exits 42
sandbox_as_agent "--memory 64M -- /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1"
check "v2 keeps or refuses a user's memory limit" fails_naming memory

# A group of the agent's own, each time a new one: $1 is what its shell runs, as a session inside it.
delegated=0 kept=
sandbox_in_session() {
        delegated=$((delegated + 1))
        group=/sys/fs/cgroup/agent$delegated
        mkdir $group $group/session
        for f in . cgroup.procs cgroup.subtree_control cgroup.threads; do chown 1000:1000 $group/$f $group/session/$f; done
        for c in memory cpu pids; do echo +$c >$group/cgroup.subtree_control; done
        try sh -c "echo \$\$ >$group/session/cgroup.procs; exec su agent -c \"\$1\"" session "cd && creto-runtime run --runtime $class $1"
        tries=0
        until rmdir $group/session $group 2>/dev/null || [ $tries -ge 20 ]; do
                sleep 0.1
                tries=$((tries + 1))
        done
        [ ! -d $group ] || kept="$kept $(find $group -mindepth 1 -type d ! -path $group/session)"
}

sandbox_in_session "-- /bin/busybox echo hi"
check "v2 runs for a user with a delegated group" prints hi
sandbox_in_session "--memory 64M -- /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1"
check "v2 memory limit in a delegated group is named" exits_naming 137 'memory limit'
sandbox_in_session "--pids 20 -- /bin/sh -c 'i=0; while [ \$i -lt 60 ]; do sleep 3 & i=\$((i + 1)); done; wait'"
check "v2 pids limit in a delegated group is named" names 'pids\? limit'

# An engine of that user's: the limits are those of the delegated group, and without one there are none
class=crun
if command -v $class >/dev/null; then
        sandbox_as_agent "-- /bin/busybox sh -c 'id -u; cat /proc/self/cgroup'"
        check "v2 crun runs for an ordinary user" prints "1000
0::/"
        sandbox_as_agent "--memory 64M -- /bin/busybox true"
        check "v2 crun refuses a user's memory limit" fails_naming memory
        sandbox_in_session "--memory 64M -- /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1"
        check "v2 crun: a memory limit in a delegated group is named" exits_naming 137 'memory limit'
else
        echo "skip v2 crun for an ordinary user: it is not installed on the host"
fi
if [ -z "$kept" ]; then ok "v2 leaves a delegated group as it was"; else not_ok "v2 leaves a delegated group as it was" "$(echo $kept)"; fi

# What stays behind; teardown may end a little after the command.

tries=0
after=$(state)
until [ "$after" = "$before" ] || [ $tries -ge 30 ]; do
        sleep 0.1
        tries=$((tries + 1))
        after=$(state)
done
if [ "$after" = "$before" ]; then ok "v2 leaves nothing behind"; else not_ok "v2 leaves nothing behind" "before: $before; after: $after"; fi
exit 0
