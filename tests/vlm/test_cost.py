from chat_server import ChatServer

from vlad.vlm import Reply, Request, load_vlm
from vlad.vlm.cost import ask_all, estimate


def test_the_rest_costs_what_the_first_did():
    replies = [Reply("", None, "", 3.0, 100, 10), Reply("", None, "", 5.0, 300, 20)]
    said = "10 requests left: about 2,000 tokens to read, 150 to write and 40 s."
    assert estimate(replies, 8.0, 10) == said


def test_answers_of_the_cache_say_nothing_of_it():
    kept = Reply("")
    assert estimate([kept], 0.01, 10) == ""
    assert estimate([kept, Reply("", None, "", 2.0)], 2.0, 1) == "1 request left: about 2 s."


def test_it_is_said_after_the_first_batch():
    said = []
    with ChatServer(lambda asked: asked.text) as server:
        vlm = load_vlm(server.url, name="x", batch=2, cache=False)
        ask_all(vlm, [Request((), "a")] * 2, None, said.append)
        assert not said
        replies = ask_all(
            vlm,
            [Request((), str(i)) for i in range(5)],
            None,
            lambda s: said.append((s, len(server.asked))),
        )
    assert [reply.text for reply in replies] == list("01234")
    ((sentence, asked),) = said
    assert sentence.startswith("3 requests left: about 300 tokens to read, 60 to write and ")
    assert asked == 4
