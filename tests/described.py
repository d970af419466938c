"""Every REST answer, in any test, is held against its description."""

from typing import Any

import httpx
import jsonschema_rs

from infra.app import Application
from rest_compat.engine.describe import describe
from rest_compat.engine.system import System


class Described:
    """The descriptions of one application's routes."""

    def __init__(self, app: Application) -> None:
        self._rest = app.rest
        self._descriptions: dict[str, dict[str, Any]] = {}
        self._validators: dict[tuple[str, ...], Any] = {}

    def of(self, system: System) -> dict[str, Any]:
        """The description of one system."""
        if system.name not in self._descriptions:
            routes = [route for route in self._rest.routes if route.system is system]
            described = describe(routes, [system], merged=False, base_url="http://test")
            self._descriptions[system.name] = described
        return self._descriptions[system.name]

    def _validator(self, system: System, path: str, method: str, status: str) -> Any:
        key = (system.name, path, method, status)
        if key not in self._validators:
            described = self.of(system)
            responses = described["paths"][path][method]["responses"]
            assert status in responses, f"{method.upper()} {path} does not describe status {status}"
            schema = responses[status].get("content", {}).get("application/json", {}).get("schema", {})
            whole = {"allOf": [schema], "components": described["components"]}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        return self._validators[key]

    def check(self, response: httpx.Response) -> None:
        """Fails when the answer is not as described."""
        request = response.request
        raw_path = request.url.raw_path.partition(b"?")[0]
        try:
            route = self._rest.route_of(request.method, raw_path)
        except ValueError:
            return  # a path that is no text has no route
        if route is None or request.method in ("OPTIONS", "HEAD"):
            return
        path = route.document.path.replace("*}", "}")
        validator = self._validator(route.system, path, request.method.lower(), str(response.status_code))
        if "application/json" in response.headers.get("content-type", ""):
            validator.validate(response.json())
