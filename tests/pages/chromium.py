"""A real browser, driven by the DevTools protocol. It finds no host but ours."""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Another name than localhost: pages must do without what browsers grant only to secure origins.
HOST = "stoa.test"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND",
    "--remote-debugging-port=0",
)
STARTED_WITHIN_S = 30
SEEN_WITHIN_S = 15


class Target:
    """Something of the browser that takes commands."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def call(self, method: str, **params: Any) -> Any:
        """What the browser answers to a command."""
        id = next(self._numbers)
        self._connection.send(json.dumps({"id": id, "method": method, "params": params}))
        while True:
            told = json.loads(self._connection.recv(SEEN_WITHIN_S))
            if told.get("id") == id:
                assert "error" not in told, told
                return told["result"]
            if "method" in told:
                self._notice(told["method"], told["params"])

    def _notice(self, event: str, params: dict[str, Any]) -> None:
        """An event came meanwhile."""


class Page(Target):
    """A tab. `foreign` are the addresses it asked besides ours, `problems` what it complained of."""

    def __init__(self, connection: ClientConnection, base_url: str) -> None:
        super().__init__(connection)
        self._base_url = base_url
        self.foreign: list[str] = []
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _notice(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith((self._base_url, "data:")):
                self.foreign.append(url)
        elif event == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(" ".join(str(each.get("value", each)) for each in params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])

    def go(self, path: str) -> None:
        self.call("Page.navigate", url=self._base_url + path)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise it gives."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def see(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        until = time.monotonic() + SEEN_WITHIN_S
        while time.monotonic() < until:
            # While a page gives way to the next there is nothing to ask.
            told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
            value = None if "exceptionDetails" in told else told["result"].get("value")
            if value:
                return value
            time.sleep(0.03)
        raise AssertionError(f"never true: {expression}\n{self.evaluate('document.body.innerText')}\n{self.problems}")

    def text(self, selector: str) -> str:
        """What an element that is shown says, as soon as there is one and it says something."""
        text: str = self.see(f"{_shown(selector)}?.innerText.trim()")
        return text

    def click(self, selector: str) -> None:
        """Click with the mouse: menus listen to more than `click`."""
        x, y = self.see(
            f"(() => {{ const found = {_shown(selector)}; if (!found) return null;"
            " found.scrollIntoView({block: 'nearest'}); const {x, y, width, height} = found.getBoundingClientRect();"
            " return [x + width / 2, y + height / 2]; })()"
        )
        for type in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if type == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=type, x=x, y=y, button=button, clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """Replace what is in a field."""
        self.see(f"(() => {{ const found = {_shown(selector)}; found?.focus(); found?.select(); return !!found; }})()")
        self.call("Input.insertText", text=text)


def _shown(selector: str) -> str:
    """The first element of a selector that can be used. `selector >> text` wants one that contains the text."""
    css, _, text = selector.partition(" >> ")
    condition = f"each.checkVisibility() && !each.disabled && each.innerText.includes({json.dumps(text)})"
    return f"[...document.querySelectorAll({json.dumps(css)})].find((each) => {condition})"


class Chromium:
    """A running browser, at the address where it takes commands."""

    def __init__(self, address: str) -> None:
        self._address = address

    @contextmanager
    def page(self, port: int) -> Iterator[Page]:
        """A page on the server at this port, which shares no storage with others."""
        with connect(self._address, max_size=None) as connection:
            browser = Target(connection)
            context = browser.call("Target.createBrowserContext")["browserContextId"]
            tab = browser.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
            address = urlsplit(self._address)._replace(path=f"/devtools/page/{tab}").geturl()
            with connect(address, max_size=None) as connection_to_tab:
                yield Page(connection_to_tab, f"http://{HOST}:{port}")
            browser.call("Target.disposeBrowserContext", browserContextId=context)


@contextmanager
def running() -> Iterator[Chromium]:
    assert PROGRAM is not None
    with tempfile.TemporaryDirectory(prefix="stoa-chromium-", ignore_cleanup_errors=True) as folder:
        command = [PROGRAM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield Chromium(_address(Path(folder), process))
            finally:
                process.terminate()
                process.wait(10)


def _address(folder: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the browser listens: it writes that down when it does."""
    told = folder / "DevToolsActivePort"
    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        if told.exists() and (lines := told.read_text().split()) and len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("the browser did not start")
