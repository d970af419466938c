"""Outgoing HTTP: it reaches what is public or allowed, and nothing else by any spelling."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from domain.kernel.outbound import AddressRefused, Incoming, Outgoing, Unreached
from infra.outbound import HttpOutbound, is_public
from tests.outbound.listener import Listener, listening

LOOPBACK = ip_network("127.0.0.0/8")

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1
172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a00:1
64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
fec0::1 ff02::1 ff0e::1
""".split()
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "192.167.255.255", "2606:4700:4700::1111", "64:ff9b::808:808",
          "::ffff:8.8.8.8"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening() as made:
        yield made


@pytest_asyncio.fixture
async def outbound() -> AsyncIterator[HttpOutbound]:
    """What the installation has by default."""
    made = HttpOutbound()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def inbound() -> AsyncIterator[HttpOutbound]:
    """One that may reach the test's own servers, under any name."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    made = HttpOutbound([LOOPBACK], resolve)
    yield made
    await made.close()


INWARD = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[::1]@127.0.0.1:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http:\\\\127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "http://127.0.0.1 :{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1\r\n:{port}/",
    "http://127.0.0.1%2f:{port}/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127.0.0.1\x00.example.com:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://[:{port}/",
    "http://:{port}/",
    "http://?{port}",
    "",
    "http://",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "unix:///tmp/socket",
    "data:text/plain,x",
    "javascript:alert(1)",
    "ws://127.0.0.1:{port}/",
    "HTTP+UNIX://%2Ftmp%2Fsocket/",
    "http://127.0.0.1:99999999/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:22/",
    "http://8.8.8.8:22/",
    "http://8.8.8.8:25/",
    "https://" + "a" * 5000 + "/",
]


@pytest.mark.parametrize("url", INWARD)
async def test_no_spelling_leads_inward(outbound: HttpOutbound, listener: Listener, url: str) -> None:
    with pytest.raises(Unreached) as refused:  # where the system's resolver makes an address of it, that is refused
        await outbound.send(Outgoing("GET", url.format(port=listener.port), timeout_s=5))
    assert isinstance(refused.value, AddressRefused) or "there is no such host" in str(refused.value)
    assert listener.connections == 0


async def test_a_name_that_changes_its_mind_gains_nothing(listener: Listener) -> None:
    """A resolver that says a public address first and this machine afterwards: only what it said first is used."""
    asked: list[str] = []

    async def flipping(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    outbound = HttpOutbound([ip_network("192.0.2.0/24")], flipping)  # reserved for examples: nobody answers there
    url = f"http://flipping.example:{listener.port}/"
    with pytest.raises(Unreached) as gone:
        await outbound.send(Outgoing("GET", url, timeout_s=0.5))
    assert not isinstance(gone.value, AddressRefused)
    with pytest.raises(AddressRefused):
        await outbound.send(Outgoing("GET", url, timeout_s=0.5))
    assert (len(asked), listener.connections) == (2, 0)
    await outbound.close()


async def test_of_several_addresses_only_the_allowed_ones_are_tried(listener: Listener) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "127.0.0.2", "127.0.0.1"]

    outbound = HttpOutbound([ip_network("127.0.0.0/31")], resolve)
    answer = await outbound.send(Outgoing("GET", f"http://several.example:{listener.port}/", timeout_s=5))
    assert (answer.status, listener.connections) == (200, 1)
    await outbound.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_this_machine_is_reached_only_where_it_is_meant_and_named(
    outbound: HttpOutbound, listener: Listener, host: str
) -> None:
    url = f"http://{host}:{listener.port}/"
    assert (await outbound.send(Outgoing("GET", url, local=True))).body == b"ok"
    with pytest.raises(AddressRefused):  # by the connection that is open, too
        await outbound.send(Outgoing("GET", url))
    with pytest.raises(AddressRefused):
        await outbound.send(Outgoing("GET", f"http://127.0.0.2:{listener.port}/", local=True))
    assert listener.connections == 1


async def test_a_name_for_this_machine_is_not_its_name(listener: Listener) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    outbound = HttpOutbound(resolve=resolve)
    with pytest.raises(AddressRefused) as refused:
        await outbound.send(Outgoing("GET", f"http://rebound.example:{listener.port}/", local=True))
    assert "127.0.0.1" not in str(refused.value)
    assert listener.connections == 0


async def test_what_is_sent_and_what_comes_back(inbound: HttpOutbound, listener: Listener) -> None:
    listener.answer = b"HTTP/1.1 418 Teapot\r\nX-Kind: green\r\ncontent-length: 3\r\n\r\ntea"
    asked = Outgoing(
        "POST", f"http://shop.example:{listener.port}/a%20b?c=%26", {"X-Test": "ü", "Host": "other"}, b"{}"
    )
    answer = await inbound.send(asked)
    assert answer == Incoming(418, {"x-kind": "green", "content-length": "3"}, b"tea")
    lines = listener.heard[0].decode().split("\r\n")
    assert lines[0] == "POST /a%20b?c=%26 HTTP/1.1"
    assert f"host: shop.example:{listener.port}" in lines
    assert "x-test: ü" in lines
    assert "accept-encoding: identity" in lines
    assert "Content-Length: 2" in lines
    assert not [line for line in lines if "other" in line]


async def test_a_redirect_is_an_answer(inbound: HttpOutbound, listener: Listener) -> None:
    listener.answer = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n"
    answer = await inbound.send(Outgoing("GET", f"http://shop.example:{listener.port}/"))
    assert (answer.status, answer.headers["location"], listener.connections) == (302, "http://127.0.0.1/", 1)


async def test_a_large_answer_is_cut(inbound: HttpOutbound, listener: Listener) -> None:
    listener.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 300_000
    asked = Outgoing("GET", f"http://shop.example:{listener.port}/", answer_bytes_max=1000)
    answer = await inbound.send(asked)
    assert (answer.body, answer.whole) == (b"x" * 1000, False)


async def test_a_slow_answer_has_one_limit_for_all_of_it(inbound: HttpOutbound, listener: Listener) -> None:
    listener.pause_s = 30
    before = asyncio.get_running_loop().time()
    with pytest.raises(Unreached, match=r"did not answer within 0\.3 s"):
        await inbound.send(Outgoing("GET", f"http://shop.example:{listener.port}/", timeout_s=0.3))
    assert asyncio.get_running_loop().time() - before < 3


async def test_what_fails_says_why(inbound: HttpOutbound, outbound: HttpOutbound, listener: Listener) -> None:
    listener.answer = b"SSH-2.0-OpenSSH_9.9\r\n"
    with pytest.raises(Unreached, match=r"shop\.example does not speak HTTP"):
        await inbound.send(Outgoing("GET", f"http://shop.example:{listener.port}/"))
    async with listening() as gone:
        pass
    with pytest.raises(Unreached, match="the connection was refused"):
        await inbound.send(Outgoing("GET", f"http://shop.example:{gone.port}/"))
    with pytest.raises(Unreached, match="there is no such host"):
        await outbound.send(Outgoing("GET", "http://no-such-host.invalid/"))


def _certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's context with a certificate of its own making for `name`, which is left in `ca.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


async def test_the_certificate_is_the_names_though_the_address_is_pinned(
    inbound: HttpOutbound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _certificate(tmp_path, "shop.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with listening(certificate=context) as listener:
        assert (await inbound.send(Outgoing("GET", f"https://shop.example:{listener.port}/"))).body == b"ok"
        with pytest.raises(Unreached, match=r"other\.example cannot be reached \(its certificate is not good"):
            await inbound.send(Outgoing("GET", f"https://other.example:{listener.port}/"))
        assert len(listener.heard) == 1
