#!/usr/bin/python3
"""`creto-runtime run` as its user meets it: streams, terminals, signals, limits, wrong input, and kills at any moment. What an ordinary user is
promised too is tried as both. Around each test what this program has caused on the host is counted, and nothing of it may be left; what others
do on this host meanwhile does not count."""
import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import harness  # noqa: E402
from harness import (IS_ROOT, Result, as_user, become_user, both_modes, cgroup_version, cgroups, check, check_equal, cli_path, creto,  # noqa: E402
                     creto_processes, descendants, describe, loops, main, mounts, need_cli, need_mode, parents, poll, run, skip, stop,
                     test)

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER = 0x10000000
SETTLE = 10  # seconds until nothing may be left
MIB = 1 << 20
BOUND_KIB = 64 * 1024  # of memory, for each process of ours
WARDEN_AFTER = 4  # other processes of the host that may get a pid between those of a command line and its warden
ROUNDS, MOMENTS_MS = 20, 30  # kills, spread over so many milliseconds from the start
USAGE, UNAVAILABLE, LATER, INTERNAL, TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND, PIPE, KILLED = 64, 69, 75, 70, 124, 126, 127, 141, 137
DIRS = ("/run/creto-runtime", "/var/lib/creto-runtime", "/var/lib/creto-runtime/disk")

libc = ctypes.CDLL(None, use_errno=True)


# ---- what we have caused ----

def reap_orphans():
    """What a process that we killed has left behind is our child (we are a subreaper): the dead of them are waited for here."""
    for pid, parent in parents().items():
        if parent == os.getpid():
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


flags = []  # of every run: test_rootless.py names a class here
started = []  # pids of every command line
plain_start = harness.start


def start(words, *args, **more):
    p = plain_start(["run", *flags, *words[1:]] if words[:1] == ["run"] else words, *args, **more)
    started.append(p.pid)
    return p


harness.start = start  # run() and creto() come by here too


def of_our_warden(text):
    """Groups are named creto-PID-N after their warden, half-made files end with its pid; it is the first process that a command line makes. What is not of
    this form is ours."""
    return not text.isdigit() or any(0 < int(text) - pid <= WARDEN_AFTER for pid in started)


def strangers():
    """Processes of creto-runtime's that are not of our making."""
    return creto_processes() - descendants(os.getpid())


def half_made():
    """Files of ours but those that are kept on purpose: empty filesystems to copy, the file of locks, the image store."""
    found = set()
    for where in DIRS:
        with contextlib.suppress(OSError):
            found |= {os.path.join(where, n) for n in os.listdir(where) if n not in ("ids", "disk", "images") and not n.endswith(".ext4")}
    return found


class Traces:
    def __init__(self):
        self.processes = descendants(os.getpid())
        self.cgroups = cgroups()
        self.loops = loops()
        self.mounts = mounts()
        self.files = half_made()

    def since(self, before):
        """What there is now and was not before, and is ours: sentences."""
        said = [f"process {describe(pid)}" for pid in sorted(self.processes - before.processes)]
        said += [f"cgroup {g}" for g in sorted(self.cgroups - before.cgroups) if of_our_warden(os.path.basename(g).split("-")[1])]
        if IS_ROOT and not strangers():  # whose a loop device is cannot be told
            said += [f"loop device {text}" for text in sorted(self.loops - before.loops)]
        said += [f"mount {m}" for m in sorted(self.mounts - before.mounts) if not m.split()[2].startswith(("/tmp/", "/var/tmp/"))]
        return said + [f"file {f}" for f in sorted(self.files - before.files) if of_our_warden(f.split(".")[-1])]


def left_since(before):
    """Waits until nothing of ours is left; what is left then."""
    def clean():
        reap_orphans()
        left[:] = Traces().since(before)
        return not left
    left = []
    poll(clean, SETTLE)
    return left


def end_left_over(before):
    for pid in descendants(os.getpid()) - before.processes:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    reap_orphans()


@contextlib.contextmanager
def nothing_left():
    before = Traces()
    try:
        yield before
        left = left_since(before)
        check(not left, f"left behind: {'; '.join(left[:6])}")
    finally:
        end_left_over(before)


# ---- registering ----

_userns = []


def may_make_userns():
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            become_user()
            os._exit(0 if libc.unshare(CLONE_NEWUSER) == 0 else 1)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def need_mode_of(user):
    need_cli()
    if user and not _userns:
        _userns.append(may_make_userns())
    if user and not _userns[0]:
        skip("an ordinary user may not make user namespaces")


def in_modes(body):
    """Registers body(user) once a mode, as MODE/NAME."""
    for mode, user in both_modes():
        def wrapper(user=user):
            need_mode_of(user)
            need_mode(user)  # runs once: what that makes for good (a filesystem to copy, directories) is no trace
            with nothing_left():
                return body(user)
        wrapper.__name__ = f"{mode}/{body.__name__}"
        test(wrapper)
    return body


def as_root(body):
    @functools.wraps(body)
    def wrapper():
        if not IS_ROOT:
            skip("root is needed")
        need_cli()
        need_mode(False)
        with nothing_left():
            return body()
    return test(wrapper)


def ends(r, code, what=""):
    check(r.code == code, f"{what}{': ' if what else ''}{r}, wanted exit {code}")


def said(r, *words):
    for word in words:
        check(word in r.notes, f"'{word}' is not said: {r}")


# ---- streams and statuses ----

@in_modes
def prints(user):
    r = run(["python3", "-c", "print(6*7)"], user=user)
    ends(r, 0)
    check_equal(r.out, b"42\n", "stdout")


@in_modes
def exit_statuses(user):
    for command, code in (("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143), ("kill -ABRT $$", 134)):
        r = run(command, user=user)
        ends(r, code, command)
        check_equal(r.out, b"", f"{command}: stdout")


@in_modes
def input_goes_in(user):
    r = run(["cat"], user=user, stdin=b"hi\n")
    ends(r, 0)
    check_equal(r.out, b"hi\n", "stdout")


@in_modes
def errors_are_apart(user):
    r = run("echo out; echo err >&2; echo more", user=user)
    check_equal(r.out, b"out\nmore\n", "stdout")
    check_equal([line for line in r.notes.splitlines() if not line.startswith("creto-runtime: notice: ")], ["err"], "stderr")


@in_modes
def half_close(user):
    """The end of standard input is seen inside while output goes on."""
    p = start(["run", "--", "sh", "-c", "cat; echo the end; sleep 0.3; echo still here"], user, stdin=subprocess.PIPE)
    try:
        p.stdin.write(b"first\n")
        p.stdin.flush()
        check_equal(read_until(p.stdout, b"first\n"), b"first\n", "stdout before the end of input")
        p.stdin.close()
        check_equal(p.stdout.read(), b"the end\nstill here\n", "stdout after the end of input")
        check_equal(p.wait(10), 0, "exit status")
    finally:
        stop(p)


@in_modes
def binary_bytes(user):
    data = bytes(range(256)) * 1000 + b"\0\n\r\x1a\x04\xff"
    r = run("cat; printf '\\000\\377' >&2", user=user, stdin=data)
    ends(r, 0)
    check(r.out == data, f"{len(data)} bytes came back changed: {len(r.out)} bytes")
    check(r.err.endswith(b"\0\xff"), f"stderr: {r.err!r}")


@in_modes
def arguments_arrive_as_they_are(user):
    words = ["", " ", "a b", "'\"$(id)`", "--", "-x", b"\xff\xfe", "line\nbreak", "é"]
    r = run(["python3", "-c", "import os,sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))", *words], user=user)
    ends(r, 0)
    check_equal(r.out, b"\0".join(w if isinstance(w, bytes) else w.encode() for w in words), "arguments")


def read_until(pipe, word, timeout=10.0):
    """What comes from the pipe until `word` is in it, or the time is over."""
    got, end = b"", time.monotonic() + timeout
    while word not in got and time.monotonic() < end:
        if select.select([pipe], [], [], 0.1)[0]:
            data = os.read(pipe.fileno(), 65536)
            if not data:
                break
            got += data
    return got


# ---- much data, and the memory it costs ----

class Watch(threading.Thread):
    """The largest resident size, in KiB, that each process around a run ever had: the command line, the warden, the zygote and creto-init, but no
    command."""

    def __init__(self, top):
        super().__init__(daemon=True)
        self.top, self.over, self.peak = top, threading.Event(), {}
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            for pid in ours(self.top):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    with open(f"/proc/{pid}/status") as f:
                        lines = f.read().splitlines()
                    size = max(int(line.split()[1]) for line in lines if line.startswith(("VmHWM:", "VmRSS:")))
                    name = describe(pid)
                    self.peak[name] = max(size, self.peak.get(name, 0))

    def end(self):
        self.over.set()
        self.join()
        for word in ("creto-runtime", "creto-warden", "--zygote", "creto-init"):
            check(any(word in name for name in self.peak), f"no memory of {word} was seen: {self.peak}")
        for name, kib in self.peak.items():
            check(kib < BOUND_KIB, f"{name} took {kib} KiB")


def ours(top):
    """The command line, its child the warden, and the warden's children."""
    tree = parents()
    wardens = {pid for pid, parent in tree.items() if parent == top}
    return {top} | wardens | {pid for pid, parent in tree.items() if parent in wardens}


def blocks(count):
    base = hashlib.shake_256(b"a deterministic megabyte").digest(MIB)
    for i in range(count):
        yield i.to_bytes(8, "little") + base[8:]


@in_modes
def a_gigabyte_arrives_intact(user):
    mib = 1024 if IS_ROOT != user else 256  # the whole of it in the stronger mode that can be tried
    p = start(["run", "--output-rate", "unlimited", "--", "cat"], user, stdin=subprocess.PIPE)
    watch = Watch(p.pid)
    sent, got, count = hashlib.sha256(), hashlib.sha256(), 0

    def feed():
        with contextlib.suppress(OSError):
            for block in blocks(mib):
                sent.update(block)
                p.stdin.write(block)
            p.stdin.close()
    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        while data := os.read(p.stdout.fileno(), 65536) if select.select([p.stdout], [], [], 20)[0] else b"":
            got.update(data)
            count += len(data)
        check_equal(count, mib * MIB, "bytes that came back")
        feeder.join(5)
        check_equal(got.hexdigest(), sent.hexdigest(), "sha256")
        check_equal(p.wait(10), 0, "exit status")
        watch.end()
    finally:
        watch.over.set()
        stop(p)


@in_modes
def a_reader_that_stops_costs_little(user):
    """And what it did not read is not lost: yes has written only what fits into rings and pipes."""
    p = start(["run", "--", "yes"], user)
    watch = Watch(p.pid)
    try:
        time.sleep(2)
        watch.end()
        check_equal(p.poll(), None, "exit status while it should still run")
        got = b"".join(os.read(p.stdout.fileno(), 65536) for _ in range(64))
        check(got == (b"y\n" * len(got))[:len(got)], "the output has holes")
    finally:
        watch.over.set()
        stop(p)


@in_modes
def a_command_that_stops_reading_costs_little(user):
    p = start(["run", "--", "sleep", "30"], user, stdin=subprocess.PIPE)
    watch = Watch(p.pid)
    taken, end, block = 0, time.monotonic() + 1, b"x" * 65536
    try:
        os.set_blocking(p.stdin.fileno(), False)
        while time.monotonic() < end:
            if select.select([], [p.stdin], [], 0.1)[1]:
                with contextlib.suppress(BlockingIOError):
                    taken += os.write(p.stdin.fileno(), block)
        watch.end()
        check(0 < taken < 16 * MIB, f"{taken} bytes of input were taken for a command that reads none")
        p.send_signal(signal.SIGTERM)
        check_equal(p.wait(10), 143, "exit status")
    finally:
        watch.over.set()
        stop(p)


# ---- streams that are closed, full, or gone ----

def begin(words, user=False, prepare=None, **streams):
    """creto-runtime run WORDS, with something to do in the child before it becomes whoever it runs as."""
    options = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    options.update(streams)
    if user:
        options = as_user(**options)
    become = options.get("preexec_fn")

    def child():
        if prepare:
            prepare()
        if become:
            become()
    options["preexec_fn"] = child
    p = subprocess.Popen([cli_path(user), "run", *flags, *words], **options)
    started.append(p.pid)
    return p


def finish(process, timeout=20):
    try:
        out, err = process.communicate(timeout=timeout)
        return Result(process.returncode, out or b"", err or b"")
    finally:
        stop(process)


@in_modes
def closed_streams(user):
    """What is closed outside is /dev/null inside; none of our own descriptors takes its place."""
    for closed in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):
        r = finish(begin(["--", "sh", "-c", "cat; echo out; echo err >&2; exit 5"], user, lambda fds=closed: [os.close(fd) for fd in fds]))
        ends(r, 5, f"descriptors {closed} closed")
        check_equal(r.out, b"" if 1 in closed else b"out\n", f"stdout with {closed} closed")
        check(2 in closed or "err\n" in r.notes, f"stderr with {closed} closed: {r}")
        check("warden" not in r.notes, f"with {closed} closed: {r}")


@in_modes
def a_reader_that_goes_ends_the_run(user):
    """run -- yes | head -1"""
    p = start(["run", "--", "yes"], user)
    try:
        check_equal(os.read(p.stdout.fileno(), 2), b"y\n", "the first line")
        p.stdout.close()
        check_equal(p.wait(10), PIPE, "exit status")
        notes = [line for line in p.stderr.read().decode().splitlines() if "notice:" not in line]
        check_equal(notes, [], "stderr")
    finally:
        stop(p)


@in_modes
def a_full_device_is_an_error(user):
    with open("/dev/full", "wb") as full:
        r = finish(begin(["--", "echo", "hello"], user, stdout=full))
        check(r.code not in (0, PIPE), f"stdout on a full device: {r}")
        said(r, "creto-runtime: ", "No space left on device")
        r = finish(begin(["--", "sh", "-c", "echo hello >&2"], user, stderr=full))
        check(r.code not in (0, PIPE), f"stderr on a full device: {r}")


@in_modes
def output_that_may_not_block(user):
    """Whoever gave us the stream may have made it non-blocking; then to wait is our business."""
    ours_end, theirs = os.pipe()
    os.set_blocking(theirs, False)
    p = begin(["--", "head", "-c", str(4 * MIB), "/dev/zero"], user, stdout=theirs)
    try:
        os.close(theirs)
        time.sleep(0.5)
        count = 0
        while data := os.read(ours_end, 65536):
            count += len(data)
        check_equal((p.wait(10), count), (0, 4 * MIB), "exit status and bytes")
    finally:
        os.close(ours_end)
        stop(p)


# ---- a terminal ----

class Terminal:
    """creto-runtime at a terminal of its own, as a shell would have started it."""

    def __init__(self, words, user, **streams):
        self.ours, self.theirs = pty.openpty()
        self.resize(31, 97)
        self.before = termios.tcgetattr(self.theirs)
        self.text = ""
        streams = dict(dict(stdin=self.theirs, stdout=self.theirs, stderr=self.theirs), **streams)
        self.process = begin(words, user, lambda: fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0), pass_fds=(self.theirs,), **streams)

    def resize(self, rows, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data):
        os.write(self.ours, data)

    def read(self, timeout=0.05):
        if select.select([self.ours], [], [], timeout)[0]:
            with contextlib.suppress(OSError):
                self.text += os.read(self.ours, 65536).decode(errors="replace")

    def expect(self, word, timeout=10.0):
        end = time.monotonic() + timeout
        while word not in self.text:
            check(time.monotonic() < end, f"'{word}' does not come: {self.text!r}")
            self.read()
        self.text = self.text[self.text.index(word) + len(word):]

    def ended(self, code, what):
        check(poll(lambda: self.read() or self.process.poll() is not None, 10), f"{what}: it does not end: {self.text!r}")
        self.read()
        check_equal(self.process.returncode, code, f"{what}: {self.text!r}: exit status")
        check(termios.tcgetattr(self.theirs) == self.before, f"{what}: the terminal's settings are not what they were")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)
        os.close(self.ours)
        os.close(self.theirs)


@in_modes
def terminal_inside(user):
    program = "import os; print([os.isatty(i) for i in range(3)], [*os.get_terminal_size()], os.ttyname(0), os.environ['TERM'], 'end')"
    with Terminal(["-it", "--", "python3", "-c", program], user) as t:
        t.expect(f"[True, True, True] [97, 31] /dev/pts/0 {os.environ.get('TERM') or 'xterm'} end" if not user else "[True, True, True] [97, 31]")
        t.ended(0, "-it")


@in_modes
def terminal_only_where_wanted(user):
    """Without -it a terminal outside is none inside, and standard input is empty."""
    with Terminal(["--", "python3", "-c", "import os,sys; print([os.isatty(i) for i in range(3)], repr(sys.stdin.read()))"], user) as t:
        t.expect("[False, False, False] ''")
        t.ended(0, "without -it")


@in_modes
def terminal_size_follows(user):
    program = ("import os,signal,time\n"
               "signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b'now %r\\n' % [*os.get_terminal_size()]))\n"
               "print('ready', [*os.get_terminal_size()], flush=True)\n"
               "while True: time.sleep(0.05)\n")
    with Terminal(["-it", "--", "python3", "-c", program], user) as t:
        t.expect("ready [97, 31]")
        for rows, columns in ((40, 120), (5, 7)):
            t.resize(rows, columns)
            t.expect(f"now [{columns}, {rows}]")
        t.type(b"\x03")
        t.ended(130, "^C")


@in_modes
def terminal_interrupt(user):
    """^C goes to the program inside, as a signal, and not to us; whether it ends is its own decision."""
    command = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with Terminal(["-it", "--", "sh", "-c", command], user) as t:
        t.expect("ready")
        check(termios.tcgetattr(t.theirs)[3] & termios.ICANON == 0, "the terminal outside is not raw while the one inside counts")
        t.type(b"\x03")
        t.expect("interrupted")
        t.ended(9, "^C, caught")
    with Terminal(["-it", "--", "sh", "-c", "trap '' INT; echo ready; read line; echo got $line"], user) as t:
        t.expect("ready")
        t.type(b"\x03")
        t.type(b"word\r")
        t.expect("got word")
        t.ended(0, "^C, ignored")
    with Terminal(["--", "sh", "-c", "echo ready; exec sleep 60"], user) as t:
        t.expect("ready")
        t.type(b"\x03")
        t.ended(130, "^C without -it")


@in_modes
def terminal_typing(user):
    with Terminal(["-it", "--", "sh", "-c", "stty -echo; echo ready; cat; echo the end; exit 6"], user) as t:
        t.expect("ready")
        t.type(b"some words\r")
        t.expect("some words")
        t.type(b"\x04")
        t.expect("the end")
        t.ended(6, "^D")


@in_modes
def terminal_is_restored(user):
    for words, code in ((["true"], 0), (["no-such-command"], NOT_FOUND), (["sh", "-c", "stty raw -echo; kill -9 $$"], KILLED)):
        with Terminal(["-it", "--", *words], user) as t:
            t.ended(code, words[-1])
    with Terminal(["-it", "--timeout", "300ms", "--", "sleep", "60"], user) as t:
        t.expect("timeout of 0.300 s is over")
        t.ended(TIMED_OUT, "--timeout")
    with Terminal(["-it", "--", "sh", "-c", "echo ready; exec sleep 60"], user) as t:
        t.expect("ready")
        t.process.send_signal(signal.SIGTERM)
        t.ended(143, "SIGTERM")


# ---- options ----

@in_modes
def environment(user):
    r = run("echo $A-$B-$C", "--env", "A=1", "--env", "B=x=y z", "--env", "C=first", "--env", "C=second", user=user, env={"D": "the caller's"})
    check_equal(r.out, b"1-x=y z-second\n", "variables")
    r = run(["env"], "--env", "HOME=/tmp", user=user, env={"SECRET_OF_OURS": "the caller's"})
    names = {line.split("=")[0] for line in r.text.splitlines()}
    check("SECRET_OF_OURS" not in names, "the caller's environment is inside")
    check(names >= {"HOME", "PATH", "LANG"}, f"names of variables: {names}")
    check("HOME=/tmp" in r.text.splitlines(), f"HOME: {r}")
    most = [word for i in range(4096) for word in ("--env", f"V{i}={i}")]
    r = run("env | grep -c '^V[0-9]*='", *most, user=user)
    check_equal(r.text.strip(), "4096", "variables that arrived")


@in_modes
def working_directory(user):
    check_equal(run(["pwd"], user=user).out, b"/home/agent\n", "directory where none is named")
    check_equal(run(["pwd"], "--cwd", "/usr/bin", user=user).out, b"/usr/bin\n", "directory")


@as_root
def users():
    for name, ids in ((None, "1000 1000"), ("nobody", "65534 65534"), ("1234:55", "1234 55"), ("root", "0 0")):
        r = run("echo $(id -u) $(id -g)", *(["--user", name] if name else []))
        check_equal(r.text.strip(), ids, f"ids of --user {name}")


@in_modes
def a_missing_directory_or_user_is_no_missing_command(user):
    """127 and 126 say something of the command; this is a request that cannot be honoured."""
    for flags, word in ((["--cwd", "/no/such"], "/no/such"), (["--user", "no-such-user"], "no-such-user"), (["--cwd", "/etc/passwd"], "/etc/passwd")):
        r = run(["true"], *flags, user=user)
        said(r, "creto-runtime: ", word)
        ends(r, USAGE, " ".join(flags))


@in_modes
def time_is_limited(user):
    for flag, value, word in (("--timeout", "500ms", "timeout of 0.500 s is over"), ("--ttl", "1s", "time to live of 1.000 s is over")):
        r = run("trap '' TERM INT HUP; setsid sleep 61 & sleep 60", flag, value, user=user)
        ends(r, TIMED_OUT, flag)
        said(r, f"creto-runtime: killed: {word}")
    ends(run("exit 3", "--timeout", "1h", "--ttl", "2h", user=user), 3, "a limit that is far")


@in_modes
def time_is_limited_where_nobody_reads(user):
    """The sandbox is gone when its time is over, whether or not somebody takes its output."""
    for flag in ("--timeout", "--ttl"):
        p = start(["run", flag, "500ms", "--", "yes"], user)
        try:
            running = poll(lambda: busy(p.pid), 5)
            check(running, "the command does not start")
            check(poll(lambda: not busy(p.pid), 4), f"{flag} 500ms: the command is still there after 4 s")
        finally:
            stop(p)


def busy(top):
    """Commands below the command line: what creto-init has started."""
    return descendants(top) - ours(top)


# ---- signals, and what is left running ----

@in_modes
def signals_are_passed_on(user):
    caught = "trap 'echo caught; exit 7' TERM INT HUP USR1; echo ready; while :; do sleep 0.05; done"
    for signo in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        for command, code, word in ((caught, 7, b"caught\n"), ("echo ready; exec sleep 60", 128 + signo, b"")):
            p = start(["run", "--", "sh", "-c", command], user)
            try:
                check_equal(read_until(p.stdout, b"ready\n"), b"ready\n", "stdout")
                p.send_signal(signo)
                r = finish(p, 10)
                ends(r, code, f"{signo.name} to {command}")
                check_equal(r.out, word, f"stdout after {signo.name}")
            finally:
                stop(p)


@in_modes
def a_signal_where_nobody_reads(user):
    """A run whose output is not taken can still be ended in the ordinary way."""
    p = start(["run", "--", "yes"], user)
    try:
        check(read_until(p.stdout, b"y\n"), "no output")
        time.sleep(0.5)
        p.send_signal(signal.SIGTERM)
        check(poll(lambda: p.poll() is not None, 4), "SIGTERM while the output is not taken: still running after 4 s")
    finally:
        stop(p)


@in_modes
def a_signal_at_any_moment(user):
    for i in range(10):
        moment = (i + random.random()) * MOMENTS_MS / 10
        p = start(["run", "--", "sleep", "60"], user)
        time.sleep(moment / 1000)
        p.send_signal(signal.SIGTERM)
        r = finish(p, 10)
        check(r.code in (-signal.SIGTERM, 143), f"SIGTERM after {moment:.1f} ms: {r}")


@in_modes
def background_processes_end(user):
    began = time.monotonic()
    r = run("sleep 1000 & setsid sleep 1001 & (setsid nohup sleep 1002 >/dev/null 2>&1 &) ; trap '' TERM; echo done", user=user)
    ends(r, 0)
    check_equal(r.out, b"done\n", "stdout")
    check(time.monotonic() - began < 10, "it waits for processes in the background")


# ---- limits ----

def controllers():
    """The cgroup controllers of this host that a root process can limit with."""
    found = set()
    with open("/proc/self/mounts") as f:
        for words in map(str.split, f):
            if words[2] == "cgroup":
                found |= set(words[3].split(","))
            elif words[2] == "cgroup2":
                with contextlib.suppress(OSError), open(os.path.join(words[1], "cgroup.controllers")) as names:
                    found |= set(names.read().split())
    return found


def need_controller(name):
    if name not in controllers():
        skip(f"no cgroup controller '{name}'")


@as_root
def memory_limit():
    need_controller("memory")
    r = run(["python3", "-c", "b = b'x' * (200 << 20); print('all of it')"], "--memory", "64M")
    ends(r, KILLED)
    said(r, "creto-runtime: killed: memory limit 64 MiB")
    check("all of it" not in r.text, f"it got it: {r}")
    r = run("python3 -c \"b = b'x' * (200 << 20)\"; echo shell goes on; exit 4", "--memory", "64M")
    ends(r, 4, "only a child was killed")
    said(r, "memory limit 64 MiB")
    ends(run(["python3", "-c", "b = b'x' * (200 << 20)"], "--memory", "400M"), 0, "enough memory")


@as_root
def pids_limit():
    need_controller("pids")
    r = run("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo all of them", "--pids", "8")
    check("all of them" not in r.text, f"it got them: {r}")
    said(r, "creto-runtime: limit: pids limit 8")
    r = run("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo all of them", "--pids", "16")
    check_equal((r.code, r.text, "limit" in r.notes), (0, "all of them\n", False), "with enough of them")


@in_modes
def disk_limit(user):
    r = run(["dd", "if=/dev/zero", "of=/tmp/file", "bs=1M", "count=64"], "--disk", "16M", user=user)
    check(r.code not in (0, KILLED), f"64 MiB on a disk of 16: {r}")
    said(r, "creto-runtime: limit: disk limit 16 MiB")
    r = run(["dd", "if=/dev/zero", "of=/tmp/file", "bs=1M", "count=8"], "--disk", "16M", user=user)
    ends(r, 0, "8 MiB on a disk of 16")
    check("limit" not in r.notes, f"8 MiB on a disk of 16: {r}")


@in_modes
def inode_limit(user):
    r = run("i=0; while [ $i -lt 300 ] && : >/tmp/$i; do i=$((i+1)); done; [ $i -lt 300 ]", "--disk-inodes", "256", user=user)
    said(r, "creto-runtime: limit: inode limit 256")


@as_root
def disk_is_not_memory():
    need_controller("memory")
    r = run("dd if=/dev/zero of=/tmp/file bs=1M count=300 2>&1 && stat -c %s /tmp/file", "--memory", "64M", "--disk", "512M")
    ends(r, 0)
    check_equal(r.text.split()[-1], str(300 * MIB), "size of the file")
    check("limit" not in r.notes, r)


BURN = """
import os, time
end = time.monotonic() + 10
child = os.fork()
while time.monotonic() < end:
    pass
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
t = os.times()
print(t.user + t.system + t.children_user + t.children_system, time.monotonic() - end + 10)
"""


def processor_idle():
    with open("/proc/stat") as f:
        words = [int(w) for w in f.readline().split()[1:]]
    return sum(words[:8]), words[3] + words[4]


@as_root
def cpu_limit():
    """Two busy processes of a fifth of one core."""
    need_controller("cpu")
    before = processor_idle()
    r = run(["python3", "-c", BURN], "--cpu", "200", timeout=60)
    ends(r, 0)
    after = processor_idle()
    used, wall = map(float, r.text.split())
    share, idle = used / wall, (after[1] - before[1]) / max(1, after[0] - before[0])
    check(share < 0.26, f"{used:.2f} s of {wall:.2f} s: {share:.3f} of a core, wanted 0.2")
    if share < 0.15 and idle < 0.2:
        skip(f"only {share:.3f} of a core, but the host is busy: {idle:.2f} of it was idle")
    check(share > 0.15, f"{used:.2f} s of {wall:.2f} s: {share:.3f} of a core, wanted 0.2")


# ---- wrong input ----

# flags and command; exit status; what the message names; what the hint names (None: none is wanted)
WRONG = [
    (["--memory", "banana", "--", "true"], USAGE, ["--memory", "'banana'"], "512M"),
    (["--memory", "", "--", "true"], USAGE, ["--memory"], "512M"),
    (["--memory", "-1", "--", "true"], USAGE, ["--memory", "'-1'"], "512M"),
    (["--memory", "1K", "--", "true"], USAGE, ["--memory", "1K", "16 MiB"], None),
    (["--memory", "99999999999999999999", "--", "true"], USAGE, ["--memory"], None),
    (["--memory"], USAGE, ["--memory", "needs a value"], "help run"),
    (["--pids", "-1", "--", "true"], USAGE, ["--pids", "'-1'"], "--pids"),
    (["--pids", "0", "--", "true"], USAGE, ["--pids", "0", "1 to"], None),
    (["--pids", "1.5", "--", "true"], USAGE, ["--pids", "'1.5'"], "--pids"),
    (["--cpu", "0", "--", "true"], USAGE, ["--cpu", "0", "10 to"], None),
    (["--cpu", "0.2", "--", "true"], USAGE, ["--cpu", "'0.2'"], "--cpu"),
    (["--disk", "1", "--", "true"], USAGE, ["--disk", "4 MiB"], None),
    (["--disk", "unlimited", "--", "true"], USAGE, ["--disk", "'unlimited'"], "--disk"),
    (["--timeout", "banana", "--", "true"], USAGE, ["--timeout", "'banana'"], "30s"),
    (["--timeout", "0", "--", "true"], USAGE, ["--timeout", "'0'"], "30s"),
    (["--timeout", "-1", "--", "true"], USAGE, ["--timeout", "'-1'"], "30s"),
    (["--env", "NAME", "--", "true"], USAGE, ["--env", "'NAME'", "NAME=VALUE"], "--env"),
    (["--env", "=x", "--", "true"], USAGE, ["--env", "'=x'"], "--env"),
    (["--cwd", "somewhere", "--", "true"], USAGE, ["--cwd", "'somewhere'"], "/home/agent"),
    (["--user", "", "--", "true"], USAGE, ["--user"], None),
    (["--user", "a b", "--", "true"], USAGE, ["--user", "'a b'"], None),
    (["--image", "../../etc", "--", "true"], USAGE, ["'../../etc'"], "dir:"),
    (["--image", "", "--", "true"], USAGE, ["--image", "empty"], None),
    (["--runtime", "no-such", "--", "true"], USAGE, ["'no-such'"], "runtimes"),
    (["--network-policy", "allow-all", "--", "true"], UNAVAILABLE, ["--network-policy", "'allow-all'"], None),
    (["--egress-allow", "example.org", "--", "true"], UNAVAILABLE, ["--egress-allow"], None),
    (["--no-such-option", "--", "true"], USAGE, ["--no-such-option"], "help run"),
    (["-x", "--", "true"], USAGE, ["-x"], "help run"),
    (["--tty=yes", "--", "true"], USAGE, ["--tty", "no value"], None),
    (["--"], USAGE, ["no command"], "run --"),
    ([], USAGE, ["no command"], "run --"),
    (["--", ""], USAGE, ["empty"], None),
    (["--", "no-such-command"], NOT_FOUND, ["'no-such-command'"], "image"),
    (["--", "/no/such/command"], NOT_FOUND, ["'/no/such/command'"], "image"),
    (["--", "/etc/passwd"], NOT_EXECUTABLE, ["'/etc/passwd'", "Permission denied"], None),
    (["--", "/tmp"], NOT_EXECUTABLE, ["'/tmp'", "Permission denied"], None),
    (["--", *["word"] * 40000], USAGE, ["arguments", "32768"], "standard input"),
    (["--", "true", *["x" * 100000] * 10], USAGE, ["arguments", "1000000"], "standard input"),
    ([w for i in range(4097) for w in ("--env", f"V{i}={i}")] + ["--", "true"], USAGE, ["--env", "more than 4096"], None),
    ([w for i in range(10000) for w in ("--env", f"V{i}={i}")] + ["--", "true"], USAGE, ["--env", "more than"], "standard input"),
    ([w for i in range(100) for w in ("--label", f"L{i}={i}")] + ["--", "true"], USAGE, ["--label", "64"], None),
]


@in_modes
def wrong_input(user):
    """One line that begins with our name and names the thing, a hint, the exit status of docs/errors.md, and no output."""
    faults = []
    for words, code, names, hint in WRONG:
        title = " ".join(words)[:60]
        r = creto(["run", *words], user)
        lines = [line for line in r.notes.splitlines() if not line.startswith("creto-runtime: notice: ")]
        message = lines[0] if lines else ""
        if r.code != code:
            faults.append(f"'{title}': {r}, wanted exit {code}")
        elif not message.startswith("creto-runtime: ") or len(message) > 600 or r.out:
            faults.append(f"'{title}': {r}: no message of ours, or not only that")
        elif not all(name in message for name in names):
            faults.append(f"'{title}': {r}: the message does not name {names}")
        elif len(lines) > 2 or len(lines) == 2 and not lines[1].startswith("hint: ") or hint and (len(lines) < 2 or hint not in lines[1]):
            faults.append(f"'{title}': {r}: no hint that says '{hint}', or more than that")
    check(not faults, f"{len(faults)} of {len(WRONG)}: {'; '.join(faults[:8])}")


@in_modes
def wrong_commands(user):
    for words, code, name in (([], USAGE, "COMMAND"), (["no-such"], USAGE, "'no-such'"), (["pool"], USAGE, "pool"), (["--no-such"], USAGE, "--no-such")):
        r = creto(words, user)
        ends(r, code, " ".join(words))
        said(r, name)
        check_equal(r.out, b"", "stdout")


@in_modes
def large_input_that_is_not_wrong(user):
    """The kernel takes no argument of 128 KiB, so none of a mebibyte gets as far as us; what it takes, we take. What the caller's own environment has is
    no matter."""
    try:
        r = run(["true", "x" * MIB], user=user)
        check(False, f"an argument of a mebibyte was executed: {r}")
    except OSError as e:
        check_equal(e.errno, errno.E2BIG, "error of a mebibyte")
    r = run(["sh", "-c", "echo ${#1}", "sh", "x" * 131000], user=user)
    check_equal((r.code, r.text), (0, "131000\n"), "an argument of nearly 128 KiB")
    r = run("env | wc -l", user=user, env={f"V{i}": str(i) for i in range(10000)})
    check_equal(r.code, 0, f"10,000 variables outside: {r}: exit status")
    check(int(r.text) < 20, f"variables inside: {r}")


# ---- kills ----

def child_of(parent, process, timeout=2.0):
    """The first child that `parent` has made, as soon as there is one; None where `process` ends before that."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        children = [pid for pid, p in parents().items() if p == parent]
        if children:
            return min(children)
    return None


def victim_of(which, process):
    if which == "command-line":
        return process.pid
    warden = child_of(process.pid, process)
    return warden if which == "warden" or not warden else child_of(warden, process)


def kill_after(process, which, moment_ms):
    """SIGKILL for one of the processes around a run, that descends from `process`. False where it had ended by then."""
    began = time.monotonic()
    while time.monotonic() - began < moment_ms / 1000:
        pass
    pid = victim_of(which, process)
    if not pid:
        return False
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if pid == process.pid or pid in descendants(process.pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False


def one_kill(which, user, moment, command, *flags):
    """What is wrong afterwards, or ''."""
    before = Traces()
    p = start(["run", *flags, "--", "sh", "-c", command], user)
    try:
        hit = kill_after(p, which, moment)
        r = finish(p, 10)
        if which == "command-line" and r.code != -signal.SIGKILL:
            return f"{r}, wanted -9"
        if which == "warden" and hit and (r.code <= 0 or "creto-runtime: " not in r.notes):
            return f"{r}, wanted an error"
        if which == "zygote" and r.code != 0 and (r.code not in (UNAVAILABLE, INTERNAL, LATER) or "creto-runtime: " not in r.notes):
            return f"{r}, wanted 0 or an error"
        return "; ".join(left_since(before)[:4])
    except subprocess.TimeoutExpired:
        return "the command line is still there, or its streams are held open, after 10 s"
    finally:
        stop(p)
        end_left_over(before)


def kills(which, user):
    faults = []
    for i in range(ROUNDS):
        moment = ((i + random.random()) / ROUNDS) ** 2 * MOMENTS_MS  # more of them early, where most is going on
        fault = one_kill(which, user, moment, "sleep 0.1" if which == "zygote" else "sleep 60")
        if fault:
            faults.append(f"killed {moment:.1f} ms after the start: {fault}")
        if len(faults) == 2:
            break
    check(not faults, f"{len(faults)} times: {'; '.join(faults)}")


@in_modes
def killed_command_line(user):
    kills("command-line", user)


@in_modes
def killed_warden(user):
    kills("warden", user)


@in_modes
def killed_zygote(user):
    """The warden makes another, or says that it could not."""
    kills("zygote", user)


def user_namespace(pid):
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}/ns/user").st_ino
    return None


def entering(process):
    """The warden, and the first process of the sandbox as soon as it is in its own user namespace: on its way to become creto-init. None where there
    is no such moment to be seen."""
    warden = child_of(process.pid, process)
    zygote = warden and child_of(warden, process)
    home, end = zygote and user_namespace(zygote), time.monotonic() + 5
    while home and time.monotonic() < end and process.poll() is None:
        for pid in [pid for pid, p in parents().items() if p == warden and pid != zygote]:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
                if f.read().strip() == "creto-warden":  # a helper, there for moments
                    continue
                while user_namespace(pid) == home:
                    pass
                if user_namespace(pid):
                    return warden, pid
    return None


def one_kill_of_the_starter(user, delay):
    before = Traces()
    p = start(["run", "--", "sleep", "60"], user)
    try:
        found = entering(p)
        if not found:
            return None
        time.sleep(delay)
        for pid, signo in ((found[1], signal.SIGSTOP), (found[0], signal.SIGKILL), (found[1], signal.SIGCONT)):
            with contextlib.suppress(OSError):
                os.kill(pid, signo)
            time.sleep(0.02)
        r = finish(p, 3)
        return "; ".join(left_since(before)[:4]) if r.code > 0 else f"{r}, wanted an error"
    except subprocess.TimeoutExpired:
        return "the sandbox goes on without its warden"
    finally:
        stop(p)
        end_left_over(before)


@in_modes
def killed_warden_of_a_sandbox_that_starts(user):
    """The one moment that is hard to meet: the sandbox has new credentials, which clears its order to die with the warden. It is made longer here: the
    process is stopped meanwhile, as one that gets no processor."""
    faults, met = [], 0
    for i in range(ROUNDS // 2):
        fault = one_kill_of_the_starter(user, i * 0.00003)
        met += fault is not None
        if fault:
            faults.append(f"{i * 30} us after it entered its namespace: {fault}")
            break
    if met == 0:
        skip("the namespaces of its processes cannot be seen")
    check(not faults, "; ".join(faults))


@as_root
def killed_while_a_disk_is_made():
    """A size that nobody had asked for before needs a new empty filesystem, which takes some milliseconds more."""
    where, faults, sizes = DIRS[-1], [], [(64 << 20) + 4096 * (os.getpid() % 4096 * 16 + i) for i in range(ROUNDS // 2)]
    kept = half_made()
    try:
        for i, size in enumerate(sizes):
            moment = (i + random.random()) * MOMENTS_MS / len(sizes)
            fault = one_kill(("command-line", "warden")[i % 2], False, moment, "sleep 60", "--disk", str(size))
            if fault:
                faults.append(f"killed {moment:.1f} ms after the start: {fault}")
                break
        check(not faults, "; ".join(faults))
    finally:
        for path in {os.path.join(where, n) for n in os.listdir(where) if n.split("-")[0] in map(str, sizes)} | (half_made() - kept):
            if os.path.isfile(path) and path.endswith(".ext4"):
                os.unlink(path)
            elif of_our_warden(path.split(".")[-1]):
                subprocess.run(["rm", "-rf", path])


# ---- an ordinary user ----

def need_no_group():
    if cgroup_version() == 2:
        skip("this host may delegate cgroups to users")


@test
def user_is_told_what_is_missing():
    need_mode_of(True)
    need_no_group()
    r = run(["true"], user=True)
    ends(r, 0)
    lines = r.notes.splitlines()
    check(len(lines) == 1 and lines[0].startswith("creto-runtime: notice: "), f"not one line of notice: {r}")
    said(r, "memory", "cpu", "pids")


@test
def user_may_not_name_a_limit_that_does_not_hold():
    need_mode_of(True)
    need_no_group()
    for flag, value in (("--memory", "64M"), ("--cpu", "500"), ("--pids", "50")):
        r = run(["echo", "it ran"], flag, value, user=True)
        ends(r, UNAVAILABLE, flag)
        said(r, f"creto-runtime: {flag}", "hint: ", "Delegate=yes")
        check_equal(r.out, b"", "stdout")
    ends(run(["true"], "--memory", "unlimited", "--pids", "unlimited", user=True), 0, "no limit named")


@test
def user_is_the_user():
    need_mode_of(True)
    r = run("touch /tmp/mine && stat -c %u /tmp/mine && id -u", user=True)
    ends(r, 0)
    check_equal(r.text, "1000\n1000\n", "owner of a file, and uid")


# ---- many at once ----

@in_modes
def runs_at_once(user):
    for count in (2, 10):
        running = [start(["run", "--", "sh", "-c", f"read word; echo $word $(hostname); sleep 0.2; exit {100 + i}"], user, stdin=subprocess.PIPE)
                   for i in range(count)]
        try:
            for i, p in enumerate(running):
                p.stdin.write(b"word-%d\n" % i)
                p.stdin.close()
                p.stdin = None
            hosts = set()
            for i, p in enumerate(running):
                out, err = p.communicate(timeout=30)
                check_equal((p.returncode, out.split()[:1]), (100 + i, [b"word-%d" % i]), f"run {i} of {count}: {err!r}: exit status and output")
                hosts.add(out.split()[1])
            check_equal(len(hosts), count, "different host names")
        finally:
            for p in running:
                stop(p)


if __name__ == "__main__":
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what is left behind becomes our child, and is found
    main()
