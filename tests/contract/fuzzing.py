"""What Schemathesis is told besides its own: our checks on every answer, and values of our scalars."""

import re
from typing import Any

import schemathesis
from graphql import NameNode, NullValueNode, ObjectFieldNode, ValueNode
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.graphql import nodes, scalar

from tests.contract.judging import LEAKS, error_faults

# How the reader of requests refuses what is not of the described form. What the domain minds, it says otherwise.
UNREAD = re.compile(
    r"^(invalid JSON|unknown (field|parameter) '[^']*'$|Argument |Variable "
    r"|.*( is required$| cannot represent| must be a list$| is given more than once| has invalid value| is not UTF-8)"
    r"|[\w.]+ must (not be null|be (a string|true or false|an integer of at most 32 bits|one of [\w, ]+))$)"
)


@schemathesis.check
def what_is_described_is_read(ctx: Any, response: Any, case: Any) -> None:
    """What has the described form is never refused for its form."""
    if response.status_code != 400 or case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    told = response.json().get("error", "")
    message = told if isinstance(told, str) else told["message"]
    assert not UNREAD.search(message), f"as described, and not read: {message}"


@schemathesis.check
def nothing_of_our_insides(ctx: Any, response: Any, case: Any) -> None:
    """A refusal tells nothing of what is behind the routes."""
    if response.status_code >= 400:
        found = LEAKS.search(response.text)
        assert found is None, f"leak: {found}"


@schemathesis.check
def a_fault_is_never_an_answer(ctx: Any, response: Any, case: Any) -> None:
    """Whatever the status of a refusal is in its dialect, its code is never that of a fault.

    A 503 is none where the request needs a worker host: the servers of these tests have none.
    """
    if response.status_code >= 500:
        assert '"internal"' not in response.text.lower(), "a fault"
    assert response.status_code != 503 or "no worker host" in response.text, "what is there is not ready"


@schemathesis.check
def refusals_can_be_followed(ctx: Any, response: Any, case: Any) -> None:
    """Who has to wait is told how long, and who is not known what to come with."""
    needed = {401: "www-authenticate", 405: "allow", 429: "retry-after", 503: "retry-after"}
    header = needed.get(response.status_code)
    assert header is None or header in response.headers, f"{response.status_code} without {header}"


@schemathesis.check
def every_graphql_error_is_a_refusal(ctx: Any, response: Any, case: Any) -> None:
    """GraphQL tells refusals as errors: each has a code, which is not that of a fault."""
    if "json" not in response.headers.get("content-type", [""])[0]:
        return
    body = response.json()
    if isinstance(body, dict) and isinstance(body.get("errors"), list):
        found = [problem for error in body["errors"] for problem in error_faults(error)]
        assert not found, f"{found}: {body['errors']}"


def _literal(value: Any) -> ValueNode:
    """JSON as GraphQL spells it."""
    if isinstance(value, dict):
        return nodes.Object([ObjectFieldNode(name=NameNode(value=key), value=_literal(v)) for key, v in value.items()])
    if isinstance(value, list):
        return nodes.List([_literal(part) for part in value])
    if value is None:
        return NullValueNode()
    kinds = {bool: nodes.Boolean, int: nodes.Int, str: nodes.String}
    return kinds[type(value)](value)


_NAMES = st.sampled_from(["code", "id", "weight", "about", "appId", "name", "eq", "like"])
_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
_JSON = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=5
)

scalar("BigInt", st.integers(-(2**63), 2**63 - 1).map(nodes.Int))
scalar("JSON", _JSON.map(_literal))
scalar("JSONObject", st.dictionaries(_NAMES, _JSON, max_size=4).map(_literal))
scalar("SecretText", st.text(max_size=50).map(nodes.String))
scalar("Upload", st.text(max_size=5).map(nodes.String))  # no text is one
