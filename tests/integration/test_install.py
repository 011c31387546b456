#!/usr/bin/python3
"""What `make install` and `make deb` give: an operator's first minutes, word for word, from an installed tree."""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import BUILD, IS_ROOT, check, check_equal, main, skip, test  # noqa: E402
from service import free_port, wait  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*command, env=None, code=0, cwd=None):
    r = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, env=env, cwd=cwd)
    check_equal(r.returncode, code, f"{' '.join(command)[:200]}: {r.stdout[-500:]} {r.stderr[-800:]}; status")
    return r.stdout


@contextlib.contextmanager
def installed():
    """(where, prefix below it): `make install` of this build, without building anything."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="creto-install-") as top:
        os.chmod(top, 0o755)
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", top)
        prefix = next(os.path.join(top, p) for p in ("usr/local", "usr") if os.path.exists(os.path.join(top, p, "bin/creto-runtimed")))
        yield top, prefix


@test
def the_first_minutes_of_an_operator():
    if not IS_ROOT:
        skip("the service is started by root")
    with installed() as (top, prefix):
        port, state, rundir = free_port(), top + "/state", top + "/run"
        with open(top + "/log", "wb") as log:
            p = subprocess.Popen([prefix + "/bin/creto-runtimed", "--config", "", "--state-dir", state, "--run-dir", rundir, "--listen", f"127.0.0.1:{port}"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        try:
            check(b"ready" in p.stdout.readline(), "it says when it is ready")
            env = dict(os.environ, PATH=prefix + "/bin:" + os.environ["PATH"], CRETO_RUNTIME_HOST=f"unix:{rundir}/runtime.sock")

            def sh(script):
                return run("sh", "-ec", script, env=env)
            check('"status":"healthy"' in sh(f"curl -sf http://127.0.0.1:{port}/health"), "curl …/health")
            check("healthy" in sh("creto-runtime health"), "creto-runtime health")
            ids = [re.search(r"sb-\w+", sh("creto-runtime spawn --cpu 100 --ttl 1h")).group() for _ in range(3)]
            check_equal(sh(f"creto-runtime exec {ids[0]} -- echo hello"), "hello\n", "exec")
            sh(f"echo data > {top}/f; creto-runtime cp {top}/f {ids[0]}:/home/agent/f; creto-runtime cp {ids[0]}:/home/agent/f {top}/g; cmp {top}/f {top}/g")
            sh(f"creto-runtime status {ids[0]}; creto-runtime logs {ids[0]}; creto-runtime pause {ids[0]}; creto-runtime resume {ids[0]}")
            check_equal(sh(f"creto-runtime-cli get {ids[0]} --json | jq -r .spec.resourceLimits.memoryBytes") if shutil.which("jq") else "536870912\n",
                        "536870912\n", "get | jq")
            busy = subprocess.Popen(["creto-runtime", "exec", ids[0], "--", "sh", "-c", "while :; do :; done"], env=env, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            check_equal(sh("creto-runtime-cli list --sort-by cpu_usage --descending").split()[0], ids[0], "the busiest is first")
            while busy.poll() is None:  # on a busy host it has more than 80 % of its limit only now and then
                sh("for s in $(creto-runtime-cli list --cpu-usage '>80%' --limit 5); do creto-runtime-cli terminate $s; done; sleep 0.1")
            check_equal(set(sh("creto-runtime-cli list").split()), set(ids[1:]), "the busy one is terminated")
            sh(f"creto-runtime exec {ids[1]} -- true; (sleep 0.5; creto-runtime terminate {ids[1]} >/dev/null) &"
               " while [ $(creto-runtime-cli list --status Running | wc -l) -gt 0 ]; do sleep 0.1; done; wait")
            key = sh("creto-runtime keys create --name me --role agent 2>/dev/null").strip()
            check("sandboxId" in sh(f"curl -sf -H 'Authorization: Bearer {key}' -d '{{}}' http://127.0.0.1:{port}/v1/sandboxes"), "spawn over HTTP")
            sh("creto-runtime terminate --all")
        finally:
            p.terminate()
            p.wait(timeout=40)
            p.stdout.close()
        gone = subprocess.run(["creto-runtime", "health"], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        check(gone.returncode == 69 and "is creto-runtime running? systemctl start creto-runtime" in gone.stderr, f"with the service down: {gone.stderr}")


@test
def a_program_is_built_with_the_library():
    if not shutil.which("pkg-config"):
        skip("pkg-config is not installed")
    with installed() as (top, prefix):
        dirs = [os.path.join(d, "pkgconfig") for d, _, _ in os.walk(prefix + "/lib") if os.path.isdir(os.path.join(d, "pkgconfig"))]
        env = dict(os.environ, PKG_CONFIG_PATH=":".join(dirs), PKG_CONFIG_SYSROOT_DIR=top)
        flags = run("pkg-config", "--cflags", "--libs", "libcreto-runtime", env=env).split()
        out = top + "/agent"
        run("cc", "-Wall", "-Wextra", "-Werror", "-std=c11", ROOT + "/examples/agent.c", *flags, "-o", out)
        lib = os.path.dirname(dirs[0])
        r = subprocess.run([out], env=dict(os.environ, LD_LIBRARY_PATH=lib, CRETO_RUNTIME_HOST=f"unix:{top}/nothing"), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        check(r.returncode == 1 and "connect" in r.stderr or "spawn" in r.stderr, f"without a service: {r}")
        shared = next(os.path.join(lib, n) for n in os.listdir(lib) if re.fullmatch(r"libcreto-runtime\.so\.\d+\.\d+\.\d+", n))
        names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", shared).splitlines()]
        with open(ROOT + "/include/creto/runtime.h") as f:
            declared = set(re.findall(r"^(?!typedef)[a-z][^({]*[ *](creto_\w+)\(", f.read(), re.M))
        given = {n.split("@")[0] for n in names if not n.startswith("CRETO_RUNTIME_")}
        check_equal(given, declared, "what the library gives, and what the header declares")
        check(all("@@CRETO_RUNTIME_" in n for n in names if n.startswith("creto_")), f"symbol versions: {names[:3]}")


@test
def manuals_are_clean():
    mandoc = shutil.which("mandoc")
    if not mandoc:
        skip("mandoc is not installed")
    for name in os.listdir(ROOT + "/docs/man"):
        said = run(mandoc, "-Tlint", "-Wwarning", os.path.join(ROOT, "docs/man", name))
        check_equal(said, "", name)


@test
def completions_are_scripts():
    cli = os.path.join(BUILD, "src/programs/runtime/creto-runtime")
    for shell in ("bash", "zsh", "fish"):
        text = run(cli, "completion", shell)
        check("terminate" in text, shell)
        if shutil.which(shell):
            r = subprocess.run([shell, "-n", "/dev/stdin"], input=text, capture_output=True, text=True)
            check_equal((r.returncode, r.stderr), (0, ""), f"{shell} -n")
    commands = set(re.search(r"compgen -W '([^']*)'", run(cli, "completion", "bash")).group(1).split())
    with open(ROOT + "/src/programs/runtime/main.c") as f:
        table = set(re.findall(r'\{ "([a-z]+)", cmd_', f.read()))
    check_equal(commands, table, "the commands that are completed")
    with tempfile.TemporaryDirectory() as d:
        os.symlink(cli, d + "/creto-runtime")
        script = f"PATH={d}:$PATH; . <(creto-runtime completion bash); COMP_WORDS=(creto-runtime ter) COMP_CWORD=1; _creto_runtime; echo ${{COMPREPLY[@]}}"
        check_equal(run("bash", "-c", script).strip(), "terminate", "ter<TAB>")


@test
def a_debian_package():
    if not shutil.which("dpkg-deb"):
        skip("dpkg-deb is not installed")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="creto-install-") as top:
        run("make", "-C", ROOT, "deb", f"BUILD={top}/build", f"DEB={top}")
        deb = next(os.path.join(top, n) for n in os.listdir(top) if n.endswith(".deb"))
        listed = run("dpkg-deb", "-c", deb)
        for path in ("./usr/bin/creto-runtime", "./usr/bin/creto-runtime-cli", "./usr/bin/creto-runtimed", "./usr/libexec/creto-runtime/creto-warden",
                     "./usr/lib/systemd/system/creto-runtime.service", "./usr/lib/systemd/system/creto-warden.socket", "./etc/creto-runtime/config.toml",
                     "./usr/share/man/man8/creto-runtimed.8.gz", "./usr/include/creto/runtime.h"):
            check(path in listed, f"{path} is in it: {listed}")
        check(not re.search(r"^-..s", listed, re.M), "nothing in it is setuid")
        fields = run("dpkg-deb", "-f", deb)
        check("libevent" in fields and "libmicrohttpd" in fields and "libsqlite3" in fields, f"dependencies: {fields}")
        run("dpkg-deb", "-x", deb, top + "/x")
        check_equal(run(top + "/x/usr/bin/creto-runtime", "version").split()[0], "creto-runtime", "it starts")
        unit = open(top + "/x/usr/lib/systemd/system/creto-runtime.service").read()
        check("ExecStart=/usr/bin/creto-runtimed" in unit, unit)


if __name__ == "__main__":
    main()
