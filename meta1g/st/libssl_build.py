"""What libssl.py uses of OpenSSL's libssl, for the C compiler, which checks each signature against the system's headers.

Read when the package is built (contrib/lib/build_backend.py); without a compiler or the headers of OpenSSL nothing is built,
and pyssl.py serves instead.

    keep_hello()    stops a handshake after the client's hello, so that its context may be chosen without a callback into Python
    ask_nobody()    refuses a key with a passphrase instead of asking the terminal for it
    take_tickets()  makes session tickets with the first of two sets of keys, and takes those of both
    accept_any()    goes on with a certificate that cannot be verified; SSL_get_verify_result() tells
    set_meter()     ends a call that has read so many bytes: OpenSSL would read on as long as records come that carry no data

Ref: OpenSSL 3.0 manual pages.
"""

import zlib
from pathlib import Path
from typing import Final

from cffi import FFI

_DECLARATIONS: Final = """
typedef ... SSL_CTX; typedef ... SSL; typedef ... SSL_METHOD; typedef ... SSL_CIPHER;
typedef ... X509; typedef ... X509_NAME; typedef ... X509_STORE; typedef ... ASN1_TIME; typedef ... EVP_PKEY;

#define SSL_ERROR_WANT_READ ...
#define SSL_ERROR_WANT_WRITE ...
#define SSL_ERROR_SYSCALL ...
#define SSL_ERROR_ZERO_RETURN ...
#define SSL_ERROR_WANT_CLIENT_HELLO_CB ...
#define SSL_FILETYPE_PEM ...
#define SSL_VERIFY_NONE ...
#define SSL_VERIFY_PEER ...
#define SSL_MODE_ENABLE_PARTIAL_WRITE ...
#define SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER ...
#define SSL_MODE_RELEASE_BUFFERS ...
#define SSL_MODE_AUTO_RETRY ...
#define SSL_OP_NO_RENEGOTIATION ...
#define SSL_OP_NO_COMPRESSION ...
#define SSL_OP_CIPHER_SERVER_PREFERENCE ...
#define SSL_SESS_CACHE_OFF ...
#define TLS1_2_VERSION ...
#define TLS1_3_VERSION ...
#define X509_V_OK ...
#define X509_V_FLAG_CRL_CHECK ...
#define X509_V_FLAG_CRL_CHECK_ALL ...
#define X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS ...
#define DANE_FLAG_NO_DANE_EE_NAMECHECKS ...
#define NID_commonName ...

struct tickets { int sets; unsigned char keys[2][80]; };
struct hello { int seen; size_t length; unsigned char name[256]; struct tickets *tickets; };
struct dn { int length; char text[1024]; };

const char *OpenSSL_version(int type);
void ERR_clear_error(void);
unsigned long ERR_get_error(void);
const char *ERR_reason_error_string(unsigned long error);
void ERR_error_string_n(unsigned long error, char *text, size_t size);

const SSL_METHOD *TLS_server_method(void);
const SSL_METHOD *TLS_client_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *method);
void SSL_CTX_free(SSL_CTX *ctx);
long SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version);
uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t options);
long SSL_CTX_set_mode(SSL_CTX *ctx, long mode);
long SSL_CTX_clear_mode(SSL_CTX *ctx, long mode);
long SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode);
int SSL_CTX_set_session_id_context(SSL_CTX *ctx, const unsigned char *id, unsigned int length);
int SSL_CTX_set_num_tickets(SSL_CTX *ctx, size_t count);
int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *names);
long SSL_CTX_set_dh_auto(SSL_CTX *ctx, int on);
int SSL_CTX_use_certificate_chain_file(SSL_CTX *ctx, const char *path);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *ctx, const char *path, int type);
int SSL_CTX_check_private_key(const SSL_CTX *ctx);
int SSL_CTX_load_verify_file(SSL_CTX *ctx, const char *path);
int SSL_CTX_load_verify_dir(SSL_CTX *ctx, const char *path);
int SSL_CTX_set_default_verify_paths(SSL_CTX *ctx);
X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *ctx);
int X509_STORE_load_file(X509_STORE *store, const char *path);
int X509_STORE_set_flags(X509_STORE *store, unsigned long flags);
int SSL_CTX_dane_enable(SSL_CTX *ctx);
X509 *SSL_CTX_get0_certificate(const SSL_CTX *ctx);

SSL *SSL_new(SSL_CTX *ctx);
void SSL_free(SSL *ssl);
SSL_CTX *SSL_set_SSL_CTX(SSL *ssl, SSL_CTX *ctx);
int SSL_set_fd(SSL *ssl, int fd);
void SSL_set_accept_state(SSL *ssl);
void SSL_set_connect_state(SSL *ssl);
int SSL_do_handshake(SSL *ssl);
int SSL_read_ex(SSL *ssl, void *data, size_t size, size_t *done);
int SSL_write_ex(SSL *ssl, const void *data, size_t size, size_t *done);
int SSL_pending(const SSL *ssl);
int SSL_shutdown(SSL *ssl);
int SSL_get_error(const SSL *ssl, int result);
const char *SSL_get_version(const SSL *ssl);
const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl);
const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher);
const char *SSL_CIPHER_standard_name(const SSL_CIPHER *cipher);
int SSL_CIPHER_get_bits(const SSL_CIPHER *cipher, int *of_algorithm);
X509 *SSL_get1_peer_certificate(const SSL *ssl);
long SSL_get_verify_result(const SSL *ssl);
const char *X509_verify_cert_error_string(long error);
int SSL_session_reused(const SSL *ssl);
long SSL_set_tlsext_host_name(SSL *ssl, const char *name);
int SSL_set1_host(SSL *ssl, const char *name);
int SSL_add1_host(SSL *ssl, const char *name);
void SSL_set_hostflags(SSL *ssl, unsigned int flags);
int SSL_dane_enable(SSL *ssl, const char *name);
unsigned long SSL_dane_set_flags(SSL *ssl, unsigned long flags);
int SSL_dane_tlsa_add(SSL *ssl, uint8_t usage, uint8_t selector, uint8_t kind, const unsigned char *data, size_t length);
int SSL_get0_dane_authority(SSL *ssl, X509 **cert, void *key);
int SSL_export_keying_material(SSL *ssl, unsigned char *out, size_t size, const char *label, size_t label_length,
                               const unsigned char *context, size_t context_length, int use_context);

void X509_free(X509 *cert);
int X509_up_ref(X509 *cert);
EVP_PKEY *X509_get0_pubkey(const X509 *cert);
int EVP_PKEY_get_base_id(const EVP_PKEY *key);
X509_NAME *X509_get_subject_name(const X509 *cert);
X509_NAME *X509_get_issuer_name(const X509 *cert);
const ASN1_TIME *X509_get0_notAfter(const X509 *cert);
int ASN1_TIME_diff(int *days, int *seconds, const ASN1_TIME *from, const ASN1_TIME *to);
int i2d_X509(X509 *cert, unsigned char **out);

int use_dh_file(SSL_CTX *ctx, const char *path);
void ask_nobody(SSL_CTX *ctx);
void keep_hello(SSL_CTX *ctx);
int take_tickets(SSL_CTX *ctx);
void set_hello(SSL *ssl, struct hello *hello);
void accept_any(SSL_CTX *ctx, int mode);
void set_meter(SSL *ssl, long *left);
void name_text(X509_NAME *name, struct dn *dn);
void name_part(X509_NAME *name, int nid, struct dn *dn);
"""

_SOURCE: Final = """
#include <string.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct tickets { int sets; unsigned char keys[2][80]; };
struct hello { int seen; size_t length; unsigned char name[256]; struct tickets *tickets; };
struct dn { int length; char text[1024]; };

/* The first call keeps the server name of the hello and stops the handshake, the second lets it go on.  RFC 6066 3: a list of
   2 bytes length, in it 1 byte type 0, 2 bytes length, the name; anything else is taken as no name. */
static int on_hello(SSL *ssl, int *alert, void *unused)
{
    struct hello *hello = SSL_get_app_data(ssl);
    const unsigned char *data;
    size_t size, length;

    if (hello == NULL || hello->seen)
        return SSL_CLIENT_HELLO_SUCCESS;
    hello->seen = 1;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) && size > 5 && data[2] == 0) {
        length = (size_t)data[3] << 8 | data[4];
        if (length <= size - 5 && length < sizeof hello->name) {
            memcpy(hello->name, data + 5, length);
            hello->length = length;
        }
    }
    return SSL_CLIENT_HELLO_RETRY;
}

static void keep_hello(SSL_CTX *ctx) { SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL); }
static void set_hello(SSL *ssl, struct hello *hello) { SSL_set_app_data(ssl, hello); }

/* A set of keys is a name of 16 bytes, 32 for HMAC-SHA256, 32 for AES-256-CBC, as SSL_CTX_set_tlsext_ticket_keys() has them.  A
   ticket of the second set is taken and replaced (2). */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int makes)
{
    struct hello *hello = SSL_get_app_data(ssl);
    struct tickets *tickets = hello == NULL ? NULL : hello->tickets;
    unsigned char *keys;
    OSSL_PARAM params[3];
    int set = 0;

    if (tickets == NULL || tickets->sets < 1)
        return 0;
    if (makes) {
        memcpy(name, tickets->keys[0], 16);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
            return -1;
    } else {
        while (set < tickets->sets && memcmp(name, tickets->keys[set], 16) != 0)
            set++;
        if (set == tickets->sets)
            return 0;
    }
    keys = tickets->keys[set];
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, keys + 16, 32);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    if (EVP_MAC_CTX_set_params(mac, params) != 1)
        return -1;
    if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, keys + 48, iv, makes) != 1)
        return -1;
    return makes || set == 0 ? 1 : 2;
}

static int take_tickets(SSL_CTX *ctx) { return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket); }

static int use_dh_file(SSL_CTX *ctx, const char *path)
{
    BIO *bio = BIO_new_file(path, "r");
    EVP_PKEY *params = bio == NULL ? NULL : PEM_read_bio_Parameters(bio, NULL);

    BIO_free(bio);
    if (params != NULL && SSL_CTX_set0_tmp_dh_pkey(ctx, params) == 1)
        return 1;
    EVP_PKEY_free(params);
    return 0;
}

static int no_phrase(char *buffer, int size, int writing, void *unused) { return -1; }
static void ask_nobody(SSL_CTX *ctx) { SSL_CTX_set_default_passwd_cb(ctx, no_phrase); }

static int on_verify(int ok, X509_STORE_CTX *ctx) { return 1; }
static void accept_any(SSL_CTX *ctx, int mode) { SSL_CTX_set_verify(ctx, mode, on_verify); }

/* As if nothing were there any more; the next call goes on. */
static long on_bio(BIO *bio, int what, const char *data, size_t size, int argi, long argl, int result, size_t *done)
{
    long *left = (long *)BIO_get_callback_arg(bio);

    if (what == BIO_CB_READ && *left <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (what == (BIO_CB_READ | BIO_CB_RETURN) && result > 0)
        *left -= (long)*done;
    return result;
}

static void set_meter(SSL *ssl, long *left)
{
    BIO_set_callback_arg(SSL_get_rbio(ssl), (char *)left);
    BIO_set_callback_ex(SSL_get_rbio(ssl), on_bio);
}

static void name_text(X509_NAME *name, struct dn *dn)
{
    BIO *bio = BIO_new(BIO_s_mem());

    dn->length = 0;
    if (bio == NULL)
        return;
    if (name != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
        dn->length = BIO_read(bio, dn->text, sizeof dn->text);
    if (dn->length < 0)
        dn->length = 0;
    BIO_free(bio);
}

static void name_part(X509_NAME *name, int nid, struct dn *dn)
{
    unsigned char *utf8 = NULL;
    int at = name == NULL ? -1 : X509_NAME_get_index_by_NID(name, nid, -1);
    int length = at < 0 ? 0 : ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));

    dn->length = length < 0 ? 0 : length > (int)sizeof dn->text ? (int)sizeof dn->text : length;
    if (utf8 != NULL) {
        memcpy(dn->text, utf8, dn->length);
        OPENSSL_free(utf8);
    }
}
"""

#: A binding that was built from another state of this file is found by it, before a call that it does not have.
_MADE_FROM: Final = f"\nstatic const long made_from = {zlib.crc32(Path(__file__).read_bytes())};\n"

ffi = FFI()
ffi.cdef(_DECLARATIONS + "static const long made_from;")
ffi.set_source("meta1g.st._libssl", _SOURCE + _MADE_FROM, libraries=["ssl", "crypto"], optional=True)
