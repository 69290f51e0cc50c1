"""Certificates that openssl(1) makes, for two days if not said otherwise."""

import subprocess


def make_certificate(directory, name, kind="ec", days=2):
    key, cert = directory / f"{name}.key", directory / f"{name}.pem"
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else []
    command = ["openssl", "req", "-x509", "-newkey", kind, *curve, "-nodes", "-days", str(days)]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    return cert, key


def sign_certificate(directory, name, issuer, kind="ec", days=2):
    """Makes a certificate that another one has signed; its file has the whole chain."""
    key, cert = directory / f"{name}.key", directory / f"{name}.pem"
    ca = ["-CA", directory / f"{issuer}.pem", "-CAkey", directory / f"{issuer}.key"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE"]
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else []
    command = ["openssl", "req", "-x509", "-newkey", kind, *curve, "-nodes", "-days", str(days)]
    subprocess.run([*command, *ca, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    with cert.open("a") as file:
        file.write((directory / f"{issuer}.pem").read_text())
    return cert, key


_CA_CONFIG = """\
[ca]
default_ca = here
[here]
database = {directory}/index.txt
new_certs_dir = {directory}
policy = any
default_md = sha256
copy_extensions = copy
rand_serial = yes
[any]
commonName = supplied
"""


def revoke_certificate(directory, name, issuer):
    """Writes crl.pem, in which an issuer takes a certificate back."""
    config = directory / "crl.cnf"
    config.write_text(_CA_CONFIG.format(directory=directory))
    (directory / "index.txt").touch()
    ca = ["openssl", "ca", "-config", config, "-cert", directory / f"{issuer}.pem", "-keyfile", directory / f"{issuer}.key"]
    subprocess.run([*ca, "-revoke", directory / f"{name}.pem"], check=True, capture_output=True)
    subprocess.run([*ca, "-gencrl", "-crldays", "2", "-out", directory / "crl.pem"], check=True, capture_output=True)


def sign_expired(directory, name, issuer):
    """Makes a certificate that another one has signed, for a day that is long over."""
    key, cert, request, config = (directory / f"{name}.{kind}" for kind in ("key", "pem", "csr", "cnf"))
    config.write_text(_CA_CONFIG.format(directory=directory))
    (directory / "index.txt").touch()
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *names]
    subprocess.run([*command, "-keyout", key, "-out", request], check=True, capture_output=True)
    ca = ["-cert", directory / f"{issuer}.pem", "-keyfile", directory / f"{issuer}.key"]
    days = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    command = ["openssl", "ca", "-batch", "-notext", "-config", config, *ca, *days, "-in", request, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key
