"""A report on the text files of a folder, as a workflow for the unmodified Covalent SDK.

It fans out over as many files as the folder holds (which is known only while it runs, hence a
sublattice), brings the parts together again, and has one branch beside that. It is dispatched twice:
the second time that branch reads a file that does not exist, so it fails, and the rest goes on.
"""

import argparse
import os
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--server", default="http://127.0.0.1:48008", help="address of the server")
parser.add_argument("--folder", default="docs", help="folder to report on")
parser.add_argument("--pattern", default="**/*.md", help="which of its files to read")
options = parser.parse_args()

# Only needed because this server's address is not the SDK's default; must come before the import.
host, _, port = options.server.removeprefix("http://").partition(":")
os.environ["COVALENT_DISPATCHER_ADDR"] = host
os.environ["COVALENT_SVC_PORT"] = port

import covalent as ct  # noqa: E402


@ct.electron
def find(folder, pattern):
    return sorted(str(path) for path in Path(folder).glob(pattern))


@ct.electron
def measure(path):
    text = Path(path).read_text(encoding="utf-8")
    words = text.split()
    longest = max(words, key=len, default="")
    return {"path": path, "lines": text.count("\n"), "words": len(words), "longest": longest}


@ct.electron
@ct.lattice
def measure_all(paths):
    return [measure(path) for path in paths]


@ct.electron
def summarise(measures):
    return {
        "files": len(measures),
        "lines": sum(entry["lines"] for entry in measures),
        "words": sum(entry["words"] for entry in measures),
        "largest": max(measures, key=lambda entry: entry["words"])["path"],
    }


@ct.lattice
def report(folder, pattern, one_more):
    summary = summarise(measure_all(find(folder, pattern)))
    return {"summary": summary, "one more": measure(one_more)}


def run(title, one_more):
    """Dispatches the workflow, waits for it, and returns its result."""
    print(f"{title}")
    started = time.perf_counter()
    dispatch_id = ct.dispatch(report)(str(folder), options.pattern, one_more)
    dispatched = time.perf_counter()
    result = ct.get_result(dispatch_id, wait=True)
    ended = time.perf_counter()
    print(f"   dispatch   {dispatch_id}")
    print(f"   status     {result.status}")
    print(f"   time       {dispatched - started:.2f} s to dispatch, {ended - dispatched:.2f} s until the result was here")
    return result


folder = Path(options.folder).resolve()
files = sum(1 for _ in folder.glob(options.pattern))

good = run(f"A. All is well: {files} files of {options.folder}/, and one more", str(Path("README.md").resolve()))
if str(good.status) != "COMPLETED":
    raise SystemExit(f"A did not complete: {good.error}")
print(f"   result     {good.result['summary']}")
print(f"              {good.result['one more']}")
assert good.result["summary"]["files"] == files, "the report missed a file"

print()
bad = run("B. The same, but the one more does not exist", str(folder / "no-such-page.md"))
print(f"   error      {' | '.join(line.strip() for line in str(bad.error).splitlines() if line.strip())}")
nodes = bad.get_all_node_results()
for node in nodes:
    if str(node["status"]) == "FAILED":
        reason = str(node["error"] or node["stderr"]).strip().splitlines()[-1]
        print(f"   failed     node {node['node_id']} {node['node_name']}: {reason}")
for node in nodes:
    if node["node_name"] == "summarise" and node["output"] is not None:
        print(f"   still done node {node['node_id']} {node['node_name']}: {node['output'].get_deserialized()}")
if str(bad.status) != "FAILED":
    raise SystemExit("B should have failed")
