# The prewarm server for Python (docs/protocols/prewarm.md): imports what it is told to, then keeps one forked copy of itself waiting for a command.
#
#     python3 -c 'import sys; exec(compile(sys.argv[1], "<prewarm>", "exec"), {})' THIS-TEXT MODULE...
#
# A copy runs the program as `python3 -c`, `-m` or `python3 FILE` would: the last thing that is left of the server is an exception on its way out of
# __main__, a SystemExit whose exit code is found out by running the program. C asks for it when no Python frame is left (class Exit).
import sys

known = set(sys.modules)

import _operator
import _signal
import _socket
import builtins
import gc
import io
import os
import posix
import time

for name in set(sys.modules) - known | {"linecache"} & known:
    del sys.modules[name]  # a program finds what a new interpreter has, and the imports

PACKET, READY, TAKEN, REFUSED = 65536, b"\x01\x00", b"\x02", b"\x03"
STDIN, CWD_WISH = 1, 2
SOURCE_MAX = 16 << 20

server_main = sys.modules["__main__"]
pristine = {name: value for name, value in vars(server_main).items() if name.startswith("__")}
external = sys.modules["_frozen_importlib_external"]
Function = type(lambda: None)
Module = type(sys)


class Refused(Exception):
    """errno; the command is started cold."""


# ---- fill ----

def fail(why):
    sys.stderr.write(why + "\n")
    os._exit(1)


def fill(names):
    """Returns what the imports changed in the environment."""
    if sys.version_info < (3, 10):
        fail(f"Python 3.10 or later can be prewarmed, and this is {sys.version.split()[0]}")
    before = dict(os.environb)
    for name in names:
        __import__(name)
    for stream in sys.stdout, sys.stderr:
        stream.flush()
    threads = len(os.listdir("/proc/self/task")) - 1
    if threads:
        fail(f"the imports started {threads} thread{'s' * (threads > 1)}, and a process with threads cannot be forked; "
             "numpy and its like start none with OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1 in the spec's env")
    gc.collect()
    gc.freeze()
    after = dict(os.environb)
    return {name: after.get(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def seed():
    """What was seeded at import must not be the same in two commands; random sees to itself (os.register_at_fork)."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(32), 32.0)


# ---- the request ----

def number(value):
    return value.to_bytes(4, "little")


def strings(values):
    return number(len(values)) + b"".join(number(len(value)) + value for value in values)


def read_strings(packet, at):
    """A counted list of them, and where it ends. On the way to every command, and therefore straight down."""
    read, found = int.from_bytes, []
    count = read(packet[at:at + 4], "little")
    at += 4
    for _ in range(count):
        end = at + 4 + read(packet[at:at + 4], "little")
        found.append(packet[at + 4:end])
        at = end
    return found, at


class Request:
    def __init__(self, packet):
        self.flags = packet[1]
        end = 6 + int.from_bytes(packet[2:6], "little")
        self.cwd = packet[6:end]
        self.raw, at = read_strings(packet, end)
        self.argv = [os.fsdecode(word) for word in self.raw]
        self.env = None  # as the server's
        if packet[at:] != own_env:
            self.read_env(read_strings(packet, at)[0])

    def read_env(self, pairs):
        self.env = {}
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            self.env.setdefault(name, value)


def program_path(request):
    """Where argv[0] is found, as creto-init looks."""
    for folder in os.fsdecode(request.env.get(b"PATH", b"")).split(":"):
        path = os.path.join(folder, request.argv[0])
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise Refused(2)


def check_program(request):
    """That it is this interpreter: `python` may be another one."""
    if request.argv[0] == own_name and (request.env is None or request.env.get(b"PATH") == own_path):
        return
    if request.env is None:
        request.read_env(own_pairs)
    path = program_path(request)
    if os.path.dirname(path) != os.path.dirname(sys.executable) or not os.path.samefile(path, "/proc/self/exe"):
        raise Refused(2)
    sys.executable = path


def enter(request):
    try:
        os.chdir(request.cwd)
    except OSError as e:
        if not request.flags & CWD_WISH:
            raise Refused(e.errno) from None
        os.chdir("/")


def read_source(name):
    """The bytes of a plain script; what else python takes as a file goes cold."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with io.open(fd, "rb", 0) as f:
            status = os.fstat(fd)
            if status.st_mode & 0o170000 != 0o100000 or status.st_size > SOURCE_MAX:
                raise Refused(22)
            source = f.read(SOURCE_MAX)
    except OSError as e:
        raise Refused(e.errno) from None
    if b"\0" in source:
        raise Refused(22)
    check_text(source)
    return source


def check_text(source):
    """What is not UTF-8 has messages of its own."""
    try:
        source.decode()
    except UnicodeDecodeError:
        raise Refused(84) from None


# ---- becoming the program ----

def set_environment(request):
    if request.env is None:
        return
    for name, value in changed.items():
        if value is None:
            request.env.pop(name, None)
        else:
            request.env[name] = value
    if list(request.env.items()) == list(os.environb.items()):
        return
    for name in list(os.environb):
        del os.environb[name]
    for name, value in request.env.items():
        os.environb[name] = value
    posix.environ.clear()
    posix.environ.update(request.env)


def open_stdin():
    """As the interpreter's start does for a pipe."""
    old = sys.__stdin__
    buffer = io.open(0, "rb", closefd=False)
    buffer.raw.name = "<stdin>"
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(buffer, old.encoding, old.errors, "\n")
    sys.stdin.mode = "r"


def set_arguments(request, argv, path0):
    sys.argv = argv
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = request.argv
    if "" in sys.path and not getattr(sys.flags, "safe_path", False):
        sys.path[sys.path.index("")] = path0
    module = Module("__main__")  # the server's is frozen, and would keep what the program leaves
    module.__dict__.clear()
    module.__dict__.update(pristine)
    sys.modules["__main__"] = module
    return module.__dict__


def run_code(request):
    code = request.argv[2]
    main = set_arguments(request, ["-c", *request.argv[3:]], "")
    program = Function(compile(code, "<string>", "exec", dont_inherit=True), main)
    if sys.version_info >= (3, 13) and not rehearsing:  # whose tracebacks show the text
        import linecache
        linecache._register_code("<string>", code, "<string>")
    return program


def run_module(request):
    set_arguments(request, ["-m", *request.argv[3:]], os.getcwd())
    import functools
    import runpy
    return functools.partial(runpy._run_module_as_main, request.argv[2], True)


def run_file(request):
    name = request.argv[1]
    path = name if name.startswith("/") else os.path.join(os.getcwd(), name)
    main = set_arguments(request, request.argv[1:], os.path.dirname(os.path.realpath(name)))
    main["__file__"], main["__cached__"] = path, None
    main["__loader__"] = external.SourceFileLoader("__main__", path)
    return Function(compile(request.source, path, "exec", dont_inherit=True), main)


# ---- the exit ----

class Hook:
    """sys.unraisablehook while the program runs: takes what ends the program, and leaves the rest to whom the program has put there."""

    def __init__(self):
        self.hook, self.program, self.caught = sys.unraisablehook, None, None

    def __call__(self, args):
        frame = args.exc_traceback and args.exc_traceback.tb_frame
        if args.object is self.program or (frame and frame.f_code is getattr(self.program, "__code__", None)):
            self.caught = args.exc_value
        else:
            self.hook(args)


hook = Hook()
# The program sees, and sets, its own; what C looks up in the module's dictionary is ours.
Guarded = type("module", (Module,), {
    "__module__": "builtins",
    "unraisablehook": property(lambda self: hook.hook, lambda self, value: setattr(hook, "hook", value)),
})


def guard(program):
    hook.program = program
    sys.__class__ = Guarded
    sys.__dict__["unraisablehook"] = hook


def unguard():
    sys.__class__ = Module
    sys.unraisablehook = hook.hook


def show(error):
    """As PyErr_Print()."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        excepthook = sys.excepthook
    except AttributeError:
        sys.stderr.write("sys.excepthook is missing\n")
        excepthook = sys.__excepthook__
    try:
        excepthook(type(error), error, error.__traceback__)
    except SystemExit as e:
        return e.code
    except BaseException as e:
        e = e.with_traceback(e.__traceback__.tb_next)
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(e), e, e.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, error.__traceback__)
    return 1


def die_of_sigint():
    """After all that the interpreter does at its end: the built-in names go last."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    kill, pid = os.kill, os.getpid()
    builtins._sigint = type("_sigint", (), {"__del__": lambda self: kill(pid, 2)})()


class Result:
    @property
    def code(self):
        """The program has ended."""
        error, hook.caught, hook.program = hook.caught, None, None
        unguard()
        del Program.__del__
        if isinstance(error, SystemExit):
            code = getattr(error, "code", error)
        else:
            code = show(error) if error else 0
            if isinstance(error, KeyboardInterrupt):
                die_of_sigint()
            if by_file:
                main = vars(sys.modules["__main__"])
                main.pop("__file__", None), main.pop("__cached__", None)
        if not rehearsing:
            globals().clear()  # likewise
        return code


class Program:
    result = Result()


class Failed:
    """There is no program: it cannot be compiled."""
    result = Result()


class Exit(SystemExit):
    def begin(self):
        global by_file
        request = self.request
        form = request.argv[1]
        by_file = form not in ("-c", "-m")
        try:
            program = {"-c": run_code, "-m": run_module}.get(form, run_file)(request)
        except BaseException as e:  # a SyntaxError, most likely
            hook.caught = e.with_traceback(None)
            Program.__del__ = lambda self: None
            return Failed()
        guard(program)
        Program.__del__ = staticmethod(program)
        return Program()

    # Three steps, one after the other, called by C: begin() and Result.code as functions that return; and between them the program: what begin() has
    # made is let go of once its `result` is there, and its destructor is the program.
    program = property(begin)
    code = property(_operator.attrgetter("program.result.code"))


# ---- waiting ----

def take(packet, ancillary):
    request = Request(packet)
    form = request.argv[1]
    check_program(request)
    enter(request)
    if form == "-c":
        check_text(request.raw[2])
    elif form != "-m":
        request.source = read_source(form)
    fds = memoryview(ancillary[0][2]).cast("i").tolist()
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
    for fd in fds:
        os.close(fd)
    return request


SAMPLE = b"""
import os, sys
from os.path import join
class Sample(Exception):
    number: int = 3
    def __init__(self, *words, key=None, **rest):
        self.words = {word: [i * 2 for i in range(3) if i] for word in words}
    def walk(self):
        for name, values in sorted(self.words.items(), key=lambda pair: pair[0]):
            yield f"{name!r:>8} {sum(values) / 2:.1f} %s" % (values,)
def main(*, depth=2):
    try:
        if depth: return main(depth=depth - 1)
        raise Sample("a", "b", key=1)
    except Sample as e:
        text = ", ".join(e.walk()).split(" ")
        with open(os.devnull, "w") as f: print(*text, sep="\\n", file=f)
    finally:
        data = bytes(range(64)).hex().encode()
    return len(data) + int("7") ** 2 // 3
if __name__ == "__main__":
    print(end="" if main() > 0 and sys.argv else "x", flush=True)
"""


def rehearse():
    """Runs a program that does a little of everything, so that the pages which the next one needs are this process's own by then."""
    global rehearsing
    packet = b"\x81\0" + number(0) + strings([own_name.encode(), b"-c", SAMPLE]) + own_env
    rehearsing = True
    try:
        request = Request(packet)
        check_program(request)
        check_text(request.raw[2])
        memoryview(number(0)).cast("i").tolist()
        set_environment(request)
        leave = Exit()
        leave.request = request
        raise leave
    except SystemExit as e:
        e.code
    rehearsing = False


def standby(report):
    """In the copy. Leaves by an exception, which is the program."""
    while os.getppid() != 1:
        time.sleep(0.0002)
    os.setsid()
    seed()
    rehearse()
    space = bytearray(PACKET)
    try:
        server.send(READY)
        length, ancillary, _, _ = server.recvmsg_into([space], _socket.CMSG_SPACE(12))
        if length == 0:
            os._exit(0)
        request = take(bytes(space[:length]), ancillary)
    except Refused as e:
        server.send(REFUSED + e.args[0].to_bytes(4, "little"))
        os._exit(0)
    except ConnectionError:
        os._exit(0)
    server.send(TAKEN)
    try:
        os.write(report, b".")
    except OSError:
        pass  # the server has been killed
    os.close(report)
    server.close()
    set_environment(request)
    if request.flags & STDIN:
        open_stdin()
    leave = Exit()
    leave.request = request
    raise leave


def fork():
    """Returns the end of a pipe: in a copy that is a child of pid 1 its writing end, and in the server, -1 and its reading end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.fork() > 0:
                os._exit(0)
        except OSError:
            os._exit(1)
        os.close(reading)
        return writing, -1
    os.close(writing)
    if os.waitpid(child, 0)[1] != 0:
        os.close(reading)
        raise BlockingIOError(11, os.strerror(11))
    return -1, reading


def over():
    """True where nobody is at the other end."""
    try:
        return server.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False


def serve():
    first = True
    while first or not over():
        try:
            report, reading = fork()
        except OSError as e:
            if first:
                fail(f"a process that waits cannot be made: {e.strerror}")
            time.sleep(0.1)  # the sandbox is at a limit, and its commands start cold
            continue
        if report >= 0:
            standby(report)
        first = False
        taken = os.read(reading, 1)
        os.close(reading)
        time.sleep(0.002 if taken else 0.01)  # the command first; and one that was refused or killed is no reason to spin


own_pairs = [name + b"=" + value for name, value in os.environb.items()]
own_env = strings(own_pairs)
server = _socket.socket(fileno=3)
os.set_inheritable(3, False)
own_name, own_path, by_file, rehearsing = "python3", os.environb.get(b"PATH"), False, False
modules = sys.argv[2:]
sys.argv = ["-c"]
if hasattr(sys, "orig_argv"):
    sys.orig_argv = ["python3", "-c"]
changed = fill(modules)
serve()
