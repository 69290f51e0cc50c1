"""A certificate that this machine signs itself, so that STARTTLS works from the first start.

Most servers that send mail encrypt without looking at the name; whoever wants to be known by it replaces the files by those
of an authority.

    TLS-DIRECTORY/cert.pem   for everybody
    TLS-DIRECTORY/key.pem    for the group that smtps runs under

Ref: openssl-req(1).
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from meta1g.base.cli import CliError
from meta1g.base.sysexits import EX_CANTCREAT, EX_UNAVAILABLE

DIRECTORY: Final = "tls"
CERT: Final = f"{DIRECTORY}/cert.pem"
KEY: Final = f"{DIRECTORY}/key.pem"
_DAYS: Final = 3650
_TIMEOUT_S: Final = 60


def make(conf_directory: Path, hostname: str, gid: int | None) -> bool:
    """Makes certificate and key, unless both are there.  Blocks: yes (a program, disk).

    Args:
        conf_directory: the configuration directory.
        hostname: name in the certificate.
        gid: group that may read the key; None for the owner alone.

    Returns:
        Whether they were made.

    Raises:
        CliError: one of them is there without the other, or they cannot be made; the text says what to do.
    """
    cert, key = conf_directory / CERT, conf_directory / KEY
    if cert.exists() and key.exists():
        return False
    for there, missing in ((cert, key), (key, cert)):
        if there.exists():
            raise CliError(f"{there} is there and {missing} is not; put it there, or remove the first", EX_CANTCREAT)
    try:
        if not cert.parent.exists():
            cert.parent.mkdir()
            cert.parent.chmod(0o755)
        _run_openssl(cert, key, hostname)
        cert.chmod(0o644)
        if gid is not None:
            os.chown(key, -1, gid)
        key.chmod(0o600 if gid is None else 0o640)
    except BaseException as error:
        for path in (cert, key):  # half a pair would stop the next run
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CliError(f"{cert.parent}: cannot be made: {error.strerror}", EX_CANTCREAT) from error
        raise
    return True


def _run_openssl(cert: Path, key: Path, hostname: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise CliError("openssl(1) is needed to make a certificate; install it: apt-get install openssl", EX_UNAVAILABLE)
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", str(_DAYS), "-subj", f"/CN={hostname}"[:68], "-addext", f"subjectAltName=DNS:{hostname}"]
    files = ["-keyout", str(key), "-out", str(cert)]
    try:
        done = subprocess.run([*command, *files], capture_output=True, text=True, timeout=_TIMEOUT_S, umask=0o077, check=False)
    except subprocess.TimeoutExpired as error:
        raise CliError(f"openssl did not make {cert} within {_TIMEOUT_S} s", EX_CANTCREAT) from error
    if done.returncode:
        raise CliError(f"openssl could not make {cert}: {done.stderr.strip().splitlines()[-1:]}", EX_CANTCREAT)
