"""Runs what the book shows.

    python tests/book/check_book.py [PAGE...]

Goes through the pages of `docs/SUMMARY.md`, each in a temporary home of its own, and treats every block of code by its
language:

- `sh`         run by bash; it must succeed (`exit=N` says with which code)
- `console`    lines that begin with `$ ` are run, and what they print must be what the page shows behind them;
               `…` stands for anything, also for whole lines
- `python`     run by the interpreter of this script, with the unmodified SDK
- `rust`       an included example of a crate has to be run by a session of the page; all else has to be on a page whose
               Rust rustdoc runs
- `toml`, `yaml`, `json`   parsed
- `text`       shown; with `output`, it must be what the block before it printed
- `mermaid`    shown

`file=NAME` writes a block into the page's folder first; with `save` it is not run. A block that cannot be run says why:
`not-run="reason"`. The address that the book shows, 127.0.0.1:48008, is replaced by a free one. Ends with the numbers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:  # what pytest reads its own settings with
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILT = Path(os.environ["COV_SERVER_BIN"]).parent
#: What the book shows, and what a reader gets who changes nothing.
SHOWN_ADDRESS = "127.0.0.1:48008"
#: Where pages become doc tests.
DOC_TESTS = ROOT / "crates" / "cov" / "src" / "book.rs"
SECONDS_MAX = 120
SHOWN_LANGUAGES = {"text", "mermaid"}
PARSERS = {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}
FENCE = re.compile(r"^(\s*)(`{3,})\s*(.*?)\s*$")
OPTION = re.compile(r'([a-z-]+)(?:=("[^"]*"|\S+))?')
INCLUDE = re.compile(r"^\{\{#(?:include|rustdoc_include) (\S+?)(?::\S+)?\}\}$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
#: A link whose target stands elsewhere on the page, and such a target.
REFERENCE = re.compile(r"(?<!!)\[[^\]]+\]\[([^\]]+)\]")
TARGET = re.compile(r"^\[([^\]]+)\]:\s+(\S+)")
#: A page that stands outside of the book: all of it, or the part between two marks.
PART = re.compile(r"^\{\{#include (\S+?\.md)(?::(\S+))?\}\}$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$")


class Fault(Exception):
    """What a page shows is not so."""


@dataclass
class Block:
    """One block of code."""

    line: int
    language: str
    options: dict[str, str]
    text: str


@dataclass
class Page:
    """A page, and the folder in which its blocks run."""

    path: Path
    blocks: list[Block]
    links: list[str]
    counts: Counter = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def name(self) -> str:
        return str(self.path.relative_to(DOCS))


def options_of(words: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in OPTION.findall(words)}


def text_of(path: Path) -> str:
    """A page with the texts that it includes."""

    def included(found: re.Match) -> str:
        text = (path.parent / found[1]).read_text()
        if found[2] is None:
            return text
        begin, end = f"<!-- ANCHOR: {found[2]} -->\n", f"<!-- ANCHOR_END: {found[2]} -->\n"
        return text.split(begin)[-1].split(end)[0]

    return PART.sub(included, path.read_text())


def read(path: Path) -> Page:
    """The blocks and links of a page."""
    blocks, links, open_block = [], [], None
    text = text_of(path)
    targets = dict(match.groups() for line in text.splitlines() if (match := TARGET.match(line)))
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if open_block is None and fence:
            language, rest = re.match(r"([^\s,]*)[\s,]*(.*)", fence[3]).groups()
            open_block = (fence[2], len(fence[1]), Block(number, language, options_of(rest), ""))
        elif open_block is not None and fence and fence[2] == open_block[0] and not fence[3]:
            blocks.append(open_block[2])
            open_block = None
        elif open_block is not None:
            open_block[2].text += line[open_block[1] :] + "\n"
        else:
            links += LINK.findall(line)
            links += [targets.get(label, f"[{label}]") for label in REFERENCE.findall(line)]
    page = Page(path, blocks, links)
    if open_block is not None:
        page.faults.append(f"{page.name()}: a block is not closed")
    return page


class Place:
    """A home, an address and an environment for one page."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="cov-book-"))
        self.work = self.root / "work"
        self.work.mkdir()
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        programs = [str(BUILT), str(BUILT / "examples"), str(Path(sys.executable).parent)]
        kept = {name: os.environ[name] for name in ("LANG", "TERM", "TMPDIR") if name in os.environ}
        self.environment = {
            **kept,
            "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
            "HOME": str(self.root / "home"),
            "NO_COLOR": "1",
            "COV_LISTEN": self.address,
            "COV_PYTHON": sys.executable,
            "COV_SERVER": f"http://{self.address}",
            "COV_ADDRESS": f"http://{self.address}",
            "COVALENT_SVC_PORT": str(port),
            "COVALENT_CONFIG_DIR": str(self.root / "config"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        Path(self.environment["HOME"]).mkdir()

    def text(self, text: str) -> str:
        return text.replace(SHOWN_ADDRESS, self.address)

    def run(self, command: list[str], code: int | None = 0) -> str:
        """What a program prints, with the address that the book shows."""
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        printed = done.stdout.replace(self.address, SHOWN_ADDRESS)
        if code is not None and done.returncode != code:
            raise Fault(f"exit code {done.returncode}, not {code}:\n{printed}")
        return printed

    def bash(self, text: str, code: int | None = 0) -> str:
        return self.run(["bash", "-eo", "pipefail", "-c", self.text(text)], code)

    def end(self) -> None:
        subprocess.run(
            [BUILT / "cov", "stop", "--now"],
            cwd=self.work,
            env={**self.environment, "COV_SERVER": ""},
            capture_output=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        shutil.rmtree(self.root, ignore_errors=True)


def matches(shown: str, printed: str) -> bool:
    """Whether a page's output is what was printed; `…` stands for anything."""
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    pattern = "\n".join(".*?".join(re.escape(part) for part in line.split("…")) for line in lines)
    printed = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def compare(shown: str, printed: str) -> None:
    if not matches(shown, printed):
        raise Fault(f"the page shows\n{shown}\nbut this was printed:\n{printed}")


def console(place: Place, block: Block) -> str:
    """Runs the commands of a session one by one."""
    code = int(block.options["exit"]) if "exit" in block.options else 0
    sessions = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if sessions[0].strip() or len(sessions) < 2:
        raise Fault("a console block begins with `$ `")
    for number, session in enumerate(sessions[1:], 2):
        command, _, shown = session.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command += "\n" + more
        printed = place.bash(command, code if number == len(sessions) else 0)
        compare(shown, printed)
    return ""


def rust(page: Page, block: Block) -> str:
    """Makes sure that somebody runs the block: rustdoc, or a session of the page that calls the example."""
    included = INCLUDE.search(block.text)
    if included is None:
        relative = os.path.relpath(page.path, DOC_TESTS.parent)
        if not DOC_TESTS.exists() or f'include_str!("{relative}")' not in DOC_TESTS.read_text():
            raise Fault(f"{DOC_TESTS.relative_to(ROOT)} does not include this page")
        return "rust"
    source = (page.path.parent / included[1]).resolve()
    if source.parent.name != "examples" or not (BUILT / "examples" / source.stem).exists():
        raise Fault(f"{included[1]} is no example that was built")
    calls = (other.text for other in page.blocks if other.language in ("sh", "console"))
    if not any(source.stem in text for text in calls):
        raise Fault(f"no session of this page runs {source.stem}")
    return "rust"


def check_block(place: Place, page: Page, block: Block, before: str) -> tuple[str, str]:
    """Returns what is counted, and what was printed."""
    options = block.options
    if "not-run" in options:
        if len(options["not-run"]) < 5:
            raise Fault("`not-run` gives a reason")
        page.reasons.append(f"{page.name()}:{block.line}: {options['not-run']}")
        return "not run", ""
    if name := options.get("file"):
        target = place.work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(place.text(block.text))
    if "save" in options:
        return "saved", ""
    if block.language in PARSERS:
        PARSERS[block.language](block.text)
        return block.language, ""
    if block.language in SHOWN_LANGUAGES:
        if "output" in options:
            compare(block.text, before)
            return "output", before
        return "shown", before
    code = int(options.get("exit", 0))
    if block.language == "sh":
        return "sh", place.bash(block.text, code)
    if block.language == "console":
        return "console", console(place, block)
    if block.language == "python":
        script = place.work / options.get("file", f"block_{block.line}.py")
        script.write_text(place.text(block.text))
        return "python", place.run([sys.executable, str(script)], code)
    if block.language == "rust":
        return rust(page, block), before
    raise Fault(f"the language `{block.language}` is not known here")


def headings(path: Path) -> set[str]:
    """The names by which mdBook has the headings of a page."""
    names, fenced = set(), False
    for line in text_of(path).splitlines():
        fenced ^= FENCE.match(line) is not None
        found = None if fenced else HEADING.match(line)
        if found:
            text = LINK.sub(lambda link: link[0].split("]")[0], found[1]).lower()
            kept = "".join(letter for letter in text if letter.isalnum() or letter in "-_ ")
            names.add(kept.replace(" ", "-"))
    return names


def check_links(page: Page) -> None:
    for link in page.links:
        if "://" in link:
            continue
        target, _, heading = link.partition("#")
        found = (page.path.parent / target).resolve() if target else page.path
        is_there = found.is_relative_to(DOCS) and found.exists()
        if is_there and heading and found.suffix == ".md":
            is_there = heading in headings(found)
        if not is_there:
            page.faults.append(f"{page.name()}: the link {link} leads nowhere in the book")


def check(page: Page) -> None:
    check_links(page)
    if not page.blocks:
        return
    place, before = Place(), ""
    try:
        for block in page.blocks:
            try:
                counted, before = check_block(place, page, block, before)
                page.counts[counted] += 1
            except Exception as error:  # every fault of a page is told, whatever it is
                page.faults.append(f"{page.name()}:{block.line}: {block.language}: {error}")
                break
    finally:
        place.end()


def pages() -> list[Path]:
    """The pages of the book, in order."""
    listed = [DOCS / link for link in LINK.findall((DOCS / "SUMMARY.md").read_text())]
    missing = [str(path) for path in listed if not path.is_file()]
    there = {path for path in DOCS.rglob("*.md") if path.name not in ("SUMMARY.md", "0000-template.md")}
    unlisted = [str(path.relative_to(DOCS)) for path in sorted(there - set(listed))]
    if missing or unlisted:
        raise SystemExit(f"SUMMARY.md: not there: {missing}; not listed: {unlisted}")
    return listed


def main() -> int:
    wanted = [(DOCS / name).resolve() for name in sys.argv[1:]]
    counts, reasons, faults, total = Counter(), [], [], 0
    for path in pages():
        if wanted and path not in wanted:
            continue
        page = read(path)
        check(page)
        total += 1
        counts += page.counts
        reasons += page.reasons
        faults += page.faults
    for reason in reasons:
        print(f"not run: {reason}")
    for fault in faults:
        print(f"FAULT {fault}")
    quiet = {"not run", "shown", "saved"}
    run = sum(number for kind, number in counts.items() if kind not in quiet)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()) if kind not in quiet)
    print(f"book: {total} pages, {run} blocks run ({kinds}), {counts['not run']} not run with a reason, "
          f"{counts['shown']} shown as text")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
