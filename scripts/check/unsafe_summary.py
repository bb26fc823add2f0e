"""Count the unsafe code of lora-slim and of the crates that its program is made of.

    python scripts/check/unsafe_summary.py [--all-features]

A reader's estimate, as cargo-geiger gives one: source is searched, not compiled, so code for other processors and
systems counts, too, and what macros make does not. Tests, benchmarks and build scripts are left out. A line counts if
it lies in an unsafe block or in the body of an unsafe function.
"""

import argparse
import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PLATFORM = "x86_64-unknown-linux-gnu"
OWN = "lora-slim"
MOST_SHOWN = 12
LEFT_OUT = {"tests", "benches", "examples", "build.rs"}

# What may hold the word without being code. A lifetime is no character.
NO_CODE = re.compile(
    r"""//[^\n]*
    | /\*.*?\*/
    | b?r(?P<hashes>\#*)".*?"(?P=hashes)
    | b?"(?:\\.|[^"\\])*"
    | b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\])'""",
    re.VERBOSE | re.DOTALL,
)
UNSAFE = re.compile(r"\bunsafe\s+(?:extern\s+)?(?P<what>\{|fn\b|impl\b|trait\b|extern\b)|\bunsafe\s*(?P<block>\{)")
FORBIDS = re.compile(r"#!\[\s*(?:forbid|deny)\s*\([^)]*\bunsafe_code\b")


@dataclass
class Unsafe:
    """What one crate has."""

    blocks: int = 0
    functions: int = 0
    others: int = 0  # impl, trait, extern
    lines: int = 0
    forbids: bool = False
    files: Counter = field(default_factory=Counter)  # blocks and functions of each file

    @property
    def any(self) -> bool:
        return bool(self.blocks or self.functions or self.others)


def without_texts(source: str) -> str:
    """The code alone, with the same line breaks."""
    return NO_CODE.sub(lambda match: "\n" * match[0].count("\n") or " ", source)


def end_of_block(code: str, start: int) -> int:
    """The place of the brace that closes the one at `start`."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(code, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return len(code)


def search(folder: Path) -> Unsafe:
    found = Unsafe()
    for path in sorted(folder.rglob("*.rs")):
        if LEFT_OUT & set(path.relative_to(folder).parts):
            continue
        code = without_texts(path.read_text(errors="replace"))
        found.forbids |= bool(FORBIDS.search(code))
        lines: set[int] = set()
        for match in UNSAFE.finditer(code):
            what = match["what"] or "{"
            if what not in ("{", "fn"):
                found.others += 1
                continue
            if what == "fn":
                # A declaration has no body; a type of functions has neither.
                ending = re.compile(r"[{;]").search(code, match.end())
                name = re.match(r"\s*\w+", code[match.end() :])
                if not name or not ending:
                    continue
                found.functions += 1
                start = ending.start() if ending[0] == "{" else None
            else:
                found.blocks += 1
                start = match.end() - 1
            found.files[str(path.relative_to(folder))] += 1
            if start is not None:
                first, last = code.count("\n", 0, start), code.count("\n", 0, end_of_block(code, start))
                lines |= set(range(first, last + 1))
        found.lines += len(lines)
    return found


def crates(more: list[str]) -> list[dict]:
    """The packages that the program is linked from: no build scripts, no macros, no tests."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM, *more]
    metadata = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    is_macro = {id: any("proc-macro" in t["kind"] for t in package["targets"]) for id, package in packages.items()}
    waiting, reached = [metadata["resolve"]["root"]], set()
    while waiting:
        id = waiting.pop()
        if id in reached or is_macro[id]:
            continue
        reached.add(id)
        waiting += [
            dependency["pkg"]
            for dependency in nodes[id]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
    return sorted((packages[id] for id in reached), key=lambda package: package["name"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all-features", action="store_true")
    more = ["--all-features"] if parser.parse_args().all_features else []
    found = {
        f"{package['name']} {package['version']}": search(Path(package["manifest_path"]).parent / "src")
        for package in crates(more)
    }
    own = next(name for name in found if name.startswith(f"{OWN} "))
    others = {name: crate for name, crate in found.items() if name != own}
    unsafe = {name: crate for name, crate in others.items() if crate.any}
    forbidding = [name for name, crate in others.items() if crate.forbids and not crate.any]
    print(f"{len(others)} crates below {own}: {len(unsafe)} have unsafe code, {len(forbidding)} forbid it")
    totals = [sum(getattr(crate, count) for crate in unsafe.values()) for count in ("blocks", "functions", "lines")]
    print("in all {} unsafe blocks, {} unsafe functions, about {} lines; most of it in".format(*totals))
    for name, crate in sorted(unsafe.items(), key=lambda item: -item[1].lines)[:MOST_SHOWN]:
        print(f"  {name}: {crate.blocks} blocks, {crate.functions} functions, {crate.lines} lines")
    mine = found[own]
    print(f"{own}: {mine.blocks} blocks, {mine.functions} functions, {mine.others} others, {mine.lines} lines, in")
    for file, count in sorted(mine.files.items()):
        print(f"  src/{file}: {count}")


if __name__ == "__main__":
    main()
