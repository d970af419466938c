"""The page a magic link leads to. To look at it signs nobody in.

RootCX signs in whoever GETs the link. But mail scanners, chat previews and prefetching browsers follow links as
well: they would use it up, and be handed the session. So a GET only asks, and the button POSTs.
"""

import re

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

PATH = "/api/v1/auth/magic-link/consume"
FOLLOW = "/api/v1/auth/magic-link/follow"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

# Nothing is loaded from anywhere. `form-action` is left open: it would hold for where the form's answer leads, too.
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # the address holds the token
    "x-robots-tag": "noindex",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sign in</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; text-align: center }}
main {{ max-width: 26rem; margin: 20vh auto; padding: 0 1rem }}
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
_ASK = """<h1>Sign in</h1>
<p>This link signs you in, once.</p>
<form method="post" action="{follow}">
<input type="hidden" name="token" value="{token}">
<button>Sign in</button>
</form>"""
_NO_LINK = "<h1>This link is not whole</h1><p>Copy all of it, or ask for a new one.</p>"


async def _page(request: Request) -> HTMLResponse:
    token = request.query_params.get("token", "")
    if not _TOKEN.fullmatch(token):
        return HTMLResponse(_PAGE.format(body=_NO_LINK), 400, HEADERS)
    return HTMLResponse(_PAGE.format(body=_ASK.format(follow=FOLLOW, token=token)), 200, HEADERS)


ROUTE = Route(PATH, _page, methods=["GET"])
