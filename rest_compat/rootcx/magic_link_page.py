"""The page a magic link leads to. To look at it signs nobody in.

RootCX signs in whoever GETs the link. But mail scanners, chat previews and prefetching browsers follow links as
well: they would use it up, and be handed the session. So a GET only asks, and the button POSTs.
"""

import re

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from rest_compat.engine.answers import PAGE_HEADERS
from rest_compat.rootcx.pages import page

PATH = "/api/v1/auth/magic-link/consume"
FOLLOW = "/api/v1/auth/magic-link/follow"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

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
        return HTMLResponse(page("Sign in", _NO_LINK), 400, PAGE_HEADERS)
    return HTMLResponse(page("Sign in", _ASK.format(follow=FOLLOW, token=token)), 200, PAGE_HEADERS)


ROUTE = Route(PATH, _page, methods=["GET"])
