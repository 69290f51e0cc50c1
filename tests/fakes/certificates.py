"""Certificates that openssl(1) makes, for two days if not said otherwise."""

import subprocess


def make_certificate(directory, name, kind="ec", days=2):
    key, cert = directory / f"{name}.key", directory / f"{name}.pem"
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "ec" else []
    command = ["openssl", "req", "-x509", "-newkey", kind, *curve, "-nodes", "-days", str(days)]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    return cert, key


def sign_certificate(directory, name, issuer):
    """Makes a certificate that another one has signed; its file has the whole chain."""
    key, cert = directory / f"{name}.key", directory / f"{name}.pem"
    ca = ["-CA", directory / f"{issuer}.pem", "-CAkey", directory / f"{issuer}.key"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run([*command, *ca, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    with cert.open("a") as file:
        file.write((directory / f"{issuer}.pem").read_text())
    return cert, key
