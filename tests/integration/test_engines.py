#!/usr/bin/python3
"""OCI engines that are missing, wrong, or break: each is a named error with a hint, and nothing is left. The engines here are scripts, and crun behind scripts."""
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from harness import CLI, USER, check, check_equal, main, poll, skip, test
from engines import Engines, nothing_more, root_only
from service import RUNTIMED, Service

ANSWERS = 'case "$*" in *--version*) echo fake 1; exit 0;; esac\n'
PID_FILE = 'for a; do [ "$prev" != --pid-file ] || file=$a; prev=$a; done\n'
CRUN = shutil.which("crun") or "/usr/bin/crun"
# class: the script after its first line, or None for a file that is not there; words of the error
BROKEN = {
    "missing": (None, ["is not installed", "config.toml"]),
    "silent": ("exit 1\n", ["--version does not answer", "by hand"]),
    "fails": (ANSWERS + "echo 'it is not to be done' >&2; exit 3\n", ["ended with status 3", "it is not to be done"]),
    "garbage": (ANSWERS + "head -c 300000 /dev/urandom >&2; exit 1\n", ["ended with status 1"]),
    "flood": (ANSWERS + "yes; exit 1\n", ["ended with status 1"]),
    "killed": (ANSWERS + "kill -9 $$\n", ["was killed by signal 9"]),
    "lazy": (ANSWERS + "exit 0\n", ["ended without a sandbox"]),
    "liar": (ANSWERS + PID_FILE + "echo 1 > $file\n", ["ended without a sandbox"]),
    "parent": (ANSWERS + PID_FILE + "echo $PPID > $file\n", ["ended without a sandbox"]),
    "wordy": (ANSWERS + PID_FILE + "echo 12x > $file\n", ["ended without a sandbox"]),
    "large": (ANSWERS + PID_FILE + "echo 99999999999999999999 > $file\n", ["ended without a sandbox"]),
    "coward": (f'{CRUN} "$@" || exit; case "$*" in *--version*) exit 0;; esac; exit 4\n', ["ended with status 4"]),
    "breeder": (ANSWERS + "for i in 1 2 3; do setsid sleep 1000 & done; exit 7\n", ["ended with status 7"]),
    "glutton": (ANSWERS + "head -c 100000000 /dev/zero > /tmp/all || exit 8\n", ["ended with status 8"]),
    "pipe": (ANSWERS + PID_FILE + "mkfifo $file\n", ["ended without a sandbox"]),
    "link": (ANSWERS + PID_FILE + "ln -s /proc/self/stat $file\n", ["ended without a sandbox"]),
    "folder": (ANSWERS + PID_FILE + "mkdir $file\n", ["ended without a sandbox"]),
    "quiet-pipe": (ANSWERS + "rm /tmp/out; mkfifo /tmp/out; exit 9\n", ["ended with status 9"]),
    "babbler": ("head -c 3000000 /dev/urandom; exit 0\n", ["ended with"]),
    "thief": (f'{CRUN} "$@" || exit; case "$*" in *--version*) exit 0;; esac\n' + PID_FILE + "echo 1 > $file\n", ["ended without a sandbox"]),
}


@test
def engines_that_break():
    root_only()
    if not os.access(CRUN, os.X_OK):
        skip("crun is not installed")
    with Engines({name: script for name, (script, _) in BROKEN.items()}) as s:
        before = s.left()
        for name, (_, words) in BROKEN.items():
            s.refuses(name, *words)
            check(poll(lambda: s.left() == before, 20), f"{name} leaves {s.left()}, before {before}")
        sandbox = s.spawn(runtimeClass="native")
        check_equal(s.exec(sandbox, "echo", "on")["stdout"], b"on\n", "a class that is well")
        listed = {r["name"]: r for r in s.good("GET", "/v1/runtimes")["runtimes"]}
        check(all(" " <= c <= "~" for c in listed["babbler"]["version"]), listed["babbler"])
        check("not installed" in listed["missing"]["reason"] and listed["missing"]["hint"] and not listed["missing"]["available"], listed["missing"])
        check_equal((listed["fails"]["available"], listed["fails"]["version"]), (True, "fake 1"), "one that answers")


@test
def what_an_engine_says_is_its_own_file():
    """Where it has put a link there, the warden does not read what that leads to, which others may not."""
    root_only()
    with Engines({"mine": ANSWERS}) as s:
        secret = os.path.join(s.dir, "secret")
        s.write(os.path.join(s.dir, "mine"), ANSWERS + f"echo said-by-nobody > {secret}; chmod 600 {secret}; rm /tmp/out; ln -s {secret} /tmp/out; exit 9\n")
        a = s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": "mine"}})
        check(a.code == "BACKEND_UNAVAILABLE" and b"ended with status 9" in a.body, a.body)
        check(os.path.exists(secret) and b"said-by-nobody" not in a.body, a.body)


@test
def a_probe_that_is_killed_says_nothing():
    """Not that it is an old release, which would get another platform from then on."""
    root_only()
    with Engines({"mine": ANSWERS}, more=('driver = "oci"', 'engine = "gvisor"')) as s:
        called = os.path.join(s.dir, "called")
        s.write(os.path.join(s.dir, "mine"), ANSWERS + f'case "$*" in "--platform=systrap --root=/proc list") kill -9 $$;; esac\necho "$*" >> {called}; exit 3\n')
        s.refuses("mine", "does not answer")
        check(not os.path.exists(called), "it was started all the same")


@test
def programs_that_are_no_engines():
    """Right programs for something else; and what a class of ours lacks is said with the command that installs it."""
    root_only()
    programs = {"shell": "/bin/sh", "truth": "/bin/true", "list": "/bin/ls", "python": sys.executable}
    s = Service(config="[service]\nprepared = 0\n" + "".join(f'[runtime.{n}]\ndriver = "oci"\nbinary = "{os.path.realpath(p)}"\nengine = "{e}"\n' for e in ("crun", "gvisor") for n, p in
                                                                 ((f"{n}-{e}", p) for n, p in programs.items())) +
                '[runtime.gvisor]\nbinary = "/nowhere/runsc"\n[runtime.crun]\nbinary = "/nowhere/crun"\n')
    s.refuses, s.left = Engines.refuses.__get__(s), Engines.left.__get__(s)
    with s:
        before = s.left()
        for name in programs:
            for engine in ("crun", "gvisor"):
                s.refuses(f"{name}-{engine}", "engine")
        s.refuses("gvisor", "is not installed", "apt-get install", "runsc")
        s.refuses("crun", "is not installed", "apt-get install crun")
        check(poll(lambda: nothing_more(s.left(), before), 20), f"they leave {s.left()}, before {before}")


@test
def an_engine_that_was_slow_once():
    """Its first answer takes longer than it may, as on a host that has other things to do. It is asked again, and not at every request."""
    root_only()
    with Engines({"slow": ANSWERS}) as s:
        asked = os.path.join(s.dir, "asked")
        s.write(os.path.join(s.dir, "slow"), f'case "$*" in *--version*) echo >> {asked}; [ $(wc -l < {asked}) -gt 1 ] || sleep 10; echo slow 1; exit 0;; esac\nexec {CRUN} "$@"\n')
        for _ in range(3):
            s.refuses("slow", "--version does not answer", "after 5 s")
        with open(asked, encoding="ascii") as f:
            check_equal(len(f.readlines()), 1, "how often it was asked")
        check(poll(lambda: s.call("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": "slow"}}).status == 201, 20, 0.5), "it is never asked again")


@test
def an_engine_that_never_answers_is_asked_less_and_less():
    """The warden waits for its answer, and nobody else's sandbox is made meanwhile."""
    root_only()
    with Engines({"mute": ANSWERS}) as s:
        asked = os.path.join(s.dir, "asked")
        s.write(os.path.join(s.dir, "mute"), f"echo >> {asked}; sleep 1000\n")
        s.refuses("mute", "--version does not answer", "after 5 s")

        def times():
            s.refuses("mute", "--version does not answer")
            with open(asked, encoding="ascii") as f:
                return len(f.readlines())
        check(poll(lambda: times() == 2, 30, 0.5), f"it was asked {times()} times")
        s.refuses("mute", "--version does not answer", "after 10 s")
        s.write(os.path.join(s.dir, "mute"), ANSWERS)
        s.refuses("mute", "ended without a sandbox")  # a new file is asked at once


@test
def an_engine_that_hangs_holds_up_nobody():
    root_only()
    with Engines({"hangs": ANSWERS + "sleep 1000\n"}) as s:
        before = s.left()
        t = threading.Thread(target=s.refuses, args=("hangs", "takes longer than 20 s"))
        t.start()
        check(poll(lambda: s.left()[1] > before[1], 20), "it is not started")
        began = time.monotonic()
        for _ in range(3):
            s.terminate(s.spawn(runtimeClass="native"))
        check(t.is_alive() and time.monotonic() - began < 15, "the others waited for it")
        t.join(60)
        check(poll(lambda: nothing_more(s.left(), before), 20), f"it leaves {s.left()}, before {before}")


@test
def an_engine_that_hangs_may_be_given_up():
    root_only()
    with Engines({"hangs": ANSWERS + "sleep 1000\n"}) as s:
        before = s.left()
        t = threading.Thread(target=s.call, args=("POST", "/v1/sandboxes", {"spec": {"image": "host", "runtimeClass": "hangs"}}))
        t.start()
        check(poll(lambda: s.left()[1] > before[1], 20), "it is not started")
        sandbox = s.good("GET", "/v1/sandboxes")["sandboxes"][0]["sandboxId"]
        s.terminate(sandbox)
        t.join(10)
        check(not t.is_alive(), "its maker still waits")
        check(poll(lambda: nothing_more(s.left(), before), 20), f"it leaves {s.left()}, before {before}")


@test
def engines_that_others_may_write():
    root_only()
    with Engines({"foreign": ANSWERS, "open": ANSWERS, "plain": ANSWERS, "folder": None}) as s:
        os.chown(os.path.join(s.dir, "foreign"), USER, USER)
        os.chmod(os.path.join(s.dir, "open"), 0o775)
        os.chmod(os.path.join(s.dir, "plain"), 0o644)
        os.mkdir(os.path.join(s.dir, "folder"))
        for name in ("foreign", "open", "plain", "folder"):
            s.refuses(name, "root owns", "chown root")
        os.chmod(os.path.join(s.dir, "plain"), 0o755)
        s.refuses("plain", "ended without a sandbox")


@test
def an_engine_is_replaced():
    """While it works: what runs goes on, what comes is made by the new one; also back to one that is broken, and from it."""
    root_only()
    if not os.access(CRUN, os.X_OK):
        skip("crun is not installed")
    good = f'exec {CRUN} "$@"\n'
    with Engines({"mine": good}) as s:
        path, made, stop = os.path.join(s.dir, "mine"), [], threading.Event()

        def make():
            while not stop.is_set():
                made.append(s.spawn(runtimeClass="mine"))
        t = threading.Thread(target=make)
        t.start()
        for i in range(10):
            time.sleep(0.05)
            s.write(path, f"# {i}\n" + good)
        stop.set()
        t.join()
        check(len(made) > 2, made)
        for sandbox in made:
            check_equal(s.exec(sandbox, "echo", "on")["stdout"], b"on\n", "one of them")
        s.write(path, "exit 1\n")
        s.refuses("mine", "does not answer")
        check_equal(s.exec(made[0], "echo", "on")["stdout"], b"on\n", "one that runs")
        s.write(path, good)
        s.terminate(s.spawn(runtimeClass="mine"))


@test
def a_class_is_drained():
    """By name; what runs of it goes on; it stays so until it is enabled."""
    root_only()
    with Engines({"mine": f'exec {CRUN} "$@"\n'}) as s:
        sandbox = s.spawn(runtimeClass="mine")
        check_equal(s.good("POST", "/v1/runtimes/mine/drain")["enabled"], False, "enabled")
        s.refuses("mine", "is drained", "enable --runtime mine")
        s.kill("creto-runtimed")
        s.refuses("mine", "is drained")
        check_equal(s.exec(sandbox, "echo", "on")["stdout"], b"on\n", "one that runs")
        s.terminate(s.spawn(runtimeClass="native"))
        check_equal([r["name"] for r in s.good("GET", "/v1/runtimes")["runtimes"] if not r["enabled"]], ["mine"], "what is drained")
        s.good("POST", "/v1/runtimes/mine/enable")
        s.terminate(s.spawn(runtimeClass="mine"))
        check_equal(s.call("POST", "/v1/runtimes/nothing/drain").status, 404, "status of one that is not there")


@test
def classes_that_the_configuration_may_not_have():
    root_only()
    for lines, word in (('[runtime.native]\nbinary = "/x"\n', "native"), ('[runtime.a]\nbinary = "x/y"\n', "absolute"), ('[runtime.a]\ndriver = "oci"\n', "binary"), ('[runtime.a]\nbinary = "/x"\ndriver = "vm"\n', "oci"),
                        ('[runtime.a]\ndriver = "containerd"\nruntime = "x/y"\n', "runtime"), ('[runtime.a]\ndriver = "containerd"\nruntime = 1\n', "runtime.a.runtime"),
                        ('[runtime.a]\ndriver = "containerd"\nengine = "crun"\n', "crun"), ('[runtime.a]\nbinary = "/x"\nengine = "shim"\n', "shim"),
                        ('[runtime.kata]\nconfig = "x.toml"\n', "config"), ('[runtime.a]\nbinary = "/x"\nruntime = "runc"\n', "runtime.a.runtime"),
                        ('[runtime.a]\ndriver = "containerd"\noptions = ["--a;b"]\n', "--a;b"),
                        ('[runtime.a]\nbinary = "/x"\noptions = ["--root=/"]\n', "--root=/"), ('[runtime.a]\nbinary = "/x"\nfoo = 1\n', "runtime.a.foo"),
                        ('[runtime.A]\nbinary = "/x"\n', "'A'")):
        s = Service(config=lines)
        try:
            p = subprocess.run([*daemon_words(s)], capture_output=True, timeout=20, check=False)
            check(p.returncode == 64 and word in p.stderr.decode(), f"{lines!r}: {p}")
        finally:
            shutil.rmtree(s.top)


def daemon_words(s, *more):
    return [RUNTIMED, "--run-dir", s.run_dir, "--state-dir", s.state_dir, "--listen", "", "--config", s.config, *more]


@test
def a_unit_of_its_own_learns_of_classes():
    """--warden-arguments: words for creto-warden, and nothing that a shell takes for anything else."""
    root_only()
    s = Service(config='[runtime.youki]\ndriver = "oci"\nbinary = "/usr/bin/youki"\noptions = ["--a=b"]\n[runtime.gvisor]\noptions = ["--platform=kvm"]\n'
                '[runtime.shim]\ndriver = "containerd"\nruntime = "runsc"\noptions = ["--debug"]\n[runtime.k]\nbinary = "containerd-shim-kata-v2"\ndriver = "containerd"\n'
                '[runtime.kata-fc]\nconfig = "/etc/kata.toml"\n')
    try:
        p = subprocess.run(daemon_words(s, "--warden-arguments"), capture_output=True, timeout=20, check=True)
        check_equal(sorted(p.stdout.decode().splitlines()), ["--class gvisor,gvisor,runsc,--platform=kvm", "--class k,kata,containerd-shim-kata-v2,-", "--class kata-fc,kata,containerd-shim-kata-v2,/etc/kata.toml",
                                                                 "--class shim,shim,containerd-shim-runc-v2,runsc,--debug", "--class youki,oci,/usr/bin/youki,--a=b"], "arguments")
    finally:
        shutil.rmtree(s.top)


@test
def the_command_line_says_it_too():
    root_only()
    p = subprocess.run([CLI, "run", "--runtime", "no-such", "--", "true"], capture_output=True, timeout=20, check=False)
    check(p.returncode == 64 and b"no-such" in p.stderr and b"hint: " in p.stderr, p)
    p = subprocess.run([CLI, "run", "--runtime", "../x", "--", "true"], capture_output=True, timeout=20, check=False)
    check(p.returncode == 64 and b"--runtime" in p.stderr, p)


if __name__ == "__main__":
    main()
