"""The dialogues of tests/dialogs that need no options go under TLS as they go in clear."""

import ssl

import pytest

from tests.fakes.certificates import make_certificate
from tests.fakes.smtps_process import Client, SmtpsProcess
from tests.unit.smtps.test_dialogs import DIALOGS, Setting, read, refuse_by_domain, run

pytestmark = pytest.mark.xdist_group("smtps-dialogs-tls")

#: What such a dialogue shows is beside STARTTLS, or it counts what the handshake has added.
CLEAR = {"not_offered", "xverp_off", "max_noops"}
PATHS = [path for path in sorted(DIALOGS.glob("*.dlg")) if read(path)[0] == Setting() and path.stem not in CLEAR]


@pytest.fixture(scope="module")
def smtps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    make_certificate(directory, "mx.example")
    tls = f"tls {{ cert_file = {directory}/mx.example.pem; key_file = {directory}/mx.example.key; }}"
    with SmtpsProcess(tmp_path_factory.mktemp("q"), tls) as process:
        process.smar.mail = refuse_by_domain
        yield process


def secured(client: Client) -> None:
    """Takes a client into TLS, where it has said nothing yet."""
    client.expect("220 ")
    client.command("EHLO client.example", "250-")
    client.command("STARTTLS", "220 ")
    client.file.close()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client.sock = context.wrap_socket(client.sock)
    client.file = client.sock.makefile("rb")


def test_most_dialogues_need_no_options():
    assert len(PATHS) > 60


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_dialogue_goes_as_written_under_tls(smtps, path):
    _, steps = read(path)
    number, kind, text = steps[0]
    assert (kind, text[:3]) == ("S:", "220"), number
    with Client(smtps.port) as client:
        secured(client)
        run(client, path, steps[1:])
