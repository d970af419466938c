"""How large a document may be: the limits one by one, against a naive expansion, and in time."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_introspection_query,
    parse,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.kernel.errors import Code, DomainError, Invalid, TooComplex
from domain.kernel.page import FIRST_MAX
from graph import schema as graph_schema
from graph.documents import DocumentRefused, Documents
from graph.errors import code_of, coded
from graph.limits import LIMITS, Limits, check_limits, paged_fields

PAGED = {"list": 50}
ENDLESS = Limits(*[10**9] * len(fields(Limits)))


def exceeded(source: str, limits: Limits = LIMITS, /, **variables: Any) -> tuple[str, int]:
    """The limit that the document exceeds, and by how many it counts."""
    with pytest.raises(TooComplex) as refused:
        check_limits(parse(source), variables, PAGED, limits)
    return refused.value.details["limit"], refused.value.details["count"]


def cost(source: str, **variables: Any) -> int:
    limit, count = exceeded(source, Limits(cost=0), **variables)
    assert limit == "cost"
    return count


def test_each_limit_holds_to_the_last() -> None:
    cases: list[tuple[str, int, Callable[[int], str]]] = [
        ("depth", LIMITS.depth, lambda n: "{a" * n + "}" * n),
        ("aliases", LIMITS.aliases, lambda n: "{" + " ".join(f"b{i}: a" for i in range(n)) + "}"),
        ("fields", LIMITS.fields, lambda n: "{" + " ".join(f"a{i}" for i in range(n)) + "}"),
        ("repeats", LIMITS.repeats, lambda n: "{" + " ".join(["a"] * (n + 1)) + "}"),
        ("fragments", LIMITS.fragments, lambda n: "{" + "... {a} " * 50 + "...f " * (n - 50) + "} fragment f on A {}"),
        ("directives", LIMITS.directives, lambda n: "{a " + "@skip(if: false) " * n + "}"),
        ("operations", LIMITS.operations, lambda n: " ".join(f"query q{i} {{b{i}}}" for i in range(n))),
        ("cost", LIMITS.cost, lambda n: f"{{list(first: {n - 1}) {{a}}}}"),
    ]
    for limit, most, document in cases:
        check_limits(parse(document(most)), {}, PAGED)
        assert exceeded(document(most + 1)) == (limit, most + 1)


def test_what_stands_in_all_operations_counts_together() -> None:
    assert exceeded(f"query a {{{'a ' * 51}}} query b {{{'a ' * 52}}}") == ("repeats", 50 + 51)
    assert exceeded(" ".join(f"query q{i} {{{' '.join(f'f{j}' for j in range(60))}}}" for i in range(9))) == (
        "fields",
        540,
    )


def test_directives_count_wherever_they_stand() -> None:
    limits = Limits(directives=4)
    document = """
        query ($a: Int @x) @x { a @x ... @x { b } ...f @x }
        fragment f on A @x { c }
    """
    assert exceeded(document, limits) == ("directives", 6)


def test_introspection_may_go_deeper_and_is_told() -> None:
    assert check_limits(parse(get_introspection_query()), {}, PAGED) is True
    assert check_limits(parse("{a}"), {}, PAGED) is False
    assert check_limits(parse('{... {__type(name: "A") {name}}}'), {}, PAGED) is True
    deep = "{__schema" + "{a" * LIMITS.introspection_depth + "}" * LIMITS.introspection_depth + "}"
    assert exceeded(deep) == ("depth", LIMITS.introspection_depth + 1)


@pytest.mark.parametrize(
    ("argument", "variables", "rows"),
    [
        ("", {}, 50),  # the field's default
        ("(first: 7)", {}, 7),
        ("(first: 0)", {}, 1),
        ("(first: -7)", {}, 1),
        ("(first: null)", {}, FIRST_MAX),  # null asks for all there are
        ("(first: $n)", {"n": 9}, 9),
        ("(first: $n)", {"n": 9.0}, 9),  # GraphQL takes it for an Int
        ("(first: $n)", {"n": None}, FIRST_MAX),
        ("(first: $n)", {}, 3),  # the variable's default
        ("(first: $n)", {"n": "no number"}, 50),
        ("(first: $other)", {}, 50),  # a variable without a value is an argument left out
        ("(first: $nothing)", {}, FIRST_MAX),
        ("(first: 99999999999999999999)", {}, 10**9),
    ],
)
def test_cost_multiplies_by_the_rows_asked_for(argument: str, variables: dict[str, Any], rows: int) -> None:
    document = f"query ($n: Int = 3, $other: Int, $nothing: Int = null) {{ list{argument} {{ a b }} }}"
    assert cost(document, **variables) == min(1 + 2 * rows, 10**9)


def test_cost_multiplies_down_the_lists_and_through_fragments() -> None:
    document = """
        { list(first: 10) { a ...f } plain { b } }
        fragment f on A { list(first: 5) { c d } }
    """
    assert cost(document) == 1 + 10 * (1 + 1 + 5 * 2) + 2


@pytest.mark.parametrize("field", ["login", "register"])
def test_a_credential_is_tried_once_in_a_document(field: str) -> None:
    check_limits(parse(f"mutation {{{field}}}"), {}, PAGED)
    for document in (
        f"mutation {{a: {field} b: {field}}}",
        f"mutation {{...f ...f}} fragment f on Mutation {{{field}}}",
        f"mutation a {{{field}}} mutation b {{{field}}}",
    ):
        assert exceeded(document) == (f"uses of {field}", 2)


@pytest.mark.parametrize(
    ("fragments", "problem"),
    [
        ("fragment f on A {...f}", "fragment 'f' spreads itself"),
        ("fragment f on A {b {...g}} fragment g on A {... {...f}}", "fragment 'f' spreads itself"),
        ("fragment f on A {a} fragment g on A {a}", "fragment 'g' is never used"),
        ("fragment f on A {a} fragment f on A {b}", "there are two fragments 'f'"),
    ],
)
def test_fragments_that_cannot_be_measured_are_refused(fragments: str, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        check_limits(parse(f"{{...f}} {fragments}"), {}, PAGED)


# Against a naive expansion.

NAMES = ("a", "list", "login")


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Small documents whose fragments spread only later ones, so that all of them end."""
    count = draw(st.integers(0, 4))

    def selections(fragment: int, depth: int) -> str:
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["field", "field", "spread", "inline"]))
            directive = draw(st.sampled_from(["", "", " @skip(if: false)"]))
            if kind == "spread" and fragment < count:
                parts.append(f"...f{draw(st.integers(fragment, count - 1))}{directive}")
            elif kind == "inline" and depth:
                parts.append(f"...{directive} {{{selections(fragment, depth - 1)}}}")
            else:
                alias = draw(st.sampled_from(["", "", "x: ", "y: "]))
                first = draw(st.sampled_from(["", "(first: 3)", "(first: $v)", "(first: $w)"]))
                below = f" {{{selections(fragment, depth - 1)}}}" if depth and draw(st.booleans()) else ""
                parts.append(f"{alias}{draw(st.sampled_from(NAMES))}{first}{directive}{below}")
        return " ".join(parts)

    operation = f"query ($v: Int = 4, $w: Int) {{{selections(0, 3)}}}"
    return operation + "".join(f" fragment f{i} on A {{{selections(i + 1, 2)}}}" for i in range(count))


class Naive:
    """What a document comes to, counted on the document with every fragment written out at each spread."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        definitions = document.definitions
        self.fragments = {d.name.value: d for d in definitions if isinstance(d, FragmentDefinitionNode)}
        self.variables = {"v": 4, **variables}
        self.spread: set[str] = set()
        operation = next(d for d in definitions if isinstance(d, OperationDefinitionNode))
        self.fields = list(self.under(operation.selection_set, ()))
        self.cost = self.cost_of(operation.selection_set)
        self.directives = self.nodes_of(operation.selection_set, lambda node: len(node.directives or ()))
        self.fragment_uses = self.nodes_of(operation.selection_set, lambda node: not isinstance(node, FieldNode))

    def inside(self, node: Any) -> SelectionSetNode:
        if isinstance(node, FragmentSpreadNode):
            self.spread.add(node.name.value)
            return self.fragments[node.name.value].selection_set
        return node.selection_set or SelectionSetNode(selections=())

    def under(self, selections: SelectionSetNode, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldNode]]:
        """Each field with the path of response names to it."""
        for node in selections.selections:
            if isinstance(node, FieldNode):
                here = (*path, node.alias.value if node.alias else node.name.value)
                yield here, node
                yield from self.under(self.inside(node), here)
            else:
                yield from self.under(self.inside(node), path)

    def nodes_of(self, selections: SelectionSetNode, count: Callable[[Any], int]) -> int:
        return sum(count(node) + self.nodes_of(self.inside(node), count) for node in selections.selections)

    def cost_of(self, selections: SelectionSetNode) -> int:
        total = 0
        for node in selections.selections:
            below = self.cost_of(self.inside(node))
            total += 1 + below * self.rows(node) if isinstance(node, FieldNode) else below
        return total

    def rows(self, node: FieldNode) -> int:
        if node.name.value != "list":
            return 1
        value = node.arguments[0].value if node.arguments else None
        if isinstance(value, VariableNode):
            return int(self.variables.get(value.name.value, 50))
        return int(value.value) if isinstance(value, IntValueNode) else 50

    def counts(self) -> dict[str, int]:
        paths = [path for path, _ in self.fields]
        logins = sum(node.name.value == "login" for _, node in self.fields)
        return {
            "depth": max(map(len, paths)),
            "cost": self.cost,
            "aliases": sum(node.alias is not None for _, node in self.fields),
            "fields": len(paths),
            "fragments": self.fragment_uses,
            "directives": self.directives,
            "uses of login": logins,
            "repeats": len(paths) - len(set(paths)),
        }


@settings(max_examples=150, deadline=None, derandomize=True)
@given(documents(), st.sampled_from([{}, {"w": 2}, {"v": 6, "w": 1}]))
def test_counts_equal_those_of_the_document_written_out(source: str, variables: dict[str, int]) -> None:
    document = parse(source)
    naive = Naive(document, variables)
    assume(naive.spread == naive.fragments.keys())  # the others are refused, in another test
    counts = naive.counts()
    logins = counts.pop("uses of login")
    if logins > 1:
        counts.pop("repeats")  # are counted last, and the sign-ins are refused before
        assert exceeded(source, ENDLESS, **variables) == ("uses of login", logins)
    for name, count in counts.items():
        if count:
            assert exceeded(source, replace(ENDLESS, **{name: count - 1}), **variables) == (name, count)


# The whole way of a document, on the platform's schema, in time.


@pytest.fixture(scope="module")
def prepared() -> Documents:
    schema = graph_schema.build_schema()
    return Documents(graph_schema.core(schema), graph_schema.public_fields(schema))


def doubling(fragments: int) -> str:
    """Each fragment spreads the next one twice: 2**fragments fields."""
    chain = "".join(f"fragment f{i} on Query{{...f{i + 1} ...f{i + 1}}}" for i in range(fragments))
    return f"{{...f0}}{chain}fragment f{fragments} on Query{{__typename}}"


def chained(fragments: int) -> str:
    chain = "".join(f"fragment f{i} on Query{{...f{i + 1}}}" for i in range(fragments))
    return f"{{...f0}}{chain}fragment f{fragments} on Query{{__typename}}"


def tree(depth: int) -> str:
    return "name" if depth == 0 else f"ofType{{{tree(depth - 1)}}} ofType{{{tree(depth - 1)}}}"


COMPLEX = {
    "2**26 fields by fragments": doubling(26),
    "2**90 fields by fragments": doubling(90),
    "2**300 fields by fragments": doubling(300),
    "a chain of 450 fragments": chained(450),
    "900 aliases": "{" + " ".join(f"a{i}:__typename" for i in range(900)) + "}",
    "10,000 aliases": "{" + " ".join(f"a{i}:__typename" for i in range(10_000)) + "}",
    "a string of 5 MB": '{user(id:"' + "x" * 5_000_000 + '"){id}}',
    "5,000 operations": " ".join(f"query q{i}{{__typename}}" for i in range(5_000)),
    "400 operations": " ".join(f"query q{i}{{__typename}}" for i in range(400)),
    "150 levels": "{a" * 150 + "}" * 150,
    "5,000 levels": "{a" * 5_000 + "}" * 5_000,
    "150 levels of inline fragments": "{" + "...{" * 150 + "__typename" + "}" * 151,
    "a value 400 levels deep": "{planApp(manifest:" + "{a:" * 400 + "1" + "}" * 400 + "){compliant}}",
    "500 directives": "{__typename " + "@skip(if:false)" * 500 + "}",
    "500 directives on a variable": "query($a:Int " + "@skip(if:false)" * 500 + "){__typename}",
    "500 fields of one name": "{" + "__typename " * 500 + "}",
    "240 fields of one name with arguments": "query($i:UUID!){" + "user(id:$i){id} " * 240 + "}",
    "a tree of fields of one name": "{__schema{queryType{" + tree(7) + "}}}",
    "500 inline fragments": "{" + "...{__typename}" * 500 + "}",
    "900 spreads": "{" + "...f " * 900 + "}fragment f on Query{__typename}",
    "an introspection loop": "{__schema{types{fields{type{fields{type{fields{type{name}}}}}}}}}",
    "3,000 comments": "{__typename}" + "#a\n" * 3_000,
    "100,000 rows": "{users(first:100000){nodes{id}}}",
    "two sign-ins": 'mutation{a:login(name:"a",password:"b"){expiresIn} b:login(name:"a",password:"c"){expiresIn}}',
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
def test_what_is_too_complex_is_refused_at_once(prepared: Documents, name: str) -> None:
    took_s = []
    for _ in range(3):  # the best of three, since the machine does other things too
        started = time.thread_time()
        with pytest.raises(DocumentRefused) as refused:
            prepared.operation(COMPLEX[name], None, {}, anonymous=False)
        took_s.append(time.thread_time() - started)
    assert {code_of(coded(error, "")) for error in refused.value.errors} == {Code.QUERY_TOO_COMPLEX}
    assert min(took_s) < 0.05


WRONG = {
    "a cycle": "{...a} fragment a on Query{...b} fragment b on Query{...a}",
    "3,900 fields in a fragment nobody spreads": "{__typename} fragment f on Query{" + "me " * 3_900 + "}",
    "60 fragments nobody spreads": "{__typename}"
    + "".join(f"fragment a{i} on Query{{{' '.join(f'...a{j}' for j in range(i + 1, 60))} me}}" for i in range(59)),
    "900 variables nobody uses": "query(" + " ".join(f"$v{i}:Int" for i in range(900)) + "){__typename}",
    "3,000 elements in place of one value": "{user(id:[" + "1," * 3_000 + "]){id}}",
    "100 unknown fields": "{" + " ".join(f"recrd{i}" for i in range(100)) + "}",
    "a type definition": "{__typename} type A {a: Int}",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_soon(prepared: Documents, name: str) -> None:
    took_s = []
    for _ in range(3):
        started = time.thread_time()
        with pytest.raises(DocumentRefused) as refused:
            prepared.operation(WRONG[name], None, {}, anonymous=False)
        took_s.append(time.thread_time() - started)
    assert Code.INVALID_INPUT in {code_of(coded(error, "")) for error in refused.value.errors}
    assert min(took_s) < 0.1


def test_the_largest_documents_that_pass_are_validated_soon(prepared: Documents) -> None:
    """What the limits leave: the worst of it costs other requests a tenth of a second, not more."""
    largest = [
        "query($i:UUID!){" + "user(id:$i){id} " * 50 + "}",
        "{" + "__typename " * 101 + "}",
        "{" + " ".join(f"...a{i}" for i in range(50)) + "}"
        + "".join(f"fragment a{i} on Query{{me{{id}}}}" for i in range(50)),
        "{users{nodes{" + "id " * 99 + "}}}",
    ]  # fmt: skip
    for source in largest:
        took_s = []
        for number in range(3):
            started = time.thread_time()
            prepared.operation(source + " " * number, None, {"i": "x"}, anonymous=False)
            took_s.append(time.thread_time() - started)
        assert min(took_s) < 0.1, source[:60]


def test_a_document_is_measured_again_with_other_variables(prepared: Documents) -> None:
    source = "query ($n: Int!) { users(first: $n) { nodes { id } } }"
    prepared.operation(source, None, {"n": 10}, anonymous=False)
    with pytest.raises(DocumentRefused) as refused:
        prepared.operation(source, None, {"n": 10_000}, anonymous=False)
    assert code_of(refused.value.errors[0]) == Code.QUERY_TOO_COMPLEX
    prepared.operation(source, None, {"n": 10}, anonymous=False)


def test_remembered_documents_take_a_bounded_share_of_memory() -> None:
    schema = graph_schema.build_schema()
    documents = Documents(graph_schema.core(schema), graph_schema.public_fields(schema))
    for number in range(60):
        documents.operation("{__typename}" + " " * (14_000 + number), None, {}, anonymous=False)
    assert 200_000 < documents._known.weight <= 250_000


def test_the_lists_of_the_schema_are_known_with_their_default() -> None:
    known = paged_fields(graph_schema.core(graph_schema.build_schema()))
    lists = {"users": 50, "records": 50, "federatedRecords": 50, "auditEntries": 100}
    assert {name: known[name] for name in lists} == lists


def test_a_limit_is_an_ordinary_refusal() -> None:
    assert issubclass(TooComplex, DomainError)
    with pytest.raises(TooComplex) as refused:
        check_limits(parse("{" + "a " * 102 + "}"), {}, PAGED)
    assert refused.value.message == "the document is too complex: repeats 101, at most 100"
    assert refused.value.details == {"limit": "repeats", "most": 100, "count": 101}
