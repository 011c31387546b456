#!/usr/bin/python3
"""Bombs: each gets all it wants on the host, with the same amount, and not inside; the limit is named on standard error, and the host
does not notice. All amounts are small."""
import os
import pty
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from harness import (IS_ROOT, attack_inside, attack_outside, both_modes, cgroup_version, check, check_equal, main, need_cli, outcomes, report, run, skip,
                     test)
from service import Service

NO_CGROUP = "user mode without delegated cgroups"
KILLED = 137
CAP_SYS_RESOURCE = 24
# What takes all memory: one process; a file that is gone with its shell, and of which no process has anything but the descriptor.
HOGS = ["python3 -c \"b = b'x' * (200 << 20)\"; echo on", "exec 3>/dev/shm/f; rm /dev/shm/f; head -c 200M /dev/zero >&3; echo on"]
# test: attack, flags, word that standard error has to hold, whether only a cgroup can do it
BOMBS = [
    ("memory", "bomb-memory=256", ["--memory", "64M"], "memory limit", True),
    ("memory-in-shm", "bomb-shm=256", ["--memory", "64M"], None, True),
    ("memory-in-memfd", "bomb-memfd=256", ["--memory", "64M"], "memory limit", True),
    ("memory-in-sysv", "bomb-sysv=256", ["--memory", "64M"], "memory limit", True),
    ("memory-in-sockets", "bomb-sockets=128", ["--memory", "64M"], None, True),
    ("memory-in-pipes", "bomb-pipes=128", ["--memory", "64M", "--nofile", "1024"], None, True),
    ("processes", "bomb-processes=400", ["--pids", "32"], "pids limit", True),
    ("threads", "bomb-threads=400", ["--pids", "32"], "pids limit", True),
    ("processor", "bomb-cpu=30", ["--cpu", "200"], None, True),
    ("disk", "bomb-disk=64", ["--disk", "16M"], "disk limit", False),
    ("disk-home", "bomb-home=64", ["--disk", "16M"], "disk limit", False),
    ("disk-allocate", "bomb-allocate=64", ["--disk", "16M"], None, False),
    ("inodes", "bomb-inodes=2000", ["--disk-inodes", "256"], "inode limit", False),
    ("descriptors", "bomb-descriptors=200", ["--nofile", "64"], None, False),
    ("ptys", "bomb-ptys=100", [], None, False),
]


def host_is_well():
    """The host can still fork, open a pty and write a file."""
    check(subprocess.run(["true"], timeout=5).returncode == 0, "the host cannot fork")
    a, b = pty.openpty()
    os.close(a)
    os.close(b)
    with tempfile.TemporaryFile(dir="/var/tmp") as f:
        f.write(b"x" * 65536)


def control_of(spec, user):
    r = attack_outside(["--batch", spec], user=user, env={"HOME": "/var/tmp"})
    check(outcomes(r.text).get(spec, ("", ""))[0] == "won", f"control: {r}: this attack attacks nothing")


def bomb(spec, flags, word, user):
    control_of(spec, user)
    r = attack_inside([spec], *flags, user=user, timeout=40)
    found = outcomes(r.text).get(spec)
    check(found is None or found[0] == "refused", f"it got all it wanted: {found}")
    check(found is not None or r.code == KILLED, f"neither refused nor killed: {r}")
    host_is_well()
    check(word is None or word in r.notes, f"'{word}' is not said: {r}")


@test
def bombs():
    need_cli()
    for mode, user in both_modes():
        for name, spec, flags, word, needs_cgroup in BOMBS:
            title = f"{mode}/{name}"
            if user and needs_cgroup and cgroup_version() != 2:
                report("skip", title, NO_CGROUP)
                continue
            try:
                bomb(spec, flags, word, user)
                report("ok", title)
            except Exception as e:
                report("skip" if type(e).__name__ == "Skipped" else "not ok", title, e)
    return report


@test
def a_limit_that_cannot_be_honoured_is_an_error():
    need_cli()
    if cgroup_version() == 2:
        skip("this host may delegate cgroups to users")
    r = run(["true"], "--memory", "64M", user=True)
    check(r.code != 0, "an ordinary user's --memory was taken, and nothing can enforce it")
    check("memory" in r.notes, f"the message does not name the limit: {r}")


@test
def nonsense_is_refused():
    need_cli()
    for flags in (["--memory", "1K"], ["--memory", "-1"], ["--pids", "0"], ["--pids", "99999999999999999999"], ["--disk", "1"],
                  ["--memory", "64M;rm"], ["--nofile", "0"], ["--disk", "unlimited"], ["--output-rate", "0"], ["--cpu", "nan"]):
        r = run(["true"], *flags)
        check(r.code == 64, f"{' '.join(flags)}: {r}, wanted exit 64")


@test
def without_flags_there_are_limits_too():
    """Every sandbox has limits even where none was named."""
    need_cli()
    if not IS_ROOT:
        skip(NO_CGROUP)
    for spec in ("bomb-processes=1500", "bomb-memory=1024"):
        r = attack_inside([spec], timeout=60)
        found = outcomes(r.text).get(spec)
        check(found is None and r.code == KILLED or found and found[0] == "refused", f"{spec}: {found} {r}")
    host_is_well()


@test
def creto_init_outlives_what_takes_all_memory():
    """Of equals the largest is killed, and that is never the one who speaks with the host: the sandbox takes commands as before."""
    if not IS_ROOT:
        skip(NO_CGROUP)
    with Service() as s:
        sandbox = s.spawn(resourceLimits={"memoryBytes": 48 << 20})
        check_equal(s.exec(sandbox, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done")["exitCode"], 0, "small ones beside it")
        for hog in HOGS * 3:
            r = s.exec(sandbox, "sh", "-c", hog)
            check(r["stdout"] == b"on\n" or r["exitCode"] == KILLED, f"{hog}: {r}")
            check_equal(s.exec(sandbox, "echo", "here")["stdout"], b"here\n", f"a command after {hog}")
        check_equal(s.status(sandbox), "Running", "status")
        check(s.good("GET", f"/v1/sandboxes/{sandbox}/status")["usage"]["oomKills"] >= len(HOGS) * 3, "nothing was killed: this test tests nothing")


@test
def a_sandbox_goes_before_the_host():
    """When the host's memory is short, whatever score the one has who starts it."""
    need_cli()
    for mode, user in both_modes():
        r = run("cat /proc/self/oom_score_adj /proc/1/oom_score_adj", user=user)
        check_equal((mode, r.text), (mode, "1000\n1000\n"), "score of a command, and of creto-init")


@test
def a_score_cannot_be_lowered():
    need_cli()
    if not IS_ROOT:
        skip("an ordinary user's sandbox can go back to the score of its user")
    with open("/proc/self/status") as f:
        mine = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff"))
    if not mine >> CAP_SYS_RESOURCE & 1:
        skip("no CAP_SYS_RESOURCE")
    r = run("echo 999 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj")
    check_equal(r.text, "1000\n", "score of a command that lowered it")


@test
def a_fork_bomb_that_does_not_stop():
    """The one that everybody knows, for two seconds; the host must go on, and nothing may be left."""
    need_cli()
    if not IS_ROOT:
        skip(NO_CGROUP)
    r = run("b() { b | b & b; }; b 2>/dev/null; sleep 60", "--pids", "64", "--timeout", "2", timeout=30)
    check(r.code != 0, r)
    host_is_well()


@test
def the_timeout_kills_all():
    need_cli()
    for _, user in both_modes():
        r = run("trap '' TERM INT HUP; setsid sleep 61 & sleep 60", "--timeout", "1", user=user, timeout=15)
        check(r.code in (124, 137), f"exit status of a command that was killed by its timeout: {r}")


if __name__ == "__main__":
    main()
