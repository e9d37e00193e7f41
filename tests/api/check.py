#!/usr/bin/env python3
"""Checks libreeve as those see it who use it.

    tests/api/check.py exports LIBRARY INCLUDE
        the library exports what the headers declare, and nothing else
    tests/api/check.py headers INCLUDE COMPILER... -- WORD...
        each header compiles alone, as C and as C++, with the options WORD
    tests/api/check.py installed BUILD SANITIZE COMPILER...
        a program outside of the tree, built by what pkg-config says of an
        installed copy, runs; SANITIZE as of meson's b_sanitize

INCLUDE is the folder that has the folder reeve.  Prints what is wrong and at
the end `N passed, N failed`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*$", re.MULTILINE)
FUNCTION = re.compile(r"\b(rv_\w+)\s*\(")
VARIABLE = re.compile(r"\bextern\b[^;()]*?\b(rv_\w+)\s*(?:\[[^]]*\])?\s*;")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]


def headers(include):
    folder = os.path.join(include, "reeve")
    return sorted(f"reeve/{name}" for name in os.listdir(folder)
                  if name.endswith(".h"))


def without_bodies(text):
    """The text outside of braces, with `{}` for each pair of them."""
    depth, kept = 0, []
    for character in text:
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                kept.append("{}")
        elif depth == 0:
            kept.append(character)
    return "".join(kept)


def declared(text):
    """The names that a header declares for others to link with."""
    text = DIRECTIVE.sub("", COMMENT.sub("", text))
    text = re.sub(r"\bRV_(BEGIN|END)_DECLARATIONS\b", "", text)
    names = set(VARIABLE.findall(text))
    for statement in re.split(r";|\{\}", without_bodies(text)):
        words = statement.split()
        if not words or {"typedef", "static"} & set(words):
            continue
        match = FUNCTION.search(statement)
        if match:
            names.add(match.group(1))
    return names


def self_test():
    text = """
        /* rv_a(); */
        #define rv_b(X) \\
          rv_c(X)
        typedef void rv_d(struct rv_e *, void *);
        struct rv_f { void (*rv_g)(int); };
        static inline int
        rv_h(void) { return rv_i(1); }
        int rv_j(int, rv_d *callback) RV_MUST_CHECK;
        const struct rv_k *
        rv_l(void);
        extern struct rv_m rv_n;
        enum { RV_O = 1 };
    """
    found = declared(text)
    assert found == {"rv_j", "rv_l", "rv_n"}, found


def exported(library):
    output = subprocess.run(["nm", "-D", "--defined-only", library],
                            check=True, capture_output=True, text=True).stdout
    symbols = (line.split() for line in output.splitlines())
    return {symbol[-1].split("@")[0] for symbol in symbols
            if symbol[-2] != "A"}


def check_exports(library, include):
    self_test()
    names = set()
    for header in headers(include):
        with open(os.path.join(include, header), encoding="utf-8") as file:
            names |= declared(file.read())
    found = exported(library)
    for name in sorted(names - found):
        print(f"{name} is declared, and not exported")
    for name in sorted(found - names):
        print(f"{name} is exported, and not declared")
    return len(names & found), len(names ^ found)


def compiles(*command):
    done = subprocess.run(command, text=True, capture_output=True,
                          check=False)
    if done.returncode:
        print(done.stdout + done.stderr)
    return not done.returncode


def plus_plus(compiler):
    """The C++ compiler that belongs to a C compiler; None without one."""
    names = ["clang++", "g++"] if "clang" in compiler[-1] else ["g++",
                                                                "clang++"]
    for name in names:
        path = shutil.which(name)
        if path and not subprocess.run(
                [path, "-x", "c++", "-fsyntax-only", "-"], check=False,
                input="#include <cstddef>\n", text=True,
                capture_output=True).returncode:
            return [path]
    return None


def check_headers(include, *arguments):
    split = arguments.index("--")
    compiler, words = list(arguments[:split]), arguments[split + 1:]
    languages = [(compiler, "c", "c11")]
    second = plus_plus(compiler)
    if second:
        languages.append((second, "c++", "c++17"))
    else:
        print("no C++ compiler here: C alone")
    good = bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for header in headers(include):
            source = os.path.join(folder, "one.c")
            with open(source, "w", encoding="utf-8") as file:
                # Twice, for the guard.
                file.write(f"#include <{header}>\n#include <{header}>\n"
                           "extern int nothing;\n")
            for command, language, standard in languages:
                if compiles(*command, *STRICT, f"-std={standard}", *words,
                            f"-I{include}", "-x", language, source):
                    good += 1
                else:
                    bad += 1
                    print(f"{header} does not compile as {standard}")
    return good, bad


def find(folder, name):
    for path, _, names in os.walk(folder):
        if name in names:
            return path
    raise FileNotFoundError(name)


def check_installed(build, sanitize, *compiler):
    program = os.path.join(os.path.dirname(__file__), "program.c")
    extra = [] if sanitize == "none" else [f"-fsanitize={sanitize}"]
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        subprocess.run(["meson", "install", "--no-rebuild", "-C", build,
                        "--destdir", root], check=True, text=True,
                       stdout=subprocess.DEVNULL)
        environment = dict(os.environ)
        environment["PKG_CONFIG_PATH"] = find(root, "libreeve.pc")
        environment["PKG_CONFIG_SYSROOT_DIR"] = root
        words = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "libreeve"],
            env=environment, check=True, text=True,
            capture_output=True).stdout.split()
        binary = os.path.join(folder, "program")
        source = shutil.copy(program, folder)
        if not compiles(*compiler, "-std=c11", *STRICT[:-1], *extra, source,
                        "-o", binary, *words):
            return 0, 1
        environment["LD_LIBRARY_PATH"] = find(root, "libreeve.so.0")
        done = subprocess.run([binary], env=environment, cwd=folder,
                              text=True, capture_output=True, timeout=60,
                              check=False)
        print(done.stdout + done.stderr, end="")
        good = done.returncode == 0 and done.stdout == "serves\n"
        return int(good), int(not good)


def main(arguments):
    checks = {"exports": check_exports, "headers": check_headers,
              "installed": check_installed}
    if not arguments or arguments[0] not in checks:
        print(__doc__.strip(), file=sys.stderr)
        return 64
    passed, failed = checks[arguments[0]](*arguments[1:])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
