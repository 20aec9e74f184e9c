"""Behind a proxy the service answers under a prefix, whether the proxy removes it or not."""

import re

import pytest

from vlad.errors import InputError
from vlad.serving.keys import new_key, read_keys
from vlad.serving.prefix import check_prefix


@pytest.mark.parametrize("passed", ["/line-3/vlad", ""])
def test_it_answers_with_and_without_the_prefix(serve, memory, files, form, passed):
    client = serve({"line": memory}, root_path="/line-3/vlad")
    assert client.post(f"{passed}/v1/score", files=form(files[0])).is_success
    sent = {"content": files[0], "headers": {"Content-Type": "image/png"}}
    assert client.post(f"{passed}/v1/score?detector=line", **sent).is_success
    assert client.get(f"{passed}/v1/detectors").json()["detectors"][0]["name"] == "line"
    assert "<title>" in client.get(f"{passed}/").text
    schema = client.get(f"{passed}/openapi.json").json()
    assert schema["servers"] == [{"url": "/line-3/vlad"}]
    lost = client.get(f"{passed}/nowhere")
    assert lost.status_code == 404
    assert lost.json()["detail"].endswith("; see /line-3/vlad/openapi.json.")
    assert 'route="/v1/score",status="200"} 2.0' in client.get(f"{passed}/metrics").text


def test_the_page_without_its_slash_leads_to_the_page(serve, memory):
    client = serve({"line": memory}, root_path="/vlad")
    reply = client.get("/vlad", follow_redirects=False)
    # relative, since the service cannot know how the proxy is called
    assert (reply.status_code, reply.headers["Location"]) == (307, "/vlad/")
    # a name that begins like the prefix is another
    assert client.get("/vladimir").status_code == client.get("/vlad/vlad").status_code == 404


def test_links_of_the_page_are_relative(serve, memory):
    html = serve({"line": memory}, root_path="/vlad").get("/vlad/").text
    assert '"v1/score"' in html
    assert not re.search(r"""["'`]/(?!/)[a-z]""", html)


@pytest.mark.parametrize("passed", ["/vlad", ""])
def test_keys_guard_the_same_paths_under_a_prefix(serve, memory, tmp_path, passed):
    new_key(tmp_path / "keys")
    client = serve({"line": memory}, read_keys(tmp_path / "keys"), root_path="/vlad")
    for path, status in (
        ("/", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/v1/detectors", 401),
        ("/metrics", 401),
    ):
        assert client.get(passed + path).status_code == status, path


def test_a_path_with_a_slash_too_many_is_not_redirected(serve, memory):
    # to where, only the proxy knows; and a key would go there
    client = serve({"line": memory})
    assert client.get("/v1/detectors/", follow_redirects=False).status_code == 404


def test_prefixes():
    assert check_prefix("") == check_prefix("/") == ""
    assert check_prefix("/vlad/") == "/vlad"
    for wrong in ("vlad", "/a b", "//a", "/a//b", "/ä", "/v1", "/metrics/x", "http://a/vlad"):
        with pytest.raises(InputError, match="such as /vlad"):
            check_prefix(wrong)
