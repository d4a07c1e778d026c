"""Code blocks and quoted messages of the documents."""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from tests.support.paths import REPOSITORY

DOCUMENTS = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
GAP = "…"  # stands for what a message fills in, in documents as here
SETTING = re.compile(r"\w+=")
FILLED_IN = re.compile(r"%[sdr]")


class Command(NamedTuple):
    """A command of a shell.

    Attributes:
        settings: What stands before it, such as ``NAME=value``.
        words: The program and its arguments.
    """

    settings: list[str]
    words: list[str]


class Block(NamedTuple):
    """A code block.

    Attributes:
        document: The file.
        line: Its first line there.
        language: As the fence names it; ``shell`` of indented blocks, which have no fence.
        text: What is in it.
    """

    document: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.document.relative_to(REPOSITORY)}:{self.line}"

    @property
    def commands(self) -> list[Command]:
        """The commands, where it is a shell's."""
        lines = [shlex.split(line, comments=True) for line in self.text.replace("\\\n", " ").splitlines()]
        settings = [list(takewhile(SETTING.match, words)) for words in lines]
        return [Command(given, words[len(given) :]) for given, words in zip(settings, lines) if words]


def blocks_of(document: Path) -> list[Block]:
    """List a document's code blocks, fenced and indented ones, also those in lists."""
    found = []
    for token in MarkdownIt().parse(document.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"} and token.map is not None:
            named = token.info.split()[:1] if token.type == "fence" else ["shell"]
            found.append(Block(document, token.map[0] + 1, "".join(named), token.content))
    return found


def quoted_messages(document: Path) -> list[str]:
    """List what the first column of a document's tables has in backquotes."""
    rows = re.findall(r"^\| (.*?) \| ", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [message for row in rows for message in re.findall(r"`(.+?)`", row)]


def messages_in(folder: Path) -> list[str]:
    """List the texts in a package's source, joined over lines, with a gap for each value that is filled in."""
    return [text for file in folder.rglob("*.py") for text in _texts(ast.parse(file.read_text(encoding="utf-8")))]


def is_among(message: str, texts: Iterable[str]) -> bool:
    """Tell whether a message occurs in one of the texts; gaps may be wider than in the text."""
    wanted = re.compile(".*".join(map(re.escape, message.split(GAP))), flags=re.DOTALL)
    return any(wanted.search(text) for text in texts)


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield FILLED_IN.sub(GAP, node.value)
