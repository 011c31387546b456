#!/usr/bin/python3
"""A daemon that has been taken over: what it could reach from where it stands. The program attack-daemon is confined by the daemon's own code, has the daemon's
user, and tries; a lying one is played by this test, at the warden's socket."""
import errno
import os
import signal
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
import warden as w  # noqa: E402
from harness import BUILD, IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from service import Service, wait  # noqa: E402

ATTACK = os.path.join(BUILD, "tests/security/attack-daemon")
OWN_UID = 0x7FFF0000


def root_only():
    if not IS_ROOT:
        skip("the service is started as root")


def attack(service, *arguments):
    """"worked", "killed", or the errno."""
    def become():
        os.setgroups([])
        os.setresgid(OWN_UID, OWN_UID, OWN_UID)
        os.setresuid(OWN_UID, OWN_UID, OWN_UID)

    p = subprocess.run([ATTACK, os.path.join(service.state_dir, "service"), *arguments], capture_output=True, text=True, preexec_fn=become, timeout=20, check=False)
    if p.returncode == -signal.SIGSYS:
        return "killed"
    check(p.returncode in (0, 1), p)
    return "worked" if p.returncode == 0 else int(p.stdout)


@test
def it_is_what_it_says():
    root_only()
    with Service() as s:
        with open(f"/proc/{s.daemon}/status") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        check_equal(status["Uid"].split(), [str(OWN_UID)] * 4, "uids")
        check_equal([status[c] for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")], ["0" * 16] * 4, "capabilities")
        check_equal((status["NoNewPrivs"], status["Seccomp"], status["Groups"].strip()), ("1", "2", ""), "no_new_privs, seccomp, groups")
        p = subprocess.run(["cat", f"/proc/{s.daemon}/mem"], capture_output=True, check=False, user=OWN_UID)
        check(p.returncode != 0, "its memory is its own")


@test
def files_that_are_not_its_own():
    root_only()
    with Service() as s:
        sb = s.spawn()
        own = os.path.join(s.state_dir, "service/mine")
        if attack(s, "read", "/etc/passwd") == "worked":
            skip("this kernel has no Landlock")
        check_equal(attack(s, "write", own), "worked", "a file of its own (so that the others are not refused for another reason)")
        for what, path in (("read", "/etc/shadow"), ("read", "/etc/passwd"), ("list", "/"), ("list", "/proc"), ("write", "/tmp/creto-attack"),
                           ("write", os.path.join(s.state_dir, "x")), ("list", os.path.join(s.run_dir, "sandboxes")),
                           ("read", os.path.join(s.run_dir, "sandboxes", sb)), ("write", os.path.join(s.run_dir, "warden.sock")),
                           ("connect", os.path.join(s.run_dir, "guest", sb)), ("read", "/proc/1/environ"), ("fifo", own + "2")):
            check(attack(s, what, path) in (errno.EACCES, errno.EPERM, errno.ENXIO), f"{what} {path}")


@test
def calls_that_it_never_needs():
    root_only()
    with Service() as s:
        for what in ("exec", "ptrace", "mount", "userns", "root", "fork", "chroot"):
            check_equal(attack(s, what, "/bin/true" if what == "exec" else "/tmp"), "killed", what)


@test
def lies_to_the_warden():
    """Each ends the connection or is refused; the warden and the sandboxes go on."""
    root_only()
    with Service() as s:
        sb = s.spawn()
        s.exec(sb, "true")
        daemon, path = s.daemon, os.path.join(s.run_dir, "warden.sock")
        os.kill(daemon, signal.SIGSTOP)  # we are it now
        try:
            warden = s.warden
            good = w.spawn_request("x")

            def lie(kind, payload, wanted=w.ERROR, greet=True):
                p = w.Peer(path, greet=greet)
                try:
                    p.ask(kind, payload, wanted)
                    return "done"
                except (w.Refused, OSError) as e:
                    return str(e)
                finally:
                    p.close()

            for name, kind, payload, greet in (
                    ("a request before the greeting", w.SPAWN, good, False),
                    ("a private warden", w.HELLO, struct.pack("<III", 4, 1, 0), False),
                    ("an id that is a path", w.SPAWN, good.replace(w.text("x"), w.text("../../etc"), 1), True),
                    ("user 0 of the host", w.SPAWN, good.replace(struct.pack("<II", 1000, 1000), struct.pack("<II", 2**31, 2**31)), True),
                    ("a directory of its own as root", w.SPAWN, good.replace(struct.pack("<BI", 0, 0), struct.pack("<BI", 2, 0), 1), True),
                    ("layers that are no digests", w.SPAWN, good.replace(struct.pack("<BI", 0, 0), struct.pack("<BI", 1, 1) + w.text("../../../etc"), 1), True),
                    ("a limit out of range", w.SPAWN, good.replace(struct.pack("<Q", w.LIMITS[0]), struct.pack("<Q", 1), 1), True),
                    ("an id that exists", w.SPAWN, good.replace(w.text("x"), w.text(sb), 1), True),
                    ("bytes behind the end", w.TERMINATE, w.text("nope") + b"more", True),
                    ("half a message", w.SPAWN, good[:20], True),
                    ("a type that there is not", 0x77, b"", True),
                    ("an answer", w.SPAWNED, w.text("x") + struct.pack("<II", 1, 0), True),
                    ("as much as there is room for", w.SPAWN, b"\xff" * 60000, True)):
                said = lie(kind, payload, greet=greet)
                check(said != "done", f"{name} was done")
            check_equal(s.warden, warden, "the warden")
        finally:
            os.kill(daemon, signal.SIGCONT)
        wait(s.healthy, 10, "healthy")
        check_equal(s.exec(sb, "echo", "still")["stdout"], b"still\n", "the sandbox")
        check("connection ended" in s.said(), "the warden has said it")


if __name__ == "__main__":
    sys.exit(main())
