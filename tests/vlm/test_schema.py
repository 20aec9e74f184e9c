import pytest

from vlad.vlm.schema import check, parse

SCHEMA = {
    "type": "object",
    "properties": {
        "yes": {"type": "boolean"},
        "size": {"type": "string", "enum": ["small", "large"]},
        "sure": {"type": "number", "minimum": 0, "maximum": 1},
        "count": {"type": "integer"},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
    },
    "required": ["yes"],
}


@pytest.mark.parametrize(
    "text",
    [
        '{"yes": true, "size": "small", "sure": 1, "count": 3, "words": ["a", "b"]}',
        '{"yes": false, "more": null}',
    ],
)
def test_an_answer_that_fits(text):
    data, error = parse(text, SCHEMA)
    assert data is not None and error == ""


def test_words_around_the_object_are_passed_over():
    text = 'Here is my answer:\n```json\n{"yes": true}\n```\nAnd {another}.'
    assert parse(text, SCHEMA) == ({"yes": True}, "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("I cannot say.", "it holds no JSON object"),
        ('["yes"]', "it holds no JSON object"),
        ('{"yes": tr', "its JSON is malformed or cut off"),
        ("{" * 100_000, "its JSON is malformed or cut off"),
        ('{"a":' * 100_000, "its JSON is malformed or cut off"),
        ('{"no": 1}', "the answer has no yes"),
        ('{"yes": 1}', "yes is 1, not of type boolean"),
        ('{"yes": true, "sure": true}', "sure is true, not of type number"),
        ('{"yes": true, "sure": 7}', "sure is 7, not from 0 to 1"),
        ('{"yes": true, "sure": NaN}', "sure is nan, not from 0 to 1"),
        ('{"yes": true, "count": 1.5}', "count is 1.5, not of type integer"),
        ('{"yes": true, "size": "huge"}', 'size is "huge", not one of small, large'),
        ('{"yes": true, "words": "a"}', 'words is "a", not of type array'),
        ('{"yes": true, "words": ["a", 1]}', "an item of words is 1, not of type string"),
        ('{"yes": true, "words": ["abcde"]}', "an item of words has 5 characters, over 4"),
        ('{"yes": true, "words": ["a", "b", "c"]}', "words has 3 items, not from 0 to 2"),
    ],
)
def test_an_answer_that_does_not(text, error):
    assert parse(text, SCHEMA) == (None, error)


def test_a_value_without_a_type_may_be_anything():
    assert check(None, {}, "it") == check([1, {}], {}, "it") == ""
