"""Measures the structure of the source tree; needs no package.

    python scripts/check/structure.py [ROOT]

It reads `use` lines and paths from `crate`, outside of `#[cfg(test)]`, and follows re-exports to the file that defines
a name. It prints sizes, circles of files, circles of top-level modules and pairs that import each other, type names
with several definitions, and functions with more than five parameters or with a tuple as a parameter. It fails if a
circle has more than three files or if top-level modules form a circle: without one the modules have an order, and no
import goes up.
"""

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

USE = re.compile(r"^( *)(pub(?:\([a-z ]+\))? )?use (\w+::.*?);", re.M | re.S)
INLINE = re.compile(r"\bcrate(?:::[a-z_0-9]+)+")
TYPE = re.compile(r"^\s*(?:pub(?:\([a-z]+\))? )?(?:struct|enum|trait|type) ([A-Z]\w*)", re.M)
FUNCTION = re.compile(r"\bfn (\w+)\s*(?:<(?:[^()<>]|->|<[^<>]*>)*>)?\(")
SELF = re.compile(r"&?\s*('\w+ )?(mut )?self")
ASSOCIATED = {"Err", "Error", "Item", "Output", "Result", "Target", "Value"}


def without_tests(text):
    """The text without comments and without the items below `#[cfg(test)]`."""
    text = re.sub(r"//[^\n]*", "", text)
    lines, skipped_to = [], None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if skipped_to is None and line.strip().startswith("#[cfg(test)]"):
            skipped_to = indent
        elif skipped_to is None:
            lines.append(line)
        elif indent == skipped_to and line.rstrip().endswith(("}", ";")):
            skipped_to = None
    return "\n".join(lines)


def split(text):
    """What stands between commas, up to a parenthesis that closes more than the text opened."""
    depth, parts = 0, [""]
    for letter in text.replace("->", ""):
        depth += (letter in "([<{") - (letter in ")]>}")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def leaves(tree):
    """The paths of a `use` tree: `a::{b, c::d}` gives `a::b` and `a::c::d`."""
    head, brace, rest = tree.partition("{")
    if not brace:
        return [tree.split(" as ")[0].strip()]
    return [head.strip() + leaf for part in split(rest[: rest.rindex("}")]) for leaf in leaves(part)]


def module_of(file, src):
    parts = file.relative_to(src).with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts


def absolute(path, module):
    """A path as a tuple of names from the root of the crate."""
    first, *names = path.split("::")
    known = {"crate": (), "self": module, "super": module[:-1]}
    at = known.get(first, (*module, first))
    while names and names[0] == "super":
        at, names = at[:-1], names[1:]
    return (*at, *names)


def resolve(path, files, exports):
    """The module whose file defines what a path names, behind any re-exports."""
    while True:
        target = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in files), None)
        name = path[len(target) : len(target) + 1] if target else ()
        if not name or (*target, *name) not in exports:
            return target
        path = exports[(*target, *name)]


def circles(graph):
    """The strongly connected components with more than one file (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            place = stack.index(node)
            found.append(sorted(stack[place:]))
            del stack[place:]

    sys.setrecursionlimit(10_000)
    for node in sorted({*graph, *(other for others in graph.values() for other in others)}):
        if node not in index:
            visit(node)
    return sorted((c for c in found if len(c) > 1), key=len, reverse=True)


def main(root):
    src = root / "src"
    texts = {file: without_tests(file.read_text()) for file in sorted(src.rglob("*.rs"))}
    files = {module_of(file, src): file.relative_to(src).as_posix() for file in texts if file.name != "main.rs"}
    exports = {}
    for file, text in texts.items():
        module = module_of(file, src)
        for leaf in (leaf for _, public, tree in USE.findall(text) if public for leaf in leaves(tree)):
            path = absolute(leaf, module)
            exports[(*module, path[-1])] = path
    graph, arrows, types, long = defaultdict(set), set(), Counter(), []
    for file, text in texts.items():
        module, name = module_of(file, src), file.relative_to(src).as_posix()
        # In an inline module, `super` is the file's own module.
        inside = [
            re.sub("^super", "self", tree) if indent else tree
            for indent, public, tree in USE.findall(text)
            if not public
        ]
        paths = [leaf for tree in inside for leaf in leaves(tree)]
        for path in [*paths, *INLINE.findall(text)]:
            target = resolve(absolute(path, module), files, exports)
            if target and files[target] != name:
                graph[name] |= {files[target]}
                arrows |= {(module[:1], target[:1])}
        types.update(name for name in TYPE.findall(text) if name not in ASSOCIATED)
        for function in FUNCTION.finditer(text):
            listed = [part for part in split(text[function.end() :]) if not SELF.fullmatch(part)]
            if len(listed) > 5 or any(p.startswith("(") for p in listed):
                long.append(f"{name}: {function[1]} ({len(listed)})")
    sizes = {"src": src.rglob("*.rs"), "tests": (root / "tests").rglob("*.rs")}
    sizes["scripts"] = [f for f in (root / "scripts").rglob("*") if f.suffix in (".py", ".sh")]
    lines = {name: sum(len(file.read_text().splitlines()) for file in group) for name, group in sizes.items()}
    print(f"{len(texts)} files;", ", ".join(f"{name} {count}" for name, count in lines.items()), "lines")
    rings = circles(graph)
    mutual = sorted(f"{a[0]} ↔ {b[0]}" for a, b in arrows if a and b and a < b and (b, a) in arrows)
    modules = defaultdict(set)
    for a, b in arrows:
        if a and b and a != b:
            modules[a[0]].add(b[0])
    upward = [", ".join(ring) for ring in circles(modules)]
    twice = sorted(name for name, count in types.items() if count > 1)
    rows = {"circles": [f"{len(c)} files: {', '.join(c)}" for c in rings]}
    rows |= {"circles of modules": upward, "mutual pairs": mutual}
    rows |= {"type names defined twice": twice, "more than five parameters, or tuples": long}
    for title, found in rows.items():
        print(f"{title}: {len(found)}", *found, sep="\n  ")
    return bool(upward) or any(len(ring) > 3 for ring in rings)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
