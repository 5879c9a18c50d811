"""Posting to a chat endpoint, against servers that answer in every allowed way, and some that are not."""

import asyncio
import ssl
from gzip import compress

import pytest

from llavamed import post as module
from llavamed.post import poster

ZIPPED = compress(b"hi", mtime=0)  # the same in every process: it is part of a test's name
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n3\r\n yo\r\n0\r\nX-T: 1\r\n\r\n"


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
    return head, await reader.readexactly(length)


def talk(answers, posts=1, *, url="http://127.0.0.1:{port}/v1/chat", context=None, timeout=5):
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
        replies = []
        async with poster(url.format(port=port_of(server)), {"X-Key": "k"}, timeout) as post:
            for number in range(posts):
                replies.append(await outcome(post, b"body %d" % number))
                await asyncio.sleep(0.01)
        server.close()
        return replies

    return asyncio.run(run()), heard


async def outcome(post, body):
    """The reply, or the error in its place."""
    try:
        return await post(body)
    except (OSError, ValueError) as error:
        return error


def port_of(server):
    return server.sockets[0].getsockname()[1]


def test_one_connection_serves_many_requests():
    replies, heard = talk([PLAIN, CHUNKED, PLAIN], 3)
    assert [reply.body for reply in replies] == [b"hi", b"hello yo", b"hi"]
    assert heard.count("new") == 1
    head, body = heard[1]
    assert head.startswith(b"POST /v1/chat HTTP/1.1\r\n")
    assert b"\r\nHost: 127.0.0.1:" in head
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
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n" + ZIPPED, 200, b"hi"),
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
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: close\r\n\r\n5\r\nhi", ConnectionError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (ConnectionError, ValueError)),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ValueError),
        (b"HTTP/1.1 two\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", ValueError),
    ],
)
def test_what_is_no_answer(answer, error):
    [caught, again], heard = talk([answer, PLAIN], 2)
    assert isinstance(caught, error)
    assert again.body == b"hi", "what is broken is not used again"
    assert heard.count("new") == 2


def test_nothing_is_sent_twice():
    """A request that was paid for may have been read: whoever asks decides whether to ask again."""
    [first, broken], heard = talk([PLAIN, None], 2)
    assert first.body == b"hi"
    assert isinstance(broken, ConnectionError)
    assert [request[1] for request in heard if request != "new"] == [b"body 0", b"body 1"]


def test_cookies_are_not_kept():
    _, heard = talk([PLAIN.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n"), PLAIN], 2)
    assert b"cookie" not in heard[-1][0].lower()


@pytest.mark.parametrize("answer", [PLAIN.replace(b"2\r\n\r\nhi", b"12\r\n\r\n" + b"x" * 12), CHUNKED * 2])
def test_an_answer_without_end_is_cut(answer, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 7)
    [caught, again], _ = talk([answer, PLAIN], 2)
    assert isinstance(caught, ValueError)
    assert again.body == b"hi"


def test_a_time_out_leaves_no_answer_to_the_next_request():
    async def serve(reader, writer):
        _, body = await read_request(reader)
        await asyncio.sleep(0.3 if body == b"slow" else 0)
        writer.write(PLAIN.replace(b"hi", body[:2]))
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with poster(f"http://127.0.0.1:{port_of(server)}/v1", {}, 0.1) as post:
            return await outcome(post, b"slow"), await outcome(post, b"next")

    caught, reply = asyncio.run(run())
    assert isinstance(caught, TimeoutError)
    assert reply.body == b"ne"


def test_bytes_now_and_then_are_no_whole_answer():
    async def serve(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with poster(f"http://127.0.0.1:{port_of(server)}/v1", {}, 0.2) as post:
            return await outcome(post, b"x")

    assert isinstance(asyncio.run(run()), TimeoutError)


def test_an_idle_connection_that_the_server_closed_is_not_used():
    async def run():
        closed = asyncio.Event()

        async def serve(reader, writer):
            await read_request(reader)
            writer.write(PLAIN)  # which lets it stay open
            writer.close()
            await writer.wait_closed()
            closed.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with poster(f"http://127.0.0.1:{port_of(server)}/v1", {}, 5) as post:
            await post(b"x")
            await closed.wait()
            await asyncio.sleep(0.05)
            return await post(b"y")

    assert asyncio.run(run()).body == b"hi"


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
    assert isinstance(refused, OSError)
    assert "CERTIFICATE_VERIFY_FAILED" in str(refused)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    [reply], _ = talk([PLAIN], url=url, context=tls(certificate))
    assert reply.body == b"hi"


def test_a_proxy_of_the_environment(monkeypatch):
    heard = []

    async def serve(reader, writer):
        heard.append((await read_request(reader))[0])
        writer.write(PLAIN)
        writer.close()

    async def ask(url):
        async with poster(url, {}, 5) as post:
            return await outcome(post, b"x")

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{port_of(server)}")
        through = await ask("http://far.test/v1")
        local = await ask("http://localhost:9/v1")
        monkeypatch.setenv("no_proxy", "far.test")
        return through, local, await ask("http://far.test/v1")

    through, local, not_through = asyncio.run(run())
    assert through.body == b"hi"
    [head] = heard
    assert head.startswith(b"POST http://far.test/v1 HTTP/1.1\r\n")
    assert b"\r\nHost: far.test\r\n" in head
    assert b"\r\nProxy-Authorization: Basic bWU6cEBzcw==\r\n" in head
    assert isinstance(local, OSError), "this machine is asked without a proxy"
    assert isinstance(not_through, OSError)


def through_a_tunnel(answer, certificate, monkeypatch):
    """What a post over TLS by way of a proxy gets that gives `answer` to CONNECT, and what was heard."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    heard = []

    async def pipe(reader, writer):
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def behind(reader, writer):
        heard.append((await read_request(reader))[0])
        writer.write(PLAIN)

    async def run():
        far = await asyncio.start_server(behind, "127.0.0.1", 0, ssl=tls(certificate))

        async def serve(reader, writer):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            there = await asyncio.open_connection("127.0.0.1", port_of(far))
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

        proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
        monkeypatch.setenv("https_proxy", f"me:secret@127.0.0.1:{port_of(proxy)}")
        async with poster("https://far.test/v1", {"Authorization": "Bearer sk-secret"}, 5) as post:
            return await outcome(post, b"x")

    return asyncio.run(run()), heard


def test_tls_through_a_proxy_is_a_tunnel(certificate, monkeypatch):
    reply, [asked, inside] = through_a_tunnel(b"HTTP/1.1 200 OK\r\n\r\n", certificate, monkeypatch)
    assert reply.body == b"hi"
    assert asked.startswith(b"CONNECT far.test:443 HTTP/1.1\r\n")
    assert b"\r\nHost: far.test" in asked
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked
    assert b"Bearer" not in asked
    assert b"Bearer sk-secret" in inside
    assert b"Proxy-" not in inside


def test_a_proxy_that_refuses(certificate, monkeypatch):
    answer = b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"
    caught, _ = through_a_tunnel(answer, certificate, monkeypatch)
    assert isinstance(caught, ConnectionError)
    assert str(caught) == "the proxy answers 407"
