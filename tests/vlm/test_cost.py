from vlad.vlm import Reply
from vlad.vlm.cost import estimate


def test_the_rest_costs_what_the_first_did():
    replies = [Reply("", None, "", 3.0, 100, 10), Reply("", None, "", 5.0, 300, 20)]
    said = "10 requests left: about 2,000 tokens to read, 150 to write and 40 s."
    assert estimate(replies, 8.0, 10) == said


def test_answers_of_the_cache_say_nothing_of_it():
    kept = Reply("")
    assert estimate([kept], 0.01, 10) == ""
    assert estimate([kept, Reply("", None, "", 2.0)], 2.0, 1) == "1 request left: about 2 s."
