"""A mail server's side played by the package miltertest; prints what a filter says at the end of the message.

    python mta.py SOCKET < SESSION

SESSION and what is printed are JSON: [helo, mail, [rcpt...], [[name, value]...], body], and [[answer, values]...].
"""

import json
import socket
import sys

import miltertest
from miltertest import constants as c


def main(path, session):
    """Plays the session and gives the answers."""
    helo, mail, rcpts, header, body = session
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        filter_ = miltertest.MilterConnection(sock)
        filter_.optneg_mta()
        filter_.send(c.SMFIC_CONNECT, hostname="[127.0.0.1]", family=c.SMFIA_INET, port=25, address="127.0.0.1")
        filter_.send(c.SMFIC_HELO, helo=helo)
        filter_.send(c.SMFIC_MAIL, args=[mail])
        for rcpt in rcpts:
            filter_.send(c.SMFIC_RCPT, args=[rcpt])
        filter_.send(c.SMFIC_DATA)
        filter_.send_headers(header)
        filter_.send(c.SMFIC_EOH)
        filter_.send_body(body)
        answers = filter_.send_eom()
        filter_._send(c.SMFIC_QUIT)
    return [
        [kind, {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}]
        for kind, values in answers
    ]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.load(sys.stdin))))
