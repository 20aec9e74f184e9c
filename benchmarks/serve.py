"""Load on `vlad serve`: requests per second and latency, by the number of clients.

    python benchmarks/serve.py [--clients 1 8 64] [--seconds 20] [--backbone vlad-tiny]

wrk (https://github.com/wg/wrk) sends one hazelnut of the demo per request, with one connection per
client, each sending its next request after its last answer. Service and clients share this machine.
It prints a Markdown table; p50 and p99 are wrk's own.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

import torch

from vlad.demo import HAZELNUT
from vlad.system.machine import machine

_LATENCIES = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("p50 %f\\np99 %f\\nfailed %d\\n", latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, e.status + e.timeout + e.connect + e.read + e.write))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--backbone", default="vlad-tiny")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed; see https://github.com/wg/wrk.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit = ["fit", HAZELNUT / "train", "--k-shot", 4, "--out", folder / "hazelnut"]
        subprocess.run(vlad(*fit, "--backbone", options.backbone), check=True)
        script = write_script(folder, HAZELNUT / "test" / "colour" / "00.jpg")
        command = vlad(
            *("serve", folder / "hazelnut", "--port", 0, "--batch-size", options.batch_size)
        )
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            load(address, script, 4, 5)  # warms up
            found = machine(torch.device("cpu"))
            print(f"{options.backbone}, {found['cpu']}, {found['cores']} cores", end="\n\n")
            print("| clients | requests/s | p50, ms | p99, ms | images in a pass | failed |")
            print("| ---: | ---: | ---: | ---: | ---: | ---: |")
            for clients in options.clients:
                passes, images = counted(address)
                rate, p50, p99, failed = load(address, script, clients, options.seconds)
                now = counted(address)
                mean = (now[1] - images) / (now[0] - passes)
                print(f"| {clients} | {rate:.1f} | {p50:.0f} | {p99:.0f} | {mean:.1f} | {failed} |")
        finally:
            server.terminate()
            server.wait()


def vlad(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vlad", *map(str, arguments)]


def write_script(folder: Path, image: Path) -> Path:
    """A wrk script that posts the image as a form."""
    body = folder / "body"
    body.write_bytes(
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="00.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + image.read_bytes() + b"\r\n--x--\r\n"
    )
    script = folder / "post.lua"
    script.write_text(
        f'local file = io.open("{body}", "rb")\n'
        'wrk.method, wrk.body = "POST", file:read("*a")\n'
        'wrk.headers["Content-Type"] = "multipart/form-data; boundary=x"\n' + _LATENCIES
    )
    return script


def load(address: str, script: Path, clients: int, seconds: int) -> tuple[float, float, float, int]:
    """Requests per second, p50 and p99 in milliseconds, and requests that were not answered 2xx."""
    command = [
        *("wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s"),
        *("-s", str(script), f"{address}/v1/score"),
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    p50, p99 = (float(re.search(rf"{name} ([\d.]+)", said)[1]) for name in ("p50", "p99"))
    return rate, p50, p99, int(re.search(r"failed (\d+)", said)[1])


def counted(address: str) -> tuple[float, float]:
    """Passes of the backbone so far, and the images in them."""
    text = urlopen(f"{address}/metrics").read().decode()
    return tuple(
        float(re.search(rf"vlad_batch_images_{name} ([\d.]+)", text)[1])
        for name in ("count", "sum")
    )


if __name__ == "__main__":
    main()
