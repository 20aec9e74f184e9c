"""What the tests of the page share: a service, visits to it, images to upload."""

import pytest
from service_page import HOSTILE, PATIENCE, running

from vlad.serving.detectors import Served


@pytest.fixture(scope="module")
def address(memory, small_file):
    import vlad

    words = vlad.load("winclip", backbone=str(small_file), device="cpu", category="nut")
    with running([Served("line", memory), Served("words", words)]) as found:
        yield found


@pytest.fixture
def visit(browser):
    """Address -> its page; no script fails there and nothing is loaded from elsewhere."""
    pages = []

    def go(address):
        opened = browser.new_page()
        opened.set_default_timeout(PATIENCE)
        opened.wrong = []
        opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
        elsewhere = lambda request: not request.url.startswith((address, "blob:"))  # noqa: E731
        opened.on("request", lambda r: opened.wrong.append(r.url) if elsewhere(r) else None)
        refused = lambda m: "Content Security Policy" in m.text  # noqa: E731
        opened.on("console", lambda m: opened.wrong.append(m.text) if refused(m) else None)
        opened.goto(address)
        pages.append(opened)
        return opened

    yield go
    for opened in pages:
        assert not opened.wrong
        opened.close()


@pytest.fixture
def page(visit, address):
    return visit(address)


@pytest.fixture
def uploads(files):
    return [
        {"name": name, "mimeType": "image/png", "buffer": content}
        for name, content in zip(("0.png", HOSTILE, "2.png", "=3.png"), files, strict=False)
    ] + [{"name": "@bad.png", "mimeType": "image/png", "buffer": b"no image"}]
