#!/usr/bin/python3
"""What a sandboxed program sees and reaches of this host: files, processes, sockets, memory of others, its parent's environment and
descriptors. The test plants each thing on the host, shows that the attack finds it there, and that it does not from inside."""
import contextlib
import ctypes
import fcntl
import os
import pty
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from harness import (BUILD, IS_ROOT, UID_BASE, USER, attack_inside, attack_outside, as_user, both_modes, check, check_equal, cli_path,
                     creto_processes, descendants, main, memory_of, need_cli, outcomes, poll, report, run, skip, start, stop, test)

libc = ctypes.CDLL(None, use_errno=True)


def inside_and_out(specs, user, flags=(), outside=None):
    """All of `specs` must succeed outside and be refused inside."""
    control = outcomes((outside or attack_outside(["--batch", *specs], user=user)).text)
    for spec in specs:
        check(control.get(spec, ("", ""))[0] == "won", f"control: {spec}: {control.get(spec)}: this attack attacks nothing")
    r = attack_inside(["--batch", *specs], *flags, user=user)
    found = outcomes(r.text)
    for spec in specs:
        check(spec in found, f"{spec}: no outcome: {r}")
        check(found[spec][0] == "refused", f"{spec} inside: {found[spec]}")
    return found


def each_mode(body):
    """Runs body(user) for each mode, one line each."""
    need_cli()
    for mode, user in both_modes():
        name = f"{mode}/{body.__name__}"
        try:
            body(user)
            report("ok", name)
        except (subprocess.TimeoutExpired, AssertionError) as e:
            report("not ok", name, e)
        except Exception as e:
            report("skip" if type(e).__name__ == "Skipped" else "not ok", name, e)
    return report


def in_modes(body):
    def wrapper():
        return each_mode(body)
    wrapper.__name__ = body.__name__
    return test(wrapper)


@in_modes
def host_files(user):
    planted = []
    try:
        for top in ("/var/tmp", "/tmp", "/run", "/opt", "/home") if not user else ("/var/tmp", "/tmp"):
            with contextlib.suppress(OSError):
                fd, path = tempfile.mkstemp(prefix="marker-", dir=top)
                os.write(fd, b"marker\n")
                os.fchmod(fd, 0o644)
                os.close(fd)
                planted.append(path)
        specs = [f"{attack}={path}" for path in planted for attack in ("read-path", "climb-path", "symlink-path")]
        inside_and_out(specs, user)
    finally:
        for path in planted:
            os.unlink(path)


@in_modes
def host_processes(user):
    word = "marker-" + secrets.token_hex(8)
    victim = subprocess.Popen(["sh", "-c", "sleep 60; true", word], start_new_session=True)
    try:
        inside_and_out([f"find-process={word}"], user)
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()


@in_modes
def host_loopback(user):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inside_and_out([f"tcp=127.0.0.1:{listener.getsockname()[1]}"], user)


@in_modes
def host_abstract_sockets(user):
    name = "marker-" + secrets.token_hex(8)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        inside_and_out([f"unix-abstract={name}"], user)


@in_modes
def host_socket_files(user):
    where = tempfile.mkdtemp(prefix="marker-", dir="/var/tmp")
    path = os.path.join(where, "socket")
    try:
        os.chmod(where, 0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0o666)
            listener.listen()
            inside_and_out([f"unix-path={path}"], user)
    finally:
        os.unlink(path)
        os.rmdir(where)


@in_modes
def host_shared_memory(user):
    key = secrets.randbelow(1 << 30) + 1
    shm = libc.shmget(key, 4096, 0o1666)
    check(shm >= 0, "shmget on the host failed")
    try:
        inside_and_out([f"sysv-shm={key}"], user)
    finally:
        libc.shmctl(shm, 0, None)


@in_modes
def host_message_queues(user):
    name = b"/marker-" + secrets.token_hex(8).encode()
    rt = ctypes.CDLL("librt.so.1", use_errno=True)
    queue = rt.mq_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666, None)
    if queue < 0:
        skip(f"no message queues on this host: {os.strerror(ctypes.get_errno())}")
    try:
        rt.mq_unlink.argtypes = [ctypes.c_char_p]
        os.fchmod(queue, 0o666)
        inside_and_out([f"posix-mq={name.decode()}"], user)
    finally:
        rt.mq_unlink(name)
        os.close(queue)


@in_modes
def environment_does_not_leak(user):
    word = "secret-" + secrets.token_hex(8)
    env = {"AWS_SECRET_ACCESS_KEY": word, "LD_PRELOAD_NOT": word, "CRETO_SECRET": word, "SSH_AUTH_SOCK": "/" + word}
    control = attack_outside([f"environment={word}"], env=env)
    check_equal(control.code, 0, "control: exit status")
    r = attack_inside([f"environment={word}"], user=user, env=env)
    check_equal(r.code, 1, f"exit status ({r})")
    r = run("cat /proc/self/environ; cat /proc/[0-9]*/environ 2>/dev/null", user=user, env=env)
    check(word.encode() not in r.out, "the caller's environment is seen in /proc")


@in_modes
def only_documented_variables(user):
    r = run(["env"], "--env", "GIVEN=yes", user=user, env={"STRAY": "1", "BASH_ENV": "/x", "PYTHONPATH": "/x", "LD_LIBRARY_PATH": "/x"})
    names = {line.split("=")[0] for line in r.text.splitlines() if "=" in line}
    check("GIVEN" in names and "PATH" in names, f"not all that was given: {sorted(names)}")
    allowed = {"GIVEN", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TERM", "PWD", "HOSTNAME", "TMPDIR", "CRETO_SANDBOX_ID"}
    check(names <= allowed, f"more than is documented: {sorted(names - allowed)}")


@in_modes
def descriptors_do_not_leak(user):
    with tempfile.TemporaryFile() as file, socket.socket() as sock:
        fds = [file.fileno(), sock.fileno()]
        for fd in fds:
            os.set_inheritable(fd, True)
        control = attack_outside(["descriptors"], pass_fds=fds)
        check_equal(control.code, 0, "control: exit status")
        r = attack_inside(["--batch", "descriptors", "standard-descriptors"], user=user, pass_fds=fds)
    found = outcomes(r.text)
    check_equal(found.get("descriptors", (r,))[0], "refused", f"a descriptor beyond 0, 1, 2: {found.get('descriptors')}")
    check_equal(found.get("standard-descriptors", (r,))[0], "refused", f"standard descriptors: {found.get('standard-descriptors')}")


@in_modes
def process_one_survives_every_signal(user):
    victim = subprocess.Popen(["sleep", "60"], preexec_fn=as_user()["preexec_fn"] if user else None)
    try:
        control = attack_outside([f"signals={victim.pid}"], user=user)
        check_equal(control.code, 0, f"control: exit status ({control})")
    finally:
        victim.kill()
        victim.wait()
    r = attack_inside(["signals"], user=user)
    check_equal(r.code, 1, f"exit status ({r})")
    check("lives on" in r.text, r)


@in_modes
def killing_everything_stays_inside(user):
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True, preexec_fn=as_user()["preexec_fn"] if user else None)
    try:
        run("kill -9 -1; sleep 1; true", user=user, timeout=20)
        check(bystander.poll() is None, "a process outside was killed")
    finally:
        bystander.kill()
        bystander.wait()


@in_modes
def nothing_outlives_the_command(user):
    word = "99" + str(secrets.randbelow(10**9))
    r = run(f"setsid sleep {word} & setsid sleep {word} & exec true", user=user)
    check_equal(r.code, 0, f"exit status ({r})")
    def left():
        return [p for p in os.listdir("/proc") if p.isdigit() and word.encode() in _cmdline(p)]
    check(poll(lambda: not left(), 5), f"still running: {left()}")


def _cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read()
    except OSError:
        return b""


@in_modes
def killing_the_cli_ends_the_sandbox(user):
    word = "88" + str(secrets.randbelow(10**9))
    p = start(["run", "--", "sh", "-c", f"echo ready; sleep {word}; true"], user)
    try:
        check(p.stdout.read(6) == b"ready\n", "the sandbox did not start")
        p.kill()
        p.wait()
        def left():
            return [q for q in os.listdir("/proc") if q.isdigit() and word.encode() in _cmdline(q)]
        check(poll(lambda: not left(), 5), f"still running: {left()}")
    finally:
        stop(p)


@in_modes
def a_hostname_of_its_own(user):
    r = run(["uname", "-n"], user=user)
    check(r.code == 0 and r.text.strip() and r.text.strip() != socket.gethostname(), r)


@in_modes
def only_loopback(user):
    r = run("cat /proc/net/dev /proc/net/route", user=user)
    devices = re.findall(r"^\s*([^\s:]+):", r.text, re.M)
    check_equal(devices, ["lo"], "network devices")
    check_equal(len([line for line in r.text.splitlines() if re.match(r"\w+\t[0-9A-F]{8}\t", line)]), 0, "routes")


@in_modes
def status_of_a_command(user):
    r = run("cat /proc/self/status; id -u; id -G", user=user)
    wanted = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0, "NoNewPrivs": 1, "Seccomp": 2}
    for name, value in wanted.items():
        line = re.search(rf"^{name}:\s*(\w+)$", r.text, re.M)
        check(line and int(line[1], 16) == value, f"{name} is {line and line[1]}, wanted {value}")
    uid = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$", r.text, re.M)
    check(uid and len(set(uid.groups())) == 1 and uid[1] != "0", f"uids {uid and uid.groups()}")
    check(run("test -w / -o -w /usr -o -w /etc -o -w /proc/sys -o -e /sys/kernel", user=user).code != 0, "something is writable, or /sys is there")


@in_modes
def mounts_are_closed(user):
    r = run(["cat", "/proc/self/mountinfo"], user=user)
    rows = [line.split() for line in r.text.splitlines()]
    check(len(rows) > 3, r)
    for row in rows:
        options = row[5].split(",")
        check("nosuid" in options, f"{row[4]} is mounted without nosuid")
        if row[4] not in ("/", "/dev", "/dev/pts") and not row[4].startswith(("/dev/", "/proc/")):
            check("nodev" in options, f"{row[4]} is mounted without nodev")
        if "rw" in options:
            check(row[4] in ("/tmp", "/var/tmp", "/run", "/home/agent", "/proc", "/dev/pts", "/dev/shm") or row[4].startswith("/dev/"),
                  f"{row[4]} is mounted writable")
        check("shared:" not in " ".join(row[6:10]), f"{row[4]} propagates")
    leaked = [row[3] for row in rows if BUILD in " ".join(row) or "/root/" in row[3]]
    check(not leaked, f"paths of the host are told: {leaked}")


@in_modes
def core_patterns_run_no_helper(user):
    """Where the host's core_pattern is a program, the kernel runs it, as root and outside, whatever the limit on core files, but for
    one value: 1 (core(5), fs/coredump.c). The host's setting is everybody's, so it is not changed here; the limit is looked at."""
    r = run(["cat", "/proc/self/limits"], user=user)
    line = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", r.text, re.M)
    check(line, r)
    check_equal((line[1], line[2]), ("1", "1"), "the limit on core files (0 would still start a helper)")


def _in_terminal(command, timeout=15):
    """What `command` (argv) printed, as the leader of a session on a pty."""
    master, slave = pty.openpty()

    def lead():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    p = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=lead)
    os.close(slave)
    out = b""
    end = time.monotonic() + timeout
    os.set_blocking(master, False)
    try:
        while time.monotonic() < end:
            try:
                piece = os.read(master, 65536)
                out += piece
                if not piece:
                    break
            except BlockingIOError:
                if p.poll() is not None:
                    break
                time.sleep(0.02)
            except OSError:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(1)
        return p.poll(), out.decode(errors="replace")
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        os.close(master)


@test
def terminal_injection():
    """A program gets in with its own bytes through a file that both can see: there is none, so the attack goes in base64 on the line."""
    need_cli()
    if not IS_ROOT:
        skip("the control needs CAP_SYS_ADMIN: dev.tty.legacy_tiocsti is off")
    program = os.path.join(BUILD, "tests/security/attack")
    code, out = _in_terminal([program, "--batch", "tiocsti"])
    check("tiocsti\twon" in out, f"control: {code} {out!r}")
    python = "import fcntl,os\nfor q in (0x5412, 0x1_0000_5412, 0x541c):\n" \
             "  try: fcntl.ioctl(0, q & 0xffffffff, b'x' if q != 0x541c else b'\\x03'); print('WON', hex(q))\n  except OSError as e: print('refused', e.errno)\n"
    code, out = _in_terminal([cli_path(), "run", "-it", "--", "/usr/bin/python3", "-c", python])
    check("WON" not in out, out)
    check(out.count("refused 1\r") + out.count("refused 1\n") == 3 or out.count("refused ") >= 3, f"the attack did not run: {code} {out!r}")


def _owner_of(word):
    for p in os.listdir("/proc"):
        if p.isdigit() and word.encode() in _cmdline(p) and b"creto" not in _cmdline(p):
            with contextlib.suppress(OSError):
                return os.stat(f"/proc/{p}").st_uid
    return None


@test
def sandboxes_have_uids_of_their_own():
    need_cli()
    if not IS_ROOT:
        skip("an ordinary user has only one uid")
    words, ps = [str(10**9 + secrets.randbelow(10**9)) for _ in range(2)], []
    try:
        for w in words:
            ps.append(start(["run", "--", "sleep", w]))
        owners = [poll(lambda w=w: _owner_of(w), 5) for w in words]
        check(all(o and o >= UID_BASE for o in owners), f"host uids {owners}, wanted {UID_BASE} or more")
        check(owners[0] // 65536 != owners[1] // 65536, f"two sandboxes share the range of {owners}")
        check(all(o % 65536 == 1000 for o in owners), f"{owners}: not uid 1000 of a range")
    finally:
        for p in ps:
            p.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(5)
            stop(p)


@test
def a_user_sandbox_is_the_user():
    need_cli()
    if not IS_ROOT:
        skip("starts one as another user")
    word = str(10**9 + secrets.randbelow(10**9))
    p = start(["run", "--", "sleep", word], user=True)
    try:
        owner = poll(lambda: _owner_of(word), 5)
        check_equal(owner, USER, "the host uid")
    finally:
        p.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(5)
        stop(p)


@test
def only_the_warden_is_root():
    """While a sandbox runs, the only root processes of ours are the warden and its zygote; the CLI has dropped root."""
    need_cli()
    if not IS_ROOT:
        skip("there is no root to drop")
    p = start(["run", "--", "sleep", str(10**9 + secrets.randbelow(10**9))])
    try:
        time.sleep(0.5)
        family = {p.pid} | descendants(p.pid)
        roots = []
        for pid in family & creto_processes():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}").st_uid == 0 and "creto-warden" not in os.readlink(f"/proc/{pid}/exe"):
                    status = open(f"/proc/{pid}/status").read()
                    if re.search(r"^Uid:\s+\d+\s+0\s", status, re.M):
                        roots.append(f"{pid} {_cmdline(pid)[:60]!r}")
        check(not roots, f"root, beside the warden: {roots}")
    finally:
        p.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(5)
        stop(p)


@in_modes
def a_reader_that_sleeps_costs_little(user):
    p = start(["run", "--", "sh", "-c", "yes | head -c 4000000000"], user)
    try:
        time.sleep(2.5)
        used = memory_of({p.pid} | (descendants(p.pid) & creto_processes()))
        check(p.poll() is None, "it ended early")
        check(used < 64 * 1024, f"creto-runtime and its helpers use {used} KiB for output that nobody reads")
    finally:
        stop(p)


if __name__ == "__main__":
    main()
