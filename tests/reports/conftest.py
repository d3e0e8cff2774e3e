"""A check that every page passes."""

import html.parser

import pytest


class Checker(html.parser.HTMLParser):
    """Collects open elements, addresses and tags."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [v for k, v in attrs if k.endswith(("src", "href")) and v]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open = self.open[:-1] if tag not in self.VOID else self.open

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def check_page():
    """Well formed, without scripts, and nothing to fetch."""

    def check(text: str) -> None:
        checker = Checker()
        checker.feed(text)
        assert checker.open == []
        assert [a for a in checker.addresses if not a.startswith(("data:", "#"))] == []
        assert "script" not in checker.tags

    return check
