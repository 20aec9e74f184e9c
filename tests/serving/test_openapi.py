"""openapi.json says what is answered."""

import pytest

CODES = {
    ("/healthz", "get"): "200 401 403 422",
    ("/readyz", "get"): "200 401 403 422 503",
    ("/metrics", "get"): "200 401 403 422",
    ("/v1/detectors", "get"): "200 401 403 422",
    ("/v1/detectors", "post"): "201 400 401 403 408 409 413 422 429 502 503 504",
    ("/v1/detectors/{name}", "delete"): "204 401 403 404 409 422",
    ("/v1/detectors/{name}/reload", "post"): "200 401 403 404 408 409 413 422 429 502 503 504",
    ("/v1/explain", "post"): "200 400 401 403 404 408 413 422 429 502 503 504",
    ("/v1/labels", "post"): "201 400 401 403 408 409 413 422 429 502 503 504 507",
    ("/v1/labels/{digest}", "delete"): "204 400 401 403 404 408 409 413 422 504 507",
    ("/v1/score", "post"): "200 400 401 403 404 408 413 422 429 502 503 504",
}


@pytest.fixture
def schema(serve, memory):
    return serve({"line": memory}, queue=3).get("/openapi.json").json()


def test_routes_and_codes(schema):
    found = {
        (path, method): " ".join(sorted(operation["responses"]))
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    assert found == CODES


def test_every_refusal_is_one_sentence(schema):
    for methods in schema["paths"].values():
        for operation in methods.values():
            for code, response in operation["responses"].items():
                if code[0] == "4" or code[0] == "5":
                    (content,) = response["content"].values()
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_nothing_that_loads_from_elsewhere_is_served(serve, memory):
    client = serve({"line": memory})
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404
    assert "://" not in client.get("/").text.replace("http://www.w3.org/2000/svg", "")


def test_what_is_not_served_is_told_in_a_sentence(serve, memory):
    client = serve({"line": memory})
    for reply, code in ((client.get("/docs"), 404), (client.put("/healthz"), 405)):
        assert reply.status_code == code
        assert reply.json()["detail"].endswith("; see /openapi.json.")
