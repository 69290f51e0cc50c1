import pytest

from meta1g.base.cli import CliError
from meta1g.db.mapfile import MapFile
from meta1g.smar.entries import ACCESS, KEYS
from meta1g.smar.trace import QUESTIONS
from meta1g.tools import mapchk as program
from meta1g.tools import mapquestions
from tests.called import call_program


def mapchk(*arguments):
    return call_program("mapchk", *arguments)


TEXT = "# rules\ncltaddr:192.0.2 relay\nsmtps_session_conf:mx.example.org max_recipients =\n   5;\n"


@pytest.fixture(params=["text", "db"])
def access(tmp_path, request):
    if request.param == "text":
        path = tmp_path / "access"
        path.write_text(TEXT)
    else:
        path = tmp_path / "access.db"
        rows = [(b"cltaddr:192.0.2", b"relay"), (b"smtps_session_conf:mx.example.org", b"max_recipients = 5;")]
        MapFile.build(path, rows)
    return path


def test_a_right_map_gives_no_output(access):
    result = mapchk("-a", access)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_key_is_looked_up(access):
    assert mapchk("-k", "CLTADDR:192.0.2", access).stdout == "relay\n"
    assert mapchk("-k", "smtps_session_conf:mx.example.org", access).stdout == "max_recipients = 5;\n"
    assert mapchk("-k", "nothing", access).returncode == 1


def test_every_wrong_line_is_told(tmp_path):
    path = tmp_path / "access"
    path.write_text("cltaddr:x reject\nok:1 x\ncltaddr:10 ok\nCltAddr:10 reject\n")
    result = mapchk("-a", path)
    assert result.returncode == 65
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"mapchk: {path}:1: key cltaddr:x: x is not an IP address")
    assert lines[1].startswith(f"mapchk: {path}:2: key ok:1: unknown tag ok:;")
    assert lines[2] == f"mapchk: {path}:4: key CltAddr:10: is already at {path}:3; remove one"


def test_other_maps_have_no_tags(tmp_path):
    path = tmp_path / "aliases"
    path.write_text("postmaster: root\nroot: a@example.org\n")
    assert mapchk(path).returncode == 0


def test_a_map_that_is_missing(tmp_path):
    for name in ("x", "x.db"):
        result = mapchk(tmp_path / name)
        assert (result.returncode, result.stderr.count("\n")) == (78, 1)


def test_a_map_file_that_is_none(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"x" * 5000)
    assert mapchk(path).returncode == 78


def test_an_expression_that_needs_backtracking_or_is_wrong_is_told_with_its_line(tmp_path):
    (tmp_path / "rules").write_text("/^(a+)+@x$/ ok\n/(a)\\1/ x\n/(/ x\n/a\\/b/ fine\n")
    result = mapchk(tmp_path / "rules")
    assert result.returncode == 65
    lines = result.stderr.splitlines()
    assert [line.partition("rules:")[2][:2] for line in lines] == ["2:", "3:"]
    assert "without look-around and references back" in lines[0]


def test_a_damaged_map_file_is_told(tmp_path):
    MapFile.build(tmp_path / "m.db", [(b"k%d" % number, b"v" * 50) for number in range(3000)])
    data = (tmp_path / "m.db").read_bytes()
    (tmp_path / "m.db").write_bytes(data[:8192] + bytes(8192) + data[16384:])
    result = mapchk(tmp_path / "m.db")
    assert result.returncode == 78
    assert "damaged" in result.stderr


# -- questions about the maps of QMGR and SMTPS, and about passwords

SITE = """hostname = mx.example.org;
qmgr { conf_map { file = conf_map; type = text; } }
smtps { tls { cert_file = x.pem; server_names { file = names; type = text; } } auth { password_map = true; } }
smar { password_map { file = password_map; type = text; } }
"""
ASKED = [
    (
        ["-q", "conf_map:198.51.100.1", "-n", "MX.example.org"],
        ["  conf_map  198  not found", "  conf_map  mx.example.org  OK  max_connections = 2; max_rcpts_per_transaction = 20;",
         "= max_connections = 2; max_rcpts_per_transaction = 20;"],
    ),
    (["-q", "conf_map:192.0.2.9"], ["  conf_map  192.0.2  OK  min_retry_delay = 30m;", "= min_retry_delay = 1800;"]),
    (["-q", "conf_map:198.51.100.1"], ["  conf_map  198  not found", "= what section qmgr says"]),
    (["-q", "conf_map:198.51.100.1", "-n", "bad.example"], ["= mail is put off"]),
    (["-q", "server_names:www.two.example"], ["  names  .two.example  OK  c.pem", "= c.pem with c.pem"]),
    (["-q", "server_names:one.example."], ["  names  one.example  OK  a.pem b.pem", "= a.pem with b.pem"]),
    (["-q", "server_names:x.example"], ["  names  .example  not found", "= the certificate of section tls"]),
    (["-q", "password_map:Ann"], ["= a user with EXTERNAL"]),
    (["-q", "password_map:none"], ["= No such user"]),
]  # fmt: skip


@pytest.fixture
def site(tmp_path):
    (tmp_path / "conf_map").write_text(
        "mx.example.org max_connections = 2; max_rcpts_per_transaction = 20;\n192.0.2 min_retry_delay = 30m;\n"
        "bad.example max_connections = 0;\n"
    )
    (tmp_path / "names").write_text("one.example a.pem b.pem\n.two.example c.pem\n")
    (tmp_path / "password_map").write_text("ann {EXTERNAL}\n")
    (tmp_path / "meta1.conf").write_text(f'configuration_directory = "{tmp_path}"; {SITE}')
    return tmp_path


@pytest.mark.parametrize(("words", "told"), ASKED, ids=[" ".join(words) for words, _ in ASKED])
@pytest.mark.parametrize("alone", [False, True])
def test_maps_of_other_components_answer_too(site, capsys, words, told, alone):
    use = words[1].partition(":")[0]
    file = {"server_names": "names"}.get(use, use)
    assert program.main([*words, *(["-u", use, str(site / file)] if alone else ["-f", str(site / "meta1.conf")])]) == 0
    assert capsys.readouterr().out.splitlines()[-len(told) :] == told


def test_each_map_has_its_question():
    assert {*KEYS} - {ACCESS} <= {*QUESTIONS, *mapquestions.USES}


def test_a_destination_is_asked_for_by_its_address(site, capsys):
    with pytest.raises(CliError, match="write the address of a server"):
        program.main(["-q", "conf_map:mx.example.org", str(site / "conf_map")])
    (site / "meta1.conf").write_text("smtps { }\n")
    for use in ("conf_map:192.0.2.1", "server_names:x.example"):
        with pytest.raises(CliError, match=f"there is no {use.partition(':')[0]}; name one with"):
            program.main(["-f", str(site / "meta1.conf"), "-q", use])
