"""The guarded client for libraries that bring requests of httpx2 of their own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from domain.kernel.outbound import Outgoing
from infra.outbound import HttpOutbound

if TYPE_CHECKING:
    import httpx2

SILENCE_S_MAX = 120.0
OURS = frozenset({"host", "connection", "accept-encoding", "user-agent", "transfer-encoding", "content-length"})


def guarded_client(outbound: HttpOutbound) -> "httpx2.AsyncClient":
    """A client whose connections go where ours may. What the operator configured may be on this machine."""
    import httpx2

    class Body(httpx2.AsyncByteStream):
        def __init__(self, chunks: AsyncIterator[bytes], closing: AsyncExitStack) -> None:
            self._chunks, self._closing = chunks, closing

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in self._chunks:
                yield chunk

        async def aclose(self) -> None:
            await self._closing.aclose()

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in OURS}
            body = await request.aread()
            asked = Outgoing(request.method, str(request.url), headers, body, timeout_s=SILENCE_S_MAX, local=True)
            async with AsyncExitStack() as closing:
                answer = await closing.enter_async_context(outbound.stream(asked))
                kept = closing.pop_all()
            return httpx2.Response(answer.status, headers=list(answer.headers), stream=Body(answer.chunks, kept))

    return httpx2.AsyncClient(transport=Transport(), follow_redirects=False, timeout=SILENCE_S_MAX, trust_env=False)
