"""The HTTP client of chat endpoints, against servers that answer in every allowed way, and some that are not."""

import asyncio
import ssl
from contextlib import closing

import pytest

from llavamed import post
from llavamed.post import Poster

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n3\r\n yo\r\n0\r\nX-T: 1\r\n\r\n"


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
    return head, await reader.readexactly(length)


def talk(answers, posts=1, *, url="http://127.0.0.1:{port}/v1/chat", context=None, headers=None):
    """What `posts` posts get from a server that gives `answers` in turn (None: it hangs up), and what it heard."""
    heard, left = [], list(answers)

    async def serve(reader, writer):
        heard.append("new")
        try:
            while True:
                heard.append(await read_request(reader))
                answer = left.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                if b"close" in answer or (b"ength" not in answer and b"chunked" not in answer):
                    break
        except (EOFError, IndexError):
            pass
        finally:
            writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        replies = []
        with closing(Poster(url.format(port=port), headers or {"X-Key": "k"})) as poster:
            for number in range(posts):
                try:
                    replies.append(await poster.post(b"body %d" % number))
                except (OSError, ValueError) as error:
                    replies.append(error)
                await asyncio.sleep(0.01)
        server.close()
        return replies

    return asyncio.run(run()), heard


def test_one_connection_serves_many_requests():
    replies, heard = talk([PLAIN, CHUNKED, PLAIN], 3)
    assert [reply.body for reply in replies] == [b"hi", b"hello yo", b"hi"]
    assert heard.count("new") == 1
    head, body = heard[1]
    assert head.startswith(b"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Key: k\r\n" in head
    assert body == b"body 0"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.0 503 no\r\nRetry-After: 7\r\n\r\nlater", 503, b"later"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, 200, b"hi"),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", 302, b""),
    ],
)
def test_answers_of_all_kinds(answer, status, body):
    [reply, again], _ = talk([answer, PLAIN], 2)
    assert (reply.status, reply.body) == (status, body)
    assert again.body == b"hi", "the next request goes through"
    if status == 503:
        assert reply.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, ConnectionError),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhi", ConnectionError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ValueError),
        (b"HTTP/1.1 two\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", ValueError),
    ],
)  # fmt: skip
def test_what_is_no_answer(answer, error):
    [caught, again], heard = talk([answer, PLAIN], 2)
    assert isinstance(caught, error)
    assert again.body == b"hi", "what is broken is not used again"
    assert heard.count("new") == 2


def test_a_time_out_leaves_no_answer_to_the_next_request():
    async def run():
        async def serve(reader, writer):
            _, body = await read_request(reader)
            await asyncio.sleep(0.3 if body == b"slow" else 0)
            writer.write(PLAIN.replace(b"hi", body[:2]))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        with closing(Poster(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", {})) as poster:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await poster.post(b"slow")
            return (await poster.post(b"next")).body

    assert asyncio.run(run()) == b"ne"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of our own for localhost, and its key, in one file."""
    pytest.importorskip("cryptography")
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("far.test")]), False)
        .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + secret)
    return path


def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_tls_only_with_a_known_certificate(certificate, monkeypatch):
    url = "https://localhost:{port}/v1"
    [refused], _ = talk([PLAIN], url=url, context=tls(certificate))
    assert isinstance(refused, ssl.SSLCertVerificationError)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    [reply], _ = talk([PLAIN], url=url, context=tls(certificate))
    assert reply.body == b"hi"


def test_a_proxy_of_the_environment(monkeypatch):
    async def run():
        heard = []

        async def serve(reader, writer):
            heard.append((await read_request(reader))[0])
            writer.write(PLAIN)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{port}")
        with closing(Poster("http://far.test/v1", {})) as poster:
            reply = await poster.post(b"x")
        monkeypatch.setenv("no_proxy", "far.test")
        with closing(Poster("http://far.test/v1", {})) as poster, pytest.raises(OSError):
            await poster.post(b"x")
        return reply, heard

    reply, [head] = asyncio.run(run())
    assert reply.body == b"hi"
    assert head.startswith(b"POST http://far.test/v1 HTTP/1.1\r\nHost: far.test\r\n")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in head


def test_tls_through_a_proxy_is_a_tunnel(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def run():
        heard = []

        async def pipe(reader, writer):
            while data := await reader.read(4096):
                writer.write(data)
            writer.close()

        async def answer(reader, writer):
            heard.append((await read_request(reader))[0])
            writer.write(PLAIN)

        behind = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls(certificate))

        async def serve(reader, writer):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            there = await asyncio.open_connection("127.0.0.1", behind.sockets[0].getsockname()[1])
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        with closing(Poster("https://far.test/v1", {"Authorization": "Bearer secret"})) as poster:
            reply = await poster.post(b"x")
        return reply, heard

    reply, [asked, inside] = asyncio.run(run())
    assert reply.body == b"hi"
    assert asked == b"CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n\r\n"
    assert b"Bearer secret" in inside


def test_an_answer_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(post, "LARGEST", 10)
    [caught], _ = talk([CHUNKED.replace(b"5;x", b"b;x")])
    assert isinstance(caught, ValueError)
