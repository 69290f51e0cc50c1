"""Runs SASL exchanges without a connection."""

from meta1g.sasl.base import Challenge, CheckPassword, FindVerifier, Found, SaslError
from meta1g.sasl.scram import make_verifier

USERS = {"user": "pencil", "joe": "sécret", "a=b,c": "pass word"}
SALT = bytes(range(16))


def found(need, users):
    """What a back end answers: the verifier of a user, or one that no password has."""
    password = users.get(need.authcid)
    return Found(make_verifier(need.hash_name, password or "nobody", SALT), bool(password))


def serve(exchange, *responses, users=USERS):
    """Plays a server's exchange against responses; gives the identity or the error, and the challenges."""
    left, challenges, answer = list(responses), [], None
    try:
        while True:
            need = exchange.send(answer)
            if isinstance(need, Challenge):
                challenges.append(need.data)
                said = left.pop(0)
                answer = said(need.data) if callable(said) else said
            elif isinstance(need, CheckPassword):
                answer = users.get(need.authcid) == need.password
            else:
                assert isinstance(need, FindVerifier)
                answer = found(need, users)
    except StopIteration as end:
        return end.value, challenges
    except SaslError as error:
        return error, challenges


def talk(client, server, users=USERS):
    """Plays both sides against each other; gives what the server found out, or its error."""
    said, answer = next(client), None
    exchange = server(said)
    try:
        while True:
            need = exchange.send(answer)
            if isinstance(need, Challenge):
                answer = client.send(need.data)
            elif isinstance(need, CheckPassword):
                answer = users.get(need.authcid) == need.password
            else:
                answer = found(need, users)
    except StopIteration as end:
        return end.value
    except SaslError as error:
        return error
