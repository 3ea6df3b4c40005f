#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Read a manual page's source.

    manual.py PAGE synopsis          one line a synopsis
    manual.py PAGE entries SECTION   TAG <tab> TEXT, one line a tagged paragraph; .TQ: the tag alone
    manual.py PAGE bold SECTION TAG  every bold word of that paragraph
SECTION is a head or a subhead.
"""
import re
import shlex
import sys

BOLD = {".B": (0, 1), ".BR": (0,), ".BI": (0,), ".RB": (1,), ".IB": (1,)}


def plain(text):
    text = re.sub(r"\\f[A-Z]|\\c|\\&", "", text)
    return text.replace("\\(aq", "'").replace("\\(ga", "`").replace("\\-", "-").replace("\\e", "\\")


def arguments(line):
    """The macro's name and its arguments; the backslash is troff's, not the shell's."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.quotes, lexer.commenters = True, "", '"', ""
    name, *rest = list(lexer)
    return name, [plain(one) for one in rest]


def words(line):
    """What a line prints."""
    if not line.startswith("."):
        return plain(line)
    name, rest = arguments(line)
    return ("" if name in (".BR", ".BI", ".RB", ".RI", ".IB", ".IR") else " ").join(rest)


def section(lines, head):
    inside = False
    for line in lines:
        if line.startswith((".SH", ".SS")):
            inside = words(line) == head
        elif inside:
            yield line


def entries(lines, head):
    """Lists of the source lines of each tagged paragraph, the tag first."""
    found = []
    for line in section(lines, head):
        if line in (".TP", ".TQ"):
            found.append([])
        elif line in (".PP", ".nf", ".fi"):
            found.append(None)
        elif found and found[-1] is not None:
            found[-1].append(line)
    return [one for one in found if one]


def text_of(lines):
    return " ".join(words(line) for line in lines if line not in (".br", ".IP"))


def main():
    page, what, *rest = sys.argv[1:]
    with open(page, encoding="utf-8") as file:
        lines = [line for line in file.read().split("\n") if not line.startswith('.\\"')]
    if what == "synopsis":
        for block in re.findall(r"^\.SY (.*?)^\.YS", "\n".join(lines), re.M | re.S):
            print(text_of([".SY " + block.split("\n")[0]] + block.rstrip().split("\n")[1:]))
    elif what == "entries":
        for tag, *body in entries(lines, rest[0]):
            print(f"{words(tag)}\t{text_of(body)}")
    else:
        for tag, *body in entries(lines, rest[0]):
            for line in body if words(tag) == rest[1] else []:
                name, found = arguments(line) if line.startswith(".") else ("", [])
                for index, word in enumerate(found):
                    if index % 2 in BOLD.get(name, ()):
                        print(word)


main()
