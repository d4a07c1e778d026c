"""Links of pages to files of the repository outside of ``docs``: the site gets copies of these files.

Pages link to them as GitHub wants it, for instance ``../benchmarks/figures/speed.png``.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]+)(#[^)\s]*)?(?=\))")
FOLDER = "repository"  # of the site
PICTURES = (".png", ".jpg", ".svg")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add what a page links to outside of ``docs`` to the site, and link to it there.

    Args:
        markdown: The page's text.
        page: The page.
        config: mkdocs' configuration.
        files: Files of the site, which grow.

    Returns:
        The text with the new links. Links to what does not exist stay, so that mkdocs complains.
    """
    docs = Path(config.docs_dir)
    page_folder = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        file = (docs / page_folder / match[1]).resolve()
        if file.is_relative_to(docs) or not file.is_file():
            return match[0]
        uri = f"{FOLDER}/{file.relative_to(docs.parent).as_posix()}"
        if file.suffix not in PICTURES:
            uri += ".txt"  # browsers show it, and mkdocs makes no page of it
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(file), inclusion=InclusionLevel.INCLUDED))
        return posixpath.relpath(uri, page_folder or ".")

    return LINK.sub(link, markdown)
