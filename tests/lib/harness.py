"""What the integration and security tests share: registering tests, running creto-runtime as root or as an ordinary user, and counting
what the host has, so that every test can say that it left nothing behind.

A test file is a program: it registers functions with @test, and ends with main(). Each test prints `ok NAME`, `not ok NAME: why` or
`skip NAME: reason`; the last line is `N passed, N failed, N skipped`."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("CRETO_BUILD", os.path.join(ROOT, "build")))
CLI = os.path.join(BUILD, "src/programs/runtime/creto-runtime")
ATTACK = os.path.join(BUILD, "tests/security/attack")
USER = 12345  # a uid that no host has an entry for
IS_ROOT = os.geteuid() == 0
UID_BASE = 1879048192  # the first host uid of sandboxes
# A test names the class that it tests; where it names none it tests this one, whatever is installed.
CLASS = {"CRETO_RUNTIME_CLASS": "native"}
os.environ.update(CLASS)


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def skip(reason):
    raise Skipped(reason)


def check(condition, why):
    if not condition:
        raise Failed(str(why))


def check_equal(got, wanted, what):
    check(got == wanted, f"{what} is {got!r}, wanted {wanted!r}")


# ---- registering and running ----

_tests = []
_counts = {"ok": 0, "not ok": 0, "skip": 0}


def test(function):
    _tests.append(function)
    return function


def report(outcome, name, why=""):
    """For tests that find their cases at run time: one line, counted."""
    _counts[outcome] += 1
    why = " ".join(str(why).split())
    print(f"{outcome} {name}: {why}" if outcome != "ok" else f"ok {name}", flush=True)


def main():
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for function in _tests:
        name = function.__name__
        if only not in name:
            continue
        try:
            if function() is not report:  # a test that reported its cases itself returns `report`
                report("ok", name)
        except Skipped as e:
            report("skip", name, e)
        except Failed as e:
            report("not ok", name, e)
        except subprocess.TimeoutExpired as e:
            report("not ok", name, f"still running after {e.timeout} s")
        except Exception as e:  # a broken test is a failed test
            traceback.print_exc()
            report("not ok", name, f"{type(e).__name__}: {e}")
    _forget_user_copy()
    print(f"{_counts['ok']} passed, {_counts['not ok']} failed, {_counts['skip']} skipped", flush=True)
    sys.exit(1 if _counts["not ok"] else 0)


def poll(condition, timeout=5.0, step=0.02):
    """The first true value of condition(), or its last value when the time is over."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


# ---- running creto-runtime ----

class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.text = out.decode(errors="replace")
        self.notes = err.decode(errors="replace")

    def __str__(self):
        return f"exit {self.code}, stdout {self.text[-300:]!r}, stderr {self.notes[-300:]!r}"


_user_copy = None


def _reachable(path):
    while path != "/":
        path = os.path.dirname(path)
        if os.path.exists(path) and not os.stat(path).st_mode & 0o001:
            return False
    return True


def _user_dir():
    """A directory of the ordinary user's, with bin/ (copies of our programs, laid out as in the build) where it cannot reach the build."""
    global _user_copy
    if _user_copy:
        return _user_copy
    _user_copy = tempfile.mkdtemp(prefix="creto-test-", dir="/var/tmp")
    os.chmod(_user_copy, 0o755)
    home = os.path.join(_user_copy, "home")
    os.mkdir(home, 0o700)
    if IS_ROOT:
        os.chown(home, USER, USER)
    if not _reachable(CLI):
        for program in ("runtime/creto-runtime", "warden/creto-warden", "init/creto-init", "image/creto-image"):
            source = os.path.join(BUILD, "src/programs", program)
            if os.path.exists(source):
                target = os.path.join(_user_copy, "bin/src/programs", program)
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                shutil.copy(source, target)
                os.chmod(target, 0o755)
    return _user_copy


def _forget_user_copy():
    global _user_copy
    if _user_copy:
        shutil.rmtree(_user_copy, ignore_errors=True)
        _user_copy = None


def cli_path(user=False):
    if user and not _reachable(CLI):
        return os.path.join(_user_dir(), "bin/src/programs/runtime/creto-runtime")
    return CLI


def become_user():
    """For preexec_fn."""
    if IS_ROOT:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)


def as_user(**more):
    """Keyword arguments for subprocess that make the child an ordinary user with a home of its own."""
    home = os.path.join(_user_dir(), "home")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8", **CLASS}
    env.update(more.pop("env", None) or {})
    return dict(env=env, cwd=home if os.access(home, os.X_OK) else "/", preexec_fn=become_user, **more)


def need_cli():
    if not os.access(CLI, os.X_OK):
        skip(f"{CLI} is not built")


_mode_fault = {}


def need_mode(user):
    """Fails at once, instead of after a timeout a test, where no sandbox starts at all in this mode."""
    if user not in _mode_fault:
        _mode_fault[user] = ""
        try:
            r = creto(["run", "--", "true"], user, timeout=10)
            if r.code != 0:
                _mode_fault[user] = f"'run -- true': {r}"
        except subprocess.TimeoutExpired as e:
            _mode_fault[user] = f"'run -- true' is still running after {e.timeout} s"
    check(not _mode_fault[user], f"no sandbox starts {'as an ordinary user' if user else 'as root'}: {_mode_fault[user]}")


def start(args, user=False, env=None, **more):
    """creto-runtime ARGS, as a Popen; pipes where `more` says nothing else."""
    need_cli()
    need_mode(user)
    options = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    options.update(more)
    if user:
        options = as_user(env=env, **options)
    else:
        options["env"] = dict(os.environ, **(env or {}))
    return subprocess.Popen([cli_path(user), *args], **options)


def stop(process):
    """Ends a process that we started, whatever it is doing."""
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def creto(args, user=False, stdin=b"", timeout=30, **more):
    """creto-runtime ARGS to its end. A timeout fails the test, and the process is killed."""
    process = start(args, user, stdin=subprocess.PIPE, **more)
    try:
        out, err = process.communicate(stdin, timeout)
        return Result(process.returncode, out, err)
    finally:
        stop(process)


def run(command, *flags, user=False, **more):
    """creto-runtime run FLAGS -- COMMAND; a string is given to sh -c."""
    words = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return creto(["run", *flags, "--", *words], user, **more)


# ---- attacks ----

_attack_bytes = None


def attack_bytes():
    global _attack_bytes
    if _attack_bytes is None:
        if not os.access(ATTACK, os.X_OK):
            skip(f"{ATTACK} is not built")
        with open(ATTACK, "rb") as f:
            _attack_bytes = f.read()
    return _attack_bytes


UNPACK = 'cat > /tmp/attack && chmod +x /tmp/attack && exec /tmp/attack "$@"'


def attack_inside(words, *flags, user=False, **more):
    """The attack program, piped into a sandbox that has nothing of it."""
    return run(["sh", "-c", UNPACK, "sh", *words], *flags, user=user, stdin=attack_bytes(), **more)


def attack_outside(words, user=False, timeout=60, **more):
    """The same on the host: a control."""
    attack_bytes()
    options = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    options.update(more)
    program = ATTACK
    if user:
        env = options.pop("env", None)
        options = as_user(env=env, **options)
        if not _reachable(ATTACK):
            program = os.path.join(_user_dir(), "attack")
            shutil.copy(ATTACK, program)
            os.chmod(program, 0o755)
    process = subprocess.Popen([program, *words], **options)
    try:
        out, err = process.communicate(timeout=timeout)
        return Result(process.returncode, out, err)
    finally:
        stop(process)


def outcomes(text):
    """{attack: (won|refused|na|died, details)} of what a batch printed."""
    found = {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) == 3:
            found.setdefault(parts[0], (parts[1], parts[2]))
    return found


def attack_table():
    """[(name, control, root may fail, what)]"""
    lines = attack_outside(["--list"]).text.splitlines()
    return [(n, c, f == "1", w) for n, c, f, w in (line.split("\t") for line in lines)]


def both_modes():
    """The modes that can be tested by who we are: [(name, user)]."""
    return [("root", False), ("user", True)] if IS_ROOT else [("user", True)]


# ---- the host ----

def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def _pids():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def parents():
    """{pid: parent}"""
    found = {}
    for pid in _pids():
        stat = _read(f"/proc/{pid}/stat")
        if stat:
            found[pid] = int(stat[stat.rindex(b")") + 2:].split()[1])
    return found


def descendants(top):
    tree = parents()
    found, grown = {top}, True
    while grown:
        more = {pid for pid, parent in tree.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {top}


def alive(pid):
    """True while it runs: one that has ended, and that nobody has asked for, is nobody's leftover."""
    stat = _read(f"/proc/{pid}/stat")
    return bool(stat) and stat[stat.rindex(b")") + 2:].split()[0] not in (b"Z", b"X")


def describe(pid):
    line = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return f"{pid} ({line[:80] or _read(f'/proc/{pid}/comm').decode().strip()})"


def creto_processes():
    """Pids of every process on this host whose program or name is ours."""
    found = set()
    for pid in _pids():
        comm = _read(f"/proc/{pid}/comm").decode(errors="replace").strip()
        if comm.startswith("creto-"):
            found.add(pid)
    return found


def mounts():
    lines = _read("/proc/1/mountinfo") or _read("/proc/self/mountinfo")
    return {" ".join(line.split()[2:5]) for line in lines.decode(errors="replace").splitlines()}


def cgroups():
    found = set()
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {os.path.join(top, n) for n in names if n.startswith("creto-")}
    return found


def loops():
    """Loop devices in use."""
    return {f"{n}: {_read(f'/sys/block/{n}/loop/backing_file').decode(errors='replace').strip()}" for n in os.listdir("/sys/block")
            if n.startswith("loop") and os.path.exists(f"/sys/block/{n}/loop")} if os.path.isdir("/sys/block") else set()


def network_namespaces():
    """{inode: pids in it}"""
    found = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            found.setdefault(os.stat(f"/proc/{pid}/ns/net").st_ino, set()).add(pid)
    return found


def our_files():
    found = set()
    for top in ("/run/creto-runtime",):
        for where, _, names in os.walk(top):
            found |= {os.path.join(where, n) for n in names}
    for top in ("/tmp", "/var/tmp"):
        found |= {os.path.join(top, n) for n in os.listdir(top) if n.startswith("creto")}
    return found


def _of_a_stranger(group):
    """Groups are named creto-PID-N after their warden: one that lives, and is not of our making, may have what it likes."""
    pid = os.path.basename(group).split("-")[1]
    return pid.isdigit() and os.path.exists(f"/proc/{pid}") and int(pid) not in descendants(os.getpid())


class Host:
    """A count of what the host has; compare() two of them."""

    def __init__(self):
        self.mounts = mounts()
        self.cgroups = cgroups()
        self.loops = loops()
        self.namespaces = set(network_namespaces())
        self.processes = descendants(os.getpid())
        self.files = our_files()

    def compare(self, later):
        """What `later` has more, or less: a list of sentences."""
        said = []
        for what in ("mounts", "cgroups", "loops", "files"):
            before, after = getattr(self, what), getattr(later, what)
            if what == "cgroups":
                before, after = ({g for g in groups if not _of_a_stranger(g)} for groups in (before, after))
            said += [f"{what}: left behind: {x}" for x in sorted(after - before)]
            said += [f"{what}: gone: {x}" for x in sorted(before - after)]
        said += [f"processes: left behind: {describe(pid)}" for pid in sorted(later.processes - self.processes)]
        if len(later.namespaces) > len(self.namespaces):
            said.append(f"network namespaces: {len(self.namespaces)} before, {len(later.namespaces)} after")
        return said


def cgroup_version():
    """2 where a user's process may be limited by a delegated group; 1 or 0 else."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return 2
    return 1 if os.path.isdir("/sys/fs/cgroup/memory") else 0


def memory_of(pids):
    """Resident KiB of these processes."""
    total = 0
    for pid in pids:
        for line in _read(f"/proc/{pid}/status").decode(errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total
