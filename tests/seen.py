"""Which test sees an event that no test asks for by its name; tests/test_events.py compares this with the table.

A test is its file below tests/ and its name.
"""

_SALVAGE = "unit/db/test_defedb_salvage.py"

SEEN = {
    "map.load": "unit/maps/test_loading.py::test_a_damaged_map_file_gives_temporary_errors_and_never_a_wrong_answer",
    "mcp.failed": "unit/mcp/test_passfd.py::test_accept_starts_a_process_for_each_connection",
    "mcp.pass": "unit/mcp/test_control.py::test_a_changed_listen_socket_is_bound_and_the_old_one_closed",
    "mcp.ready": "unit/mcp/test_control.py::test_a_changed_listen_socket_is_bound_and_the_old_one_closed",
    "qmgr.defedb_mended": f"{_SALVAGE}::test_a_damaged_index_costs_nothing",
    "qmgr.defedb_suspect": f"{_SALVAGE}::test_a_damaged_page_is_found_when_it_is_read_and_its_records_come_back_from_the_log",
    "qmgr.ibdb_moved": "unit/qmgr/test_active.py::test_recipients_of_old_ibdb_files_move_to_defedb_so_that_the_files_go",
    "qmgr.misplaced": "unit/db/test_recovery.py::test_a_file_that_changed_names_with_another_one_is_used",
    "qmgr.missing": "unit/qmgr/test_arrivals.py::test_a_server_that_is_not_reached_is_named",
    "qmgr.recover": "unit/db/test_recovery.py::test_a_file_that_changed_names_with_another_one_is_used",
    "qmgr.recovered": "unit/db/test_recovery.py::test_a_file_that_changed_names_with_another_one_is_used",
    "qmgr.smtpc_gone": "unit/qmgr/control/test_changing.py::test_a_content_stays_as_long_as_one_recipient_needs_it",
    "qmgr.smtps_gone": "unit/qmgr/control/test_changing.py::test_a_content_stays_as_long_as_one_recipient_needs_it",
    "qmgr.throttle": "unit/qmgr/test_cleanup.py::test_a_full_disk_stops_new_mail",
    "rcb.accept": "unit/pt/test_rcbconn.py::test_account_that_is_not_allowed_is_turned_away",
    "smar.mcp": "unit/smar/test_process.py::test_the_end_of_mcp_ends_it",
    "smar.resolve": "unit/smar/test_containment.py::test_an_unexpected_error_costs_its_look_up_and_qmgr_hears_of_it",
    "smtpc.damage": "unit/smtpc/test_damage.py::test_content_that_was_damaged_is_never_completed_and_other_mail_goes_on",
    "smtpc.probe": "unit/smtpc/test_session.py::test_a_probe_says_what_the_server_says_of_the_recipient_and_sends_nothing",
    "smtpc.stop": "unit/mcp/test_control.py::test_the_bundled_program_gets_configuration_name_and_index",
}
