import pytest

from meta1g.base.errors import PermError
from meta1g.db.mapfile import MapFile
from meta1g.maps.registry import TYPES, MapRegistry, MapSpec


@pytest.fixture
def registry(tmp_path):
    MapFile.build(tmp_path / "a.db", [(b"k", b"hash")])
    (tmp_path / "t").write_text("k text\n")
    (tmp_path / "r").write_text("/k/ regex\n")
    (tmp_path / "c").write_text("192.0.2.0/24 cidr\n")
    made = MapRegistry(
        (
            MapSpec(name="hash", type="hash", file=tmp_path / "a.db"),
            MapSpec(name="btree", type="btree", file=tmp_path / "a.db"),
            MapSpec(name="text", type="text", file=tmp_path / "t"),
            MapSpec(name="regex", type="regex", file=tmp_path / "r"),
            MapSpec(name="cidr", type="cidr", file=tmp_path / "c"),
            MapSpec(name="static", type="static", entries={"K": "static"}),
            MapSpec(name="passwd", type="passwd"),
            MapSpec(name="socket", type="socket", path=tmp_path / "s"),
            MapSpec(name="tcp", type="socket", address="127.0.0.1", port=7),
            MapSpec(name="seq", type="sequence", maps=("cidr", "text")),
            MapSpec(name="loop", type="sequence", maps=("loop",), where="f:9"),
            MapSpec(name="empty", type="sequence", where="f:10"),
            MapSpec(name="odd", type="odd", where="f:11"),
            MapSpec(name="nofile", type="hash", where="f:12"),
            MapSpec(name="noaddress", type="socket", where="f:13"),
        )
    )
    yield made
    made.close()


@pytest.mark.parametrize("name", ["hash", "text", "regex", "static"])
def test_each_type_is_made_and_answers(registry, name):
    assert registry.get(name).lookup("k").value == name


def test_every_type_is_tried_above(registry):
    assert set(TYPES) == {"hash", "btree", "text", "regex", "cidr", "static", "passwd", "socket"}
    for name in TYPES:
        assert registry.get(name).name == name


def test_a_map_is_made_once_and_a_sequence_uses_the_same(registry):
    assert registry.get("text") is registry.get("text")
    assert registry.get("seq").lookup("k").value == "text"
    assert registry.get("seq").lookup("192.0.2.9").value == "cidr"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", "here: map none is not declared"),
        ("loop", "f:9: map loop contains itself"),
        ("empty", "f:10: map empty: give maps"),
        ("odd", "f:11: map odd: type odd is unknown; use one of btree, cidr"),
        ("nofile", "f:12: map nofile: give file"),
        ("noaddress", "f:13: map noaddress: give path"),
    ],
)
def test_errors_name_place_and_remedy(registry, name, expected):
    with pytest.raises(PermError, match=expected):
        registry.get(name, "here")


def test_a_name_is_declared_once():
    spec = MapSpec(name="m", type="static", where="f:2")
    with pytest.raises(PermError, match="f:2: map m is declared twice"):
        MapRegistry((spec, spec))


def test_a_map_described_in_place_has_no_name_for_others_but_is_closed_too(registry, tmp_path):
    made = registry.add(MapSpec(name="aliases", type="hash", file=tmp_path / "a.db"))
    assert made in registry.all()
    with pytest.raises(PermError):
        registry.get("aliases")
