#!/usr/bin/python3
"""OCI engines for an ordinary user: what test_run.py asks of class native as a user is asked of crun, runc and gvisor; what is theirs alone; engines that break; and kills."""
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), HERE]
import harness  # noqa: E402
import test_run  # noqa: E402
from harness import IS_ROOT, USER, as_user, check, check_equal, descendants, main, need_mode, poll, run, skip, start, stop  # noqa: E402
from test_engines import ANSWERS, BROKEN  # noqa: E402
from warden import Peer, Refused  # noqa: E402

harness._tests.clear()  # theirs
ENGINES = {"crun": "crun", "runc": "runc", "gvisor": "runsc"}
PLACES = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"
UNAVAILABLE, KILLED = 69, 137
ROUNDS, MOMENTS_MS = 8, 400  # kills, spread over so many milliseconds from the start
AS_NATIVE = (test_run.prints, test_run.exit_statuses, test_run.input_goes_in, test_run.errors_are_apart, test_run.half_close, test_run.binary_bytes,
             test_run.arguments_arrive_as_they_are, test_run.terminal_inside, test_run.environment, test_run.working_directory,
             test_run.a_missing_directory_or_user_is_no_missing_command, test_run.time_is_limited, test_run.signals_are_passed_on,
             test_run.background_processes_end, test_run.disk_limit, test_run.inode_limit, test_run.wrong_commands, test_run.runs_at_once)


def ready(engine):
    test_run.need_mode_of(True)
    if engine and not shutil.which(ENGINES[engine], path=PLACES):
        skip(f"{ENGINES[engine]} is not installed")
    need_mode(True)


def register(engine, body, *args):
    def wrapper():
        ready(engine)
        test_run.flags[:] = ["--runtime", engine]
        try:
            with test_run.nothing_left():
                return body(*args)
        finally:
            test_run.flags.clear()
    wrapper.__name__ = f"{engine}/{body.__name__}"
    harness.test(wrapper)


def by_class(body):
    for engine in ENGINES:
        register(engine, body, engine)
    return body


for name in ENGINES:
    for same in AS_NATIVE:
        register(name, same, True)


def says(script, *more):
    r = run(script, *more, user=True)
    check_equal(r.code, 0, f"{script!r}: {r}: exit status")
    return r.text


# ---- what it is like inside ----

@by_class
def who_and_where(engine):
    lines = says("id -u; id -g; uname -r; hostname; cat /proc/1/comm; grep -h -E '^(CapEff|CapPrm)' /proc/self/status; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").split("\n")
    check_equal((lines[:2], lines[4], lines[-2]), (["1000", "1000"], "init", "lo"), f"{lines}: ids, pid 1, and network")
    check_equal(lines[2] == os.uname().release, engine != "gvisor", f"whether {lines[2]} is the host's kernel")
    check(all(line.split()[1] == "0" * 16 for line in lines[5:7]), lines)
    way = says("python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 2)' 2>&1 | tail -1")
    check("unreachable" in way or "No route" in way, f"a way out: {way}")


@by_class
def files(_):
    made = says("for d in ~ /tmp /var/tmp /run; do echo x > $d/f && stat -c '%n %U %a' $d/f 2>/dev/null || ls -ln $d/f; done; mkdir ~/d && mv ~/f ~/d/g && cat ~/d/g; chmod 600 /tmp/f; chown 1000:1000 /tmp/f && echo on")
    check(made.endswith("x\non\n") and len(made.splitlines()) == 6, made)
    check_equal(says("touch /etc/x /usr/x /x /dev/init 2>&1 | wc -l; cat /etc/shadow 2>/dev/null; echo /tmp/* /run/*; ls /home /root 2>/dev/null || true"), "4\n/tmp/* /run/machine-id\n/home:\nagent\n",
                "what may not be written, and what is there at first")


@by_class
def an_image(_):
    """A directory as its root: layers, and one id of another number."""
    with tempfile.TemporaryDirectory(prefix="creto-rootless-", dir="/var/tmp") as top:
        busybox = shutil.which("busybox")
        if not busybox:
            skip("busybox is not installed")
        os.chmod(top, 0o755)
        os.mkdir(f"{top}/bin")
        shutil.copy(busybox, f"{top}/bin/busybox")
        os.symlink("busybox", f"{top}/bin/sh")
        check_equal(says("busybox id -u; busybox touch /bin/x 2>/dev/null || echo no; echo y > /tmp/y; busybox cat /tmp/y", "--image", f"dir:{top}"), "0\nno\ny\n", "output")


@by_class
def limits_are_kept_or_refused(_):
    if harness.cgroup_version() == 2:
        skip("this host may delegate cgroups to users")
    r = run(["true"], user=True)
    check(r.code == 0 and all(w in r.notes for w in ("memory", "cpu", "pids")), r)
    for flag, value in (("--memory", "64M"), ("--cpu", "500"), ("--pids", "50")):
        r = run(["echo", "it ran"], flag, value, user=True)
        check(r.code == UNAVAILABLE and r.out == b"" and flag in r.notes and "hint: " in r.notes, r)
    check_equal(says("ulimit -n", "--nofile", "64"), "64\n", "open files")


# ---- kills ----

def command_lines(pids):
    """{pid: its words}"""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as f:
            found[pid] = f.read().replace("\0", " ")
    return found


def victim(process, which):
    """The command line, its warden, the first process of the namespace that an engine has, or the engine. None where there is none."""
    def is_it(pid, words):
        return {"warden": lambda: harness.parents().get(pid) == process.pid, "first": lambda: pid_inside(pid) == 1, "engine": lambda: "--pid-file" in words}[which]()
    if which == "command":
        return process.pid
    return next((pid for pid, words in command_lines(descendants(process.pid)).items() if is_it(pid, words)), None)


def pid_inside(pid):
    """What a process in a namespace one below ours is there; None for others."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
        ids = [line for line in f if line.startswith("NSpid:")][0].split()[1:]
        return int(ids[1]) if len(ids) == 2 else None
    return None


@by_class
def killed_at_any_moment(_):
    """Of whatever was begun nothing goes on, and who still lives says why it ends."""
    for i in range(ROUNDS):
        which = ("command", "warden", "engine", "first")[i % 4]
        before = test_run.Traces()
        p = start(["run", *test_run.flags, "--", "sleep", "60"], True)
        try:
            time.sleep((i + random.random()) * MOMENTS_MS / ROUNDS / 1000)
            hit = victim(p, which)
            with contextlib.suppress(OSError):
                os.kill(hit or p.pid, signal.SIGKILL)
            p.wait(20)
            check(which == "command" or not hit or p.returncode > 0, f"{which} killed: {p.returncode}: {p.stderr.read()}")
            left = test_run.left_since(before)
            check(not left, f"{which} killed: left behind: {left}")
        finally:
            stop(p)
            test_run.end_left_over(before)


@by_class
def killed_while_it_runs(_):
    for which in ("command", "warden", "first"):
        before = test_run.Traces()
        p = start(["run", "--", "sh", "-c", "(setsid sleep 61 &) ; echo on; sleep 60"], True)
        try:
            check_equal(p.stdout.readline(), b"on\n", f"output: {p}")
            hit = victim(p, which)
            check(hit, f"there is no {which}: {command_lines(descendants(p.pid))}")
            os.kill(hit, signal.SIGKILL)
            p.wait(20)
            left = test_run.left_since(before)
            check(not left, f"{which} killed: left behind: {left}")
        finally:
            stop(p)
            test_run.end_left_over(before)


# ---- engines that are missing, or break ----

class Private(Peer):
    """An ordinary user's warden, with classes of theirs."""

    def __init__(self, top, engines):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [w for name, path in engines.items() for w in ("--class", f"{name},crun,{path}")]
        options = as_user(stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), 3))
        become = options.pop("preexec_fn")
        program = os.path.join(os.path.dirname(os.path.dirname(harness.cli_path(True))), "warden/creto-warden")
        self.process = subprocess.Popen([program, "--run-dir", top, "--state-dir", top, "--image-store", top, *words],
                                        preexec_fn=lambda: (os.dup2(theirs.fileno(), 3), become()), **options)
        theirs.close()
        super().__init__(ours, flags=1)

    def __exit__(self, *_):
        self.close()
        self.process.wait(20)

    def __enter__(self):
        return self


@harness.test
def engines_that_break():
    """As root's (test_engines.py): named, with nothing left. What they are called, and whose they are, is the user's own affair; that others may write to them is not."""
    ready("crun")
    scripts = {n: s for n, (s, _) in BROKEN.items() if n != "thief"}  # what a pid file says is not looked at here
    scripts |= {"open": ANSWERS, "mine": f'exec {shutil.which("crun", path=PLACES)} "$@"\n'}
    with tempfile.TemporaryDirectory(prefix="creto-rootless-", dir="/var/tmp") as top, test_run.nothing_left():
        os.chmod(top, 0o755)
        os.chown(top, USER if IS_ROOT else -1, -1)
        for n, script in scripts.items():
            if script is not None:
                with open(f"{top}/{n}", "w") as f:
                    f.write("#!/bin/sh\n" + script)
                os.chmod(f"{top}/{n}", 0o775 if n == "open" else 0o755)
                os.chown(f"{top}/{n}", USER if IS_ROOT else -1, -1)
        with Private(top, {n: f"{top}/{n}" for n in scripts}) as p:
            p.spawn("sb-0", runtime="native")
            quiet = len(descendants(p.process.pid))
            for n in scripts:
                words = ["may write"] if n == "open" else [] if n == "mine" else BROKEN[n][1][:1]
                try:
                    p.spawn(f"sb-{n}", runtime=n)
                    check(n == "mine", f"{n} makes a sandbox")
                except Refused as e:
                    check(n != "mine" and all(w in str(e) for w in words), f"{n}: {e}")
                    check(poll(lambda: len(descendants(p.process.pid)) <= quiet, 20), f"{n} leaves {command_lines(descendants(p.process.pid))}")


@harness.test
def an_engine_that_is_missing():
    """Seen from a mount namespace without it."""
    ready("crun")
    if not IS_ROOT:
        skip("only root can hide crun")
    with tempfile.TemporaryDirectory(prefix="creto-rootless-", dir="/var/tmp") as top:
        found = shutil.which("crun", path=PLACES)
        where = os.path.dirname(found)
        hide = f"mount -t tmpfs x {top} && mkdir {top}/u {top}/w && mount -t overlay x -o lowerdir={where},upperdir={top}/u,workdir={top}/w {where} && rm {found} && "
        become = f"exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\""
        options = as_user(stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        options.pop("preexec_fn")
        p = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-ec", hide + become, "sh", harness.cli_path(True), "run", "--runtime", "crun", "--", "true"], **options)
        check(p.returncode == UNAVAILABLE and b"crun is not installed" in p.stderr and b"hint: apt-get install crun" in p.stderr, p)


if __name__ == "__main__":
    test_run.libc.prctl(test_run.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what is left behind becomes our child, and is found
    main()
