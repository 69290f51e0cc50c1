"""TLS peers that want other keys: records that cost the other side work, and carry no data.

Python's ssl cannot ask for it, so this is the system's libssl by ctypes.
Ref: RFC 8446 4.6.3 (KeyUpdate); RFC 5246 7.4.1.1 (renegotiation).
"""

import ctypes
import socket
from ctypes import byref, c_char_p, c_int, c_long, c_void_p
from ctypes.util import find_library

_NOT_REQUESTED = 0
_BIO_CTRL_INFO = 3
_SSL_CTRL_SET_MAX_PROTO_VERSION = 124
_TLS1_2 = 0x0303
_PEM = 1


def _library(name: str, **results: type) -> ctypes.CDLL:
    library = ctypes.CDLL(find_library(name))
    for function, result in results.items():
        getattr(library, function).restype = result
    return library


def key_updates(sock: socket.socket, count: int, pair: tuple[object, object] | None = None) -> bytes:
    """Makes one side of a handshake; gives the records that change its keys so often, for the caller to send.

    Args:
        sock: connected, blocking.
        count: how often.
        pair: files of certificate and key, for the server's side.
    """
    ssl = _library("ssl", TLS_client_method=c_void_p, TLS_server_method=c_void_p, SSL_CTX_new=c_void_p, SSL_new=c_void_p)
    crypto = _library("crypto", BIO_s_mem=c_void_p, BIO_new=c_void_p, BIO_ctrl=c_long)
    context = c_void_p(ssl.SSL_CTX_new(c_void_p(ssl.TLS_server_method() if pair else ssl.TLS_client_method())))
    if pair:
        certificate, key = (str(one).encode() for one in pair)
        assert ssl.SSL_CTX_use_certificate_chain_file(context, certificate) == 1
        assert ssl.SSL_CTX_use_PrivateKey_file(context, key, c_int(_PEM)) == 1
    connection = c_void_p(ssl.SSL_new(context))
    try:
        ssl.SSL_set_fd(connection, c_int(sock.fileno()))
        assert (ssl.SSL_accept if pair else ssl.SSL_connect)(connection) == 1
        written = c_void_p(crypto.BIO_new(c_void_p(crypto.BIO_s_mem())))
        ssl.SSL_set0_wbio(connection, written)
        for _ in range(count):
            assert ssl.SSL_key_update(connection, c_int(_NOT_REQUESTED)) == 1
            assert ssl.SSL_do_handshake(connection) == 1
        return _content(crypto, written)
    finally:
        ssl.SSL_free(connection)
        ssl.SSL_CTX_free(context)


def _content(crypto: ctypes.CDLL, bio: c_void_p) -> bytes:
    data = c_char_p()
    size = crypto.BIO_ctrl(bio, c_int(_BIO_CTRL_INFO), c_long(0), byref(data))
    return ctypes.string_at(data, size)


def renegotiation(sock: socket.socket) -> bytes:
    """Makes the client's side of a handshake of TLS 1.2; gives the record that asks for another one, for the caller to send.

    Args:
        sock: connected, blocking.
    """
    ssl = _library("ssl", TLS_client_method=c_void_p, SSL_CTX_new=c_void_p, SSL_new=c_void_p)
    crypto = _library("crypto", BIO_s_mem=c_void_p, BIO_new=c_void_p, BIO_ctrl=c_long)
    context = c_void_p(ssl.SSL_CTX_new(c_void_p(ssl.TLS_client_method())))
    ssl.SSL_CTX_ctrl(context, c_int(_SSL_CTRL_SET_MAX_PROTO_VERSION), c_long(_TLS1_2), None)
    connection = c_void_p(ssl.SSL_new(context))
    try:
        ssl.SSL_set_fd(connection, c_int(sock.fileno()))
        assert ssl.SSL_connect(connection) == 1
        written = c_void_p(crypto.BIO_new(c_void_p(crypto.BIO_s_mem())))
        ssl.SSL_set_bio(connection, c_void_p(crypto.BIO_new(c_void_p(crypto.BIO_s_mem()))), written)
        assert ssl.SSL_renegotiate(connection) == 1
        assert ssl.SSL_do_handshake(connection) == -1  # there is no answer to read
        return _content(crypto, written)
    finally:
        ssl.SSL_free(connection)
        ssl.SSL_CTX_free(context)
