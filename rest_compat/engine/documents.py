"""Reading the route documents of a system: quickly at start, every file parsed and nothing yet compiled."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphql import (
    DirectiveNode,
    FragmentDefinitionNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    Source,
    parse,
    value_from_ast_untyped,
)

from rest_compat.engine.errors import CompileError, compile_error

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PATH = re.compile(rf"/|(/([^/{{}}?#%\s]+|\{{{_NAME}\}}))*(/\{{{_NAME}\*\}}|(?<!^)/?)")
_PATH_PARAMETER = re.compile(rf"\{{({_NAME})\*?\}}")


@dataclass(frozen=True, slots=True)
class RouteDocument:
    """An operation with `@rest`, as it stands in its file."""

    file: str
    area: str  # the file's name without its ending
    node: OperationDefinitionNode
    rest: Mapping[str, Any]  # the directive's arguments

    @property
    def name(self) -> str:
        assert self.node.name is not None
        return self.node.name.value

    @property
    def method(self) -> str:
        return str(self.rest["method"])

    @property
    def path(self) -> str:
        return str(self.rest["path"])

    @property
    def described_path(self) -> str:
        """The path as OpenAPI writes it, which has no word for the rest of a path."""
        return self.path.replace("*}", "}")

    @property
    def path_parameters(self) -> list[str]:
        """The names in braces, in order."""
        return _PATH_PARAMETER.findall(self.path)

    def wrong(self, message: str, node: Node | None = None) -> CompileError:
        """An error of this document."""
        return CompileError(self.file, message, node or self.node)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A named fragment, and where it stands."""

    file: str
    node: FragmentDefinitionNode


@dataclass(frozen=True, slots=True)
class Documents:
    """All documents of one system. Fragments are known in every file of it."""

    routes: tuple[RouteDocument, ...]
    fragments: Mapping[str, Fragment]


def read_documents(folder: Path) -> Documents:
    """The documents in a folder. Raises CompileError."""
    routes: list[RouteDocument] = []
    fragments: dict[str, Fragment] = {}
    names: dict[str, str] = {}
    for path in sorted(folder.glob("*.graphql")):
        for document in _definitions(path):
            if isinstance(document, RouteDocument):
                if document.name in names:
                    raise document.wrong(f"operation '{document.name}' is also in {names[document.name]}")
                names[document.name] = document.file
                routes.append(document)
            else:
                name = document.node.name.value
                if name in fragments:
                    raise CompileError(
                        document.file, f"fragment '{name}' is also in {fragments[name].file}", document.node
                    )
                fragments[name] = document
    return Documents(tuple(routes), fragments)


def _definitions(path: Path) -> "Iterator[RouteDocument | Fragment]":
    file = f"{path.parent.name}/{path.name}"
    try:
        parsed = parse(Source(path.read_text("utf-8"), file))
    except GraphQLError as error:
        raise compile_error(file, error) from error
    for node in parsed.definitions:
        if isinstance(node, FragmentDefinitionNode):
            yield Fragment(file, node)
        elif isinstance(node, OperationDefinitionNode):
            yield _route(file, path.stem, node)
        else:
            raise CompileError(file, "only operations and fragments make routes", node)


def _route(file: str, area: str, node: OperationDefinitionNode) -> RouteDocument:
    if node.name is None:
        raise CompileError(file, "an operation needs a name", node)
    rest = next((d for d in node.directives or () if d.name.value == "rest"), None)
    if rest is None:
        raise CompileError(file, f"operation '{node.name.value}' has no @rest", node)
    arguments = directive_arguments(rest)
    for required in ("method", "path"):
        if not isinstance(arguments.get(required), str):
            raise CompileError(file, f"@rest needs {required}", rest)
    document = RouteDocument(file, area, node, arguments)
    if not _PATH.fullmatch(document.path):
        raise CompileError(file, f"'{document.path}' is not a path", rest)
    if len(set(document.path_parameters)) < len(document.path_parameters):
        raise CompileError(file, f"'{document.path}' names a parameter twice", rest)
    return document


def directive_arguments(directive: DirectiveNode) -> dict[str, Any]:
    """The arguments that are written, as plain values; enum values are their names."""
    return {argument.name.value: value_from_ast_untyped(argument.value) for argument in directive.arguments or ()}
