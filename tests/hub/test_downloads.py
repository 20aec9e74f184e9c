"""Backbones that their libraries download from a hub, and what goes wrong on the way."""

import io
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import close_session, constants, file_download

from vlad.backbones import load_backbone
from vlad.cli import main

LIBRARIES = ("transformers", "timm", "open_clip")
pytestmark = pytest.mark.usefixtures("waits")


def fetch(*args):
    return CliRunner().invoke(main, ["backbones", "fetch", *map(str, args)])


def refusal(*args) -> str:
    """The sentence that a command ends with."""
    done = fetch(*args)
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


@pytest.fixture(params=LIBRARIES)
def model(request, models):
    """A backbone of each library, and the end of the path of its weights."""
    return models[request.param]


@pytest.fixture
def dino(models):
    return models["transformers"]


def cached():
    """The files of weights in the cache: complete under their digest, or the start of one."""
    blobs = Path(constants.HF_HUB_CACHE).glob("models--*/blobs/*")
    return [blob.name for blob in blobs if len(blob.name) > 40]


def test_a_backbone_is_downloaded_once_and_then_needs_no_hub(hub, model, monkeypatch):
    name, weights = model
    done = fetch(name)
    assert done.exit_code == 0, done.output
    assert f"Fetching {name} from the model hub" in done.stderr
    (content,) = hub.fetched(weights)
    assert content.path.startswith("/blobs/") and not content.token  # the store gets no token
    assert {one.token for one in hub.asked if "/resolve/" in one.path} == {"hf_writer"}
    first = load_backbone(name, "cpu").fingerprint
    assert len(hub.fetched(weights)) == 1
    hub.fault("status", ".", status=503)  # ill, and asked in vain
    assert load_backbone(name, "cpu").fingerprint == first
    hub.shutdown()
    hub.server_close()
    assert load_backbone(name, "cpu").fingerprint == first
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    before = len(hub.asked)
    assert load_backbone(name, "cpu").fingerprint == first and len(hub.asked) == before


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "The model hub has no {}, or keeps it private: correct the name, or log in with `hf "),
        ("hf_stranger", "The model hub has no {}, or does not show it to your token (HF_TOKEN): "),
    ],
)
def test_an_unknown_name_is_said_to_be_unknown(hub, model, monkeypatch, token, words):
    name, _ = model
    hub.repositories.clear()
    monkeypatch.setenv("HF_TOKEN", token)
    repository = {"Small/a": "you/clip"}.get(name, name)
    assert refusal(name).startswith(words.format(repository))
    assert not cached()


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "{} is gated: ask for access on {} (by accepting its licence there), then log in with "
         "`hf auth login` or set HF_TOKEN."),
        ("hf_stranger", "{} is gated, and your token (HF_TOKEN) does not open it: ask for access "
         "on {} with the account of that token"),
    ],
)  # fmt: skip
def test_a_gated_model_names_its_page_and_how_to_give_a_token(
    hub, model, monkeypatch, token, words
):
    name, _ = model
    repository = {"Small/a": "you/clip"}.get(name, name)
    hub.repositories[repository].gated = True
    monkeypatch.setenv("HF_TOKEN", token)
    assert refusal(name).startswith(words.format(repository, f"{hub.url}/{repository}"))


def test_a_wrong_token_is_named_by_its_place(hub, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    words = "The model hub does not accept your token ({}): correct or remove it"
    assert refusal(model[0]).startswith(words.format("HF_TOKEN"))
    monkeypatch.delenv("HF_TOKEN")
    Path(constants.HF_TOKEN_PATH).write_text("hf_expired")
    assert refusal(model[0]).startswith(words.format(constants.HF_TOKEN_PATH))


def test_a_token_that_may_not_see_a_model_is_not_said_to_be_wrong(hub, dino):
    hub.fault("status", ".", status=401, headers={"X-Error-Code": "RepoNotFound"})
    assert "or does not show it to your token (HF_TOKEN): " in refusal(dino[0])


def test_a_hub_that_asks_to_wait_is_waited_for(hub, model, waits):
    hub.fault("status", "/resolve/", status=429, headers={"Retry-After": "300"}, times=3)
    done = fetch(model[0])
    assert done.exit_code == 0, done.output
    assert waits == [301, 301]  # the client looks into its cache before it waits
    assert done.stderr.count("The model hub answers 429 Too Many Requests; trying again.") == 1


@pytest.mark.parametrize(
    ("headers", "when"),
    [
        ({"Retry-After": "3600"}, "in 3600 s"),
        ({"RateLimit": '"resolvers";r=0;t=301'}, "in 301 s"),
        ({}, "in a few minutes"),
    ],
)
def test_a_hub_that_asks_to_wait_for_long_is_given_up(hub, model, waits, headers, when):
    hub.fault("status", "/resolve/", status=429, headers=headers)
    words = refusal(model[0])
    assert "has had too many requests from here (429) to fetch" in words
    assert f"repeat the command {when}, or log in with `hf auth login`" in words
    assert bool(waits) == (not headers) and max(waits, default=0) <= 8


def test_a_hub_that_fails_is_asked_again_and_then_said_to_fail(hub, model, waits):
    fault = hub.fault("status", "/resolve/", status=503, words="We are down", times=2)
    assert fetch(model[0]).exit_code == 0 and fault.times == 0
    hub.fault("status", "/blobs/", status=503, words="We are down")
    Path(constants.HF_HUB_CACHE).rename(Path(constants.HF_HUB_CACHE).with_name("old"))
    words = refusal(model[0])
    assert words.startswith(f"The model hub failed or refused for {model[0]} (503 We are down)")
    assert words.endswith("repeat the command later.") and not cached()


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_other_signs_of_a_busy_hub_are_said_too(hub, dino, waits, status):
    hub.fault("status", "/resolve/", status=status, times=1)
    done = fetch(dino[0])
    assert done.exit_code == 0 and f"The model hub answers {status} " in done.stderr, done.output


def test_a_repository_without_weights_is_said(hub, model):
    name, weights = model
    for repository in hub.repositories.values():
        repository.commit({}, gone=[weights[1:]])
    words = refusal(name)
    assert "unreachable" not in words
    assert "has no file" in words or "does not appear to have a file named" in words


def test_a_cut_line_is_taken_up_where_it_broke(hub, model, monkeypatch, waits):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    name, weights = model
    hub.fault("cut", weights, after=5500, times=1)
    hub.fault("cut", weights, after=2500, times=1)
    assert fetch(name).exit_code == 0
    assert [one.range for one in hub.fetched(weights)] == ["", "bytes=5000-", "bytes=7000-"]
    assert len(waits) == 2


def test_a_line_that_breaks_each_time_leaves_nothing_behind(hub, model):
    name, weights = model
    fault = hub.fault("cut", weights, after=500)
    words = refusal(name)
    assert words.startswith(f"The connection to the model hub broke with {name} (")
    assert words.endswith("repeat the command, which keeps the files that are whole.")
    assert len(hub.fetched(weights)) == 6 and not cached()
    fault.times = 0
    hub.asked.clear()
    assert fetch(name).exit_code == 0
    assert [one.range for one in hub.fetched(weights)] == [""]  # a new command starts again


def test_a_line_that_stands_still_is_given_up(hub, model, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.fault("stall", model[1], after=500)
    words = refusal(model[0])
    assert words.startswith(f"The model hub has stopped sending {model[0]} (")
    assert "set HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT to more seconds" in words
    assert not cached()


def test_weights_with_another_digest_are_refused_and_removed(hub, model, tmp_path):
    name, weights = model
    fault = hub.fault("corrupt", weights, method="GET")
    words = refusal(name)
    assert "arrived with the SHA-256" in words and "was removed; repeat the command" in words
    assert not cached()
    folder = tmp_path / "folder"
    if name != "Small/a":  # which is in no repository's folder layout
        assert "was removed; repeat the command" in refusal(name, "--to", folder)
        assert not (folder / weights[1:]).exists()
    fault.times = 0
    assert fetch(name).exit_code == 0 and len(cached()) == 1


def test_a_fetched_folder_serves_as_a_backbone(hub, dino, tmp_path):
    name, weights = dino
    hub.repositories[name].commit({"pytorch_model.bin": b"cos\nsystem", "card.png": b"x"})
    done = fetch(name, "--to", tmp_path / "dino")
    assert done.exit_code == 0, done.output
    assert f"--backbone {tmp_path / 'dino'}" in done.output
    found = sorted(path.name for path in (tmp_path / "dino").iterdir() if path.is_file())
    assert found == ["config.json", "model.safetensors"]
    load_backbone(str(tmp_path / "dino"), "cpu")
    hub.asked.clear()
    assert fetch(name, "--to", tmp_path / "dino").exit_code == 0
    assert not hub.fetched(weights)
    for other in ("open_clip_config.json", "open_clip_model.safetensors", "pytorch_model.bin"):
        (tmp_path / "dino" / other).write_text("{}")
        words = refusal(name, "--to", tmp_path / "dino")
        assert f"dino holds {other}, which is of another backbone; name another" in words
        (tmp_path / "dino" / other).unlink()
    hub.repositories[name].commit({}, gone=[weights[1:], "pytorch_model.bin"])
    words = refusal(name, "--to", tmp_path / "other")
    assert words.startswith(f"{name} has none of the files model.safetensors, ")
    assert not (tmp_path / "other").exists()


def full_disk(monkeypatch):
    """Every download meets a disk that is full."""
    opened = Path.open

    def replaced(self, *args, **settings):
        if self.name.endswith(".incomplete"):
            return io.FileIO("/dev/full", "w")
        return opened(self, *args, **settings)

    monkeypatch.setattr(file_download.Path, "open", replaced)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_names_the_cache_and_how_to_move_it(hub, model, monkeypatch, tmp_path):
    full_disk(monkeypatch)
    words = refusal(model[0])
    assert f"in {constants.HF_HUB_CACHE} (No space left on device): free space there" in words
    assert "set HF_HOME to a folder" in words and not cached()
    if model[0] == "you/dino":
        words = refusal(model[0], "--to", tmp_path / "there")
        assert words.startswith(f"Cannot write you/dino to {tmp_path / 'there'} (No space left")


def test_a_cache_that_cannot_be_written_is_said(hub, model):
    Path(constants.HF_HUB_CACHE).write_text("a file")
    words = refusal(model[0])
    assert words.startswith("Cannot keep ") and constants.HF_HUB_CACHE in words
    assert "set HF_HOME to a folder that you may write to." in words


def test_what_a_hub_does_not_say_is_not_guessed(hub, dino, waits):
    """Without its file for the look, another one would pass for that of the model."""
    hub.fault("status", "/preprocessor_config.json", status=503)
    assert "503 Something went wrong" in refusal(dino[0])


def test_a_proxy_is_used_and_no_proxy_obeyed(hub, dino, monkeypatch):
    name = dino[0]
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    words = refusal(name)
    assert "and the proxy before the model hub (127.0.0.1:9) does not answer: correct" in words
    assert "secret" not in words and not hub.asked
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert fetch(name).exit_code == 0 and hub.asked


def test_all_goes_through_a_proxy(hub, dino, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    template = "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert fetch(dino[0]).exit_code == 0 and len(hub.fetched(dino[1])) == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_a_certificate_that_nobody_knows_is_said(hub, dino, monkeypatch, tmp_path):
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    files = [str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")]
    made += [
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
        "-keyout",
        files[0],
        "-out",
        files[1],
    ]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    hub.socket = context.wrap_socket(hub.socket, server_side=True)
    address = hub.address = hub.url.replace("http:", "https:")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    words = refusal(dino[0])
    assert words.startswith(
        "The certificate of the model hub or of a proxy before it is not accept"
    )
    assert "set SSL_CERT_FILE to a file with the certificates of your network." in words
    assert not hub.asked
    monkeypatch.setenv("SSL_CERT_FILE", files[1])
    close_session()
    assert fetch(dino[0]).exit_code == 0


def test_a_proxy_that_refuses_is_named(hub, dino, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", hub.url)  # it has no CONNECT
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    template = "https://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    words = refusal(dino[0])
    assert words.startswith("The proxy before the model hub refuses (") and "NO_PROXY" in words
