"""What becomes of an operation's data: which value is the body, how it is spelled, what goes into the head."""

from pathlib import Path
from typing import Any

import pytest

from tests.rest_compat.engine.conftest import Serve
from tests.rest_compat.engine.world import PERSON, plain, served, write


def query(selection: str, path: str = "/e", more: str = "", name: str = "q") -> str:
    return f'query {name} @rest(method: GET, path: "{path}"{more}) {{ {selection} }}'


async def body(rest: Serve, selection: str, more: str = "") -> Any:
    answer = await rest(query(selection, more=more)).get("/e")
    assert answer.status_code == 200, answer.text
    return answer.json()


# The body.


@pytest.mark.parametrize(
    ("selection", "more", "expected"),
    [
        ("text", "", "some text, även so"),
        ("text", ", whole: true", {"text": "some text, även so"}),
        ("text maybeText", "", {"text": "some text, även so", "maybeText": None}),
        ("a: text", ", whole: true", {"a": "some text, även so"}),
        ("... on Query { text }", "", "some text, även so"),
        ("page { nodes @body { id } total }", "", [{"id": "t1"}]),
        ("page { nodes { id @render(as: UPPER) } total @body }", "", 1),
        ('thing(id: "t1") { owner { ... on Person { friend { name } } } keeper @body { name } }', "", {"name": "Rob"}),
        ("maybePage { nodes @body { id } }", "", None),
        ('thing(id: "none") { keeper @body { name } }', "", None),
        ("maybeText", "", None),
        ("text @skip(if: true)", "", None),
        # Names of the caller's choice.
        ('t: thing(id: "t1") { ID: id called: name name }', "", {"ID": "t1", "called": "Thing t1", "name": "Thing t1"}),
    ],
)
async def test_which_value_is_the_body(rest: Serve, selection: str, more: str, expected: Any) -> None:
    assert await body(rest, selection, more) == expected


async def test_what_nothing_happens_to_is_the_answer_as_it_is(rest: Serve) -> None:
    routes = rest(query('thing(id: "t1") { extra record note keeper { name } }'))
    await routes.get("/e")
    route = routes.adapter.routes[0]
    assert route.compiled.shape.root.plain
    data = {"thing": {"a": 1}}
    assert route.compiled.shape.apply(data).body is data["thing"]


# Spellings.


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("x: colour @render(as: LOWER)", "dark_blue"),
        ("x: name @render(as: UPPER)", "THING T1"),
        ("x: tags @render(as: UPPER)", ["A", "B"]),
        ("x: moods @render(as: LOWER)", ["red", None]),
        ("x: note @render(as: UPPER)", None),
        ("x: made @render(as: TIME_OFFSET)", "2025-03-04T08:15:30.123000+00:00"),
        ("x: made @render(as: TIME_POSTGRES)", "2025-03-04 08:15:30.123+00"),
        ("x: seen @render(as: TIME_POSTGRES)", ["2025-03-04 08:15:30+00", None]),
        ("x: made @render(as: TIME_UNIX)", 1741076130),
        ("x: seen @render(as: TIME_UNIX)", [1741076130, None]),
        ("x: gone @render(as: TIME_UNIX)", None),
        ("x: labels @render(as: ENTRIES) { key value }", {"x": 1, "y": None}),
        ("x: labels @render(as: KEYS) { key }", ["x", "y"]),
        ("x: anyLabels @render(as: ENTRIES) { key value }", None),
        ("x: labels { key @render(as: UPPER) }", [{"key": "X"}, {"key": "Y"}]),
        ("x: labels @render(as: ENTRIES) { key @render(as: UPPER) value }", {"X": 1, "Y": None}),
    ],
)
async def test_another_spelling(rest: Serve, field: str, expected: Any) -> None:
    assert await body(rest, f'thing(id: "t1") {{ {field} }}') == {"x": expected}


async def test_a_null_may_leave_its_object(rest: Serve) -> None:
    selection = 'thing(id: "t1") { id note @render(as: OMIT_NULL) colour @render(as: OMIT_NULL) }'
    assert await body(rest, selection) == {"id": "t1", "colour": "DARK_BLUE"}
    both = 'thing(id: "t1") { id gone @render(as: TIME_UNIX) @render(as: OMIT_NULL) }'
    assert await body(rest, both) == {"id": "t1"}
    assert await body(rest, "things { id note @render(as: OMIT_NULL) }") == [{"id": "t0"}, {"id": "t1"}]


# Fragments.


async def test_fragments_are_shared_by_operations_of_all_files(rest: Serve) -> None:
    routes = rest(
        "fragment Thing on Thing { id ...Times }",
        "fragment Times on Thing { made @render(as: TIME_UNIX) }",
        query('thing(id: "t1") { ...Thing }', "/one"),
        query("things(first: 1) { ...Thing name }", "/many", name="r"),
    )
    assert (await routes.get("/one")).json() == {"id": "t1", "made": 1741076130}
    assert (await routes.get("/many")).json() == [{"id": "t0", "made": 1741076130, "name": "Thing t0"}]


async def test_selections_of_one_field_are_one(rest: Serve) -> None:
    routes = rest(
        "fragment A on Thing { keeper { name @render(as: UPPER) } parts { id } }",
        "fragment B on Thing { keeper { name @render(as: UPPER) __typename } parts { serial } }",
        query('thing(id: "t1") { ...A ...B }'),
    )
    assert (await routes.get("/e")).json() == {
        "keeper": {"name": "ROB", "__typename": "Robot"},
        "parts": [{"id": "p1", "serial": 2**40}, {"id": "p2", "serial": 7}],
    }


# What depends on the type that came.

EITHER = """
mutation q($input: ThingInput! @param(in: BODY)) @rest(method: POST, path: "/e", status: 202) {
  make(input: $input) {
    ... on Created @status(code: 201) { id thing { name @render(as: UPPER) } }
    ... on Found @status(code: 200) { id since @render(as: TIME_UNIX) }
  }
}
"""


async def test_the_type_of_an_answer_gives_its_status(rest: Serve) -> None:
    routes = rest(EITHER)
    made = await routes.post("/e", json={"name": "new"})
    assert (made.status_code, made.json()) == (201, {"id": "t9", "thing": {"name": "NEW"}})
    found = await routes.post("/e", json={"name": "old"})
    assert (found.status_code, found.json()) == (200, {"id": "t1", "since": 1577836800})


async def test_a_member_without_a_status_has_the_routes(rest: Serve) -> None:
    routes = rest(EITHER.replace("@status(code: 200)", ""))
    assert (await routes.post("/e", json={"name": "old"})).status_code == 202
    assert (await routes.post("/e", json={"name": "new"})).status_code == 201


async def test_a_named_fragment_has_its_status_too(rest: Serve) -> None:
    routes = rest(
        "fragment Fresh on Created { id }",
        'mutation q($input: ThingInput! @param(in: BODY)) @rest(method: POST, path: "/e")'
        " { make(input: $input) { ...Fresh @status(code: 201) ... on Found { since } } }",
    )
    assert (await routes.post("/e", json={"name": "new"})).status_code == 201
    assert (await routes.post("/e", json={"name": "old"})).json() == {"since": "2020-01-01T00:00:00.000000Z"}


async def test_nothing_came_so_nothing_has_a_status(rest: Serve) -> None:
    routes = rest(EITHER.replace("make(", "maybeMake("))
    answer = await routes.post("/e", json={"name": "nothing"})
    assert (answer.status_code, answer.json()) == (202, None)


async def test_members_of_an_interface_are_spelled_each_in_its_way(rest: Serve) -> None:
    routes = rest(
        "fragment Who on Named { ... on Person { name @render(as: UPPER) } ... on Robot { name model } }",
        query("everyone { ...Who }"),
        query('named(name: "Ada") { ...Who }', "/one", name="r"),
        query('thing(id: "t1") { owner { ...Who } keeper { __typename ...Who } }', "/both", name="s"),
    )
    rob = {"name": "Rob", "model": "R2"}
    assert (await routes.get("/e")).json() == [{"name": "ADA"}, rob]
    assert (await routes.get("/one")).json() == {"name": "ADA"}
    both = (await routes.get("/both")).json()
    assert both == {"owner": {"name": "ADA"}, "keeper": {"__typename": "Robot", **rob}}


async def test_a_fragment_that_asks_for_types_may_stand_beside_others(rest: Serve) -> None:
    routes = rest(
        "fragment Loud on Named { ... on Person { name @render(as: UPPER) } }",
        "fragment Born on Named { ... on Person { born @render(as: TIME_UNIX) } ... on Robot { model } }",
        query("everyone { ...Loud ...Born }"),
    )
    assert (await routes.get("/e")).json() == [{"name": "ADA", "born": -4861728000}, {"model": "R2"}]


# What leaves the body.


async def test_values_that_are_headers_and_cookies(rest: Serve) -> None:
    routes = rest(
        """
        mutation q($name: String!) @rest(method: POST, path: "/e") {
          signIn(name: $name) {
            ... on Session {
              token @cookie(name: "session", maxAge: 60)
              name @cookie(name: "who", path: "/e")
              again: token @header(name: "X-Session-Token")
              hello: name
            }
          }
        }
        """
    )
    answer = await routes.post("/e", json={"name": "é;\r\nX-Evil: 1"})
    assert answer.json() == {"hello": "é;\r\nX-Evil: 1"}
    assert answer.headers["x-session-token"] == "token-%C3%A9;X-Evil: 1"
    assert "x-evil" not in answer.headers
    session, who = answer.headers.get_list("set-cookie")
    assert session.endswith("; HttpOnly; Max-Age=60; Path=/; SameSite=Lax")
    assert who.endswith("; HttpOnly; Path=/e; SameSite=Lax")
    out = await routes.post("/e", json={"name": "out"})
    assert out.headers.get_list("set-cookie")[1] == 'who=""; HttpOnly; Max-Age=0; Path=/e; SameSite=Lax'


async def test_cookies_are_secure_where_the_server_is(tmp_path: Path) -> None:
    selection = 'signIn(name: "a") { ... on Session { token @cookie(name: "s") } }'
    document = f'mutation q @rest(method: POST, path: "/e") {{ {selection} }}'
    routes = served(plain(write(tmp_path / "plain", document)), base_url="https://world")
    assert "; Secure" in (await routes.post("/e")).headers["set-cookie"]


async def test_headers_of_any_single_value(rest: Serve) -> None:
    routes = rest(
        query(
            'thing(id: "t1") { id size @header(name: "X-Size") weight @header(name: "X-Weight")'
            ' note @header(name: "X-Note") colour @header(name: "Content-Language")'
            ' keeper { name @header(name: "Cache-Control") } }'
        )
    )
    answer = await routes.get("/e")
    assert answer.json() == {"id": "t1", "keeper": {}}
    told = {name: answer.headers.get(name) for name in ("x-size", "x-weight", "x-note", "content-language")}
    assert told == {"x-size": "3", "x-weight": "1.5", "x-note": None, "content-language": "DARK_BLUE"}
    assert answer.headers.get_list("cache-control") == ["Rob"]  # the document's word before the usual one


# Spreading.


async def test_an_object_spreads_into_its_parent(rest: Serve) -> None:
    selection = 'thing(id: "t1") { record @spread object: name id again: record note }'
    assert await body(rest, selection) == {
        "id": "t1", "name": "kept", "object": "Thing t1", "again": {"id": "r1", "name": "kept"}, "note": None
    }  # fmt: skip
    assert await body(rest, 'thing(id: "t1") { x: size record @spread }') == {"id": "r1", "name": "kept", "x": 3}
    assert await body(rest, 'thing(id: "t1") { keeper @spread { name model: __typename } id }') == {
        "name": "Rob", "model": "Robot", "id": "t1"
    }  # fmt: skip
    assert await body(rest, 'thing(id: "t1") { maybeRecord @spread id }') == {"id": "t1"}
    assert await body(rest, 'thing(id: "t1") { maybeRecord @spread }') == {}
    assert await body(rest, 'thing(id: "t1") { record @spread owner @spread { who: name } }') == {
        "id": "r1", "name": "kept", "who": PERSON["name"]
    }  # fmt: skip
    assert await body(rest, "things(first: 1) { record @spread size }") == [{"id": "r1", "name": "kept", "size": 3}]


# Messages.


@pytest.mark.parametrize(
    ("message", "sent", "expected"),
    [
        ("'{input.name}' made", {"name": "x"}, "'x' made"),
        ("{input.size}{input.place.street}", {"name": "x", "size": 3}, "3"),
        ("{input.tags} {input.place.town.name}", {"name": "x", "tags": ["a"]}, '["a"] '),
        ("{} {input.name}%s {{", {"name": "{input.size}"}, "{} {input.size}%s {{"),
        ("{lang}-{input.name}", {"name": "x"}, "en-x"),
    ],
)
async def test_a_message_speaks_of_the_variables(rest: Serve, message: str, sent: Any, expected: str) -> None:
    routes = rest(
        f'mutation q($input: ThingInput! @param(in: BODY) $lang: String = "en" @param(in: QUERY)) @rest(method: POST,'
        f' path: "/e", message: "{message}") {{ echo(input: $input, text: $lang) }}'
    )
    assert (await routes.post("/e", json=sent)).json() == {"message": expected}


async def test_a_message_stands_beside_the_body(rest: Serve) -> None:
    def changed(selection: str) -> str:
        return f'mutation q($id: ID!) @rest(method: PUT, path: "/e/{{id}}", message: "{{id}} done") {{ {selection} }}'

    for selection, more in (
        ('change(id: $id, input: {name: "n"}) @body { name message: size }', {"name": "n"}),
        ('change(id: $id, input: {name: "n"}) { record @body }', {"id": "r1", "name": "kept"}),
        ('change(id: $id, input: {name: "n"}) { maybeRecord @body }', {}),
        ('change(id: $id, input: {name: "n"}) { id }', {}),
    ):
        answer = await rest(changed(selection)).request("PUT", "/e/7")
        assert answer.json() == {**more, "message": "7 done"}


# Envelopes.


async def test_a_dialect_has_its_envelope(strict_rest: Serve) -> None:
    routes = strict_rest(
        query("text", "/strict/e"),
        query("text", "/strict/bare", more=", envelope: false", name="bare"),
        query("text", "/strict/text", more=', produces: "text/plain"', name="text"),
        query('refuse(code: "NOT_FOUND")', "/strict/refuse", name="refuse"),
    )
    answer = await routes.get("/strict/e")
    request_id = answer.headers["x-request-id"]
    assert answer.json() == {"success": True, "data": "some text, även so", "request_id": request_id}
    assert (await routes.get("/strict/bare")).json() == "some text, även so"
    assert (await routes.get("/strict/text")).text == "some text, även so"
    refused = await routes.get("/strict/refuse")
    assert (refused.status_code, refused.json()["request_id"]) == (404, refused.headers["x-request-id"])
    assert (await routes.get("/strict/nowhere")).json()["error"]["code"] == "NOT_FOUND"
    assert (await routes.request("POST", "/strict/e")).json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert (await routes.get("/elsewhere")).status_code == 599  # none of ours
