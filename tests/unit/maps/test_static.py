from meta1g.maps.base import MapStatus
from meta1g.maps.static import StaticMap


def test_entries_are_found_by_lower_case_keys():
    table = StaticMap("s", {"Key": "Value"})
    assert table.lookup("key").value == "Value"
    assert table.lookup("Key").status is MapStatus.NOTFOUND
    assert table.version() == table.version()
