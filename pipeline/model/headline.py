"""What became of a decision, said first wherever the decision is told: its page, its text, the registered version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Literal, get_args

Word = Literal["promoted", "approved", "waiting", "refused", "taken back", "rolled back", "superseded"]

_OPEN, _CLOSE = "<!-- outcome -->", "<!-- /outcome -->"
_BLOCK = re.compile(f"{_OPEN}.*?{_CLOSE}", re.DOTALL)
_LINE = re.compile(rf"\A\*\*({'|'.join(word.capitalize() for word in get_args(Word))})\*\* [^\n]*\n\n")


@dataclass(frozen=True)
class Headline:
    """One line for a person who reads nothing else.

    Attributes:
        word: what it came to.
        stamp: when and by whom; goes on after the word.
        why: empty where there is nothing more to say.
    """

    word: Word
    stamp: str
    why: str = ""

    @property
    def title(self) -> str:
        return self.word.capitalize()

    @property
    def told(self) -> str:
        return f"{self.stamp}: {self.why}" if self.why else self.stamp


def head(kind: str, title: str, told: str = "") -> str:
    """Returns how a decision's page begins, up to the middle of its header; `on_page` may replace it.

    Args:
        kind: a class of the page's style, such as `pass` or `promoted`.
    """
    said = f"<p>{escape(told)}</p>" if told else ""
    return f'{_OPEN}<header class="verdict {kind.replace(" ", "-")}"><h1>{escape(title)}</h1>{said}{_CLOSE}'


def on_page(html: str, headline: Headline) -> str:
    """Returns the page with what became of the decision as its head, and why, unless the advice below says so."""
    known = escape(headline.why) in _BLOCK.sub("", html)
    told = headline.stamp if known else headline.told
    return _BLOCK.sub(lambda _: head(headline.word, headline.title, told), html, count=1)


def in_text(markdown: str, headline: Headline) -> str:
    """Returns the text with what became of the decision as its first line, in place of what was said there before."""
    return f"**{headline.title}** {headline.told}\n\n{_LINE.sub('', markdown)}"
