#!/usr/bin/python3
"""tools/check-floors and tools/check-docs: each kind of violation is caught in a tree made for it, and the real tree has none."""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLOORS = os.path.join(ROOT, "tools/check-floors")
DOCS = os.path.join(ROOT, "tools/check-docs")

# A small tree in which everything is in order.
GOOD = {
    "include/creto/runtime.h": "#pragma once\n",
    "src/base/err.h": "#pragma once\n#include <stddef.h>\n",
    "src/base/err.c": '#include "base/err.h"\n#include <sys/mman.h>\n#include <linux/sched.h>\n',
    "src/wire/ipc.h": '#pragma once\n#include "base/err.h"\n',
    "src/wire/guest.h": '#pragma once\n#include "wire/ipc.h"\n',
    "src/domain/limits.h": '#pragma once\n#include "wire/ipc.h"\n',
    "src/domain/spec.h": "#pragma once\n",
    "src/services/image/image.h": '#pragma once\n#include "domain/limits.h"\n',
    "src/services/image/store.c": '#include "services/image/image.h"\n#include <archive.h>\n#include <archive_entry.h>\n',
    "src/services/image/store.h": "#pragma once\n",
    "src/services/warden/warden.h": "#pragma once\n",
    "src/services/warden/parts/space.c": '#include "services/image/image.h"\n#include "services/warden/deep/inner.h"\n#include "seccomp_filter.h"\n',
    "src/services/warden/deep/inner.h": '#pragma once\n#include "services/warden/warden.h"\n',
    "src/services/warden/deep/inner.c": '#include "services/warden/deep/inner.h"\n',
    "src/api/run.h": '#pragma once\n#include "creto/runtime.h"\n#include "services/image/image.h"\n',
    "src/api/run.c": '#include "api/run.h"\n',
    "src/programs/warden/main.c": '#include "services/warden/warden.h"\nint main(void) { return 0; }\n',
    "src/programs/runtime/main.c": '#include "api/run.h"\n#include "creto/runtime.h"\nint main(void) { return 0; }\n',
    "src/programs/runtime/doctor.h": "#pragma once\n",
}

passed = failed = skipped = 0


def write(tree, files):
    for path, text in files.items():
        full = os.path.join(tree, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)


def check(tool, tree):
    r = subprocess.run([tool, "--root", tree], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr


def case(name, problem):
    """`problem` is None, or says what was wrong."""
    global passed, failed
    if problem is None:
        passed += 1
        print(f"ok {name}")
    else:
        failed += 1
        print(f"not ok {name}: {problem.strip()}")


def expect(tool, base, change, status, pattern):
    """Runs `tool` on `base` with `change` applied; None where it ends with `status` and prints `pattern`."""
    with tempfile.TemporaryDirectory(prefix="creto-floors-") as tree:
        write(tree, {**base, **change})
        rc, text = check(tool, tree)
    if rc != status:
        return f"exit status {rc}, wanted {status}: {text[-300:]!r}"
    if not re.search(pattern, text):
        return f"no /{pattern}/ in {text[-300:]!r}"
    return None


def floors(name, change, pattern, status=1):
    case(f"floors_{name}", expect(FLOORS, GOOD, change, status, pattern))


def floors_cases():
    floors("good_tree", {}, r"18 files, \d+ of 4000 lines of code run as root", 0)
    floors("base_includes_wire", {"src/base/bad.c": '#include "wire/ipc.h"\n'}, r"src/base/bad\.c:1: wire/ipc\.h stands on a higher floor")
    floors("wire_includes_domain", {"src/wire/bad.c": '#include "domain/limits.h"\n'}, r"higher floor")
    floors("domain_includes_service", {"src/domain/bad.c": '#include "services/image/image.h"\n'}, r"higher floor")
    floors("service_includes_api", {"src/services/image/bad.c": '#include "api/run.h"\n'}, r"higher floor")
    floors("api_includes_program", {"src/api/bad.c": '#include "programs/runtime/doctor.h"\n'}, r"higher floor")
    floors("sibling_private_header", {"src/services/warden/bad.c": '#include "services/image/store.h"\n'}, r"not the public header of services/image")
    floors("sibling_from_subfolder", {"src/services/image/bad.c": '#include "services/warden/deep/inner.h"\n'}, r"not the public header of services/warden")
    floors("program_includes_program", {"src/programs/warden/bad.c": '#include "programs/runtime/doctor.h"\n'}, r"another of the programs")
    floors("not_qualified", {"src/base/bad.c": '#include "err.h"\n'}, r'"err\.h" is not folder-qualified')
    floors("climbs_out", {"src/base/bad.c": '#include "base/../base/err.h"\n'}, r"climbs out")
    floors("missing_header", {"src/base/bad.c": '#include "base/none.h"\n'}, r"is not in src/")
    floors("public_header_below_api", {"src/services/image/bad.c": '#include "creto/runtime.h"\n'}, r"only api and programs")
    floors("public_header_below_api_angled", {"src/base/bad.c": "#include <creto/runtime.h>\n"}, r"only api and programs")
    floors("generated_elsewhere", {"src/base/bad.c": '#include "seccomp_filter.h"\n'}, r"is made for programs/init, services/warden only")
    for header, library in (("jansson.h", "jansson"), ("archive_entry.h", "libarchive"), ("openssl/evp.h", "OpenSSL"), ("seccomp.h", "libseccomp"),
                            ("event2/event.h", "libevent"), ("curl/curl.h", "libcurl"), ("sqlite3.h", "SQLite")):
        three = {f"src/services/image/lib{i}.c": f"#include <{header}>\n" for i in range(4)}
        floors(f"contains_{library}", three, rf"{library}: included in [45] files, at most [23] may")
    floors("contains_quoted", {f"src/services/image/lib{i}.c": '#include "jansson.h"\n' for i in range(4)}, r"jansson: included in 4 files")
    floors("unknown_library", {"src/base/bad.c": "#include <libfoo.h>\n"}, r"<libfoo\.h> is neither")
    floors("spaced_include", {"src/base/bad.c": '  #  include   "wire/ipc.h"\n'}, r"higher floor")
    floors("no_floor", {"src/misc/bad.c": "int x;\n"}, r"stands on no floor")
    floors("file_in_src", {"src/bad.c": "int x;\n"}, r"stands on no floor")
    floors("long_file", {"src/base/bad.c": "\n" * 801}, r"801 lines, more than 800")
    floors("longest_file", {"src/base/long.c": "\n" * 800}, r"19 files", 0)
    floors("root_code", {f"src/services/warden/part{i}.c": "int x;\n" * 790 for i in range(6)}, r"lines of code run as root, more than 4000")
    floors("root_comments", {f"src/services/warden/part{i}.c": "/* why\n" + "so\n" * 780 + "*/\n" for i in range(6)}, r"of 4000 lines of code", 0)
    floors("crowded_folder_warns", {f"src/base/f{i}.c": "" for i in range(16)}, r"warning: src/base: 18 files", 0)
    floors("lone_file_warns", {"src/services/store/store.c": ""}, r"warning: src/services/store: a folder of one file", 0)
    with tempfile.TemporaryDirectory(prefix="creto-floors-") as tree:
        rc, text = check(FLOORS, tree)
    case("floors_no_src", None if rc == 1 and "src: there is none" in text else f"exit status {rc}: {text!r}")
    rc, text = check(FLOORS, ROOT)
    case("floors_real_tree", None if rc == 0 else text[-600:])


def docs(name, change, pattern, status=1):
    with open(os.path.join(ROOT, "src/base/err_codes.def"), encoding="utf-8") as f:
        codes = f.read()
    with open(os.path.join(ROOT, "docs/errors.md"), encoding="utf-8") as f:
        page = f.read()
    base = {"src/base/err_codes.def": codes, "docs/errors.md": page, "README.md": "# Title\n\n## Two words\n\n[errors](docs/errors.md)\n"}
    case(f"docs_{name}", expect(DOCS, base, {k: v(base.get(k, "")) for k, v in change.items()}, status, pattern))


def docs_cases():
    docs("good_tree", {}, r"14 error codes|\d+ error codes", 0)
    docs("code_not_documented", {"src/base/err_codes.def": lambda t: t + 'X(NEW_ONE, 400, 64, NEVER, "new")\n'}, r"NEW_ONE is missing")
    docs("code_not_understood", {"src/base/err_codes.def": lambda t: t + "X(ODD, 400, 64, NEVER, TEXT)\n"}, r"of which tools/gen-errors-doc understands")
    docs("page_edited", {"docs/errors.md": lambda t: t.replace("| 64 |", "| 65 |")}, r"is not what tools/gen-errors-doc makes")
    docs("broken_link", {"README.md": lambda t: t + "[x](docs/none.md)\n"}, r"docs/none\.md leads nowhere")
    docs("broken_reference", {"README.md": lambda t: t + "[x]: docs/none.md\n"}, r"docs/none\.md leads nowhere")
    docs("broken_anchor", {"docs/x.md": lambda t: "[x](../README.md#no-words)\n"}, r"no heading for #no-words")
    docs("good_anchor", {"docs/x.md": lambda t: "[x](../README.md#two-words) [y](#here)\n\n# Here\n"}, r" 0 wrong", 0)
    docs("outside_link", {"README.md": lambda t: t + "[x](../secret.md)\n"}, r"leaves the tree")
    docs("code_is_no_link", {"README.md": lambda t: t + "`[x](none)`\n\n```\n[x](none)\n```\n[y](https://example.org/none)\n"}, r" 0 wrong", 0)
    rc, text = check(DOCS, ROOT)
    case("docs_real_tree", None if rc == 0 else text[-600:])


def main():
    floors_cases()
    docs_cases()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
