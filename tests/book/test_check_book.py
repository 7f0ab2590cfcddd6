"""The checker of the book finds what is wrong with a page."""

import check_book
import pytest


@pytest.fixture()
def book(tmp_path, monkeypatch):
    monkeypatch.setattr(check_book, "DOCS", tmp_path)

    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "part.md").write_text(
        "[of the other folder](other.md)\n<!-- ANCHOR: part -->\n[one][one]\n<!-- ANCHOR_END: part -->\n"
    )

    def checked(text):
        path = tmp_path / "page.md"
        path.write_text(text)
        page = check_book.read(path)
        check_book.check(page)
        return page

    return checked


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nfalse\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```console\necho one\n```\n",
        "```python\nraise SystemExit(1)\n```\n",
        "```sh\necho one\n```\n```text output\ntwo\n```\n",
        "```toml\na =\n```\n",
        "```json\n{]\n```\n",
        "```yaml\na: [\n```\n",
        "```cobol\nSTOP RUN.\n```\n",
        "```\nno language\n```\n",
        '```sh not-run=""\nfalse\n```\n',
        "```rust\nfn main() {}\n```\n",
        "[nowhere](nowhere.md)\n",
        "[nowhere][label]\n",
        "[nowhere][label]\n\n[label]: nowhere.md\n",
        "# Here\n[there](page.md#there)\n",
        "{{#include outside/part.md}}\n\n[one]: page.md\n",
        "```sh\nnever closed\n",
    ],
)
def test_a_fault_is_found(book, text):
    assert len(book(text).faults) == 1


def test_what_is_right_is_counted(book):
    page = book(
        "```sh file=a.sh save\necho saved\n```\n```console\n$ cat a.sh; echo 127.0.0.1:48008\n…saved\n…:48008\n```\n"
        "```python\nprint(40 + 2)\n```\n```text output\n42\n```\n```sh exit=3\nexit 3\n```\n"
        '```sh not-run="it needs a moon, a full one"\nfalse\n```\n```toml\na = 1\n```\n```text\nanything\n```\n'
    )
    assert page.faults == []
    assert page.counts == {
        "saved": 1, "console": 1, "python": 1, "output": 1, "sh": 1, "not run": 1, "toml": 1, "shown": 1,
    }  # fmt: skip
    assert page.reasons == ["page.md:18: it needs a moon, a full one"]


def test_a_part_of_another_page_has_links_of_its_new_place(book):
    page = book("# One `thing`, twice\n{{#include outside/part.md:part}}\n\n[one]: page.md#one-thing-twice\n")
    assert (page.faults, page.links) == ([], ["page.md#one-thing-twice"])


def test_an_ellipsis_stands_for_anything():
    assert check_book.matches("a … c\n…\nz", "a b c\nd\ne\nz")
    assert not check_book.matches("a … c", "a b d")


def test_fences_of_four_hold_fences_of_three(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("````text\n```sh\nfalse\n```\n````\n")
    assert [block.language for block in check_book.read(path).blocks] == ["text"]
