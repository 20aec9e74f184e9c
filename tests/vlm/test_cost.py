from vlad.vlm import Choice, Reply
from vlad.vlm.cost import Cost, estimate


def test_the_rest_costs_what_the_first_did():
    replies = [Reply("", None, "", 3.0, 100, 10), Reply("", None, "", 5.0, 300, 20)]
    said = "10 requests left: about 2,000 tokens to read, 150 to write and 40 s."
    assert estimate(replies, 8.0, 10) == said


def test_answers_of_the_cache_say_nothing_of_it():
    kept = Reply("")
    assert estimate([kept], 0.01, 10) == ""
    assert estimate([kept, Reply("", None, "", 2.0)], 2.0, 1) == "1 request left: about 2 s."


def test_it_is_said_once_and_of_what_is_left():
    said: list[str] = []
    cost = Cost(10, said.append)
    cost.count([Reply("")] * 3)  # of the cache
    assert said == []
    cost.count([Choice((0.5, 0.5), "Yes", "", 2.0, 100, 1)] * 2, 4.0)
    cost.count([Choice((0.5, 0.5), "Yes", "", 2.0, 100, 1)] * 2, 4.0)
    assert said == ["5 requests left: about 500 tokens to read, 5 to write and 10 s."]


def test_after_the_last_answers_nothing_is_said():
    said: list[str] = []
    Cost(2, said.append).count([Reply("", None, "", 2.0)] * 2, 4.0)
    assert said == []
