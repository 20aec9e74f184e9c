"""The service's page in a browser: what its tests share."""

import base64
import re
import socket
import threading
import time
from contextlib import contextmanager

from vlad.serving.app import create_app
from vlad.serving.detectors import Store, make_ready
from vlad.serving.limits import Limits

PATIENCE = 120_000  # milliseconds
HOSTILE = "<img src=x onerror=document.title=1>.png"


@contextmanager
def running(served, keys=None, port=0, **options):
    """The address of a service that runs in a thread."""
    import uvicorn

    make_ready(served)
    # one in a pass: a score that lies on the threshold is not moved by those beside it
    app = create_app(Store(served), Limits(batch_size=1), keys, **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("127.0.0.1", port))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def status(page, pattern):
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_have_text(re.compile(pattern))


def drag(page, kind, uploads):
    """Drags files over the page's title, or drops them there; False where the page takes them."""
    sent = [[one["name"], base64.b64encode(one["buffer"]).decode()] for one in uploads]
    script = """([kind, files]) => {
        const dragged = new DataTransfer();
        for (const [name, data] of files) {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            dragged.items.add(new File([bytes], name, { type: "image/png" }));
        }
        const options = { dataTransfer: dragged, bubbles: true, cancelable: true };
        const event = new DragEvent(kind, options);
        return document.querySelector("h1").dispatchEvent(event);
    }"""
    return page.evaluate(script, [kind, sent])
