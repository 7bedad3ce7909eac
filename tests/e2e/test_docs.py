"""What the documentation says: every block of code is run or checked, every link leads somewhere."""

from pathlib import Path

import pytest
from support.docs import Block, Runner, blocks, broken_links, pages
from support.server import REPOSITORY


def name(page: Path) -> str:
    """What a page is called on the command line."""
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page)], ids=name)
def test_what_a_page_says_works(page: Path) -> None:
    """Every block does what the words behind its language say."""
    found = blocks(page)
    runner = Runner()
    try:
        for block, following in zip(found, [*found[1:], None], strict=True):
            runner.run(block, output_of(following, block))
    finally:
        runner.stop()


def output_of(block: Block | None, before: Block) -> str | None:
    """What the block before has to print, if this one says so."""
    if block is None or "output" not in block.words:
        return None
    assert "run" in before.words, f"{block}: an output stands behind a block that is run"
    return block.text


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings that a page names are there."""
    assert broken_links(page) == []
