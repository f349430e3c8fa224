"""A report as a reader sees it."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a reader sees: the table of numbers, the lists, the facts, the hover texts, and every attribute."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.source = file.read_text()
        self.table: dict[str, dict[str, str]] = {}
        self.lists: dict[str, list[str]] = {}
        self.facts: dict[str, str] = {}
        self.tips: list[str] = []
        self._columns: list[str] = []
        self._place, self._row, self._into = "", "", ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._place = given.get("id") or self._place
        self.tips += [given["data-tip"] or ""] if "data-tip" in given else []
        if tag in ("th", "li", "dd"):
            self._into = given.get("scope") or tag
        if tag == "li":
            self.lists.setdefault(self._place, []).append("")
        if tag == "dd":
            self._row = str(given.get("data-fact"))
        if tag == "td" and self._place == "numbers":
            cells = self.table[self._row]
            cells[self._columns[len(cells) + 1]] = given.get("data-value") or "-"

    def handle_endtag(self, tag: str) -> None:
        self._into = "" if tag in ("th", "li", "dd") else self._into

    def handle_data(self, data: str) -> None:
        if self._into == "li":
            self.lists[self._place][-1] += data
        elif self._into == "dd":
            self.facts[self._row] = data
        elif self._place == "numbers" and self._into == "col":
            self._columns.append(data)
        elif self._place == "numbers" and self._into == "row":
            self._row = data
            self.table[data] = {}
