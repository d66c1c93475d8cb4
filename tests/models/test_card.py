"""A model's card: what a README may show, and what it may not."""

import pytest

from apps.models import card
from apps.models.models import Model
from tests.models.conftest import Zip, good


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
        "<a href='java\nscript:alert(1)'>x</a>", "<iframe src='//evil'></iframe>", "<p style='color:red'>x</p>",
        "<svg onload=alert(1)>", "<form action='//evil'><input></form>", "![x](https://evil/x.png)",
        "<style>p{}</style>", "<a href='data:text/html,x'>x</a>", "<div class='my-alert' id='my-confirm'>x</div>",
    ],
)  # fmt: skip
def test_nothing_of_a_readme_runs_or_loads(text: str) -> None:
    html, _ = card.rendered(text)
    for word in ("<script", "<img", 'href="java', "<iframe", "style", "<svg", "<form", "src=", "data:", "class="):
        assert word not in html.lower()


def test_markdown_is_shown_as_html_below_the_pages_headings() -> None:
    html, images = card.rendered(
        "---\nlicense: mit\n---\n# Title\n\n**bold** ~~old~~\n\n|a|\n|-|\n|1|\n\n```py\nx\n```\n"
    )
    assert "<h3>Title</h3>" in html
    assert all(part in html for part in ("<strong>bold</strong>", "<td>1</td>", "<pre><code>x", "<s>old</s>"))
    assert "license" not in html
    assert not images


def test_images_are_named_and_said_to_be_left_out() -> None:
    html, images = card.rendered("![a *fine* diagram](https://example.org/x.png)")
    assert "[image: a" in html
    assert images


def test_links_open_apart_and_relative_ones_lead_to_the_hub() -> None:
    page = "https://hub.example/a/b/blob/c0ffee/"
    html, _ = card.rendered("[x](docs/x.md) [y](https://example.org) [z](#here)", page)
    assert f'href="{page}docs/x.md"' in html
    assert 'rel="noopener noreferrer nofollow"' in html
    assert "#here" not in html
    assert "href" not in card.rendered("[x](docs/x.md)")[0]


def test_a_card_is_the_readme_of_the_newest_revision(make_zip: Zip, imported) -> None:
    model: Model = imported(make_zip({**good(), "README.md": b"# Hello\n" + b"x" * card.MOST}))
    found = card.read(model, "")
    assert found is not None
    assert (found.path, found.cut) == ("README.md", True)
    assert "Hello" in found.html


def test_a_model_without_a_readme_has_no_card(make_zip: Zip, imported) -> None:
    assert card.read(imported(make_zip({"model.onnx": good()["model.onnx"]})), "") is None
