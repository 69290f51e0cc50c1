import json
from pathlib import Path

import pytest

from tests.called import call_program

SAMPLES = Path(__file__).parents[2] / "compat" / "samples"


def smconf(*arguments):
    return call_program("smconf", *arguments)


@pytest.fixture
def conf(tmp_path):
    def write(text, name="meta1.conf"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_right_file_gives_no_output(conf):
    result = smconf(conf("log_level = 9;"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_wrong_file_gives_all_errors_and_exit_78(conf):
    path = conf("log_level = x;\nsmtps { max_hop = 5; }\n")
    result = smconf(path)
    assert (result.returncode, result.stdout) == (78, "")
    assert f"smconf: {path}:1:13: log_level: x is not a number" in result.stderr
    assert f"{path}:2:9: unknown option max_hop in section smtps; did you mean max_hops?" in result.stderr


def test_a_missing_file_gives_one_line_and_exit_78(tmp_path):
    result = smconf(tmp_path / "x")
    assert (result.returncode, result.stderr.count("\n")) == (78, 1)
    assert "no such file" in result.stderr


def test_lenient_warns_of_unknown_options(conf):
    path = conf("new_option = 5;")
    assert smconf(path).returncode == 78
    result = smconf("--lenient", path)
    assert result.returncode == 0
    assert result.stderr.startswith(f"smconf: {path}:1:1: unknown option new_option")


def test_print_gives_a_configuration_that_is_right_itself(conf):
    result = smconf("-p", SAMPLES / "man_page.conf")
    assert result.returncode == 0
    assert "AQ_max_entries = 8192;" in result.stdout
    assert smconf("--text", conf(result.stdout)).returncode == 0


def test_n_prints_what_the_file_gives(conf):
    result = smconf("-n", conf("smtps { max_hops = 7; } log_level = 9; # end"))
    assert (result.returncode, result.stdout) == (0, "log_level = 9;\nsmtps {\n  max_hops = 7;\n}\n")


def test_json_gives_values_and_places(conf):
    path = conf("log_level = 5;")
    data = json.loads(smconf("--json", path).stdout)
    assert data["options"]["log_level"] == {"value": 5, "given": f"{path}:1"}


def test_diff_tells_what_changed(conf):
    old, new = conf("smtps { max_hops = 5; }", "old"), conf("smtps { max_hops = 6; }", "new")
    result = smconf("--diff", old, new)
    assert (result.returncode, result.stdout) == (1, "! smtps: max_hops = 5 -> 6\n")
    assert smconf("--diff", old, old).returncode == 0


def test_help_for_a_section():
    result = smconf("-h", "smtps", "tls")
    assert result.returncode == 0
    assert result.stdout.startswith("tls { ... }: ")
    assert smconf("-h", "smtps.tls").stdout == result.stdout


def test_help_for_a_section_that_does_not_exist():
    result = smconf("-h", "smtpx")
    assert (result.returncode, result.stderr) == (64, "smconf: there is no section smtpx; smconf -h lists the sections\n")


def test_help_and_wrong_options():
    assert "usage: smconf" in smconf("--help").stdout
    assert smconf("--nothing").returncode == 64


def test_the_texts_of_reports_are_checked_with_the_configuration(conf, tmp_path):
    path = conf("hostname = mx.example; qmgr { user = nobody; dsn_templates = texts; }\n")
    texts = conf("failure_template = <<EOF\nSubject: no\n\nfor $nobody\nEOF\n", "texts")
    result = smconf(path)
    assert result.returncode == 78
    assert f"smconf: {texts}:4:5: unknown word $nobody" in result.stderr
    conf("failure_template = <<EOF\nSubject: no\n\nfor $mydomain\nEOF\n", "texts")
    assert smconf(path).returncode == 0
    (tmp_path / "texts").unlink()
    assert "cannot read" in smconf(path).stderr
