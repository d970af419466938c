"""Pages that people are shown on their way between sites: small, whole in themselves, and without scripts."""

from collections.abc import Mapping
from html import escape
from typing import Any

CONFIRM = "/api/v1/integrations/auth/confirm"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; text-align: center }}
main {{ max-width: 26rem; margin: 20vh auto; padding: 0 1rem; overflow-wrap: anywhere }}
button {{ font: inherit; padding: .6em 1.6em; border-radius: .5em; border: 0; cursor: pointer }}
button {{ background: #2456c5; color: #fff }}
button:focus-visible {{ outline: 3px solid #9db8f2 }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16181d; color: #e8eaf0 }} }}
</style>
</head>
<body>
<main>{body}</main>
</body>
</html>
"""


def page(title: str, body: str) -> str:
    """A page. `body` is HTML, `title` is text."""
    return _PAGE.format(title=escape(title), body=body)


_CONNECTED = """<h1>Connected</h1>
<p>{integration} is connected for {account}. You can close this window.</p>"""
_ASK = """<h1>Connect {integration}?</h1>
<p>Your account at {integration} would be connected for <strong>{account}</strong>, who could use it here from now on.
Go on only if that is you.</p>
<form method="post" action="{confirm}">
<input type="hidden" name="token" value="{token}">
<button>Connect</button>
</form>"""
_NOT_CONNECTED = """<h1>Not connected</h1>
<p>{integration} could not be connected: {problem}</p>"""


def integration(outcome: Mapping[str, Any]) -> str:
    """What came of being sent to another service."""
    told = {name: escape(str(value)) for name, value in outcome.items()}
    if "token" in told:
        return page("Connect an account", _ASK.format(**told, confirm=CONFIRM))
    if "problem" in told:
        return page("Not connected", _NOT_CONNECTED.format(**told))
    return page("Connected", _CONNECTED.format(**told))
