"""Takes a page as it is seen: both themes, two widths; and makes a picture as small as it can be."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

WIDTHS = {1280: 800, 390: 844, 1440: 900}  # the widest has the sidebar too, and is for the docs
THEMES = ("light", "dark")
MOST = 4000  # pixels of a page's height
# Tells whether the page as a whole scrolls sideways, and what reaches out of it.
WIDER = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return "";
  const wider = (it) => it.getBoundingClientRect().right > width + 1;
  const out = [...document.querySelectorAll("body *")].filter(wider);
  return out.slice(0, 3).map((it) => `${it.tagName}.${it.className}`.slice(0, 80)).join(" | ") || "yes";
}"""


@dataclass
class Camera:
    """A logged-in person with four windows, one for each theme and width."""

    browser: Browser
    address: str
    out: Path
    state: Path
    troubles: list[str] = field(default_factory=list)

    def windows(self) -> Iterator[tuple[str, BrowserContext]]:
        for theme in THEMES:
            for width, height in WIDTHS.items():
                state = self.state if self.state.exists() else None
                context = self.browser.new_context(
                    viewport={"width": width, "height": height}, base_url=self.address, storage_state=state,
                    color_scheme="dark" if theme == "dark" else "light", permissions=["clipboard-write"],
                )  # fmt: skip
                yield f"{theme}-{width}", context
                context.close()

    def take(self, page: Page, name: str, window: str) -> None:
        """The whole page as `<name>.<window>.png`."""
        page.wait_for_timeout(350)  # what fades in is there
        if wider := page.evaluate(WIDER):
            self.troubles.append(f"{name} {window}: scrolls sideways ({wider})")
        height = min(MOST, page.evaluate("document.documentElement.scrollHeight"))
        if window.endswith("1440"):
            height = WIDTHS[1440]  # a picture in the docs is what one sees at first
        clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": height} if page.viewport_size else None
        page.screenshot(path=self.out / f"{name}.{window}.png", full_page=True, clip=clip)  # type: ignore[arg-type]

    def listen(self, page: Page, window: str) -> None:
        """Write down what the browser complains of."""
        page.on("pageerror", lambda error: self.troubles.append(f"{window} {page.url}: {error}"))
        page.on("console", lambda said: self._heard(said.type, said.text, f"{window} {page.url}"))

    def _heard(self, kind: str, words: str, where: str) -> None:
        if kind == "error" and "status of 404" not in words:
            self.troubles.append(f"{where}: {words}")


def squeeze(picture: bytes) -> bytes:
    """The same PNG with its pixels packed as tightly as zlib can, and nothing but pixels."""
    at, chunks, pixels = 8, [], b""
    while at < len(picture):
        size, kind = struct.unpack(">I4s", picture[at : at + 8])
        content = picture[at + 8 : at + 8 + size]
        if kind == b"IDAT":
            pixels += content
        elif kind in {b"IHDR", b"PLTE", b"tRNS"}:
            chunks.append((kind, content))
        at += size + 12
    chunks += [(b"IDAT", zlib.compress(zlib.decompress(pixels), 9)), (b"IEND", b"")]
    packed = picture[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return min(packed, picture, key=len)
