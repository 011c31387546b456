# Runs inside the test guest (tests/guest/run), started by tests/integration/test_guest_service.py: the service on a system that has nothing but cgroup
# version 2, and a clock that somebody sets. Prints one line a test: "ok NAME", "not ok NAME: why" or "skip NAME: reason".

ok() { echo "ok $1"; }
not_ok() { echo "not ok $1: $2"; }
check() {
        name=$1
        shift
        if "$@"; then ok "$name"; else not_ok "$name" "$(tail -c 300 /tmp/out | tr '\n' ' '); log: $(tail -n 3 /tmp/log | cut -c 1-300 | tr '\n' ' ')"; fi
}
cr() { timeout 60 creto-runtime "$@" >/tmp/out 2>&1; }
is() { [ "$(cat /tmp/out)" = "$1" ]; }
has() { grep -q "$1" /tmp/out; }
spawn() {
        cr spawn "$@"
        sed -n 's/^Sandbox spawned: //p' /tmp/out
}

groups() { find /sys/fs/cgroup -type d -name 'creto*' | wc -l; }
state() { echo "groups $(groups) mounts $(wc -l </proc/mounts) loops $(losetup -a | wc -l) processes $(grep -l creto /proc/[0-9]*/comm 2>/dev/null | wc -l)"; }
before=$(state)

start() {
        # the last one's line is of no use
        : >/tmp/ready
        creto-runtimed --listen '' >/tmp/ready 2>>/tmp/log &
        service=$!
        for i in $(seq 300); do
                grep -q ready /tmp/ready && return
                sleep 0.1
        done
        not_ok "v2 service starts" "$(tail -n 3 /tmp/log | tr '\n' ' ')"
}

# a small machine
mkdir -p /etc/creto-runtime
printf '[limits]\nmin_free_disk = 0\nmin_free_memory = 0\ndisk_overcommit = 0\nmemory_overcommit = 0\n[service]\nprepared = 1\n[defaults]\nmemory = "64M"\ndisk = "16M"\ndisk-inodes = 512\n' >/etc/creto-runtime/config.toml

start
cr health
check "v2 service is healthy" has healthy
id=$(spawn --memory 64M)
check "v2 service spawns" [ -n "$id" ]
cr exec "$id" -- /bin/busybox echo hello
check "v2 service runs a command" is hello
cr exec "$id" -- /bin/busybox sh -c 'exit 7'
check "v2 service passes an exit status on" [ $? = 7 ]
cr status "$id" --json
check "v2 service counts memory" grep -q '"memoryBytes":[1-9]' /tmp/out
check "v2 service counts processes" grep -q '"pids":[1-9]' /tmp/out

# OCI engines: their sandboxes have the limits of a group of version 2, which the engine itself never sees
some_group_has() { find /sys/fs/cgroup -path '*creto*' -name "$1" -exec grep -qx "$2" {} ';' -print | grep -q .; }
for engine in crun runc; do
        command -v $engine >/dev/null || {
                echo "skip v2 service $engine: it is not installed on the host"
                continue
        }
        one=$(spawn --runtime $engine --memory 72M --pids 21)
        cr exec "$one" -- /bin/busybox sh -c 'echo hello; cat /proc/self/cgroup'
        check "v2 service $engine runs a command, which sees no group" is "hello
0::/"
        check "v2 service $engine writes a limit of memory" some_group_has memory.max $((72 << 20))
        check "v2 service $engine writes a limit of processes" some_group_has pids.max 22
        cr exec "$one" -- /bin/busybox dd if=/dev/zero of=/dev/null bs=200M count=1
        check "v2 service $engine names what memory ran out of" has 'memory limit'
        cr exec "$one" -- /bin/busybox sh -c 'i=0; while [ $i -lt 40 ]; do sleep 1 & i=$((i + 1)); done; wait'
        check "v2 service $engine names the limit of processes" has 'pids limit'
        cr pause "$one"
        check "v2 service $engine pauses" some_group_has cgroup.events 'frozen 1'
        cr resume "$one"
        cr exec "$one" -- /bin/busybox echo on
        check "v2 service $engine resumes" is on
        cr terminate "$one"
done

# Paused: nothing of it runs, and a daemon that dies meanwhile finds it so
creto-runtime exec "$id" -- /bin/busybox sh -c 'while :; do echo x; busybox sleep 0.1; done' >/tmp/ticks 2>/dev/null &
ticker=$!
sleep 2
cr pause "$id"
sleep 1
one=$(wc -c </tmp/ticks)
sleep 2
two=$(wc -c </tmp/ticks)
check "v2 service pauses" [ "$one" = "$two" -a "$one" -gt 0 ]
for pid in $(pidof creto-runtimed); do
        [ "$(sed -n 's/^PPid:\t//p' /proc/$pid/status)" = "$service" ] && kill -KILL "$pid"
done
sleep 3
cr status "$id"
check "v2 service finds it paused after a death" has Paused
cr resume "$id"
sleep 2
check "v2 service resumes" [ "$(wc -c </tmp/ticks)" -gt "$two" ]
kill $ticker 2>/dev/null

# A clock that jumps: times to live are kept by the clock that does not
long=$(spawn --ttl 1h)
date -s '2031-01-01 00:00:00' >/dev/null
sleep 1
cr status "$long"
check "v2 a clock that jumps ahead ends nothing early" has Ready
short=$(spawn --ttl 4s)
date -s '2020-01-01 00:00:00' >/dev/null
sleep 7
cr status "$short"
check "v2 a clock that jumps back keeps nothing alive" has Terminated
cr exec "$long" -- /bin/busybox echo still
check "v2 commands run whatever the clock says" is still
key=$(creto-runtime keys create --name k --role agent --expires 1h 2>/dev/null)
check "v2 a key is made" [ -n "$key" ]
cr list
check "v2 two are left" [ "$(wc -l </tmp/out)" = 2 ]

kill -TERM $service
wait $service
check "v2 service ends well" [ $? = 0 ]
sleep 1
after=$(state)
if [ "$before" = "$after" ]; then ok "v2 service leaves nothing behind"; else not_ok "v2 service leaves nothing behind" "before: $before; after: $after"; fi
