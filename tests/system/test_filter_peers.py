"""What the long command of filters reads out of the manual is there, and becomes what it says."""

from tests.fakes.twin import recipes
from tests.system import filter_daemons, filter_peers, filter_twins


def test_each_filter_has_its_files_its_section_and_its_variants_in_the_manual(tmp_path):
    files = filter_daemons.manual_files()
    for group, rows in filter_peers.GROUPS.items():
        for name in group:
            packages = filter_daemons.FILTERS[name].packages
            assert {file.package for file in files if not file.variant} >= {*packages}
            programs = filter_daemons.FILTERS[name].programs
            assert f'path = "{tmp_path}{programs[-1].socket}"' in filter_daemons.milter_options(name, tmp_path)
            variants = {file.variant for file in files if file.package in packages}
            assert {row.variant for row in rows} <= {*variants, ""} or len(group) > 1
    assert {file.package for file in files} == {package for one in filter_daemons.FILTERS.values() for package in one.packages}


def test_a_variant_changes_the_lines_that_it_names_and_paths_go_below_the_root(tmp_path):
    assert filter_daemons.changed("A 1\nB 2\nB 3\n", "B 4\nC 5\n") == "A 1\nB 4\nC 5\n"
    assert filter_daemons.below(tmp_path, "S unix:/run/x /usr/run/y") == f"S unix:{tmp_path}/run/x /usr/run/y"
    assert filter_daemons.below(tmp_path, "Nameservers  127.0.0.1") == f"Nameservers  {filter_daemons.NAME_SERVER}"


def test_what_differs_between_two_servers_is_named_unless_it_is_their_own():
    here = (
        b"Received: from x\r\n\tby gateway.example (meta1g);\r\n\tFri\r\nReceived: from y\r\n\tby other.example\r\nA: 1\r\n\r\n"
    )
    there = here.replace(b"(meta1g)", b"(Postfix)")
    heard = (["connect", ["[127.0.0.1]"], {"_": "[127.0.0.1]", "j": "x", "{client_addr}": "127.0.0.1"}],)
    others = (["connect", ["[127.0.0.1]"], {"_": "unknown [127.0.0.1]", "j": "x", "{client_addr}": None}],)

    def played(content, heard, *replies):
        return filter_twins.Played(replies, ("", ()), filter_twins.same_received(content), "arrived", heard)

    ours = played(here, heard, "250", "503 5.5.1 one")
    assert list(filter_twins.differences(ours, played(there, others, "250", "503 5.5.1 two"))) == []
    assert len(list(filter_twins.differences(ours, played(there.replace(b"A: 1", b"A:1"), others[:0], "250")))) == 3
    assert {*filter_twins.DIFFERENCES} <= {*recipes.RECIPES, *filter_twins.EXTRAS}
