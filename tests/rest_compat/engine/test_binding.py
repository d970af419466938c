"""Where values come from, and what they are read as: every place and every option of `@param` and `@fill`."""

import json
import re
from typing import Any

import httpx
import pytest

from rest_compat.engine import adapter
from tests.rest_compat.engine.conftest import Serve
from tests.rest_compat.engine.world import Rest


def asks(declared: str, arguments: str = "", path: str = "/e", method: str = "GET", name: str = "q") -> str:
    """A document whose route answers with the arguments that it understood."""
    if not arguments:
        names = re.findall(r"\$(\w+):", declared)
        arguments = ", ".join(f"{name}: ${name}" for name in names)
    kind = "query" if method == "GET" else "mutation"
    return f'{kind} {name}({declared}) @rest(method: {method}, path: "{path}") {{ echo({arguments}) }}'


async def got(rest: Rest, url: str, **more: Any) -> Any:
    answer = await rest.get(url, **more)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    body.pop("needed", None)
    return body


async def posted(rest: Rest, url: str = "/e", **more: Any) -> Any:
    answer = await rest.post(url, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer: httpx.Response) -> tuple[int, str | None, str]:
    """Status, field and message of a refusal in the plain dialect."""
    body = answer.json()
    return answer.status_code, body["field"], body["error"]


# Addresses that come again.


async def test_an_address_is_read_once_and_each_request_has_values_of_its_own(rest: Serve) -> None:
    served = rest(asks('$object: JSONObject @param(in: QUERY, name: "*"), $id: ID', path="/e/{id}"))
    for _ in range(3):
        assert await got(served, "/e/7?a=1&b=%5B2%5D") == {"object": {"a": "1", "b": "[2]"}, "id": "7"}
        assert await got(served, "/e/8?a=1&b=%5B2%5D") == {"object": {"a": "1", "b": "[2]"}, "id": "8"}
    first, second = served.adapter._read.values()
    assert (first.variables["id"], second.variables["id"]) == ("7", "8")
    first.again().variables["object"]["a"] = "changed"
    assert await got(served, "/e/7?a=1&b=%5B2%5D") == {"object": {"a": "1", "b": "[2]"}, "id": "7"}


async def test_what_is_good_for_one_time_is_not_remembered(rest: Serve) -> None:
    declared = 'mutation q($text: String @param(in: QUERY)) @rest(method: GET, path: "/e", navigation: true)'
    served = rest(f"{declared} {{ echo(text: $text) }}")
    assert await got(served, "/e?text=secret") == {"text": "secret"}
    assert served.adapter._read == {}


async def test_what_depends_on_more_than_the_address_is_read_each_time(rest: Serve) -> None:
    served = rest(asks('$text: String @param(in: HEADER, name: "x-text")'))
    assert await got(served, "/e", headers={"x-text": "one"}) == {"text": "one"}
    assert await got(served, "/e", headers={"x-text": "two"}) == {"text": "two"}
    assert served.adapter._read == {}


async def test_so_many_addresses_are_remembered_and_no_long_ones(rest: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "READ_MAX", 2)
    served = rest(asks("$text: String"))
    for text in ("a", "b", "c", "d" * adapter.READ_CHARS_MAX):
        assert await got(served, f"/e?text={text}") == {"text": text}
    assert [bound.variables for bound in served.adapter._read.values()] == [{"text": "b"}, {"text": "c"}]


async def test_a_refusal_is_told_again(rest: Serve) -> None:
    served = rest(asks("$number: Int!"))
    for _ in range(2):
        assert refusal(await served.get("/e")) == (400, "number", "number is required")
    assert served.adapter._read == {}


# Texts.

REST = '$object: JSONObject @param(in: QUERY, name: "*")'


@pytest.mark.parametrize(
    ("declared", "query", "understood"),
    [
        ("$text: String", "text=a%20b+c%C3%A9", {"text": "a b cé"}),
        ("$text: String", "text=", {"text": ""}),
        ("$text: String", "", {}),
        ("$text: String", "other=1", {}),
        ("$text: String", "text=1&text=2", {"text": "2"}),
        ("$id: ID", "id=007", {"id": "007"}),
        ("$number: Int", "number=-7", {"number": -7}),
        ("$number: Int", "number=007", {"number": 7}),
        ("$big: BigInt", "big=9223372036854775807", {"big": 2**63 - 1}),
        ("$real: Float", "real=1.5e3", {"real": 1500.0}),
        ("$real: Float", "real=2", {"real": 2.0}),
        ("$flag: Boolean", "flag=true", {"flag": True}),
        ("$flag: Boolean", "flag=false", {"flag": False}),
        ("$colour: Colour", "colour=DARK_BLUE", {"colour": "DARK_BLUE"}),
        (
            "$moment: DateTime",
            "moment=2025-03-04T09:15:30%2B01:00",
            {"moment": {"parsed": "2025-03-04 08:15:30+00:00"}},
        ),
        (
            "$uuid: UUID",
            "uuid=11111111-2222-4333-8444-555555555555",
            {"uuid": {"parsed": "11111111-2222-4333-8444-555555555555"}},
        ),
        ("$any: JSON", "any=[1,null]", {"any": [1, None]}),
        ("$any: JSON", "any=just+text", {"any": "just text"}),
        ("$any: JSON", "any=null", {"any": None}),
        ("$object: JSONObject", "object=%7B%22a%22:1%7D", {"object": {"a": 1}}),
        # Lists: repeated, or as JSON where no text looks like that.
        ("$words: [String!]", "words=a&words=b,c", {"words": ["a", "b,c"]}),
        ("$words: [String!]", 'words=["a"]', {"words": ['["a"]']}),
        ("$numbers: [Int!]", "numbers=1", {"numbers": [1]}),
        ("$numbers: [Int!]", "numbers=1&numbers=2", {"numbers": [1, 2]}),
        ("$numbers: [Int!]", "numbers=[1,2]", {"numbers": [1, 2]}),
        ("$numbers: [Int!]", "numbers=[]", {"numbers": []}),
        ("$colours: [Colour!]", "colours=RED&colours=GREEN", {"colours": ["RED", "GREEN"]}),
        ("$colours: [Colour!]", 'colours=["RED"]', {"colours": ["RED"]}),
        ("$filters: [Filter!]", 'filters=[{"name":"a"},{"name":"b"}]', {"filters": [{"name": "a"}, {"name": "b"}]}),
        ("$filters: [Filter!]", 'filters={"name":"a"}', {"filters": [{"name": "a"}]}),
        ("$words: [String!] @param(list: COMMA)", "words=a,b&words=c", {"words": ["a", "b", "c"]}),
        ("$words: [String!] @param(list: COMMA)", "words=", {"words": []}),
        ("$words: [String!] @param(list: PIPE)", "words=a|b,c", {"words": ["a", "b,c"]}),
        ("$numbers: [Int!] @param(list: SPACE)", "numbers=1%202+3", {"numbers": [1, 2, 3]}),
        ("$words: [String!] @param(list: JSON)", 'words=["a","b"]', {"words": ["a", "b"]}),
        # Brackets: lists and objects, by the types of their parts.
        ("$words: [String!]", "words[]=a&words[]=b", {"words": ["a", "b"]}),
        ("$numbers: [Int!]", "numbers[1]=5&numbers[0]=4&numbers[]=6", {"numbers": [4, 5, 6]}),
        ("$filter: Filter", "filter[name]=5&filter[sizes][]=1", {"filter": {"name": "5", "sizes": [1]}}),
        ("$filter: Filter", "filter[inside][colour]=RED", {"filter": {"inside": {"colour": "RED"}}}),
        ("$filter: Filter", "filter[any][0][name]=a", {"filter": {"any": [{"name": "a"}]}}),
        ("$filter: Filter", 'filter[inside]={"name":"a"}', {"filter": {"inside": {"name": "a"}}}),
        ("$filter: Filter", "filter[unknown]=a&filter[name]=b", {"filter": {"name": "b"}}),
        ("$filter: Filter", 'filter={"name":"a","unknown":1}', {"filter": {"name": "a"}}),
        ("$object: JSONObject", "object[2024][x]=1&object[y]=b", {"object": {"2024": {"x": 1}, "y": "b"}}),
        ("$any: JSON", "any[0]=1&any[1]=b", {"any": [1, "b"]}),
        ("$any: JSON", "any[a][]=1&any[a][]=2", {"any": {"a": [1, 2]}}),
        # Options.
        ('$text: String @param(name: "q")', "q=a&text=b", {"text": "a"}),
        ('$text: String @param(name: "q", aliases: ["old", "older"])', "older=c&old=b", {"text": "b"}),
        ('$text: String @param(name: "q", aliases: ["old"])', "q=a&old=b", {"text": "a"}),
        ("$flag: Boolean @param(flag: true)", "flag", {"flag": True}),
        ("$flag: Boolean @param(flag: true)", "flag=false", {"flag": True}),
        ("$flag: Boolean @param(flag: true)", "", {}),
        ("$colour: Colour @param(case: UPPER)", "colour=Dark_Blue", {"colour": "DARK_BLUE"}),
        ("$colours: [Colour!] @param(case: UPPER, list: COMMA)", "colours=red,green", {"colours": ["RED", "GREEN"]}),
        ("$flag: Boolean @param(case: LOWER)", "flag=TRUE", {"flag": True}),
        ("$text: String @param(case: LOWER)", "text=ÀB", {"text": "àb"}),
        ('$flag: Boolean @param(spellings: "{\\"1\\": true}")', "flag=1", {"flag": True}),
        ('$number: Int @param(invalid: "100")', "number=x", {"number": 100}),
        ('$number: Int @param(invalid: "null")', "number=x", {"number": None}),
        ('$number: Int @param(invalid: "100")', "number=99999999999", {"number": 100}),
        ('$big: BigInt @param(invalid: "5")', "big=x", {"big": 5}),
        ('$colour: Colour @param(invalid: "\\"RED\\"", case: UPPER)', "colour=mauve", {"colour": "RED"}),
        ("$number: Int @param(min: 1, max: 10)", "number=0", {"number": 1}),
        ("$number: Int @param(min: 1, max: 10)", "number=11", {"number": 10}),
        ("$number: Int @param(min: 1, max: 10)", "number=5", {"number": 5}),
        # What is beyond is clamped, however far; only what is no number is invalid.
        ('$number: Int @param(max: 10, invalid: "3")', "number=" + "9" * 300, {"number": 10}),
        ('$number: Int @param(min: 1, invalid: "3")', "number=-99999999999", {"number": 1}),
        (f"{REST} $text: String", "text=a&b=1&c=&b=2", {"text": "a", "object": {"b": "2", "c": ""}}),
        (f"{REST} $filter: Filter", "filter[name]=a&d[e]=1", {"filter": {"name": "a"}, "object": {"d[e]": "1"}}),
        (REST, "", {}),
    ],
)  # fmt: skip
async def test_the_query_is_read_by_the_types(rest: Serve, declared: str, query: str, understood: Any) -> None:
    assert await got(rest(asks(declared)), f"/e?{query}") == understood


@pytest.mark.parametrize(
    ("declared", "query", "field"),
    [
        ("$number: Int", "number=x", "number"),
        ("$number: Int", "number=1.5", "number"),
        ("$number: Int", "number=%D9%A1", "number"),  # a digit, but none of ours
        ("$number: Int", "number=2147483648", "number"),
        ("$number: Int", "number=" + "9" * 5000, "number"),
        ("$real: Float", "real=1e400", "real"),
        ("$real: Float", "real=NaN", "real"),
        ("$flag: Boolean", "flag=1", "flag"),
        ("$flag: Boolean", "flag=TRUE", "flag"),
        ("$colour: Colour", "colour=red", "colour"),
        ("$uuid: UUID", "uuid=1", "uuid"),
        ("$moment: DateTime", "moment=yesterday", "moment"),
        ("$numbers: [Int!]", "numbers=1&numbers=x", "numbers.1"),
        ("$numbers: [Int!]", "numbers[0]=x", "numbers.0"),
        ("$object: JSONObject", "object=5", "object"),
        ("$filter: Filter", "filter=5", "filter"),
        ("$filter: Filter", "filter[sizes][0]=x", "filter.sizes.0"),
        ("$filter: Filter", 'filter={"inside":{"colour":"MAUVE"}}', "filter.inside.colour"),
        ("$filter: Filter", "filter[name]=a&filter[name][b]=c", "filter[name][b]"),
        ("$filter: Filter", "filter[name][b]=c&filter[name]=a", "filter[name]"),
        ("$filter: Filter", "filter={}&filter[name]=a", "filter"),
        ("$object: JSONObject", "object" + "[a]" * 11 + "=1", "object" + "[a]" * 11),
        ('$text: String! @param(name: "q")', "text=a", "q"),
        ('$number: Int @param(name: "n", aliases: ["old"])', "old=x", "old"),
        ('$filter: Filter @param(name: "f")', "f[sizes][0]=x", "f.sizes.0"),
        ("$text: String", "text=%FF", None),
        ("$text: String", "%FF=a", None),
        ("$text: String", "text=%00", "text"),
        ("$text: String", "a%00b=", "ab"),
        ("$text: String", "&".join("a=1" for _ in range(1001)), None),
    ],
)
async def test_what_cannot_be_read_is_refused_by_its_name(rest: Serve, declared: str, query: str, field: Any) -> None:
    status, named, message = refusal(await rest(asks(declared)).get(f"/e?{query}"))
    assert (status, named) == (400, field)
    assert field is None or message.startswith(field)


async def test_the_path_gives_text_that_may_hold_anything(rest: Serve) -> None:
    routes = rest(
        asks("$text: String! $number: Int!", path="/a/{text}/{number}"),
        asks("$text: String! $other: String!", path="/f/{text}/rest/{other*}", name="r"),
    )
    assert await got(routes, "/a/x%2Fy%20%C3%A9%3F%25/7") == {"text": "x/y é?%", "number": 7}
    assert await got(routes, "/a/+/7") == {"text": "+", "number": 7}
    assert await got(routes, "/f/a/rest/b/c%2Fd/e") == {"text": "a", "other": "b/c/d/e"}
    assert await got(routes, "/f/a/rest/") == {"text": "a", "other": ""}
    assert refusal(await routes.get("/a/x/seven"))[:2] == (400, "number")
    for missing in ("/a//7", "/a/x/7/", "/f/a/rest", "/a/x"):
        assert (await routes.get(missing)).status_code == 404


@pytest.mark.parametrize("path", ["/a/%FF/1", "/a/%00/1", "/a/%C3/1"])
async def test_a_path_that_is_no_text_is_refused(rest: Serve, path: str) -> None:
    routes = rest(asks("$text: String! $number: Int!", path="/a/{text}/{number}"))
    assert (await routes.get(path)).status_code == 400


async def test_a_part_of_the_path_has_its_options(rest: Serve) -> None:
    routes = rest(
        asks('$colour: Colour! @param(in: PATH, name: "c", case: UPPER) $numbers: [Int!]! @param(list: COMMA)')
        .replace("/e", "/p/{c}/{numbers}")
    )  # fmt: skip
    assert await got(routes, "/p/red/1,2") == {"colour": "RED", "numbers": [1, 2]}


async def test_headers_and_cookies(rest: Serve) -> None:
    routes = rest(
        asks(
            """
            $text: String @param(in: HEADER, name: "X-Text", aliases: ["X-Old"])
            $words: [String!] @param(in: HEADER, name: "X-Words", list: COMMA)
            $number: Int @param(in: HEADER, name: "If-Match")
            $other: String @param(in: COOKIE, name: "session")
            """
        )
    )
    assert await got(routes, "/e") == {}
    sent = [("x-text", "é"), ("x-words", "a,b"), ("X-Words", "c"), ("cookie", "a=b; session=s1")]
    understood = {"text": "é", "words": ["a", "b", "c"], "other": "s1"}
    assert await got(routes, "/e", headers=[(name.encode(), value.encode()) for name, value in sent]) == understood
    assert await got(routes, "/e", headers={"X-Old": "a"}) == {"text": "a"}
    for tag in ('"3"', 'W/"3"', "3"):
        assert await got(routes, "/e", headers={"If-Match": tag}) == {"number": 3}
    for condition in ("*", "", '""'):
        assert await got(routes, "/e", headers={"If-Match": condition}) == {}
    assert refusal(await routes.get("/e", headers={"If-Match": "x"}))[:2] == (400, "If-Match")
    assert refusal(await routes.get("/e", headers=[(b"X-Text", b"\xff")]))[:2] == (400, "X-Text")


# JSON bodies.


@pytest.mark.parametrize(
    ("declared", "body", "understood"),
    [
        ("$text: String $number: Int", {"text": "a"}, {"text": "a"}),
        ("$text: String $number: Int", {"text": None, "more": 1}, {"text": None}),
        ("$text: String = \"d\"", {}, {"text": "d"}),
        ("$text: String = \"d\"", {"text": None}, {"text": None}),
        ("$text: String = \"d\"", {"text": "a"}, {"text": "a"}),
        ('$text: String @param(name: "t", aliases: ["old"])', {"old": "a"}, {"text": "a"}),
        ('$text: String @param(name: "t", aliases: ["old"])', {"t": None, "old": "a"}, {"text": "a"}),
        ('$text: String @param(name: "t", aliases: ["old"])', {"t": None, "old": None}, {"text": None}),
        ('$colour: Colour @param(case: UPPER)', {"colour": "red"}, {"colour": "RED"}),
        ('$flag: Boolean @param(spellings: "{\\"yes\\": true}")', {"flag": "yes"}, {"flag": True}),
        ('$number: Int @param(invalid: "5", min: 1, max: 10)', {"number": "x"}, {"number": 5}),
        ('$number: Int @param(invalid: "5", min: 1, max: 10)', {"number": 99999999999}, {"number": 10}),
        ('$number: Int @param(invalid: "5", min: 1, max: 10)', {"number": None}, {"number": None}),
        ('$words: [String!] @param(invalid: "[]")', {"words": "a"}, {"words": []}),
        ("$id: ID", {"id": 7}, {"id": "7"}),
        ("$real: Float", {"real": 1}, {"real": 1.0}),
        ("$any: JSON", {"any": {"a": [1.5, None, "x"]}}, {"any": {"a": [1.5, None, "x"]}}),
        ("$input: ThingInput", {"input": {"name": "a", "unknown": 1}}, {"input": {"name": "a", "size": 1}}),
        ("$input: ThingInput @param(in: BODY)", {"name": "a"}, {"input": {"name": "a", "size": 1}}),
        ("$any: JSON @param(in: BODY)", [1, 2], {"any": [1, 2]}),
        ("$any: JSON @param(in: BODY)", None, {"any": None}),
        ("$inputs: [ThingInput!] @param(in: BODY)", [{"name": "a"}], {"inputs": [{"name": "a", "size": 1}]}),
        # A field of its own leaves the whole body.
        (
            '$object: JSONObject @param(in: BODY) $number: Int @param(in: BODY, name: "version")',
            {"a": 1, "version": 3},
            {"object": {"a": 1}, "number": 3},
        ),
    ],
)  # fmt: skip
async def test_the_body_is_read_by_the_types(rest: Serve, declared: str, body: Any, understood: Any) -> None:
    assert await posted(rest(asks(declared, method="POST")), content=json.dumps(body)) == understood


@pytest.mark.parametrize(
    ("declared", "body", "field"),
    [
        ("$text: String", [], None),
        ("$text: String", None, None),
        ("$text: String!", {}, "text"),
        ("$text: String!", {"text": None}, "text"),
        ("$text: String", {"text": 1}, "text"),
        ("$number: Int", {"number": "1"}, "number"),
        ("$number: Int", {"number": True}, "number"),
        ("$words: [String!]", {"words": "a"}, "words"),
        ("$words: [String!]", {"words": ["a", 1]}, "words.1"),
        ('$text: String! @param(name: "t", aliases: ["old"])', {"old": 1}, "old"),
        ('$text: String! @param(name: "t", aliases: ["old"])', {}, "t"),
        ("$input: ThingInput", {"input": {}}, "input.name"),
        ("$input: ThingInput", {"input": {"name": 1}}, "input.name"),
        ("$input: ThingInput @param(in: BODY)", {"name": 1}, "name"),
        ("$input: ThingInput @param(in: BODY)", {"name": "a", "place": {"number": 1}}, "place.street"),
        ("$input: ThingInput! @param(in: BODY)", None, None),
        ("$inputs: [ThingInput!] @param(in: BODY)", [{"name": "a"}, {"name": 2}], "1.name"),
        ("$inputs: [ThingInput!] @param(in: BODY)", {"name": "a"}, None),
    ],
)
async def test_what_the_body_must_not_be_is_refused_by_its_name(
    rest: Serve, declared: str, body: Any, field: Any
) -> None:
    arguments = "text: $text" if "$text" in declared else ""
    routes = rest(asks(declared, arguments, method="POST"))
    status, named, message = refusal(await routes.post("/e", content=json.dumps(body)))
    assert (status, named) == (400, field)
    assert message.startswith(field or "the body")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"any": 1, "any": 2}',
        b'{"any": {"a": 1, "a": 1}}',
        b'{"any": NaN}',
        b'{"any": Infinity}',
        b'{"any": 1e400}',
        b'{"any": [-1e999]}',
        b'{"any": ' + b"9" * 400 + b".0}",
        '{"any": "é"}'.encode("utf-16"),
        '{"any": "é"}'.encode("latin-1"),
        b'\xef\xbb\xbf{"any": 1}',
        b'{"any": "\\ud800"}',
        b'{"any": "\xed\xa0\x80"}',
        b'{"any": "\\u0000"}',
        b'{"any": {"\\u0000": 1}}',
        b'{"any": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"any": ' + b"9" * 5000 + b"}",
        b'{"any": 01}',
        b"{'any': 1}",
        b'{"any": 1,}',
        b'{"any": 1} {}',
        b'{"any": "\n"}',
        b"{",
        b" ",
    ],
)
async def test_json_is_what_it_is_defined_to_be(rest: Serve, raw: bytes) -> None:
    routes = rest(asks("$any: JSON", method="POST"))
    answer = await routes.post("/e", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert routes.world.keys == []  # nothing ran


async def test_json_that_only_looks_suspicious_is_taken(rest: Serve) -> None:
    routes = rest(asks("$any: JSON", method="POST"))
    raw = b'{"any": [1e30, "\\\\u0000", 1e-400, "5E999", 123456789012345678901234567890]}'
    answer = await posted(routes, content=raw, headers={"content-type": "application/json"})
    assert answer == {"any": [1e30, "\\u0000", 0.0, "5E999", 123456789012345678901234567890]}


async def test_an_empty_body_is_an_empty_object_where_all_is_optional(rest: Serve) -> None:
    routes = rest(
        asks("$text: String", method="POST"),
        asks("$any: JSON! @param(in: BODY)", path="/whole", method="POST", name="r"),
    )
    assert await posted(routes) == {}
    assert refusal(await routes.post("/whole"))[0] == 400


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/merge-patch+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonx", 415),
    ],
)
async def test_the_media_type_of_json(rest: Serve, content_type: str, status: int) -> None:
    routes = rest(asks("$text: String", method="POST"))
    answer = await routes.post("/e", content=b'{"text": "a"}', headers={"content-type": content_type})
    assert answer.status_code == status


async def test_a_compressed_body_is_refused(rest: Serve) -> None:
    routes = rest(asks("$upload: Upload @param(in: RAW)", method="POST"))
    assert (await routes.post("/e", content=b"x", headers={"content-encoding": "gzip"})).status_code == 415
    assert (await routes.post("/e", content=b"x", headers={"content-encoding": "identity"})).status_code == 200


# Parts of inputs, several places, filled values.

CHANGE = """
mutation q(
  $input: ThingInput! @param(in: BODY)
    @param(in: PATH, name: "thing", field: "id")
    @param(in: QUERY, name: "town", field: "place.town.id")
    @param(in: HEADER, name: "X-Size", field: "size")
) @rest(method: PUT, path: "/things/{thing}") { echo(input: $input) }
"""


async def test_parts_of_an_input_come_from_elsewhere(rest: Serve) -> None:
    routes = rest(CHANGE)
    place: Any = {"street": "s", "town": {"name": "n"}}
    answer = await routes.request(
        "PUT", "/things/t%2F1?town=7", json={"name": "a", "place": place}, headers={"X-Size": "5"}
    )
    put = {"street": "s", "town": {"id": "7", "name": "n"}}
    assert answer.json() == {"input": {"id": "t/1", "name": "a", "size": 5, "place": put}}
    for town in ({}, {"town": None}):
        answer = await routes.request("PUT", "/things/1?town=7", json={"name": "a", "place": {"street": "s", **town}})
        assert answer.json()["input"]["place"] == {"street": "s", "town": {"id": "7"}}


async def test_a_part_that_is_placed_elsewhere_is_no_part_of_the_body(rest: Serve, strict_rest: Serve) -> None:
    smuggled = {"name": "a", "id": "mine", "size": 9, "place": {"street": "s", "town": {"id": "mine"}}}
    answer = await rest(CHANGE).request("PUT", "/things/1", json=smuggled)
    assert answer.json()["field"] == "town"  # required, and what the body says of it does not count
    answer = await rest(CHANGE).request("PUT", "/things/1?town=7", json=smuggled)
    place = {"street": "s", "town": {"id": "7"}}
    assert answer.json()["input"] == {"id": "1", "name": "a", "size": 1, "place": place}
    strict = strict_rest(CHANGE.replace("/things", "/strict/things"))
    answer = await strict.request("PUT", "/strict/things/1?town=7", json=smuggled)
    fields = [one["field"] for one in answer.json()["error"]["details"]]
    assert (answer.status_code, fields) == (400, ["id", "size", "place.town.id"])


@pytest.mark.parametrize(
    ("url", "body", "headers", "field"),
    [
        ("/things/1?town=7", {"name": 5}, {}, "name"),
        ("/things/1?town=7", {"name": "a"}, {"X-Size": "big"}, "X-Size"),
        ("/things/1", {"name": "a"}, {}, "town"),
        ("/things/1?town=7", {"name": "a", "place": 5}, {}, "place"),
        ("/things/1?town=7", {"name": "a", "place": {"street": 5}}, {}, "place.street"),
        ("/things/1?town=7", None, {}, None),
        ("/things/1?town=7", {}, {}, "name"),
    ],
)
async def test_parts_are_refused_by_their_own_names(
    rest: Serve, url: str, body: Any, headers: Any, field: str | None
) -> None:
    answer = await rest(CHANGE).request("PUT", url, content=json.dumps(body), headers=headers)
    assert refusal(answer)[:2] == (400, field)


async def test_an_object_whose_parts_all_have_places_has_none_itself(rest: Serve) -> None:
    routes = rest(
        'query q($filter: Filter @param(field: "name") @param(field: "colour") @param(field: "sizes")'
        ' @param(field: "inside") @param(field: "any")) @rest(method: GET, path: "/e") { echo(filter: $filter) }'
    )
    assert await got(routes, "/e") == {}
    assert await got(routes, "/e?name=a&sizes=1&sizes=2&filter=%7B%7D") == {"filter": {"name": "a", "sizes": [1, 2]}}
    assert [p["name"] for p in routes.operation("/e")["parameters"]] == ["name", "colour", "sizes", "inside", "any"]


async def test_the_default_of_an_object_is_what_its_parts_are_put_into(rest: Serve) -> None:
    routes = rest(
        'query q($filter: Filter = {name: "d", colour: RED} @param(field: "name"))'
        ' @rest(method: GET, path: "/e") { echo(filter: $filter) }'
    )
    assert await got(routes, "/e") == {"filter": {"name": "d", "colour": "RED"}}
    assert await got(routes, "/e?name=a") == {"filter": {"name": "a", "colour": "RED"}}
    assert await got(routes, '/e?name=a&filter={"sizes":[1]}') == {"filter": {"name": "a", "sizes": [1]}}


async def test_a_value_may_be_at_several_places(rest: Serve) -> None:
    routes = rest(
        'mutation q($text: String! @param(in: HEADER, name: "X-Tenant") @param(in: BODY, name: "tenant_id")'
        ' @param(in: QUERY, name: "tenant")) @rest(method: POST, path: "/e") { echo(text: $text) }'
    )
    all = {"headers": {"X-Tenant": "h"}, "json": {"tenant_id": "b"}}
    assert await posted(routes, "/e?tenant=q", **all) == {"text": "h"}
    assert await posted(routes, "/e?tenant=q", json={"tenant_id": "b"}) == {"text": "b"}
    assert await posted(routes, "/e?tenant=q") == {"text": "q"}
    assert refusal(await routes.post("/e")) == (400, "X-Tenant", "X-Tenant is required")
    parameters = routes.operation("/e", "post")["parameters"]
    assert [(p["name"], p["required"]) for p in parameters] == [("X-Tenant", False), ("tenant", False)]


async def test_what_the_server_fills_is_not_the_callers_to_give(rest: Serve) -> None:
    routes = rest(
        """
        mutation q(
          $input: ThingInput! @param(in: BODY) @fill(with: USER_ID, field: "ownerId") @fill(with: NEW_ID, field: "id")
          $text: String @fill(with: BASE_URL)
          $other: String @fill(with: REQUEST_ID)
          $any: JSON @fill(with: NOW)
        ) @rest(method: POST, path: "/e") { echo(input: $input, text: $text, other: $other, any: $any) }
        query r($text: String @fill(with: CLIENT_IP), $other: String @fill(with: USER_AGENT))
        @rest(method: GET, path: "/r") { echo(text: $text, other: $other) }
        """
    )
    body = {"name": "a", "ownerId": "mine", "id": "mine", "text": "mine"}
    answer = await routes.post("/e?text=mine", json=body, headers={"authorization": "Bearer token-u1"})
    told = answer.json()
    assert told["input"]["ownerId"] == "u1"
    assert len(told["input"]["id"]) == 36
    assert (told["text"], told["other"]) == ("http://world", answer.headers["x-request-id"])
    assert told["any"].endswith("+00:00")
    described = routes.operation("/e", "post")
    assert list(described["requestBody"]["content"]["application/json"]["schema"]["properties"]) == [
        "name", "size", "colour", "tags", "place"
    ]  # fmt: skip
    assert "parameters" not in routes.operation("/r")
    assert await got(routes, "/r", headers={"user-agent": "me/1"}) == {"text": "127.0.0.1", "other": "me/1"}


async def test_headers_are_filled_in_without_those_that_say_who_asks(rest: Serve) -> None:
    routes = rest('mutation q($any: JSON @fill(with: HEADERS)) @rest(method: POST, path: "/e") { echo(any: $any) }')
    headers = [("X-One", "1"), ("X-Two", "a"), ("X-Two", "b"), ("Authorization", "Bearer token-u1"), ("Cookie", "a=b")]
    told = (await routes.post("/e", headers=headers)).json()["any"]
    assert (told["x-one"], told["x-two"]) == ("1", "a, b")
    assert not {"authorization", "cookie", "X-One"} & told.keys()


# Forms and files.

UPLOAD = """
mutation q(
  $upload: Upload! @param(in: FILE, name: "file")
  $text: String @param(in: FORM, name: "title", aliases: ["caption"])
  $numbers: [Int!] @param(in: FORM)
  $filter: Filter @param(in: FORM)
) @rest(method: POST, path: "/e") { echo(upload: $upload, text: $text, numbers: $numbers, filter: $filter) }
"""


RAW_FORM = b"--b\r\nContent-Disposition: form-data; %s\r\n\r\nx\r\n--b--\r\n"


async def test_a_form_with_a_file(rest: Serve) -> None:
    answer = await posted(
        rest(UPLOAD),
        files={"file": ("nämé.txt", b"hello", "text/plain")},
        data={"caption": "é", "numbers": ["1", "2"], "filter[sizes][0]": "3"},
    )
    assert answer == {
        "upload": {"name": "nämé.txt", "type": "text/plain", "size": 5, "text": "hello"},
        "text": "é",
        "numbers": [1, 2],
        "filter": {"sizes": [3]},
    }


async def test_a_raw_body_is_a_file_too(rest: Serve) -> None:
    raw = b"x" * (2**20 + 1)
    answer = await posted(rest(UPLOAD), content=raw, headers={"content-type": "image/png"})
    assert answer["upload"] == {"name": "", "type": "image/png", "size": len(raw), "text": raw.decode()}


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"files": {"other": ("a", b"1")}}, "file"),
        ({"files": [("file", ("a", b"1")), ("file", ("b", b"2"))]}, "file"),
        ({"files": {"file": ("a", b"1")}, "data": {"numbers": "x"}}, "numbers.0"),
        ({"files": {"file": ("a", b"1")}, "data": {"filter[sizes]": "x"}}, "filter.sizes.0"),
        (RAW_FORM % b'name="file"; filename="a\x00b"', "file"),
        (RAW_FORM % b'name="a\x00b"', "ab"),
        ({"files": {"file": ("a", b"1")}, "data": {"title": "\x00"}}, "title"),
        ({"content": b""}, "file"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, None),
        (RAW_FORM % b'nothing="file"', None),
        (b"--b\r\nx", "file"),
    ],
)
async def test_forms_that_are_refused(rest: Serve, sent: Any, field: str | None) -> None:
    if isinstance(sent, bytes):
        sent = {"content": sent, "headers": {"content-type": "multipart/form-data; boundary=b"}}
    assert refusal(await rest(UPLOAD).post("/e", **sent))[:2] == (400, field)


async def test_any_file_whatever_its_name_and_all_files_of_one(rest: Serve) -> None:
    routes = rest(
        asks('$upload: Upload! @param(in: FILE, name: "*")', path="/any", method="POST"),
        asks('$uploads: [Upload!] @param(in: FILE, name: "files")', path="/all", method="POST", name="r"),
    )
    answer = await posted(routes, "/any", files={"whatever": ("a", b"1")}, data={"more": "1"})
    assert answer["upload"]["text"] == "1"
    two = [("x", ("a", b"1")), ("y", ("b", b"2"))]
    assert refusal(await routes.post("/any", files=two)) == (400, None, "there must be one file, not more")
    assert refusal(await routes.post("/any", data={"a": "1"})) == (400, None, "a file is required")
    both = [("files", ("a", b"1")), ("files", ("b", b"2")), ("other", ("c", b"3"))]
    assert [one["name"] for one in (await posted(routes, "/all", files=both))["uploads"]] == ["a", "b"]
    assert [one["text"] for one in (await posted(routes, "/all", content=b"raw"))["uploads"]] == ["raw"]
    assert await posted(routes, "/all", files={"other": ("c", b"3")}) == {}


async def test_a_url_encoded_form(rest: Serve) -> None:
    routes = rest(asks("$text: String @param(in: FORM) $words: [String!] @param(in: FORM)", method="POST"))
    assert await posted(routes, data={"text": "a b&é", "words": ["1", "2"]}) == {"text": "a b&é", "words": ["1", "2"]}
    assert await posted(routes) == {}
    assert await posted(routes, files={"x": ("a", b"1")}, data={"text": "m"}) == {"text": "m"}
    assert (await routes.post("/e", json={})).status_code == 415
    for raw in (b"text=%FF", b"\xff=1", b"text=%00"):
        answer = await routes.post("/e", content=raw, headers={"content-type": "application/x-www-form-urlencoded"})
        assert answer.status_code == 400


async def test_a_body_may_be_json_or_a_form(rest: Serve) -> None:
    routes = rest(
        'mutation q($text: String @param(in: BODY, name: "url") @param(in: FORM, name: "url"),'
        ' $upload: Upload @param(in: FILE, name: "file"), $number: Int)'
        ' @rest(method: POST, path: "/e") { echo(text: $text, upload: $upload, number: $number) }'
    )
    assert await posted(routes, json={"url": "u", "number": 3}) == {"text": "u", "number": 3}
    assert await posted(routes) == {}
    answer = await posted(routes, data={"url": "u"}, files={"file": ("a", b"1")})
    assert (answer["text"], answer["upload"]["text"]) == ("u", "1")
    answer = await posted(routes, content=b"raw", headers={"content-type": "text/csv"})
    assert answer["upload"]["type"] == "text/csv"
    body = routes.operation("/e", "post")["requestBody"]
    assert list(body["content"]) == ["application/json", "multipart/form-data", "application/octet-stream"]
    assert body["required"] is False


async def test_a_raw_body(rest: Serve) -> None:
    routes = rest(
        asks("$upload: Upload @param(in: RAW)", method="POST"),
        asks("$upload: Upload! @param(in: RAW)", path="/must", method="POST", name="r"),
    )
    answer = await posted(routes, content=b'{"a": 1}', headers={"content-type": "application/json"})
    assert answer["upload"] == {"name": "", "type": "application/json", "size": 8, "text": '{"a": 1}'}
    assert await posted(routes) == {}
    assert refusal(await routes.post("/must")) == (400, None, "the body is required")


# Dialects.


@pytest.mark.parametrize(
    ("declared", "url", "fields"),
    [
        ("$text: String", "/strict/e?more=1&again=2", ["more", "again"]),
        ("$text: String", "/strict/e?text=1&text=2", ["text"]),
        ("$text: String", "/strict/e?text[a]=1", ["text[a]"]),
        ('$text: String @param(name: "t", aliases: ["old"])', "/strict/e?t=1&old=2", ["old"]),
        ("$filter: Filter", "/strict/e?filter[name]=1&filter[name]=2", ["filter.name"]),
        ("$filter: Filter", "/strict/e?filter[more]=1", ["filter.more"]),
        ("$filter: Filter", '/strict/e?filter={"more":1,"inside":{"less":2}}', ["filter.more"]),
        ("$object: JSONObject", "/strict/e?object[a]=1&object[a]=2", ["object.a"]),
        ('$object: JSONObject @param(in: QUERY, name: "*")', "/strict/e?a=1&a=2", ["a"]),
        ("$number: Int! $text: String! $flag: Boolean", "/strict/e?number=x&flag=y", ["text", "number", "flag"]),
    ],
)
async def test_a_strict_dialect_refuses_parameters_it_does_not_know(
    strict_rest: Serve, declared: str, url: str, fields: list[str]
) -> None:
    answer = await strict_rest(asks(declared, path="/strict/e")).get(url)
    told = answer.json()
    assert (answer.status_code, told["success"]) == (400, False)
    assert [one["field"] for one in told["error"]["details"]] == fields
    assert told["request_id"] == answer.headers["x-request-id"]


async def test_spellings_of_one_value_may_agree(strict_rest: Serve) -> None:
    routes = strict_rest(
        asks('$text: String @param(name: "t", aliases: ["old"]) $words: [String!]', path="/strict/e", method="POST")
    )
    assert (await routes.post("/strict/e", json={"t": "1", "old": "1"})).json()["data"] == {"text": "1"}
    answer = await routes.post("/strict/e", json={"t": "1", "old": "2"})
    assert answer.json()["error"]["details"][0]["field"] == "old"


async def test_a_strict_dialect_tells_everything_that_is_wrong_with_a_body(strict_rest: Serve) -> None:
    routes = strict_rest(
        asks("$input: ThingInput! @param(in: BODY)", path="/strict/e", method="POST"),
        asks(
            '$input: ThingInput! $number: Int $text: String @param(name: "t")',
            path="/strict/f",
            method="POST",
            name="r",
        ),
    )
    body = {"size": "big", "colour": "MAUVE", "more": 1, "place": {"number": 1, "town": {"less": 2}}}
    answer = await routes.post("/strict/e", json=body)
    told = {one["field"]: one["message"] for one in answer.json()["error"]["details"]}
    assert set(told) == {"more", "name", "place.street", "place.town.less", "place.town.id", "size", "colour"}
    assert told["name"] == "name is required"
    assert told["place.town.less"] == "unknown field 'place.town.less'"
    answer = await routes.post("/strict/f", json={"number": "x", "t": 5, "what": 1})
    assert {one["field"] for one in answer.json()["error"]["details"]} == {"what", "input", "number", "t"}


async def test_a_strict_dialect_refuses_form_fields_it_does_not_know(strict_rest: Serve) -> None:
    routes = strict_rest(UPLOAD.replace("/e", "/strict/e"))
    sent: Any = {"files": {"file": ("a", b"1"), "more": ("b", b"2")}, "data": {"less": "1"}}
    answer = await routes.post("/strict/e", **sent)
    assert {one["field"] for one in answer.json()["error"]["details"]} == {"less", "more"}
    assert routes.world.keys == []


# What is wrong with a value by its type.


@pytest.mark.parametrize(
    ("declared", "sent", "field", "message"),
    [
        ("$text: String!", {"text": None}, "text", "text must not be null"),
        ("$text: String!", {"text": ["secret"]}, "text", "text must be a string"),
        ("$id: ID!", {"id": 1.5}, "id", "id must be a string"),
        ("$number: Int", {"number": "ten"}, "number", "number must be an integer of at most 32 bits"),
        ("$number: Int", {"number": 2**31}, "number", "number must be an integer of at most 32 bits"),
        ("$real: Float", {"real": "1"}, "real", "real must be a number"),
        ("$flag: Boolean", {"flag": "yes"}, "flag", "flag must be true or false"),
        ("$words: [String!]", {"words": ["a", None]}, "words.1", "words.1 must not be null"),
        ("$colour: Colour", {"colour": "MAUVE"}, "colour", "colour must be one of RED, GREEN, DARK_BLUE"),
        ("$colour: Colour @param(case: UPPER)", {"colour": "x"}, "colour",
         "colour must be one of red, green, dark_blue"),
        ("$filter: Filter", {"filter": 5}, "filter", "filter must be an object"),
        ("$filter: Filter", {"filter": {"inside": {"colour": 5}}}, "filter.inside.colour",
         "filter.inside.colour must be one of RED, GREEN, DARK_BLUE"),
        ("$filter: Filter! @param(in: BODY)", {"name": 5}, "name", "name must be a string"),
        ("$filter: Filter! @param(in: BODY)", None, None, "the body must not be null"),
        ("$filter: Filter! @param(in: BODY)", 5, None, "the body must be an object"),
    ],
)  # fmt: skip
async def test_what_is_of_another_type_is_told_what_it_must_be(
    rest: Serve, declared: str, sent: Any, field: str | None, message: str
) -> None:
    routes = rest(asks(declared, method="POST"))
    body = json.dumps(sent).encode()
    answer = await routes.post("/e", content=body, headers={"content-type": "application/json"})
    assert refusal(answer) == (400, field, message)


async def test_a_body_that_is_needed_and_is_not_there_is_asked_for(rest: Serve) -> None:
    routes = rest(asks("$filter: Filter! @param(in: BODY)", method="POST"))
    assert refusal(await routes.post("/e")) == (400, None, "the body must be JSON, and is empty")


# The domain's words for values, and the caller's.


@pytest.mark.parametrize(
    ("arguments", "refused", "field", "message"),
    [
        ("code: $code, field: $of, message: $m", "code", "c", "c is bad"),
        ("code: $code, field: $of, message: $m", "code.part", "c.part", "c.part is bad"),
        ("code: $code, field: $of, message: $m", "nowhere", "nowhere", "nowhere is bad"),
        ("code: $code, field: $of, message: $m", "codes", "codes", "codes is bad"),
    ],
)
async def test_a_refused_argument_has_the_name_the_caller_gave_it(
    rest: Serve, arguments: str, refused: str, field: str, message: str
) -> None:
    routes = rest(
        'query q($code: String! @param(name: "c", aliases: ["older"]), $of: String, $m: String)'
        f' @rest(method: GET, path: "/e") {{ refuse({arguments}) }}'
    )
    answer = await routes.get(f"/e?c=CONFLICT&of={refused}&m={refused}+is+bad")
    assert refusal(answer) == (409, field, message)
    if refused == "code":
        older = await routes.get("/e?older=CONFLICT&of=code&m=code+is+bad")
        assert refusal(older) == (409, "older", "older is bad")
        other = await routes.get("/e?c=CONFLICT&of=code&m=codes+are+bad")
        assert refusal(other) == (409, "c", "codes are bad")


async def test_a_refused_part_of_a_literal_has_the_name_of_its_variable(rest: Serve) -> None:
    routes = rest(
        """
        mutation q($title: String!) @rest(method: POST, path: "/e") { make(input: {name: $title}) { __typename } }
        mutation r($input: ThingInput! @param(in: BODY))
        @rest(method: POST, path: "/f") { make(input: $input) { __typename } }
        """
    )
    assert refusal(await routes.post("/e", json={"title": "taken"}))[:2] == (409, "title")
    assert refusal(await routes.post("/f", json={"name": "taken"})) == (409, "name", "name is taken")
