import logging
import math

import pytest
from chat_server import ChatServer

from vlad.errors import VlmError
from vlad.vlm import Request, load_vlm
from vlad.vlm.endpoint import _text, _weights
from vlad.vlm.http import Unanswered

SCHEMA = {
    "type": "object",
    "properties": {"anomalous": {"type": "boolean"}},
    "required": ["anomalous"],
}
GOOD = '{"anomalous": false}'


def load(server, **options):
    return load_vlm(server.url, name="fake-vlm", **{"cache": False, **options})


@pytest.fixture
def request_(red):
    return Request((red,), "Is it anomalous?")


def test_images_and_text_arrive(request_, red, blue):
    with ChatServer(GOOD) as server:
        reply = load(server).ask([Request((red, blue), "Which?")], SCHEMA, max_tokens=99)[0]
    assert reply.data == {"anomalous": False}
    assert (reply.tokens_in, reply.tokens_out) == (100, 20)
    asked = server.asked[0]
    assert asked.text == "Which?"
    assert [image.tobytes() for image in asked.images] == [red.tobytes(), blue.tobytes()]
    assert asked.body["model"] == "fake-vlm"
    assert asked.body["max_tokens"] == 99 and asked.body["temperature"] == 0
    assert asked.body["response_format"]["json_schema"]["schema"] == {
        **SCHEMA,
        "additionalProperties": False,
    }


def test_replies_keep_the_order_of_requests():
    with ChatServer(lambda asked: asked.text[::-1]) as server:
        texts = [f"question {i}" for i in range(20)]
        replies = load(server, batch=5).ask([Request((), text) for text in texts])
    assert [reply.text for reply in replies] == [text[::-1] for text in texts]
    assert server.most <= 5


@pytest.mark.parametrize("fault", ["429", "500", "malformed", "dropped"])
def test_a_fault_that_passes_is_tried_again(request_, fault, monkeypatch):
    monkeypatch.setattr("vlad.vlm.http.PAUSE", 0.01)
    with ChatServer(GOOD, faults=(fault,)) as server:
        assert load(server).ask([request_], SCHEMA)[0].data == {"anomalous": False}
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("429", "no answer: the endpoint replied with status 429"),
        ("500", "no answer: the endpoint replied with status 500"),
        ("malformed", "no answer: the endpoint's reply is not JSON"),
        ("empty", "no answer: the endpoint's reply has no choices"),
        ("list", "no answer: the endpoint's reply is not a JSON object"),
        ("stream", "no answer: the endpoint streams its reply"),
        ("endless", "no answer: the endpoint's reply is over 4,194,304 bytes"),
        ("slow", "no answer: the endpoint took longer than 0.2 s"),
        ("drip", "no answer: the endpoint took longer than 0.2 s"),
        ("dropped", "no answer: the connection broke"),
    ],
)
def test_a_fault_that_stays_is_no_answer(request_, fault, error, monkeypatch):
    monkeypatch.setattr("vlad.vlm.http.PAUSE", 0.01)
    timeout = 0.2 if fault in ("slow", "drip") else 60
    with ChatServer(GOOD, faults=(fault,) * 4, seconds=2) as server:
        vlm = load(server, timeout=timeout)
        reply, choice = vlm.ask([request_], SCHEMA)[0], vlm.choose([request_], ["Yes", "No"])[0]
    assert reply.data is None and reply.error.startswith(error)
    assert choice.probabilities is None and choice.error.startswith(error)


def test_the_server_says_how_long_to_wait(request_, monkeypatch):
    waited = []
    monkeypatch.setattr("vlad.vlm.http.sleep", waited.append)
    with ChatServer(GOOD, faults=("429",)) as server:
        server.retry_after = "7"
        load(server).ask([request_], SCHEMA)
    assert 7.0 in waited


def test_a_reply_that_lies_about_its_schema_is_asked_for_once_more(request_):
    with ChatServer(['{"anomalous": "perhaps"}', GOOD]) as server:
        assert load(server).ask([request_], SCHEMA)[0].data == {"anomalous": False}
    assert 'anomalous is "perhaps", not of type boolean' in server.asked[1].text
    with ChatServer('{"anomalous": "perhaps"}') as server:
        reply = load(server).ask([request_], SCHEMA)[0]
    assert reply.data is None
    assert reply.error == 'no answer: anomalous is "perhaps", not of type boolean'
    assert len(server.asked) == 2
    assert (reply.tokens_in, reply.tokens_out) == (200, 40)


def test_a_server_without_constrained_decoding_is_asked_without(request_):
    with ChatServer(GOOD, refuses=("response_format",)) as server:
        vlm = load(server)
        assert vlm.ask([request_], SCHEMA)[0].data == {"anomalous": False}
        assert vlm.ask([request_], SCHEMA)[0].data == {"anomalous": False}
    assert ["response_format" in asked.body for asked in server.asked] == [True, False, False]


def test_probabilities_are_those_of_the_first_token(request_):
    logprobs = {"\n": -5.0, " Yes": math.log(0.3), "yes": math.log(0.1), "No": math.log(0.4)}
    logprobs = dict(sorted(logprobs.items(), key=lambda item: -item[1]))
    with ChatServer("No", logprobs=logprobs) as server:
        choice = load(server).choose([request_], ["Yes", "No"])[0]
    assert choice.probabilities == pytest.approx((0.5, 0.5))
    assert choice.text == "No"


def test_words_before_the_choice_leave_no_probabilities(request_):
    logprobs = {"<think>": math.log(0.95), "No": math.log(0.04), "Yes": math.log(0.001)}
    with ChatServer("<think> It looks", logprobs=logprobs) as server:
        choice = load(server).choose([request_], ["Yes", "No"])[0]
    assert (choice.probabilities, choice.text) == (None, "<think> It looks")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"faults": ("404",)}, "no such model"),
        ({"key": "sk-secret"}, "wants a key"),
    ],
)
def test_an_endpoint_is_checked_before_it_is_asked(options, said):
    with ChatServer(**options) as server, pytest.raises(VlmError, match=said):
        load(server).check()
    assert not server.asked[0].images


def test_a_busy_endpoint_passes_its_check(monkeypatch):
    monkeypatch.setattr("vlad.vlm.http.PAUSE", 0.01)
    with ChatServer(faults=("500",) * 2) as server:
        load(server).check()


def test_a_token_that_begins_two_choices_counts_for_none(request_):
    logprobs = {"not": math.log(0.5), "normal": math.log(0.2), "an": math.log(0.1)}
    with ChatServer("not sure", logprobs=logprobs) as server:
        choice = load(server).choose([request_], ["normal", "anomalous", "not sure", "nothing"])[0]
    assert choice.probabilities == pytest.approx((2 / 3, 1 / 3, 0, 0))


@pytest.mark.parametrize(
    "logprobs",
    [
        1,
        {"content": 1},
        {"content": [1]},
        {"content": [{"token": "Yes"}]},
        {"content": [{"token": "Yes", "top_logprobs": [1, {"token": "Yes", "logprob": "high"}]}]},
        {"content": [{"token": "Yes", "top_logprobs": [{"token": "Yes", "logprob": 5}]}]},
        {"content": [{"token": "Yes", "top_logprobs": [{"logprob": -1}]}]},
    ],
)
def test_malformed_probabilities_are_none(logprobs):
    body = {"choices": [{"message": {"content": "Yes"}, "logprobs": logprobs}]}
    assert _weights(body, ["Yes", "No"]) is None


@pytest.mark.parametrize(
    "body",
    [
        *({"choices": choices} for choices in (1, [], [1], [{}], [{"message": 1}])),
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": [{"text": "Yes"}]}}]},
        {"choices": [{"message": {"content": "", "refusal": "I will not."}}]},
    ],
)
def test_malformed_replies_are_no_answer(body):
    with pytest.raises(Unanswered, match=r"no choices|no text|refused \(I will not"):
        _text(body)


@pytest.mark.parametrize("refuses", [(), ("logprobs",)])
def test_without_probabilities_the_text_is_left(request_, refuses):
    with ChatServer("Yes", refuses=refuses) as server:
        choice = load(server).choose([request_], ["Yes", "No"])[0]
    assert choice.probabilities is None
    assert (choice.text, choice.error) == ("Yes", "")


def test_the_key_is_sent_and_never_shown(request_, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with ChatServer(GOOD, key="sk-secret", faults=("echo key",)) as server:
        with pytest.raises(VlmError, match=r"wants a key .* set VLAD_VLM_KEY"):
            load(server).ask([request_])
        monkeypatch.setenv("VLAD_VLM_KEY", "sk-wrong")
        with pytest.raises(VlmError, match=r"does not accept the key \(status 401") as caught:
            load(server).ask([request_])
        monkeypatch.setenv("VLAD_VLM_KEY", "sk-secret")
        vlm = load(server)
        refused = vlm.ask([request_])[0]
        assert vlm.ask([request_], SCHEMA)[0].data == {"anomalous": False}
    assert server.keys == [None, "Bearer sk-wrong", *["Bearer sk-secret"] * 2]
    assert (
        refused.error
        == "no answer: the endpoint replied with status 422 (the key ... has no quota)"
    )
    said = "".join([*capfd.readouterr(), caplog.text, str(caught.value), repr(vars(vlm))])
    assert "sk-" not in said


@pytest.mark.parametrize("key", ["sk\nX-Other: 1", "ключ"])
def test_a_key_that_cannot_be_sent_is_refused(request_, monkeypatch, key):
    monkeypatch.setenv("VLAD_VLM_KEY", key)
    with ChatServer() as server, pytest.raises(VlmError, match="VLAD_VLM_KEY has characters") as e:
        load(server).ask([request_])
    assert key not in str(e.value)
    assert not server.asked


def test_nothing_goes_to_a_host_that_the_user_did_not_name(request_, monkeypatch):
    monkeypatch.setenv("VLAD_VLM_KEY", "sk-secret")
    with ChatServer() as other, ChatServer(faults=("redirect",), elsewhere=other.url) as server:
        with pytest.raises(VlmError, match="redirects to another address"):
            load(server).ask([request_])
        assert not other.keys
    with ChatServer() as proxy, ChatServer() as server:
        monkeypatch.setenv("http_proxy", proxy.address)
        assert load(server).ask([request_])[0].text == "Yes"
        assert not proxy.asked


def test_an_endpoint_that_is_away_is_an_error(request_):
    with ChatServer() as server:
        vlm = load(server)
    with pytest.raises(
        VlmError, match=r"The endpoint http://127.*/v1 does not answer \(Connection"
    ):
        vlm.ask([request_])


def test_an_endpoint_that_goes_away_ends_no_run(request_, monkeypatch):
    monkeypatch.setattr("vlad.vlm.http.PAUSE", 0.01)
    with ChatServer() as server:
        vlm = load(server)
        assert vlm.ask([request_])[0].text == "Yes"
    assert vlm.ask([request_])[0].error.startswith("no answer: the connection broke (Connection")


def test_an_unknown_model_is_an_error(request_):
    said = r"has no such model or path \(404\); check the address"
    with ChatServer(faults=("404",)) as server, pytest.raises(VlmError, match=said):
        load(server).ask([request_])


@pytest.mark.parametrize(
    "address",
    [
        *("ftp://127.0.0.1/v1", "http://me:secret@127.0.0.1/v1", "http://x/v1?key=secret"),
        *("http://x/v1#secret", "http://me:secret@x:port/v1", "http://[::1/v1", "http://a..b/v1"),
        *("http://x y/v1", "http://127.0.0.1/\u00fc", "http://127.0.0.1:99999/v1", "http:///v1"),
    ],
)
def test_an_address_that_cannot_be_used(address):
    with pytest.raises(VlmError, match="is no address of an endpoint") as caught:
        load_vlm(address, cache=False)
    assert "secret" not in str(caught.value)


def test_a_host_without_http_is_no_name_on_the_hub():
    with pytest.raises(VlmError, match="begin an address with http://"):
        load_vlm("127.0.0.1:8000/v1", name="x", cache=False)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://vlm.example/v1", "Images are sent to vlm.example, without encryption.\n"),
        ("https://vlm.example/v1", "Images are sent to vlm.example.\n"),
        ("http://127.0.0.1:8/v1", ""),
        ("http://[::1]:8/v1", ""),
        ("http://localhost:8/v1", ""),
    ],
)
def test_it_is_said_where_images_go(address, said, capsys):
    load_vlm(address, name="x", cache=False)
    assert capsys.readouterr().err == said


def test_an_endpoint_needs_the_name_of_a_model():
    with pytest.raises(VlmError, match="may serve several models; name one"):
        load_vlm("http://127.0.0.1:1/v1")


def test_requests_keep_to_their_rate(request_, monkeypatch):
    waited = []
    monkeypatch.setattr("vlad.vlm.http.sleep", waited.append)
    monkeypatch.setattr("vlad.vlm.http.monotonic", lambda: 100.0)
    with ChatServer() as server:
        load(server, per_minute=30).ask([request_] * 3)
    assert sorted(waited) == [0.0, 2.0, 4.0]


def test_choices_differ():
    with ChatServer() as server:
        for choices in (["Yes"], ["Yes", "Yes"], ["Yes", " "]):
            with pytest.raises(VlmError, match="leave nothing to choose between"):
                load(server).choose([], choices)
