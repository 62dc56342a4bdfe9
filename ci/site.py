"""A hook of mkdocs: pages that lie elsewhere in the project, and links that lead out of the documentation.

README, change log, model cards and the guide for contributors are pages of the site, and stay where people look for
them. A link to one of them leads to its page. One to any other file of the project, which the site has not, becomes its
text; one to a file that is not there fails the build.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[1]
_CARD = "model/rmt_model/checkpoints/{}/README.md"
_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "clients/javascript/README.md": "javascript.md",
    _CARD.format("rmt-minilm"): "card-minilm.md",
    _CARD.format("rmt-mpnet"): "card-mpnet.md",
    _CARD.format("rmt-smollm2-small"): "card-small.md",
    _CARD.format("rmt-smollm2-135m"): "card-large.md",
}
_SOURCES = {page: source for source, page in _PAGES.items()}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, and the pictures beside them."""
    for source, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text()))
    for source in _PAGES:
        for picture in (_ROOT / source).parent.glob("*.svg"):
            files.append(File.generated(config, picture.name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Bend the links of a page."""
    del config
    place = page.file.src_uri
    source = _SOURCES.get(place, f"docs/{place}")

    def bent(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if re.match(r"\w+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (_ROOT / path).exists():
            raise PluginError(f"{source}: {target} is not there")
        inside = _PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if inside and files.get_file_from_path(inside):
            return f"{mark}[{text}]({posixpath.relpath(inside, posixpath.dirname(place) or '.')}{anchor})"
        return text

    return _LINK.sub(bent, markdown)
