"""A TLS client that changes its keys as often as it can: records that cost the other side work, and carry no data.

Python's ssl cannot ask for it, so this is the system's libssl by ctypes.  Ref: RFC 8446 4.6.3 (KeyUpdate).
"""

import ctypes
import socket
from ctypes import byref, c_char_p, c_int, c_long, c_void_p
from ctypes.util import find_library

_NOT_REQUESTED = 0
_BIO_CTRL_INFO = 3


def _library(name: str, **results: type) -> ctypes.CDLL:
    library = ctypes.CDLL(find_library(name))
    for function, result in results.items():
        getattr(library, function).restype = result
    return library


def key_updates(sock: socket.socket, count: int) -> bytes:
    """Makes the client's side of a handshake; gives the records that change its keys so often, for the caller to send.

    Args:
        sock: connected, blocking.
        count: how often.
    """
    ssl = _library("ssl", TLS_client_method=c_void_p, SSL_CTX_new=c_void_p, SSL_new=c_void_p)
    crypto = _library("crypto", BIO_s_mem=c_void_p, BIO_new=c_void_p, BIO_ctrl=c_long)
    context = c_void_p(ssl.SSL_CTX_new(c_void_p(ssl.TLS_client_method())))
    connection = c_void_p(ssl.SSL_new(context))
    try:
        ssl.SSL_set_fd(connection, c_int(sock.fileno()))
        assert ssl.SSL_connect(connection) == 1
        written = c_void_p(crypto.BIO_new(c_void_p(crypto.BIO_s_mem())))
        ssl.SSL_set0_wbio(connection, written)
        for _ in range(count):
            assert ssl.SSL_key_update(connection, c_int(_NOT_REQUESTED)) == 1
            assert ssl.SSL_do_handshake(connection) == 1
        data = c_char_p()
        size = crypto.BIO_ctrl(written, c_int(_BIO_CTRL_INFO), c_long(0), byref(data))
        return ctypes.string_at(data, size)
    finally:
        ssl.SSL_free(connection)
        ssl.SSL_CTX_free(context)
