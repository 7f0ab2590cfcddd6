"""The judge of the kill ledger, with accounts made up: it must see every fault, and no other."""

from judge import Entry, Killed, Seen, judge, read_ledger, repeated_by_kills

EXPECTED = {"chain": {"n0", "n2"}}


def manifest(status="COMPLETED", output="a", node_status="COMPLETED", nodes=(0, 2)):
    rows = [
        {"id": n, "metadata": {"status": node_status}, "assets": {"output": {"digest": output}}}
        for n in nodes
    ]
    return {"metadata": {"status": status}, "lattice": {"transport_graph": {"nodes": rows}}}


def run_of(*keys, at=101.0):
    return [Entry(key, what, at + late) for key in keys for what, late in (("begin", 0.0), ("end", 0.1))]


def complete():
    seen = Seen("chain", "t", 100.0)
    seen.show(manifest("RUNNING", nodes=()), 100.5)
    seen.show(manifest(), 102.0)
    return seen


def faults(seen, own, kills=()):
    report = judge({"d": seen}, {"t": list(own)}, list(kills), EXPECTED, now=200.0)
    return {kind: cases for kind, cases in report.items() if cases}


def test_a_clean_run_has_no_fault():
    assert faults(complete(), run_of("n0", "n2")) == {}


def test_a_key_without_an_end_is_lost():
    own = [*run_of("n0"), Entry("n2", "begin", 101.5)]
    assert faults(complete(), own) == {"lost": ["d (chain, t): COMPLETED, missing ['n2']"]}


def test_a_dispatch_that_failed_is_lost():
    seen = Seen("chain", "t", 100.0)
    seen.show(manifest("FAILED"), 102.0)
    assert list(faults(seen, run_of("n0", "n2"))) == ["lost"]


def test_a_dispatch_that_is_gone_is_lost_and_overwritten():
    seen = complete()
    seen.is_gone(103.0)
    seen.is_gone(103.1)
    assert faults(seen, run_of("n0", "n2")) == {"overwritten": ["d (chain, t): the dispatch is gone"]}
    unfinished = Seen("chain", "t", 100.0)
    unfinished.is_gone(103.0)
    assert set(faults(unfinished, run_of("n0"))) == {"lost", "overwritten"}


def test_a_dispatch_without_an_end_is_stuck():
    seen = Seen("chain", "t", 100.0)
    seen.show(manifest("RUNNING", nodes=()), 101.0)
    assert faults(seen, run_of("n0")) == {"stuck": ["d (chain, t): RUNNING"]}


def test_more_begins_than_kills_explain():
    own = [*run_of("n0", at=100.5), *run_of("n0", "n2")]
    assert faults(complete(), own) == {"repeated": ["d (chain, t): n0 began 2 times, 0 kills"]}
    assert faults(complete(), own, [Killed(100.8, "server")]) == {}
    assert list(faults(complete(), own, [Killed(103.0, "server")])) == ["repeated"]
    assert list(faults(complete(), own, [Killed(90.0, "server")])) == ["repeated"]


def test_a_begin_after_it_was_shown_completed():
    """No number of kills explains that."""
    kills = [Killed(at, "server") for at in (101.5, 102.5, 103.0)]
    again = faults(complete(), [*run_of("n0", "n2"), Entry("n0", "begin", 102.6)], kills)
    assert again == {"repeated": ["d (chain, t): n0 began 0.600 s after it had been shown COMPLETED"]}
    before = faults(complete(), [*run_of("n0", "n2"), Entry("n0", "begin", 101.9)], kills)
    assert before == {}


def test_a_begin_below_a_sub_lattice_after_it_was_shown_completed():
    seen = complete()
    seen.show_nodes("s", manifest(nodes=(5,)), 101.0)
    own = [*run_of("n0", "n2"), Entry("s5", "begin", 100.5), Entry("s5", "begin", 101.5)]
    found = faults(seen, own, [Killed(101.2, "server")])
    assert found == {"repeated": ["d (chain, t): s5 began 0.500 s after it had been shown COMPLETED"]}


def test_a_terminal_status_that_changes():
    seen = complete()
    seen.show(manifest("FAILED"), 103.0)
    assert set(faults(seen, run_of("n0", "n2"))) == {"overwritten", "lost"}


def test_an_output_that_changes():
    seen = complete()
    seen.show(manifest(output="b", nodes=(2,)), 103.0)
    assert faults(seen, run_of("n0", "n2")) == {"overwritten": ["d (chain, t): the output of n2 changed"]}


def test_a_completed_node_that_is_no_longer():
    seen = complete()
    seen.show(manifest(node_status="RUNNING", nodes=(0,)), 103.0)
    found = faults(seen, run_of("n0", "n2"))
    assert found == {"overwritten": ["d (chain, t): n0 was COMPLETED, and became RUNNING"]}


def test_the_ledger_is_read_by_tag(tmp_path):
    path = tmp_path / "ledger"
    path.write_text("t n0 begin 1.5\nu n0 begin 2.0\nt n0 end 2.5\nt n0 begin 3.0\n")
    ledger = read_ledger(path)
    assert ledger["t"] == [Entry("n0", "begin", 1.5), Entry("n0", "end", 2.5), Entry("n0", "begin", 3.0)]
    assert ledger["u"] == [Entry("n0", "begin", 2.0)]
    assert repeated_by_kills(ledger) == 1
