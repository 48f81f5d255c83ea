#!/usr/bin/env python3
"""Makes a program that was built for glibc 2.38 and libstdc++ 13 start on older systems.

usage: old_glibc.py PROGRAM FOLDER

The suite's runner is only published as such a program, and Debian 12 and Ubuntu 22.04 are older. Of what it
asks for, five symbols are really missing there; the rest is a version number in its list of requirements.
FOLDER gets a copy of the program in which those numbers are marked weak, which the loader takes for a warning,
and a library with the five symbols. What is printed starts the copy. Where the program starts anyway, it is
copied as it is. Needs a C++ compiler.
"""
import pathlib
import shutil
import struct
import subprocess
import sys

TOO_NEW = {b"GLIBC_2.37", b"GLIBC_2.38", b"GLIBCXX_3.4.31", b"GLIBCXX_3.4.32"}

MISSING = r"""
#include <cstdlib>
#include <ios>

// libstdc++ 13 sets up its streams once; programs built for it don't do so by themselves.
static std::ios_base::Init streams;

extern "C" {
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }
void _ZSt21ios_base_library_initv() {}
}
"""

VERSION_NEEDS = 0x6FFFFFFE  # SHT_GNU_verneed
WEAK = 2  # VER_FLG_WEAK


def sections(elf):
    """(type, offset, size, link, info) of each section of a 64-bit little-endian program."""
    start, = struct.unpack_from("<Q", elf, 40)
    size, count = struct.unpack_from("<HH", elf, 58)
    for at in range(start, start + size * count, size):
        _, kind, _, _, offset, length, link, info, _, _ = struct.unpack_from("<IIQQQQIIQQ", elf, at)
        yield kind, offset, length, link, info


def weaken(elf):
    """Marks each requirement of a version in TOO_NEW as weak, in place."""
    if elf[:6] != b"\x7fELF\x02\x01":
        sys.exit("old_glibc.py: not a 64-bit little-endian program")
    table = list(sections(elf))
    for kind, library, _, link, libraries in table:
        if kind != VERSION_NEEDS:
            continue
        names = table[link][1]
        for _ in range(libraries):
            _, versions, _, first, next_library = struct.unpack_from("<HHIII", elf, library)
            entry = library + first
            for _ in range(versions):
                _, flags, _, name, next_entry = struct.unpack_from("<IHHII", elf, entry)
                end = elf.index(b"\0", names + name)
                if bytes(elf[names + name:end]) in TOO_NEW:
                    struct.pack_into("<H", elf, entry + 4, flags | WEAK)
                entry += next_entry
            library += next_library


def main():
    program, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / program.name
    tried = subprocess.run([program, "--help"], capture_output=True, check=False)
    if b"not found (required by" not in tried.stderr:
        shutil.copy2(program, copy)
        print(copy)
        return
    elf = bytearray(program.read_bytes())
    weaken(elf)
    copy.write_bytes(elf)
    copy.chmod(0o755)
    library = folder / "missing.so"
    compiler = ["c++", "-x", "c++", "-O2", "-shared", "-fPIC", "-o", library, "-"]
    subprocess.run(compiler, input=MISSING.encode(), check=True)
    print(f"env LD_PRELOAD={library} {copy}")


main()
