"""What the long command of filters reads out of the manual is there, and becomes what it says."""

from tests.system import filter_daemons, filter_peers


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
