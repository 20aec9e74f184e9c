"""vlad serve: detectors over HTTP, with a page to try them on."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path

import click

from vlad.commands.options import common_options, make_detector, roi_options
from vlad.commands.options.option import option
from vlad.commands.options.sections import SectionedCommand
from vlad.errors import InputError, VladError
from vlad.system.text import shown as printed


def _print_new_key(ctx: click.Context, param: click.Parameter, file: str | None) -> None:
    if file and not ctx.resilient_parsing:
        from vlad.serving.keys import new_key

        click.echo(new_key(file))
        click.echo(f"Its hash is in {file}; the key itself is not shown again.", err=True)
        ctx.exit()


@click.command(cls=SectionedCommand)
@click.argument("detectors", nargs=-1, metavar="[NAME=]FOLDER...")
@option("--head NAME", "Also serve this head, without reference images.")
@option("--category WORDS", "What the images show, for example hazelnut.")
@option("--host ADDRESS", "Address to listen on.", default="127.0.0.1")
@option(
    "--port N",
    "Port to listen on; 0 picks a free one.",
    type=click.IntRange(0, 65535),
    default=8000,
)
@option(
    "--api-keys FILE", "Require an API key from this file; needed if others can reach the address."
)
@option(
    "--new-key FILE",
    "Create a key, add its hash to the file, print the key, and exit.",
    is_eager=True,
    expose_value=False,
    callback=_print_new_key,
)
@option(
    "--review DIR",
    "Keep the images that people label, with labels.csv, in this folder, for `vlad review apply`.",
)
@option(
    "--queue N",
    "Maximum number of waiting images, and of requests at a time.",
    type=click.IntRange(min=1),
    default=256,
)
@option(
    "--queue-per-detector N",
    "Maximum number of waiting images of one detector, and of images in one request.  [default: "
    "half of --queue, or all of it for the only detector]",
    type=click.IntRange(min=1),
)
@option(
    "--max-mb MB",
    "Maximum size of a request.",
    type=click.FloatRange(min=0, min_open=True),
    default=64,
)
@option(
    "--timeout SECONDS",
    "Maximum time for a request.",
    type=click.FloatRange(min=0, min_open=True),
    default=60,
)
@option(
    "--root-path PATH",
    "Prefix of paths behind a proxy, for example /vlad; the proxy may pass it on or remove it.",
    default="",
    show_default=False,
)
@option(
    "--request-log FILE",
    "Append a line of JSON for each request to this file (- for stdout), in place of the lines on "
    "stderr.",
)
@roi_options
@common_options
def serve(
    detectors,
    head,
    category,
    host,
    port,
    api_keys,
    review,
    queue,
    queue_per_detector,
    max_mb,
    timeout,
    root_path,
    request_log,
    common,
) -> None:
    """Serve detectors over HTTP, with a web page.

    FOLDER is the output of `vlad fit` or Detector.save. Backbone, head and region options apply
    to --head only; --device, --batch-size and --max-pixels apply to all detectors.

    \b
    vlad fit good/ --out detectors/bottle && vlad serve detectors/bottle
    vlad serve --head winclip --category hazelnut --backbone vlad-tiny
    curl -F images=@photo.jpg http://127.0.0.1:8000/v1/score
    """
    if not (detectors or head):
        raise InputError("Nothing to serve; name a folder written by `vlad fit`, or a --head.")
    if not head and common.given & {"roi", "roi_ignore"}:
        raise InputError("--roi is for --head: a detector has its own region; fit it with --roi.")
    try:
        import uvicorn

        from vlad.serving.server import Server, hangups_held, patient

        click.get_current_context().with_resource(hangups_held())
        from vlad.serving.app import create_app
    except ImportError as error:
        raise VladError(
            f"vlad serve needs packages that are not installed ({error.name}); "
            "install them with `pip install 'vlad-vision[serve]'`."
        ) from error
    from vlad.detector import Detector
    from vlad.serving.address import check_reach, listen
    from vlad.serving.detectors import Served, Store, make_ready, named
    from vlad.serving.keys import read_keys
    from vlad.serving.limits import Limits
    from vlad.serving.log import STDOUT, RequestLog
    from vlad.serving.prefix import check_prefix
    from vlad.serving.reload import reload_all
    from vlad.serving.review import Labels
    from vlad.serving.threads import in_own_thread
    from vlad.serving.traffic import Traffic

    check_reach(host, api_keys)
    root_path = check_prefix(root_path)
    keys = read_keys(api_keys) if api_keys else None
    labels = Labels(Path(review)) if review else None
    if labels:
        labels.check()

    def load_one(folder: Path) -> Detector:
        made = Detector.load(folder)
        made.device, made.batch_size = common.setup.device, common.setup.batch_size
        return made

    def load() -> list[Served]:
        found = []
        for name, folder in map(named, detectors):
            again = partial(load_one, folder)
            found.append(Served(name, again(), load=again))
        if head:
            found.append(Served(head, make_detector(head, category, common)))
        return found

    log = RequestLog(request_log) if request_log else None
    served = in_own_thread(load).result()
    store = Store(served)
    setup = common.setup
    limits = Limits(
        batch_size=setup.batch_size,
        queue=queue,
        queue_per_detector=queue_per_detector,
        max_bytes=int(max_mb * 1e6),
        max_pixels=setup.max_pixels,
        timeout=timeout,
    )
    with listen(host, port) as socket:
        in_own_thread(make_ready, served).result()
        port = socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        aside = request_log == STDOUT  # which holds nothing else then
        address = f"http://{shown}:{port}{root_path}"
        click.echo(f"Serving {', '.join(one.name for one in store)} at {address}", err=aside)
        for one in store:
            if one.basis:
                click.echo(printed(f"{one.name}: {' '.join(one.basis)}", keep=" "), err=aside)
        traffic = Traffic()
        config = uvicorn.Config(
            create_app(
                store, limits, keys, labels=labels, traffic=traffic, log=log, root_path=root_path
            ),
            log_config=_requests_logged(),
            access_log=not log,
            server_header=False,
            proxy_headers=False,
            ws="none",
            http=patient(timeout),
            timeout_graceful_shutdown=int(timeout) + 1,
        )
        Server(config, traffic, partial(reload_all, store)).run(sockets=[socket])


def _requests_logged() -> dict:
    """What uvicorn logs: its warnings, and a line with its time for each request."""
    from uvicorn.config import LOGGING_CONFIG

    config = deepcopy(LOGGING_CONFIG)
    config["formatters"]["access"]["fmt"] = (
        '%(asctime)s %(client_addr)s "%(request_line)s" %(status_code)s'
    )
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    for name in ("uvicorn", "uvicorn.error"):
        config["loggers"][name]["level"] = "WARNING"
    return config
