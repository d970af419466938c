"""Every kind of mistake in a document is told by file, line and column. A ▶ stands where it must point to."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from rest_compat.engine.documents import read_documents
from rest_compat.engine.errors import CompileError
from tests.rest_compat.engine.world import plain, served

MARK = "▶"


def assert_wrong(folder: Path, files: Mapping[str, str], message: str) -> None:
    """The documents make no routes, and the error points to the mark."""
    where = ""
    for name, text in files.items():
        before, mark, after = text.partition(MARK)
        if mark:
            line = before.count("\n") + 1
            where = f"{folder.name}/{name}.graphql:{line}:{len(before) - before.rfind(chr(10))}"
        (folder / f"{name}.graphql").write_text(before + after, "utf-8")
    with pytest.raises(CompileError) as raised:
        served(plain(folder)).adapter.compile_all()
    assert str(raised.value).startswith(f"{where}: {message}")


def get(selection: str, more: str = "", path: str = "/e", declared: str = "") -> str:
    return f'query q{declared} @rest(method: GET, path: "{path}"{more}) {{ {selection} }}'


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("query q @rest(method: GET, path: \"/e\") { ▶", "Syntax Error: Expected Name, found <EOF>."),
        ("query q {▶", "Syntax Error"),
        ("# é ü\n\n  ▶query { text }", "an operation needs a name"),
        ("▶query q { text }", "operation 'q' has no @rest"),
        ("query q ▶@rest(path: \"/e\") { text }", "@rest needs method"),
        ("query q ▶@rest(method: GET) { text }", "@rest needs path"),
        ("query q ▶@rest(method: GET, path: 5) { text }", "@rest needs path"),
        ("query q ▶@rest(method: $m, path: \"/e\") { text }", "@rest needs method"),
        *(
            (f'query q ▶@rest(method: GET, path: "{path}") {{ text }}', f"'{path}' is not a path")
            for path in ("", "e", "//", "/a//b", "/a b", "/a?b", "/a#b", "/{a}b", "/{1}", "/{a*}/b", "/a%20", "/{a*}/")
        ),
        ("query q ▶@rest(method: GET, path: \"/{a}/{a}\") { text }", "'/{a}/{a}' names a parameter twice"),
        ("▶type T { a: Int }", "only operations and fragments make routes"),
        (f"{get('text')}\n▶{get('text', path='/f')}", "operation 'q' is also in plain/world.graphql"),
        (
            "fragment F on Thing { id }\n▶fragment F on Thing { name }",
            "fragment 'F' is also in plain/world.graphql",
        ),
        (f"{get('text')}\n▶{get('text').replace(' q', ' r')}", "GET /e is also in plain/world.graphql"),
    ],
)  # fmt: skip
def test_what_is_no_route_is_told_at_start(tmp_path: Path, document: str, message: str) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    assert_wrong(folder, {"world": document}, message)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("/a/{x}", "/a/{y}", "/a/{y} is /a/{x} in plain/a.graphql"),
        ("/a/{x}", "/a/{x*}", "/a/{x*} is /a/{x} in plain/a.graphql"),
        ("/a/{x}/b", "/a/{y}/b", "/a/{y}/b is /a/{x}/b in plain/a.graphql"),
    ],
)
def test_one_path_is_spelled_one_way(tmp_path: Path, first: str, second: str, message: str) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    one = get("text(of: $x)", path=first, declared="($x: String!)")
    other = (
        f'mutation r($y: String! @param(in: PATH, name: "{second[4]}"))'
        f' @rest(method: PUT, path: "{second}") {{ echo(text: $y) }}'
    )
    assert_wrong(folder, {"a": one, "b": MARK + other}, message)


def test_other_paths_may_name_their_parameters_as_they_like(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.graphql").write_text(
        get("text(of: $x)", path="/a/{x}/b", declared="($x: String!)")
        + get("text(of: $y)", path="/a/{y}/c", declared="($y: String!)").replace(" q", " r")
    )
    served(plain(folder)).adapter.compile_all()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        # What GraphQL itself minds.
        (get("page { nodes { ▶colours } }"), "Cannot query field 'colours' on type 'Thing'."),
        (get("text", declared="(▶$a: String)"), "Variable '$a' is never used in operation 'q'."),
        (get("text(of: ▶$a)", declared="(), ").replace("(), ", ""), "Variable '$a' is not defined by operation 'q'."),
        (get("text").replace("GET", "▶FETCH"), "Value 'FETCH' does not exist in 'RestMethod' enum."),
        (get("text", ", ▶more: 1"), "Unknown argument 'more' on directive '@rest'."),
        (get("thing(id: 1) { id ▶@render(as: PINK) }").replace("▶@render(as: ", "@render(as: ▶"), "Value 'PINK' does not exist in 'RestTransform' enum."),  # noqa: E501
        (get("▶thing { id }"), "Argument 'Query.thing(id:)' of type 'ID!' is required"),
        (get("text", ", status: ▶\"ok\""), "Int cannot represent non-integer value: \"ok\""),
        (get("thing(id: 1) { ...▶Nope }").replace("...▶", "▶..."), "there is no fragment 'Nope'"),
        # @rest
        ("▶" + get("text", ", stream: SSE"), "only a subscription is a stream"),
        (
            "▶subscription s @rest(method: GET, path: \"/s\") { silence { number } }",
            "a subscription needs stream: SSE",
        ),
        (
            "▶mutation m @rest(method: GET, path: \"/m\") { drop(id: 1) }",
            "a mutation is no GET, unless browsers are sent there: navigation: true",
        ),
        ("▶" + get("text", ", navigation: true"), "navigation is for a mutation that is a GET"),
        ("▶" + get("text", ', message: "{a}"'), "the message speaks of {a}, which is no variable"),
        (
            "▶" + get("things(filter: $f) { id }", ', message: "{f.name} {f.nope}"', declared="($f: Filter)"),
            "the message speaks of {f.nope}, which is no variable",
        ),
        ("▶" + get("text", ", status: 404"), "404 is no status of an answer that is not refused"),
        ("▶" + get("text", ", status: 100"), "100 is no status of an answer that is not refused"),
        (
            "▶" + get("named { ... on Person @status(code: 500) { name } }"),
            "500 is no status of an answer that is not refused",
        ),
        ("▶" + get("page { total }", ", status: 302"), "a redirect needs a text as its body, or a Location header"),
        ("▶" + get("page { total @body }", ", status: 302"), "a redirect needs a text as its body"),
        ("▶" + get("text", ', page: "nope"'), "plain has no page 'nope'"),
        ("▶" + get("page { total }", ', produces: "text/csv"'), "text/csv is made of a text, which the body is not"),
        ("▶" + get("things { tags }", ', produces: "text/csv"'), "text/csv is made of a text, which the body is not"),
        (
            "▶subscription s @rest(method: GET, path: \"/s\", stream: SSE, message: \"m\") { silence { number } }",
            "a stream has no message, and no media type but its own",
        ),
        # @param and @fill
        ("▶" + get("text(of: \"a\")", path="/{a}"), "no variable takes the path's parameter 'a'"),
        (get("text(of: $a)", declared="($a: String! ▶@param(in: PATH))"), "the path has no parameter 'a'"),
        (
            get("text(of: $a)", path="/{a}", declared="($a: String! ▶@param(in: PATH, aliases: [\"b\"]))"),
            "a part of the path has no other names",
        ),
        (get("text(of: $a)", declared="($a: String ▶@param(in: BODY))"), "GET has no body to take a value from"),
        (get("things(filter: $f) { id }", declared="($f: Filter ▶@param(field: \"nope\"))"), "$f has no part 'nope'"),
        (get("things(filter: $f) { id }", declared="($f: Filter ▶@param(field: \"inside.name.x\"))"), "$f has no part"),
        (get("text(of: $a)", declared="($a: String ▶@param(field: \"x\"))"), "$a has no part 'x'"),
        (
            get("things(filter: $f) { id }", declared="($f: Filter ▶@fill(with: NOW, field: \"nope\"))"),
            "$f has no part 'nope'",
        ),
        (
            get("text(of: $a)", declared="($a: String @param(in: QUERY) ▶@fill(with: NOW))"),
            "what the server fills has no place in the request",
        ),
        (get("echo(flag: $a)", declared="($a: [Boolean!] ▶@param(flag: true))").replace("flag: $a", "flags: $a"), "a flag is a Boolean, not [Boolean!]"),  # noqa: E501
        (get("text(of: $a)", declared="($a: String ▶@param(flag: true))"), "a flag is a Boolean, not String"),
        (get("text(of: $a)", declared="($a: String ▶@param(list: COMMA))"), "String is no list"),
        (get("echo(number: $a)", declared="($a: Int ▶@param(case: UPPER))"), "Int has no case"),
        (get("echo(object: $a)", declared="($a: JSONObject ▶@param(case: UPPER))"), "JSONObject has no case"),
        (get("text(of: $a)", declared="($a: String ▶@param(min: 1))"), "min and max are for whole numbers, not String"),
        (get("echo(numbers: $a)", declared="($a: [Int!] ▶@param(max: 1))"), "min and max are for whole numbers"),
        (get("echo(number: $a)", declared="($a: Int ▶@param(min: 2, max: 1))"), "min is above max"),
        (get("echo(number: $a)", declared="($a: Int ▶@param(invalid: \"x\"))"), "invalid is not JSON ("),
        (get("echo(number: $a)", declared="($a: Int ▶@param(invalid: \"1.5\"))"), "invalid does not fit the type Int"),
        (get("echo(big: $a)", declared="($a: BigInt ▶@param(invalid: \"[]\"))"), "invalid does not fit the type Big"),
        (get("text(of: $a)", declared="($a: String! ▶@param(invalid: \"null\"))"), "invalid does not fit the type"),
        (get("echo(flag: $a)", declared="($a: Boolean ▶@param(spellings: \"[]\"))"), "spellings is no JSON object"),
        (
            get("echo(flag: $a)", declared="($a: Boolean ▶@param(spellings: \"{\\\"1\\\": 1}\"))"),
            "a spelling stands for what is no Boolean",
        ),
        (
            'mutation m($a: Int = 1) @rest(method: POST, path: "/m") '
            '{ make(input: {name: "n", size: ▶$a}) { __typename } }',
            "$a may be null, which no Int! is: give it the type Int!",
        ),
        (
            get("text(of: $a)", declared="($a: String ▶@param(in: HEADER, name: \"*\"))"),
            "only the query and files can be taken by any name",
        ),
        (
            get("echo(text: $a, other: $b)", declared="($a: String, ▶$b: String @param(name: \"a\"))"),
            "query 'a' is taken more than once",
        ),
        (
            get("echo(text: $a, other: $b)", declared="($a: String, ▶$b: String @param(aliases: [\"a\"]))"),
            "query 'a' is taken more than once",
        ),
        # What the answer is made of.
        (get("page { ▶nodes @body { id } total @body }").replace("▶nodes", "nodes").replace("total", "▶total"), "there is one @body at most"),  # noqa: E501
        (get("things { ▶id @body }"), "@body cannot be inside a list"),
        (
            get("everyone { name } named { ... on Person { friend { ▶name @body } } }"),
            "what the body is cannot depend on a type",
        ),
        (get("thing(id: 1) { record @spread keeper { ▶name @body } }"), "@body cannot be inside what is spread, or"),
        (get("thing(id: 1) { keeper @spread { ▶name @body } }"), "@body cannot be inside what is spread, or beside it"),
        (get("everyone ▶{ ... on Person @status(code: 201) { name } }"), "@status cannot be inside a list"),
        (get("things { ▶id @header(name: \"X-Id\") }"), "what leaves the body cannot be inside a list"),
        (
            get("thing(id: 1) { ▶keeper @header(name: \"X-Keeper\") { name } }"),
            "Named! is no single value, as what leaves the body must be",
        ),
        (get("thing(id: 1) { ▶tags @cookie(name: \"tags\") }"), "[String!]! is no single value"),
        (get("▶text @header(name: \"X Y\")"), "'X Y' is no name of a header or cookie"),
        (get("▶text @cookie(name: \"a=b\")"), "'a=b' is no name of a header or cookie"),
        (get("▶text @event"), "only a stream has events"),
        (get("▶text @eventId"), "only a stream has events"),
        (get("▶text @header(name: \"A\") @cookie(name: \"b\")"), "a value leaves the body one way"),
        (get("thing(id: 1) { ▶tags @spread }"), "[String!]! is no object to spread"),
        (get("thing(id: 1) { ▶parts @spread { id } }"), "[Part!]! is no object to spread"),
        (get("thing(id: 1) { ▶size @render(as: UPPER) }"), "Int! has no case"),
        (get("thing(id: 1) { ▶name @render(as: TIME_UNIX) }"), "String! is no moment"),
        (get("thing(id: 1) { ▶name @render(as: OMIT_NULL) }"), "String! is never null"),
        (
            get("thing(id: 1) { ▶labels @render(as: ENTRIES) { key } }"),
            "[Label!]! must be a list of objects, of which key and value are selected",
        ),
        (get("thing(id: 1) { ▶parts @render(as: KEYS) { id } }"), "[Part!]! must be a list of objects, of which key"),
        (get("thing(id: 1) { ▶tags @render(as: KEYS) }"), "[String!]! must be a list of objects, of which key"),
        (
            get("thing(id: 1) { x: name @render(as: UPPER) ▶x: name }"),
            "'x' is selected elsewhere with other directives",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_told(tmp_path: Path, document: str, message: str) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    assert_wrong(folder, {"world": f"# the first line\n\n  {document}"}, message)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("$a: JSONObject ▶@param(in: BODY, aliases: [\"x\"])", "the whole body has no other names"),
        ("$a: Int ▶@param(in: BODY)", "the whole body would be one Int: name the field it is in"),
        ("$a: JSONObject @param(in: BODY), ▶$b: JSON @param(in: BODY)", "the whole body is taken more than once"),
        ("$u: Upload @param(in: RAW), ▶$b: JSON", "a raw body is nothing else besides"),
        ("$b: JSON, ▶$u: Upload @param(in: RAW)", "a raw body is nothing else besides"),
        ("$u: Upload ▶@param(in: FILE, flag: true)", "flag and list are for texts"),
        ("$a: [String!] ▶@param(in: BODY, name: \"a\", list: COMMA)", "flag and list are for texts"),
        ("$a: JSONObject ▶@param(in: BODY, name: \"*\")", "only the query and files can be taken by any name"),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be(tmp_path: Path, declared: str, message: str) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    used = {"$a": "any: $a", "$b": "object: $b", "$u": "upload: $u"}
    arguments = ", ".join(argument for variable, argument in used.items() if f"{variable}:" in declared)
    arguments = arguments.replace("any: $a", "number: $a") if "$a: Int" in declared else arguments
    arguments = arguments.replace("any: $a", "words: $a") if "[String!]" in declared else arguments
    arguments = arguments.replace("object: $b", "any: $b") if "$a" not in declared else arguments
    arguments = arguments.replace("any: $a", "object: $a").replace("object: $b", "any: $b")
    document = f'mutation q({declared}) @rest(method: POST, path: "/e") {{ echo({arguments}) }}'
    assert_wrong(folder, {"world": document}, message)


def test_a_mistake_in_a_fragment_is_told_where_the_fragment_stands(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    route = get("thing(id: 1) { ...Deep }")
    fragments = "fragment Deep on Thing { ...Deeper }\nfragment Deeper on Thing {\n  keeper { ▶names } }"
    assert_wrong(folder, {"a": route, "b": fragments}, "Cannot query field 'names' on type 'Named'.")
    fragments = fragments.replace("▶names", "▶name @render(as: TIME_UNIX)")
    assert_wrong(folder, {"a": route, "b": fragments}, "String! is no moment")
    fragments = fragments.replace("▶name @render(as: TIME_UNIX)", "▶...Nowhere")
    assert_wrong(folder, {"a": route, "b": fragments}, "there is no fragment 'Nowhere'")


def test_fragments_that_nobody_needs_are_not_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.graphql").write_text("fragment Unused on Nothing { ...Nowhere }\n" + get("text"))
    served(plain(folder)).adapter.compile_all()


def test_files_are_read_as_utf_8_and_named_with_their_system(tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    folder.mkdir()
    (folder / "some_area.graphql").write_bytes('"Ein Täxt."\n'.encode() + get("text").encode())
    documents = read_documents(folder)
    assert [(route.file, route.area, route.name) for route in documents.routes] == [
        ("somewhere/some_area.graphql", "some_area", "q")
    ]


def test_a_mistake_is_told_when_the_route_is_needed_and_not_before(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.graphql").write_text(get("nonsense"))
    adapter = served(plain(folder)).adapter
    with pytest.raises(CompileError, match=r"a\.graphql:1:42: Cannot query field 'nonsense'"):
        adapter.compile_all()
