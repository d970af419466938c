"""The OpenAPI description: that it is one, and that it says what the routes take and answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from rest_compat.engine.describe import describe
from rest_compat.engine.errors import CompileError
from tests.rest_compat.engine import test_answers, test_binding, test_shaping, test_streams
from tests.rest_compat.engine.conftest import Serve
from tests.rest_compat.engine.world import Rest, plain, served, strict, write

TEXT = {"type": "string"}
INT = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}


def get(selection: str, path: str = "/e", declared: str = "", more: str = "") -> str:
    return f'query q{declared} @rest(method: GET, path: "{path}"{more}) {{ {selection} }}'


def answer(rest: Rest, status: int = 200, path: str = "/e", method: str = "get") -> Any:
    """The schema of an answer."""
    return rest.operation(path, method)["responses"][str(status)]["content"]["application/json"]["schema"]


def parameter(rest: Rest, name: str, path: str = "/e") -> Any:
    found = [p for p in rest.operation(path)["parameters"] if p["name"] == name]
    assert len(found) == 1
    return found[0]


# Parameters.


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("$a: String!", {"in": "query", "required": True, "schema": {**TEXT, "maxLength": 100}}),
        ("$a: String", {"in": "query", "required": False, "schema": {**TEXT, "maxLength": 100}}),
        ('$a: String = "x"', {"required": False, "schema": {**TEXT, "maxLength": 100, "default": "x"}}),
        ('$a: String @param(in: HEADER, name: "X-A")', {"name": "X-A", "in": "header"}),
        ('$a: String @param(in: COOKIE, name: "s")', {"name": "s", "in": "cookie"}),
    ],
)
def test_texts(rest: Serve, declared: str, expected: Any) -> None:
    described = rest(get("echo(text: $a)", declared=f"({declared})")).operation("/e")["parameters"][0]
    assert {key: described[key] for key in expected} == expected
    assert described["description"] == "A text of any kind."


@pytest.mark.parametrize(
    ("argument", "declared", "schema"),
    [
        ("id", "$a: ID", TEXT),
        ("number", "$a: Int", {"type": "integer", "minimum": -10, "maximum": 1000}),
        ("number", "$a: Int @param(min: 1, max: 10)", {"type": "integer"}),
        ("number", '$a: Int @param(invalid: "1")', {"anyOf": [{**INT, "minimum": -10, "maximum": 1000}, TEXT]}),
        ("flag", "$a: Boolean = true", {"type": "boolean", "default": True}),
        ("flag", "$a: Boolean @param(flag: true)", {}),
        (
            "flag",
            '$a: Boolean @param(spellings: "{\\"1\\": true}")',
            {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["1"]}]},
        ),
        ("colour", "$a: Colour", {"type": "string", "enum": ["RED", "GREEN", "DARK_BLUE"]}),
        (
            "colour",
            "$a: Colour = RED @param(case: UPPER)",
            {"type": "string", "enum": ["red", "green", "dark_blue", "RED", "GREEN", "DARK_BLUE"], "default": "red"},
        ),
        ("uuid", "$a: UUID", {"type": "string", "format": "uuid"}),
        ("words", "$a: [String!]", {"type": "array", "items": TEXT}),
        ("numbers", "$a: [Int!] = [1]", {"type": "array", "items": INT, "default": [1]}),
        ("any", "$a: JSON", {}),
    ],
)
def test_values_as_texts(rest: Serve, argument: str, declared: str, schema: Any) -> None:
    assert parameter(rest(get(f"echo({argument}: $a)", declared=f"({declared})")), "a")["schema"] == schema


def test_lists_say_how_they_are_written(rest: Serve) -> None:
    for style, expected in (("COMMA", "form"), ("SPACE", "spaceDelimited"), ("PIPE", "pipeDelimited")):
        routes = rest(get("echo(words: $a)", declared=f"($a: [String!] @param(list: {style}))"))
        described = parameter(routes, "a")
        assert (described["style"], described["explode"]) == (expected, False)
    routes = rest(get("echo(words: $a)", declared="($a: [String!] @param(list: JSON))"))
    assert parameter(routes, "a")["content"] == {"application/json": {"schema": {"type": "array", "items": TEXT}}}


def test_what_has_parts_is_json_as_text(rest: Serve) -> None:
    for argument, declared in (("filter", "Filter"), ("filters", "[Filter!]"), ("object", "JSONObject")):
        described = parameter(rest(get(f"echo({argument}: $a)", declared=f"($a: {declared})")), "a")
        assert list(described["content"]) == ["application/json"]
        assert "schema" not in described


def test_the_path_is_never_empty_but_for_its_rest(rest: Serve) -> None:
    routes = rest(get("echo(text: $a, other: $b)", "/x/{a}/{b*}", "($a: String!, $b: String!)"))
    described = {p["name"]: p for p in routes.operation("/x/{a}/{b}")["parameters"]}
    assert described["a"]["schema"]["minLength"] == 1
    assert "minLength" not in described["b"]["schema"]
    assert all(p["required"] for p in described.values())


def test_older_names_are_described_and_none_is_required(rest: Serve) -> None:
    routes = rest(get("echo(text: $a)", declared='($a: String! @param(name: "new", aliases: ["old"]))'))
    assert (parameter(routes, "new")["required"], parameter(routes, "old")["required"]) == (False, False)
    assert parameter(routes, "old")["deprecated"] is True


def test_all_other_parameters(rest: Serve) -> None:
    routes = rest(get("echo(object: $a)", declared='($a: JSONObject @param(in: QUERY, name: "*"))'))
    described = parameter(routes, "a")
    assert (described["style"], described["explode"]) == ("form", True)
    assert described["schema"] == {"type": "object", "additionalProperties": TEXT}


# Bodies.


def body(rest: Rest, media_type: str = "application/json", path: str = "/e", method: str = "post") -> Any:
    return rest.operation(path, method)["requestBody"]["content"][media_type]["schema"]


def posts(declared: str, arguments: str, more: str = "") -> str:
    return f'mutation q({declared}) @rest(method: POST, path: "/e"{more}) {{ echo({arguments}) }}'


def test_fields_of_a_body(rest: Serve, strict_rest: Serve) -> None:
    document = posts(
        '$text: String! $number: Int = 3 $other: String! @param(name: "o", aliases: ["oo"])'
        ' $colour: Colour @param(invalid: "null")',
        "text: $text, number: $number, other: $other, colour: $colour",
    )
    described = body(rest(document))
    assert described["required"] == ["text"]
    assert described["allOf"] == [{"anyOf": [{"required": ["o"]}, {"required": ["oo"]}]}]
    assert described["properties"]["number"] == {**INT, "type": ["integer", "null"], "default": 3}
    assert described["properties"]["oo"] == {**TEXT, "deprecated": True}
    assert {} in described["properties"]["colour"]["anyOf"]
    assert "additionalProperties" not in described
    assert body(strict_rest(document))["additionalProperties"] is False


def test_input_objects_are_components_however_deep_they_are_inside_themselves(rest: Serve, strict_rest: Serve) -> None:
    document = posts("$filter: Filter! @param(in: BODY) $id: ID @param(in: QUERY)", "filter: $filter, id: $id")
    routes = rest(document)
    assert body(routes) == {"$ref": "#/components/schemas/Filter"}
    described = routes.described()["components"]["schemas"]["Filter"]
    assert described["properties"]["inside"] == {"anyOf": [{"$ref": "#/components/schemas/Filter"}, {"type": "null"}]}
    assert described["description"] == "What things are looked for by."
    assert strict_rest(document).described()["components"]["schemas"]["Filter"]["additionalProperties"] is False


def test_input_fields_have_their_bounds_and_words(rest: Serve) -> None:
    routes = rest(posts("$input: ThingInput! @param(in: BODY)", "input: $input"))
    described = routes.described()["components"]["schemas"]["ThingInput"]
    assert described["properties"]["name"] == {**TEXT, "minLength": 1, "maxLength": 40}
    assert described["properties"]["id"] == {
        "type": ["string", "integer", "null"],
        "description": "An id of the caller's.",
    }
    assert described["required"] == ["name"]  # size has a default


def test_a_type_that_is_called_like_a_fragment_gets_another_name(rest: Serve) -> None:
    routes = rest(
        "fragment ThingInput on Thing { id }",
        posts("$input: ThingInput! @param(in: BODY)", "input: $input").replace("echo", "x: echo"),
        get('thing(id: "t1") { ...ThingInput }', "/t").replace(" q", " r"),
    )
    assert body(routes) == {"$ref": "#/components/schemas/ThingInputInput"}
    assert set(routes.described()["components"]["schemas"]) == {
        "Error", "PlaceInput", "ThingInput", "ThingInputInput", "TownInput"
    }  # fmt: skip


def test_what_is_placed_elsewhere_is_not_in_the_body(rest: Serve) -> None:
    described = body(rest(test_binding.CHANGE), path="/things/{thing}", method="put")
    assert list(described["properties"]) == ["name", "colour", "ownerId", "tags", "place"]
    place = described["properties"]["place"]
    assert list(place["properties"]) == ["street", "number", "town"]
    assert list(place["properties"]["town"]["properties"]) == ["name"]
    assert "required" not in place["properties"]["town"]
    assert described["required"] == ["name"]


def test_a_body_is_required_where_a_part_of_it_is(rest: Serve) -> None:
    routes = rest(
        'mutation m($i: ThingInput! @param(in: BODY) @param(in: BODY, name: "much", field: "size"))'
        ' @rest(method: POST, path: "/e") { make(input: $i) { __typename } }'
    )
    assert body(routes)["required"] == ["name"]
    assert routes.operation("/e", "post")["requestBody"]["required"] is True
    assert rest(posts("$text: String", "text: $text")).operation("/e", "post")["requestBody"]["required"] is False


def test_a_text_that_is_read_in_one_case_is_described_in_both(rest: Serve) -> None:
    routes = rest(posts('$colour: Colour = RED @param(in: BODY, name: "colour", case: UPPER)', "colour: $colour"))
    described = body(routes)["properties"]["colour"]
    names = [name for name in described["enum"] if name is not None]
    assert set(names) == {name.lower() for name in names} | {name.upper() for name in names}
    assert described["default"] in names


def test_fields_beside_the_whole_body(rest: Serve) -> None:
    routes = rest(
        posts(
            '$object: JSONObject! @param(in: BODY) $number: Int! @param(in: BODY, name: "version")',
            "object: $object, number: $number",
        )
    )
    assert body(routes) == {"type": "object", "properties": {"version": INT}, "required": ["version"]}


def test_forms_and_files(rest: Serve) -> None:
    routes = rest(test_binding.UPLOAD)
    content = routes.operation("/e", "post")["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "application/octet-stream"]
    described = content["multipart/form-data"]["schema"]
    assert described["properties"]["file"] == {"type": "string", "format": "binary"}
    assert described["required"] == ["file"]
    assert described["properties"]["numbers"] == {"type": "array", "items": INT}
    form = rest(posts("$text: String @param(in: FORM)", "text: $text")).operation("/e", "post")
    assert list(form["requestBody"]["content"]) == ["multipart/form-data", "application/x-www-form-urlencoded"]
    assert form["requestBody"]["required"] is False
    raw = rest(posts("$upload: Upload! @param(in: RAW)", "upload: $upload")).operation("/e", "post")
    content = {"application/octet-stream": {"schema": {"minLength": 1}}}
    assert raw["requestBody"] == {"required": True, "content": content}
    many = rest(posts('$uploads: [Upload!] @param(in: FILE, name: "files")', "uploads: $uploads"))
    assert body(many, "multipart/form-data")["properties"]["files"]["items"] == {"type": "string", "format": "binary"}


# Answers.


def test_aliases_nullability_and_fragments(rest: Serve) -> None:
    routes = rest(
        "fragment Part on Part { id serial }",
        "fragment Thing on Thing { id parts { ...Part } }",
        get('thing(id: "t1") { ...Thing called: name keeper { __typename } }'),
        get("things { ...Thing }", "/many").replace(" q", " r"),
    )
    schema = answer(routes)
    assert schema["type"] == ["object", "null"]
    assert schema["properties"]["called"] == {**TEXT, "description": "What it is called."}
    assert schema["required"] == ["id", "parts", "called", "keeper"]
    assert answer(routes, path="/many") == {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
    components = routes.described()["components"]["schemas"]
    assert components["Thing"]["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Part"}
    assert components["Thing"]["description"] == "A thing in the world."


def test_a_body_behind_what_may_be_null_may_be_null(rest: Serve) -> None:
    assert answer(rest(get("page { total @body }"))) == INT
    assert answer(rest(get("maybePage { total @body }"))) == {**INT, "type": ["integer", "null"]}
    assert answer(rest(get("maybePage { nodes @body { id } }")))["type"] == ["array", "null"]
    assert answer(rest(get("text @skip(if: true)"))) == {"type": ["string", "null"]}


def test_what_conditions_may_leave_out_is_not_required(rest: Serve) -> None:
    routes = rest(
        "fragment More on Thing { note parts { id } }",
        get(
            'thing(id: "t1") { id name @include(if: $x) ...More @skip(if: $x) ... @include(if: $x) { size }'
            " parts { id serial @skip(if: $x) } }",
            declared="($x: Boolean!)",
        ),
    )
    schema = answer(routes)
    assert schema["required"] == ["id", "parts"]
    assert list(schema["properties"]) == ["id", "name", "note", "parts", "size"]
    assert schema["properties"]["parts"]["items"]["required"] == ["id"]


def test_members_of_a_union_are_each_described(rest: Serve) -> None:
    routes = rest(test_shaping.EITHER)
    assert list(answer(routes, 201, method="post")["properties"]) == ["id", "thing"]
    assert list(answer(routes, 200, method="post")["properties"]) == ["id", "since"]
    assert "202" not in routes.operation("/e", "post")["responses"]
    maybe = rest(test_shaping.EITHER.replace("make(", "maybeMake(")).operation("/e", "post")["responses"]
    assert {"200", "201", "202"} <= set(maybe)


def test_what_an_interface_has_in_common_belongs_to_each_member(rest: Serve) -> None:
    routes = rest(
        "fragment Robotic on Robot { model }",
        get("everyone { __typename name ... on Person { email } ...Robotic }"),
    )
    person, robot = answer(routes)["items"]["anyOf"]
    assert list(person["properties"]) == ["__typename", "name", "email"]
    assert person["properties"]["__typename"] == {**TEXT, "enum": ["Person"]}
    assert list(robot["properties"]) == ["__typename", "name", "model"]
    assert answer(rest(get("everyone { name }")))["items"] == {
        "type": "object", "properties": {"name": TEXT}, "required": ["name"]
    }  # fmt: skip


def test_fragments_of_members_are_components(rest: Serve) -> None:
    routes = rest(
        "fragment Human on Person { email }",
        "fragment Who on Named { ... on Person { ...Human } ... on Robot { model } }",
        get('named(name: "Ada") { ...Who }'),
    )
    assert answer(routes) == {"anyOf": [{"$ref": "#/components/schemas/Who"}, {"type": "null"}]}
    who = routes.described()["components"]["schemas"]["Who"]
    assert {"$ref": "#/components/schemas/Human"} in who["anyOf"]


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("colour @render(as: LOWER)", {"type": ["string", "null"], "enum": ["red", "green", "dark_blue", None]}),
        (
            "moods @render(as: LOWER)",
            {
                "type": ["array", "null"],
                "items": {"type": ["string", "null"], "enum": ["red", "green", "dark_blue", None]},
            },
        ),
        ("made @render(as: TIME_UNIX)", {"type": "integer"}),
        ("gone @render(as: TIME_UNIX)", {"type": ["integer", "null"]}),
        ("seen @render(as: TIME_UNIX)", {"type": ["array", "null"], "items": {"type": ["integer", "null"]}}),
        ("made @render(as: TIME_POSTGRES)", TEXT),
        ("made @render(as: TIME_OFFSET)", {**TEXT, "format": "date-time"}),
        (
            "labels @render(as: ENTRIES) { key value }",
            {"type": "object", "additionalProperties": {**INT, "type": ["integer", "null"]}},
        ),
        ("labels @render(as: KEYS) { key }", {"type": "array", "items": TEXT}),
        ("anyLabels @render(as: KEYS) { key }", {"type": ["array", "null"], "items": TEXT}),
        ("labels @render(as: ENTRIES) { ...Label }", {"type": "object", "additionalProperties": TEXT}),
    ],
)
def test_spellings(rest: Serve, field: str, schema: Any) -> None:
    routes = rest(
        "fragment Label on Label { key value: key }" if "...Label" in field else "",
        get(f'thing(id: "t1") {{ x: {field} }}'),
    )
    assert answer(routes)["properties"]["x"] == schema


def test_a_null_that_leaves_is_neither_required_nor_null(rest: Serve) -> None:
    schema = answer(
        rest(get('thing(id: "t1") { id owner @render(as: OMIT_NULL) { name } note @render(as: OMIT_NULL) }'))
    )
    assert schema["required"] == ["id"]
    assert schema["properties"]["note"] == TEXT
    assert schema["properties"]["owner"]["type"] == "object"


def test_what_is_spread_is_described_in_place(rest: Serve) -> None:
    schema = answer(rest(get('thing(id: "t1") { record @spread keeper @spread { name } id: size }')))
    assert schema["properties"] == {"id": INT, "name": TEXT}
    assert schema["required"] == ["id", "name"]
    maybe = answer(rest(get('thing(id: "t1") { size maybeRecord @spread owner @spread { name } }')))
    variants = [
        (sorted(one["properties"]), sorted(one["required"])) for one in maybe["anyOf"] if one != {"type": "null"}
    ]
    assert (["size"], ["size"]) in variants
    assert (["id", "name", "size"], ["id", "name", "size"]) in variants


def test_messages_and_envelopes(rest: Serve, strict_rest: Serve) -> None:
    told = get("page { nodes { id } }", more=', message: "m"')
    assert answer(rest(told)) == {"type": "object", "properties": {"message": TEXT}, "required": ["message"]}
    refused = get("page { nodes @body { id } }", more=', message: "m"')
    with pytest.raises(CompileError, match="only the fields of an object can stand beside a message"):
        rest(refused).described()
    beside = answer(rest(get("page @body { total }", more=', message: "m"')))
    assert (list(beside["properties"]), beside["required"]) == (["total", "message"], ["message", "total"])
    wrapped = answer(strict_rest(get("text", "/strict/e")), path="/strict/e")
    assert wrapped["properties"]["data"] == TEXT


def test_headers_and_cookies_of_an_answer(rest: Serve) -> None:
    routes = rest(
        'mutation q($name: String!) @rest(method: POST, path: "/e") { signIn(name: $name) { ... on Session'
        ' { token @cookie(name: "s") name @header(name: "X-Name") } } }'
    )
    assert routes.operation("/e", "post")["responses"]["200"]["headers"] == {
        "Set-Cookie": {"schema": TEXT}, "X-Name": {"schema": TEXT}
    }  # fmt: skip


def test_kinds_of_answers_that_are_no_json(rest: Serve) -> None:
    routes = rest(test_answers.FILE, test_answers.TEXT.replace(" q", " r"))
    files = routes.operation("/f")["responses"]
    assert {"200", "206", "302", "304", "404", "416"} <= set(files)
    assert next(iter(files["206"]["headers"])) == "Content-Range"
    assert files["200"]["content"] == {"*/*": {}}  # which may be JSON
    text = routes.operation("/t")["responses"]["200"]
    assert text["content"] == {"text/plain": {"schema": TEXT}}
    moved = rest(get("text", more=", status: 302")).operation("/e")["responses"]
    assert moved["302"]["headers"]["Location"]["required"] is True
    assert not {"200", "304"} & set(moved)
    nothing = rest('mutation q($id: ID!) @rest(method: DELETE, path: "/e", status: 204) { drop(id: $id) }')
    assert "content" not in nothing.operation("/e", "delete")["responses"]["204"]


def test_refusals_are_those_of_the_fields_in_the_dialects_statuses(rest: Serve) -> None:
    routes = rest(
        get('refuse(code: "x")'),
        'mutation r($id: ID!) @rest(method: DELETE, path: "/d") { drop(id: $id) }',
    )
    assert set(routes.operation("/e")["responses"]) == {"200", "304", "400", "404", "406", "418", "503"}
    drop = routes.operation("/d", "delete")
    assert set(drop["responses"]) == {"200", "400", "401", "403", "406", "409", "503"}
    assert drop["x-permission"] == ["thing.delete"]
    assert drop["security"] == [{"bearer": []}]
    assert routes.operation("/e")["security"] == []
    assert [p["name"] for p in drop["parameters"]] == ["id", "Idempotency-Key"]
    assert drop["responses"]["503"]["headers"] == {"Retry-After": {"schema": TEXT}}
    assert drop["responses"]["401"]["headers"] == {"WWW-Authenticate": {"schema": TEXT}}


def test_words_and_tags(rest: Serve) -> None:
    routes = rest(
        '"""\nOne sentence, in\ntwo lines. And another.\n"""\n' + get("text"),
        '"Short."\n' + get("text", "/f", more=', tags: ["Some", "More"], deprecated: "use /e"').replace(" q", " r"),
        get("text", "/g").replace(" q", " s"),
    )
    one = routes.operation("/e")
    assert (one["summary"], one["description"]) == (
        "One sentence, in two lines.",
        "One sentence, in\ntwo lines. And another.",
    )
    assert one["tags"] == ["World"]
    two = routes.operation("/f")
    assert (two["summary"], two["description"], two["deprecated"]) == ("Short.", "Short.\n\nDeprecated: use /e", True)
    assert two["tags"] == ["Some", "More"]
    assert not {"summary", "description", "deprecated"} & set(routes.operation("/g"))
    assert routes.described()["tags"] == [{"name": "More"}, {"name": "Some"}, {"name": "World"}]


# Links.

CRUD = """
fragment Thing on Thing { id name }
mutation make($input: ThingInput! @param(in: BODY) $o: ID!) @rest(method: POST, path: "PATH/orgs/{o}/things", status: 201) {
  change(id: $o, input: $input) { ...Thing }
}
query one($o: String! $id: ID!) @rest(method: GET, path: "PATH/orgs/{o}/things/{id}") { thing(id: $id) { ...Thing } x: text(of: $o) }
mutation drop($o: ID! $id: ID!) @rest(method: DELETE, path: "PATH/orgs/{o}/things/{id}", status: 204) {
  drop(id: $id) x: drop(id: $o)
}
mutation file($name: String!) @rest(method: POST, path: "PATH/files") { change(id: 1, input: {name: $name}) { fileId: id } }
query info($fileId: ID!) @rest(method: GET, path: "PATH/files/{fileId}") { thing(id: $fileId) { id } }
mutation none($name: String!) @rest(method: POST, path: "PATH/others") { signIn(name: $name) { ... on Session { token } } }
query other($id: ID!) @rest(method: GET, path: "PATH/others/{id}") { thing(id: $id) { id } }
"""  # noqa: E501


def test_what_is_made_links_to_what_is_about_it(rest: Serve, strict_rest: Serve) -> None:
    routes = rest(CRUD.replace("PATH", ""))
    assert routes.operation("/orgs/{o}/things", "post")["responses"]["201"]["links"] == {
        "get_one": {
            "operationId": "one",
            "parameters": {"o": "$request.path.o", "id": "$response.body#/id"},
        },
        "delete_drop": {
            "operationId": "drop",
            "parameters": {"o": "$request.path.o", "id": "$response.body#/id"},
        },
    }
    file = routes.operation("/files", "post")["responses"]["200"]["links"]
    assert file["get_info"]["parameters"] == {"fileId": "$response.body#/fileId"}
    assert "links" not in routes.operation("/others", "post")["responses"]["200"]
    wrapped = strict_rest(CRUD.replace("PATH", "/strict")).operation("/strict/orgs/{o}/things", "post")
    assert wrapped["responses"]["201"]["links"]["get_one"]["parameters"]["id"] == "$response.body#/data/id"


# Whole descriptions.


def _documents() -> Iterator[str]:
    yield CRUD.replace("PATH", "/crud")
    yield test_binding.CHANGE.replace(" q(", " change(")
    yield test_binding.UPLOAD.replace(" q(", " upload(").replace('"/e"', '"/upload"')
    yield test_shaping.EITHER.replace(" q(", " either(").replace('"/e"', '"/either"')
    yield test_streams.TICKS.replace(" q(", " ticks(")
    yield test_answers.FILE.replace(" q(", " stored(")
    yield get('text @header(name: "X-Text") maybePage { total }', "/h").replace(" q", " head")
    yield (
        get("echo(object: $a)", "/any/{b*}", '($a: JSONObject @param(in: QUERY, name: "*") $b: String!)')
        .replace(" q(", " rest(")
        .replace("echo(", "echo(text: $b, ")
    )


def test_descriptions_are_descriptions(tmp_path: Path) -> None:
    one = plain(write(tmp_path / "one", *_documents()))
    two = strict(write(tmp_path / "two", *(text.replace('path: "/', 'path: "/strict/') for text in _documents())))
    routes = served(one, two)
    every = routes.adapter.routes
    for system in (one, two):
        own = [route for route in every if route.system is system]
        validate(describe(own, [system], merged=False, base_url="http://world"))
    merged = describe(every, [one, two], merged=True, base_url="http://world")
    validate(merged)
    names = set(merged["components"]["schemas"])
    assert {"plain.Thing", "strict.Thing", "plain.Error", "strict.Error", "plain.ThingInput"} <= names
    assert all(name.partition(".")[0] in ("plain", "strict") for name in names)
    assert set(merged["components"]["securitySchemes"]) == {"plain.bearer", "strict.bearer"}
    assert [tag["name"] for tag in merged["tags"]] == ["Plain: World", "Strict: World"]
    ids = [operation["operationId"] for item in merged["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids)) == len(every)
    drop = merged["paths"]["/crud/orgs/{o}/things/{id}"]["delete"]
    assert (drop["operationId"], drop["security"]) == ("plain.drop", [{"plain.bearer": []}])
    for schema in merged["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_a_description_is_the_same_every_time(rest: Serve) -> None:
    routes = rest(*_documents())
    assert routes.described() == routes.described()
