#!/usr/bin/python3
"""Prewarmed interpreters: what a program does in a process that waited for it is what it does in one that was started for it, byte for byte; and what happens
when the server cannot, will not, or does what it should not."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, ROOT, check, check_equal, main, report, skip, test  # noqa: E402
from service import Service, WebSocket, wait  # noqa: E402

MIB = 1 << 20
PYTHON = [
    "print(1)",
    "print('é', '\\u20ac', ascii('\\ud800'))",
    "print('\\ud800')",
    "import sys; print(sys._getframe().f_back)",
    "import traceback; traceback.print_stack()",
    "import inspect; print(len(inspect.stack()))",
    "import warnings; warnings.warn('x', stacklevel=2)",
    "import warnings; warnings.warn('x'); warnings.warn('y', DeprecationWarning)",
    "print('\\\\d')",
    "def f(): f()\nf()",
    "import sys; sys.setrecursionlimit(60)\ndef f(n): return n and f(n - 1)\nprint(f(40)); f(100)",
    "1/0",
    "def f():\n    return g()\ndef g():\n    return {}['x']\nf()",
    "raise Exception('a') from ValueError('b')",
    "try:\n    1/0\nexcept Exception:\n    raise KeyError('z')",
    "raise BaseException('q')",
    "raise GeneratorExit",
    "raise KeyboardInterrupt",
    "import signal, os; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)",
    "import sys; sys.exit()",
    "import sys; sys.exit(0)",
    "import sys; sys.exit(3)",
    "import sys; sys.exit(300)",
    "import sys; sys.exit(-1)",
    "import sys; sys.exit(2.5)",
    "import sys; sys.exit('bad')",
    "class E(SystemExit): pass\nraise E(5)",
    "class E(SystemExit):\n    code = property(lambda self: 1/0)\nraise E",
    "import os; os._exit(9)",
    "import os; os.abort()",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import faulthandler; faulthandler.enable(); import ctypes; ctypes.string_at(0)",
    "def f(",
    "x = 1 +",
    "  print(1)",
    "eval('1+')",
    "exec('raise ValueError(3)')",
    "print(list(globals()), __name__, __doc__, __spec__, __package__)",
    "print(sorted(set(globals())), '__file__' in globals(), type(__loader__).__name__, __builtins__)",
    "'''doc'''\nfrom __future__ import annotations\nx: int = 3\nprint(__doc__, __annotations__)",
    "import sys; print(sorted(sys.modules))",
    "import sys; print(sys.argv, sys.path, sys.flags, sys.executable, sys.prefix, sys.base_prefix)",
    "import sys; print(sys.argv[1:], getattr(sys, 'orig_argv', [''])[-1:], sys.warnoptions, sys._xoptions)",
    "import os; print(os.getcwd(), os.getppid(), os.getpgrp() == os.getpid() == os.getsid(0), os.umask(0), os.getuid(), os.getgroups())",
    "import os; print(os.listdir('/proc/self/fd'))",
    "import os; print(dict(os.environ)); print(os.popen('env').read())",
    "import signal\nfor s in range(1, 32): print(s, signal.getsignal(s))\nprint(signal.pthread_sigmask(0, []))",
    "import sys; print(sys.stdin, sys.stdout, sys.stderr, sys.stdout.line_buffering, sys.stderr.line_buffering, sys.stdin.isatty(), sys.stdin.read())",
    "import sys, os; print(sys.stdin.buffer.raw.seekable(), os.fstat(0).st_mode, sys.stdin.buffer, sys.stdout.buffer)",
    "import sys; sys.stderr.write('err'); sys.stdout.write('out'); sys.stdout.flush(); print('more')",
    "import sys; sys.stdout.close()",
    "import os; os.close(1); print('x')",
    "import atexit; atexit.register(print, 'bye'); 1/0",
    "import atexit, sys\natexit.register(lambda: print('__file__' in globals()))\nsys.exit(2)",
    "class A:\n    def __del__(self): print('del', __name__)\na = A()",
    "class A:\n    def __del__(self): print('del')\na = A(); a.a = a; import sys; sys.exit(4)",
    "class A:\n    def __del__(self): 1/0\na = A(); del a\nimport sys; print(sys.unraisablehook)",
    "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'fin')",
    "import sys; sys.unraisablehook = lambda a: print('u', a.exc_value)\nsys.exit(7)",
    "import sys; sys.unraisablehook = lambda a: print('u', a.exc_value)\nclass A:\n    def __del__(self): 1/0\nA(); raise ValueError('v')",
    "import sys; sys.excepthook = lambda *a: print('hook', a[0]); 1/0",
    "import sys; sys.excepthook = lambda *a: 1/0; {}['x']",
    "import sys; sys.excepthook = lambda *a: sys.exit(6); {}['x']",
    "import sys; del sys.excepthook; {}['x']",
    "import sys; print(hasattr(sys, 'last_type'), sys.exc_info(), type(sys), repr(sys))",
    "try: 1/0\nexcept Exception as e: print(e.__context__, e.__traceback__.tb_frame.f_back, e.__traceback__.tb_next)",
    "import threading\nt = threading.Thread(target=lambda: print(threading.main_thread().name)); t.start()",
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print('late'))).start(); print('first')",
    "import threading\nthreading.Thread(target=lambda: 1/0).start()",
    "import asyncio\nasync def f(): await asyncio.sleep(0); print('a')\nasyncio.run(f())",
    "async def g(): pass\ng()",
    "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(2)'], capture_output=True).stdout)",
    "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))",
    "import os\nif os.fork() == 0: print('child'); os._exit(0)\nos.wait(); print('parent')",
    "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__)",
    "import collections; print(collections.namedtuple('P', 'a b').__module__)",
    "import logging; logging.warning('w'); logging.getLogger().error('e', stack_info=True)",
    "import gc; print(gc.isenabled(), gc.get_threshold())",
    "import random; random.seed(1); print(random.random())",
    "import tempfile, os; f = tempfile.NamedTemporaryFile(); print(os.path.dirname(f.name), f.write(b'x'))",
    "import time; print(time.strftime('%Z'), time.process_time() < 5)",
    "import locale, sys; print(locale.getlocale(), sys.getfilesystemencoding(), sys.stdout.encoding, sys.stdin.errors, sys.stderr.errors)",
    "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))",
    "assert False, 'no'",
    "import nope",
    "from json import nope",
    "print(input())",
    "import sys; sys.stdout.write('x' * 3000000); print('y' * 100000, file=sys.stderr)",
    "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as o: print('in')\nprint(repr(o.getvalue()))",
]
NODE = [
    "console.log(1)",
    "throw new Error('x')",
    "throw 1",
    "console.log(new Error('q').stack)",
    "function f() { f() } f()",
    "let x = ;",
    "'use strict'; undefinedVariable",
    "Promise.reject(new Error('z'))",
    "async function f() { await null; throw new TypeError('t') } f()",
    "new Promise(() => {})",
    "process.exit(5)",
    "process.exitCode = 3",
    "process.kill(process.pid, 'SIGTERM')",
    "process.abort()",
    "process.on('exit', c => console.log('exit', c)); throw 1",
    "process.on('uncaughtException', e => console.log('caught', e.message)); throw new Error('u')",
    "process.emitWarning('w')",
    "console.log(process.argv, process.execArgv, process.argv0, process.title, process.execPath)",
    "console.log(typeof module, module.id, module.filename, module.paths, require.main === module, module.children, module.parent)",
    "console.log(__filename, __dirname, typeof exports)",
    "console.log(Object.keys(require.cache), Object.keys(globalThis), Object.keys(require('module')), Object.keys(require('module')._pathCache))",
    "console.log(Object.getOwnPropertyNames(process).join(), process._eval, process._preload_modules)",
    "console.log(process.env)",
    "console.log(require('child_process').execFileSync('env').toString())",
    "console.log(process.getuid(), process.ppid, process.umask(), process.cwd())",
    "console.log(process.stdin.constructor.name, process.stdout.constructor.name, process.stdin.fd, process.stdin.isTTY)",
    "process.stdin.on('data', d => console.log(d)).on('end', () => console.log('end'))",
    "console.error('e'); console.log('o')",
    "process.stdout.write('x'.repeat(300000))",
    "require('./nope')",
    "setTimeout(() => console.log('t'), 10)",
    "import('fs').then(m => console.log(typeof m.readFileSync))",
    "import fs from 'fs'",
    "console.log(require('child_process').execFileSync(process.execPath, ['-e', 'console.log(2)']).toString())",
    "console.log(require('child_process').spawnSync('sh', ['-c', 'cat; echo hi'], { stdio: 'inherit' }).status)",
    "const w = require('worker_threads'); if (w.isMainThread) new w.Worker(\"console.log('w')\", { eval: true })",
    "console.log([...'héé'].length, 'é\\u{1f600}')",
    "console.log(require('util').inspect(new Error('i')), performance.now() > 0, crypto.randomUUID().length)",
]


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


def node_only():
    root_only()
    if not os.access("/usr/bin/node", os.X_OK):
        skip("no node (apt install nodejs)")


def told(result):
    """What a command has done, without addresses and pids."""
    def plain(text):
        return re.sub(rb"\(node:\d+\)", b"(node:N)", re.sub(rb"0x[0-9a-f]+", b"0x", text))
    return plain(result["stdout"]), plain(result["stderr"]), result["exitCode"], result["signal"]


# Of each process of a server that leads a session: pid, state, how often it has waited. One command cannot look deeper into another.
SERVERS = """for p in /proc/[0-9]*; do case $(tr '\\0' ' ' < $p/cmdline) in *'<pre''warm>'*|'node -r /proc/self/environ'*)
set -- $(sed 's/.*) //' $p/stat); [ ${p#/proc/} = $4 ] && echo ${p#/proc/} $1 $(sed -n 's/^voluntary_ctxt_switches.//p' $p/status);; esac; done 2>/dev/null"""


def servers(s, sandbox):
    """{pid: what is told of it} of the server and of the standby, in the order of their making; node's server is its own standby."""
    lines = [line.split() for line in s.exec(sandbox, "sh", "-c", SERVERS)["stdout"].decode().splitlines()]
    return {int(line[0]): line[1:] for line in sorted(lines, key=lambda line: int(line[0]))}


def standby(s, sandbox, other_than=None):
    """The pid of python's process that waits for a command; creto-init waits for the last bit of its start."""
    found = []

    def look():
        found[:] = servers(s, sandbox)
        return len(found) == 2 and found[1] != other_than
    wait(look, 60, "a standby waits")
    return found[1]


def node_standby(s, sandbox, other_than=None):
    """Node's, which is the server itself: it waits where two looks see the same."""
    looks = [None]

    def look():
        looks.append(servers(s, sandbox))
        pids = list(looks[-1])
        return len(pids) == 1 and pids[0] != other_than and looks[-1] == looks[-2] and looks[-1][pids[0]][0] == "S"
    wait(look, 60, "a standby waits")
    return list(looks[-1])[0]


seen = {}  # the standby of a sandbox after its last command


def same(s, name, warm, cold, command, **more):
    """Runs it both ways. `name` is for the report."""
    find = node_standby if command[0] == "node" else standby
    if warm not in seen:
        seen[warm] = find(s, warm)
    got, wanted = s.exec(warm, *command, **more), s.exec(cold, *command, **more)
    seen[warm] = find(s, warm, seen[warm])  # another one: this one was used
    if told(got) == told(wanted):
        report("ok", name)
    else:
        report("not ok", name, f"warm {str(told(got))[:1500]}, cold {str(told(wanted))[:1500]}")


def put_all(s, sandbox, files):
    text = json.dumps(files)
    program = "import json, sys\nfor name, text in json.load(sys.stdin).items(): open(name, 'w').write(text)"
    check_equal(s.exec(sandbox, "python3", "-c", program, stdin=text)["exitCode"], 0, "files are put")


def prewarm(interpreter, *imports):
    return {"interpreter": interpreter, "imports": list(imports)}


@test
def python_programs():
    root_only()
    with Service() as s:
        warm, cold = s.spawn(prewarm=prewarm("python")), s.spawn()
        for sandbox in (warm, cold):
            put_all(s, sandbox, {f"p{i}.py": code for i, code in enumerate(PYTHON)})
        for i, code in enumerate(PYTHON):
            same(s, f"python -c {code[:60]!r}", warm, cold, ("python3", "-c", code, "a", "-b"))
            same(s, f"python FILE {code[:60]!r}", warm, cold, ("python3", f"p{i}.py", "a", "-b"))
    return report


@test
def python_ways_to_start():
    root_only()
    with Service() as s:
        warm, cold = s.spawn(prewarm=prewarm("python")), s.spawn()
        module = "import sys; print(sys.argv, sys.path[0], __name__, __spec__, __file__, __package__)\nif sys.argv[1:]: raise eval(sys.argv[1])"
        files = {"mod.py": module, "latin.py": "# -*- coding: latin-1 -*-\nprint('x')", "mark.py": "\ufeffprint('bom')", "crlf.py": "print(1)\r\nprint(2)\r\n"}
        for sandbox in (warm, cold):
            s.exec(sandbox, "sh", "-c", "mkdir -p pkg dir; echo 'print(__name__, __package__)' > pkg/__main__.py; echo > pkg/__init__.py; ln -s ../mod.py dir/link.py")
            put_all(s, sandbox, files)
        table = [
            (("-m", "mod"), {}), (("-m", "mod", "ValueError(1)"), {}), (("-m", "mod", "KeyboardInterrupt"), {}), (("-m", "mod", "SystemExit(4)"), {}),
            (("-m", "pkg"), {}), (("-m", "nope"), {}), (("-m", "pkg.nope"), {}), (("-m", "json.tool"), {"stdin": '{"a": 1}'}),
            (("-m", "json.tool"), {"stdin": '{"a":'}), (("-m", "calendar", "2024", "2"), {}), (("dir/link.py", "x"), {}), (("./dir/../mod.py",), {}),
            (("/home/agent/mod.py",), {"cwd": "/"}), (("mod.py",), {"cwd": "/home/agent"}), (("latin.py",), {}), (("mark.py",), {}), (("crlf.py",), {}),
            (("-c", "import sys; print(sys.stdin.read(), sys.stdin, sys.stdin.buffer.raw.seekable())"), {"stdin": "hello\nworld"}),
            (("-c", "print(input(), input())"), {"stdin": "a\nb\n"}), (("-c", "import sys; print(len(sys.stdin.buffer.read()))"), {"stdin": "x" * 200000}),
            (("-c", "import os; print(sorted(os.environ.items()), os.getcwd())"), {"env": {"A": "1", "B": "é", "C": ""}, "cwd": "/tmp"}),
            (("-c", "import os, subprocess; print(subprocess.run(['env'], capture_output=True).stdout)"), {"env": {"Z": "1", "Y": "2"}}),
        ]
        for words, more in table:
            same(s, f"python3 {' '.join(words)[:70]} {list(more)}", warm, cold, ("python3", *words), **more)
        for words, more in [(("python", "-c", "print(1)"), {}), (("python3", "none.py"), {}), (("python3", "pkg"), {}), (("python3", "-"), {"stdin": "print(5)"}),
                            (("python3",), {"stdin": "print(5)"}), (("python3", "-S", "-c", "print(1)"), {}), (("python3", "-V"), {}), (("python3", "-c"), {}),
                            (("python3", "-c", "import sys; print(sys.path)"), {"env": {"PYTHONPATH": "/x"}}), (("/usr/bin/python3", "-c", "import sys; print(sys.orig_argv)"), {}),
                            (("python3", "-c", "print(1)"), {"cwd": "/no/such"}), (("python3", "-c", "import os; print(os.getuid())"), {"user": "12345"})]:
            def outcome(sandbox):
                a = s.call("POST", f"/v1/sandboxes/{sandbox}/exec", {"command": {"program": words[0], "args": list(words[1:]), **more}})
                keep = a.json if a.status != 200 else {k: a.json[k] for k in ("stdout", "stderr", "exitCode", "signal")}
                return a.status, json.dumps({**keep, "error": {**keep.get("error", {}), "requestId": ""}}, sort_keys=True)
            got, wanted = outcome(warm), outcome(cold)
            if got == wanted:
                report("ok", f"cold: {' '.join(words)[:70]} {list(more)}")
            else:
                report("not ok", f"cold: {' '.join(words)[:70]} {list(more)}", f"{got}, not {wanted}")
    return report


@test
def imports_are_done():
    root_only()
    with Service() as s:
        sb = s.spawn(prewarm=prewarm("python", "json", "asyncio", "xml.dom.minidom", "random", "ssl", "uuid"))
        out = s.exec(sb, "python3", "-c", "import sys; print([m in sys.modules for m in ('json', 'asyncio', 'xml.dom.minidom', 'http')])")
        check_equal(out["stdout"], b"[True, True, True, False]\n", "modules")
        code = "import random, uuid, os, ssl, secrets, tempfile; print(random.random(), uuid.uuid4(), uuid.uuid1(), os.urandom(4), ssl.RAND_bytes(8), secrets.token_hex(8), next(tempfile._get_candidate_names()))"
        both = [s.exec(sb, "python3", "-c", code)["stdout"].split(b" ") for _ in range(2)]
        for one, other in zip(*both):
            check(one != other, f"two commands drew the same: {one}")
        info = s.good("GET", f"/v1/sandboxes/{sb}")
        check_equal(info["spec"]["prewarm"], prewarm("python", "json", "asyncio", "xml.dom.minidom", "random", "ssl", "uuid"), "the spec")
        check_equal(info["status"], "Running", "status")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"], [], "commands that are listed")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}").get("execs", 0), 0, "commands that run")


@test
def a_server_that_cannot_start_fails_the_sandbox():
    root_only()
    with Service() as s:
        for spec, said in [(prewarm("python", "nope"), "prewarm: ModuleNotFoundError: No module named 'nope'"),
                           (prewarm("python", "json.nope"), "prewarm: ModuleNotFoundError: No module named 'json.nope'"),
                           ({"command": ["/no/such", "x"]}, "prewarm: cannot execute '/no/such': No such file or directory"),
                           ({"command": ["sh", "-c", "echo line; echo last line >&2; exit 4"]}, "prewarm: last line"),
                           ({"command": ["sh", "-c", "exit 4"]}, "prewarm: ended with code 4 before it was ready"),
                           ({"command": ["sh", "-c", "kill -9 $$"]}, "prewarm: ended by signal 9 before it was ready"),
                           ({"command": ["sh", "-c", "printf nonsense >&3; sleep 60"]}, "prewarm: ended by signal 9 before it was ready")]:
            a = s.call("POST", "/v1/sandboxes", {"spec": {"prewarm": spec}})
            check(a.status == 400 and a.code == "INVALID_SPEC" and a.json["error"]["message"] == said, f"{spec}: {a.status} {a.body!r}")
        a = s.call("POST", "/v1/sandboxes", {"spec": {"prewarm": prewarm("python"), "resourceLimits": {"pidLimit": 2}}})
        check_equal(a.json["error"]["message"], "prewarm: a process that waits cannot be made: Resource temporarily unavailable", "too few processes")
        a = s.call("POST", "/v1/sandboxes", {"spec": {"prewarm": {"command": ["python3", "-c", "import json"]}}})
        check_equal(a.json["error"]["message"], "prewarm: ended with code 0 before it was ready", "a command that is no server")
        fields = [("interpreter", {"interpreter": "ruby"}), ("imports", {"interpreter": "python", "imports": ["a"] * 33})]
        for field, spec in fields:
            a = s.call("POST", "/v1/sandboxes", {"spec": {"prewarm": spec}})
            check(a.status == 400 and a.json["error"]["details"]["fields"][0]["field"] == f"spec.prewarm.{field}", a.body)


def server_of(s, sandbox):
    waits = standby(s, sandbox)
    return next(pid for pid in servers(s, sandbox) if pid != waits)


@test
def imports_that_start_a_thread_are_refused():
    """What a sandbox has when it starts is only /usr, so the server is asked by itself."""
    with open(os.path.join(ROOT, "src/services/prewarm/python.py")) as f:
        source = f.read()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with tempfile.TemporaryDirectory() as top, ours, theirs:
        for name, text in (("quiet", ""), ("busy", "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()")):
            with open(os.path.join(top, name + ".py"), "w") as f:
                f.write(text)
        r = subprocess.run(["/usr/bin/python3", "-c", 'import sys; exec(compile(sys.argv[1], "<prewarm>", "exec"), {})', source, "quiet", "busy"],
                           env={"PATH": "/usr/bin", "PYTHONPATH": top}, capture_output=True, timeout=60, pass_fds=[3], preexec_fn=lambda: os.dup2(theirs.fileno(), 3))
        check(r.returncode == 1 and r.stderr.startswith(b"the imports started 1 thread, and a process with threads cannot be forked"), r)


@test
def a_claim_may_change_the_environment():
    root_only()
    with Service() as s:
        s.good("POST", "/v1/warm-pools", {"id": "p", "template": {"prewarm": prewarm("python", "json")}, "minReady": 2, "maxReady": 4})
        wait(lambda: s.good("GET", "/v1/warm-pools/p")["readyCount"] >= 2, 60, "the pool is full")
        code = "import os, sys; print('/x' in sys.path, os.environ.get('A'), '<pre' + 'warm>' in open('/proc/self/cmdline').read(), 'json' in sys.modules)"
        sb = s.good("POST", "/v1/warm-pools/p/claim", {"env": {"A": "b"}})["sandboxId"]
        check_equal(s.exec(sb, "python3", "-c", code)["stdout"], b"False b True True\n", "a variable of no importance")
        sb = s.good("POST", "/v1/warm-pools/p/claim", {"env": {"PYTHONPATH": "/x"}})["sandboxId"]
        check_equal(s.exec(sb, "python3", "-c", code)["stdout"], b"True None False False\n", "one that an interpreter reads")
        wait(lambda: s.exec(sb, "python3", "-c", code)["stdout"] == b"True None True True\n", 60, "a server that has it")


@test
def what_harms_the_server_harms_nobody():
    root_only()
    with Service() as s:
        sb = s.spawn(prewarm=prewarm("python"))
        one = ("python3", "-c", "print(1)")
        is_warm = ("python3", "-c", "print('<pre' + 'warm>' in open('/proc/self/cmdline').read())")

        def again(what):
            check_equal(s.exec(sb, *one)["stdout"], b"1\n", what)
            wait(lambda: s.exec(sb, *is_warm)["stdout"] == b"True\n", 60, f"warm again after {what}")

        check_equal(s.exec(sb, *is_warm)["stdout"], b"True\n", "warm")
        s.exec(sb, "kill", "-9", str(standby(s, sb)))
        again("a killed standby")
        s.exec(sb, "kill", "-9", str(server_of(s, sb)))
        again("a killed server")
        s.exec(sb, "kill", "-STOP", str(standby(s, sb)))
        again("a stopped standby")
        server = server_of(s, sb)
        s.exec(sb, "kill", "-STOP", str(server))
        for _ in range(3):
            check_equal(s.exec(sb, *one)["stdout"], b"1\n", "a stopped server")
        s.exec(sb, "kill", "-CONT", str(server))
        again("a stopped server")
        # a command that takes the server over, and lies with it
        lie = ("import os, signal\nfor p in os.listdir('/proc'):\n    if p.isdigit() and b'<prewarm>' in open(f'/proc/{p}/cmdline', 'rb').read():\n"
               "        try: os.open(f'/proc/{p}/fd/3', os.O_RDWR)\n        except OSError as e: print(e.errno)\n")
        s.exec(sb, "python3", "-S", "-c", lie)
        again("a look at its socket")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}")["status"], "Running", "status")


@test
def commands_of_all_kinds():
    root_only()
    with Service() as s:
        sb = s.spawn(prewarm=prewarm("python"), resourceLimits={"pidLimit": 128})
        before = standby(s, sb)
        out = s.exec(sb, "python3", "-c", "import time; print('a', flush=True); time.sleep(60)", timeoutSeconds=0.5)
        check(out["timedOut"] and out["stdout"] == b"a\n", out)
        check(standby(s, sb) != before, "that was cold")
        # a signal by the API, to one that catches it
        code = "import signal, sys, time\nsignal.signal(15, lambda *a: sys.exit(5))\nprint('up', flush=True)\ntime.sleep(60)"
        x = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "python3", "args": ["-c", code]}, "detach": True})["execId"]
        w = WebSocket(s, sb, x)
        check_equal(w.run(want=3)[0], b"up\n", "the first line")
        s.good("POST", f"/v1/sandboxes/{sb}/exec/{x}/signal", {"signal": 15})
        check_equal(w.run()[2]["exitCode"], 5, "after SIGTERM")
        w.close()
        # twenty at once
        results = [None] * 20

        def run(i):
            results[i] = s.exec(sb, "python3", "-c", f"import time; time.sleep(.2); print({i}, '<pre' + 'warm>' in open('/proc/self/cmdline').read())")
        threads = [threading.Thread(target=run, args=(i,)) for i in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(120)
        check_equal([r["stdout"].split()[0] for r in results], [str(i).encode() for i in range(20)], "twenty at once")
        check(sum(b"True" in r["stdout"] for r in results) >= 10, f"most of them are warm: {[r['stdout'] for r in results]}")
        s.exec(sb, "python3", "-c", "import os, time\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\nexcept OSError: time.sleep(1); os.killpg(0, 9)")
        wait(lambda: b"True" in s.exec(sb, "python3", "-c", "print('<pre' + 'warm>' in open('/proc/self/cmdline').read())")["stdout"], 60, "warm after a fork bomb")
        out = s.exec(sb, "python3", "-c", "import sys\nfor i in range(200000): print(i)\nsys.exit(3)")
        check(out["exitCode"] == 3 and out["stdoutTruncated"] in (True, False), "much output")
        # confined as any other
        code = "import os, ctypes\ntry: open('/etc/x', 'w')\nexcept OSError as e: print(e.errno)\nprint(open('/proc/self/status').read().split('CapEff:')[1].split()[0], ctypes.CDLL(None).unshare(0x10000000))"
        check_equal(s.exec(sb, "python3", "-c", code)["stdout"].split()[1:], [b"0000000000000000", b"-1"], "what it may do")
        check(s.exec(sb, "python3", "-c", "x = 'y' * (700 << 20); print(len(x))")["exitCode"] != 0, "memory is limited")
        check_equal(s.exec(sb, "python3", "-c", "print(1)")["stdout"], b"1\n", "after that")


@test
def a_daemon_that_is_started_again_finds_it():
    root_only()
    with Service() as s:
        sb = s.spawn(prewarm=prewarm("python", "json"))
        check_equal(s.exec(sb, "python3", "-c", "print(1)")["stdout"], b"1\n", "before")
        pid = standby(s, sb)
        s.kill("creto-runtimed")
        check_equal(standby(s, sb), pid, "the standby")
        wait(lambda: b"True" in s.exec(sb, "python3", "-c", "print('<pre' + 'warm>' in open('/proc/self/cmdline').read())")["stdout"], 30, "warm commands")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"], [], "commands that are listed")
        s.exec(sb, "kill", "-9", str(server_of(s, sb)))
        wait(lambda: b"True" in s.exec(sb, "python3", "-c", "print('<pre' + 'warm>' in open('/proc/self/cmdline').read())")["stdout"], 60, "another server")
        idle = s.spawn(prewarm=prewarm("python"), idleTimeoutSeconds=1)
        wait(lambda: s.status(idle) in ("Terminating", "Terminated"), 60, "a server keeps no sandbox from being idle")


@test
def servers_of_others():
    root_only()
    source = (
        "import os, sys, socket, array\ns = socket.socket(fileno=3)\nwhile True:\n    r, w = os.pipe()\n    if os.fork():\n        os.close(w); os.wait(); os.read(r, 1); os.close(r); continue\n"
        "    if os.fork(): os._exit(0)\n    while os.getppid() != 1: pass\n    os.setsid(); s.send(b'\\1\\0')\n    data, anc, _, _ = s.recvmsg(65536, 64)\n    if not data: os._exit(0)\n"
        "    for i, fd in enumerate(array.array('i', anc[0][2])): os.dup2(fd, i)\n    s.send(b'\\2'); os.close(3); os.close(w); os.write(1, b'served ' + data[-5:]); os._exit(7)\n")
    with Service() as s:
        sb = s.spawn(prewarm={"command": ["python3", "-c", source]})
        out = s.exec(sb, "python3", "x", env={"LAST": "1234"})
        check(out["stdout"].startswith(b"served ") and out["exitCode"] == 7, out)
        check_equal(s.exec(sb, "sh", "-c", "echo cold")["stdout"], b"cold\n", "another program")


@test
def node_programs():
    node_only()
    with Service() as s:
        warm, cold = s.spawn(prewarm=prewarm("node")), s.spawn()
        for sandbox in (warm, cold):
            put_all(s, sandbox, {f"p{i}.js": code for i, code in enumerate(NODE)})
        for code in NODE:
            same(s, f"node -e {code[:60]!r}", warm, cold, ("node", "-e", code, "a"))
        check_equal(s.exec(warm, "node", "p0.js")["stdout"], b"1\n", "the first file, cold")
        wait(lambda: b"environ prewarm" in s.exec(warm, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")["stdout"], 60, "a standby for files")
        seen.clear()
        for i, code in enumerate(NODE):
            same(s, f"node FILE {code[:60]!r}", warm, cold, ("node", f"p{i}.js", "a", "-e"))
    return report


@test
def node_ways_to_start():
    node_only()
    with Service() as s:
        env = {"NODE_NO_WARNINGS": "1", "PATTERN": "src/*/x"}
        warm, cold = s.spawn(prewarm=prewarm("node", "node:fs", "util"), env=env), s.spawn(env=env)
        for words, more in [(("-e", "process.stdin.on('data', d => console.log(String(d).length))"), {"stdin": "x" * 50000}),
                            (("-e", "console.log(process.env)"), {"env": {"A": "1", "B": "é\n"}}),
                            (("-e", "console.log(process.cwd())"), {"cwd": "/usr"}),
                            (("-e", "process.emitWarning('w'); console.log(process.env.PATTERN)"), {})]:
            same(s, f"node {' '.join(words)[:60]} {list(more)}", warm, cold, ("node", *words), **more)
        for words in (("-p", "1+1"), ("-e",), ("--version",), ("-e", "1", "--x"), ("-",)):
            got, wanted = told(s.exec(warm, "node", *words)), told(s.exec(cold, "node", *words))
            check_equal(got, wanted, f"node {words}")
        a = s.call("POST", "/v1/sandboxes", {"spec": {"prewarm": prewarm("node", "./nope")}})
        check_equal(a.json["error"]["message"], "prewarm: Error: Cannot find module './nope'", "a module that is not there")
        a = s.call("POST", "/v1/sandboxes", {"spec": {"prewarm": prewarm("node"), "env": {"A": "*/", "B": "\n"}}})
        check(a.code == "INVALID_SPEC" and "*/" in a.json["error"]["message"], a.body)
        one = s.spawn(prewarm=prewarm("node"), env={"A": "x\ny"})
        before = node_standby(s, one)
        check_equal(s.exec(one, "node", "-e", "console.log(process.env.A, Object.keys(globalThis).includes('creto_prewarm'))")["stdout"], b"x\ny false\n", "a variable of two lines")
        check(node_standby(s, one) != before, "that was cold")
        s.exec(one, "kill", "-9", str(node_standby(s, one)))
        check_equal(s.exec(one, "node", "-e", "console.log(1)")["stdout"], b"1\n", "after a killed standby")
    return report


if __name__ == "__main__":
    main()
