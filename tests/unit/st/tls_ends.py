"""Both ends of TLS connections, in this process."""

from meta1g import st
from meta1g.base.tlsfacts import KeyPair, TlsSettings, TlsWanted
from meta1g.st import tls

LIMIT = 10_000_000


def server_context(directory, *names, **settings):
    pairs = tuple(KeyPair(directory / f"{name}.pem", directory / f"{name}.key") for name in names)
    return tls.tls_context(TlsSettings(pairs, **settings), server=True)


def any_client():
    return tls.tls_context(TlsSettings(), server=False)


def later(function, *args):
    def body(_):
        try:
            return function(*args)
        except st.StError as error:
            return error

    return st.st_thread_create(body, None, True)


def shake(pair, server, client, name="mx.example", *, choose=None):
    """Makes both sides of the handshake; gives both results."""
    wanted = TlsWanted(name, (name,)) if name else TlsWanted()
    threads = [
        later(tls.st_tls_accept, pair[0], server, LIMIT, choose),
        later(tls.st_tls_connect, pair[1], client, wanted, LIMIT),
    ]
    return [st.st_thread_join(thread) for thread in threads]
