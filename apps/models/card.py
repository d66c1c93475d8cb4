"""A model's card: the README that came with it, as HTML that can do nothing to whoever reads it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from apps.models import storage
from apps.models.models import Model

MOST = 256 * 1024  # bytes of a README that are shown
FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---\s*(?:\n|\Z)", re.DOTALL)
TAGS = frozenset(
    "a abbr b blockquote br caption center code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre q s "  # noqa: SIM905
    "samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var".split()
)
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
DEEPER = 2  # levels that the card's headings stand below those of the page


@dataclass(frozen=True)
class Card:
    """A README to read: its path among the files, its HTML, and what of it isn't shown."""

    path: str
    html: SafeString
    images: bool
    cut: bool


def read(model: Model, page: str) -> Card | None:
    """The README of a model's newest revision; links in it that are relative lead below `page`, if there is one."""
    path = model.files.filter(path__iexact="README.md").values_list("path", flat=True).first()
    if path is None:
        return None
    try:
        with (storage.folder(model.pk, model.revision) / path).open("rb") as stream:
            data = stream.read(MOST + 1)
    except OSError:
        return None
    html, images = rendered(data[:MOST].decode("utf-8", "replace"), page)
    return Card(path, html, images, len(data) > MOST)


def rendered(text: str, page: str = "") -> tuple[SafeString, bool]:
    """Markdown as clean HTML, and whether it had images, which are never loaded."""
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    markdown.add_render_rule("image", _image)
    tokens = markdown.parse(FRONT_MATTER.sub("", text.replace("\r\n", "\n"), count=1))
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + DEEPER, 6)}"
    html = markdown.renderer.render(tokens, markdown.options, {})
    clean = nh3.clean(
        html, tags=set(TAGS), attributes=ATTRIBUTES, url_schemes={"http", "https", "mailto"},
        attribute_filter=_links(page), link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )  # fmt: skip
    return mark_safe(clean), "<img" in html or "<picture" in html or _has_image(tokens)  # noqa: S308 (cleaned)


def _image(_renderer: RendererHTML, tokens: list[Token], index: int, *_rest: object) -> str:
    said = tokens[index].content
    return f"<em>[{escape(_('image'))}{f': {escape(said)}' if said else ''}]</em>"


def _has_image(tokens: list[Token]) -> bool:
    return any(child.type == "image" for token in tokens for child in token.children or ())


def _links(page: str) -> Callable[[str, str, str], str | None]:
    """Relative links lead to the hub's copy; within the card, where headings have no names, to nothing."""

    def kept(tag: str, attribute: str, value: str) -> str | None:
        if (tag, attribute) != ("a", "href") or urlsplit(value).scheme:
            return value
        if not page or value.startswith("#"):
            return None
        return urljoin(page, value)

    return kept
