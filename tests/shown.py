"""Which test shows what an option, flag, tag or right-hand side does; tests/test_effects.py compares it with the tables.

A place is that of conf/effects.py, a test is its file below tests/ and its name; a dialogue is a test by itself.
"""

_LOG = "unit/base/test_startup.py::test_where_lines_go_and_in_which_form"
_LEVEL = "unit/base/test_startup.py::test_lines_for_the_search_for_errors_are_written_if_somebody_wants_them"
_SERVICE = "unit/mcp/test_service.py::test_the_sample_of_meta1_is_understood"
_PASS = "unit/mcp/test_passfd.py::test_a_unix_socket_gets_its_permissions_and_goes_with_mcp"
_TIMES = "unit/qmgr/test_tuning.py::test_times_of_retries_and_reports_are_those_of_now"
_DISKS = "unit/qmgr/test_tuning.py::test_disks_and_files_are_watched_with_the_bounds_of_now"
_OUTGOING = "unit/qmgr/test_tuning.py::test_a_destination_gets_no_more_sessions_than_it_may_now"
_INCOMING = "unit/qmgr/test_tuning.py::test_a_client_gets_no_more_than_it_may_now"
_RATES = "system/test_for_postfix_users.py::test_rates_hold_for_a_client_over_all_smtps"
_VERIFIED = "unit/qmgr/test_verified.py"
_DUE = "test_a_result_is_due_after_its_time_and_not_right_after_a_probe"
_FILES_AND_VERP = (
    "unit/qmgr/test_main.py::test_files_of_ibdb_grow_to_max_size_and_verp_senders_have_an_address_for_each_recipient"
)
_MAPS = "unit/smar/test_settings.py::test_declared_maps_are_used_by_name"
_TLS_OUT = "unit/smtpc/test_tls_policy.py::"
_TLS_IN_OPTIONS = "unit/smtps/test_tls_options.py::"
_TLS_OUT_OPTIONS = "unit/smtpc/test_tls_options.py::"
_DEMANDS = ("flags encrypted", "flags verified", "min_cipher_bits", "cert_issuer", "cert_subject", "common_name", "violation")
_FILES = "unit/smar/test_settings.py::test_maps_in_files_are_relative_to_the_configuration"
_ASKED = "unit/smar/test_trace.py::test_one_question_and_all_its_look_ups"
_CONF_MAP = "unit/qmgr/test_destinations.py::test_the_map_of_the_configuration_is_opened"
_DNS = "unit/smar/test_settings.py::test_name_servers_by_section_and_by_option"
_REMOTE = "unit/smar/test_settings.py::test_servers_have_the_remote_port_of_smtpc_unless_the_route_says_another_one"
_MYSELF = "unit/smar/test_settings.py::test_this_gateway_knows_itself_by_its_sockets_and_by_what_leads_to_them"
_ARRIVALS = "unit/qmgr/test_arrivals.py::test_deliveries_wait_for_clients_and_no_longer_than_is_said"
_CLIENT = "unit/smtps/test_session_conf.py::test_an_option_of_a_client"
_SERVER = "unit/smtpc/test_session_conf.py::test_an_option_of_a_server"
_SILENT = "unit/smtpc/test_session_conf.py::test_a_server_that"
_WAITED = "_waited_for_as_long_as_is_said"

_AUTH_IN = "unit/smtps/test_auth.py::"
_TLS_IN = "unit/smtps/test_starttls.py::"
_SNI = "unit/smtps/test_server_names.py::"
_LISTEN = "unit/smtps/test_listen.py::test_every_listen_socket_is_bound"
_NEEDS = dict.fromkeys(
    (*("flags encrypted", "flags verified", "min_cipher_bits", "cert_issuer", "cert_subject", "common_name", "violation"),),
    "unit/smtps/test_tls_requirements.py::test_demands_on_the_tls_of_a_client",
)
_LISTENS = {
    "type": _PASS,
    "path": _PASS,
    "permissions": _PASS,
    **dict.fromkeys(("address", "port"), _LISTEN),
    "implicit_tls": "unit/smtps/test_implicit_tls.py::test_a_session_begins_with_tls",
}
_MAP = {
    **dict.fromkeys(("type", "path", "mapname", "maps", "entries"), _MAPS),
    **dict.fromkeys(("address", "port"), "unit/maps/test_registry.py::test_each_type_is_made_and_answers"),
    "file": _FILES,
    "timeout": "unit/maps/test_sockmap.py::test_silence_and_nonsense_are_temporary",
}
_MILTER = "unit/smtps/test_milter.py"
_POLICY = "unit/smtps/test_policy_milter.py"
_WITHOUT = "test_without_it_its_flags_say_what_becomes_of_the_session_and_it_comes_back"
_BREAKS = "test_a_filter_that_breaks_costs_its_session_what_its_default_action_says"
_PLACES = {
    "global": {
        "soft_bounce": "dialogs/soft_bounce.dlg",
        "log_level": _LEVEL,
        "debug_level": _LEVEL,
        **dict.fromkeys(
            ("hostname", "queue_directory", "configuration_directory"),
            "unit/conf/test_config.py::test_directories_and_host_name",
        ),
    },
    "component": {
        "start_action": "unit/mcp/test_passfd.py::test_nostartaccept_gives_the_listening_socket_as_standard_input",
        "user": "unit/mcp/test_privileges.py::test_every_child_has_its_own_user_groups_descriptors_and_umask",
        "group": "system/test_accounts.py::test_root_may_change_the_queue_and_nobody_may_not",
        "path": _SERVICE,
        "arguments": "unit/mcp/test_service.py::test_arguments_are_split_as_a_shell_does_without_variables",
        "restart_dependencies": "unit/mcp/test_service.py::test_a_dependency_names_all_sections_of_a_kind_or_one",
        "pass_fd_socket": _PASS,
        "processes": "unit/mcp/test_service.py::test_processes_get_labels_and_indexes_of_their_kind",
        "log_level": _LEVEL,
        "debug_level": _LEVEL,
    },
    "component listen_socket": _LISTENS,
    "mcp": {"log_level": _LEVEL, "debug_level": _LEVEL},
    **{
        place: dict.fromkeys(("facility", "protocol", "socket", "ident", "file", "format"), _LOG)
        for place in ("log", "mcp log", "component log")
    },
    "qmgr": {
        "AQ_max_entries": "system/test_limits.py::test_more_mail_than_the_active_queue_holds_waits_on_disk_and_arrives",
        "IQDB_max_entries": "unit/qmgr/test_intake.py::test_a_full_incoming_queue_refuses_the_transaction_before_its_end",
        "wait_for_server": "unit/qmgr/test_arrivals.py::test_a_server_that_is_not_reached_is_named",
        "wait_for_client": _ARRIVALS,
        "dsn_flags delay": "unit/qmgr/test_retry.py::test_warnings_can_be_switched_off",
        "dsn_flags headers_only": "unit/qmgr/test_dsn.py::test_ret_decides_how_much_is_returned_and_the_flag_if_there_is_none",
        "dsn_flags double_bounce": "unit/qmgr/test_bounce.py::test_double_bounces_can_be_switched_off",
        "dsn_templates": "system/test_report_situations.py::test_the_sender_is_told_what_happened",
        "double_bounce_address": "unit/qmgr/test_bounce.py::test_a_double_bounce_address_with_a_domain_stays_as_it_is",
        **dict.fromkeys(("verp_senders", "verp_delimiters"), _FILES_AND_VERP),
        "soft_bounce": "unit/qmgr/test_soft_bounce.py",
        "always_bcc": "unit/qmgr/test_copies.py::test_every_message_has_one_copy_more_and_nobody_hears_of_it",
        "max_rcpts_per_transaction": _TIMES,
        **dict.fromkeys(("min_retry_delay", "max_retry_delay", "delay_dsn_timeout", "return_timeout"), _TIMES),
        **dict.fromkeys(("min_free_disk", "ok_free_disk"), _DISKS),
    },
    "qmgr smtps": {
        "max_connections": _INCOMING,
        "max_connection_rate": _INCOMING,
        **dict.fromkeys(("max_message_rate", "max_recipient_rate", "rate_time_unit", "rate_exempt"), _RATES),
    },
    "qmgr smtpc": {"initial_connections": _OUTGOING, "max_connections": _OUTGOING},
    "qmgr IBDB": {"max_size": _FILES_AND_VERP, "max_open": _DISKS},
    "qmgr DEFEDB": {
        "cache_size": "unit/db/test_defedb.py::test_pages_beyond_cache_size_go_to_disk",
        "log_directory": "system/test_reload_mistakes.py",
        "checkpoint_interval": "unit/qmgr/test_cleanup.py::test_checkpoints_of_defedb_are_made",
    },
    "qmgr verify": {
        **dict.fromkeys(("positive_expire", "negative_expire"), f"{_VERIFIED}::test_a_result_counts_until_it_expires"),
        **dict.fromkeys(("positive_refresh", "negative_refresh"), f"{_VERIFIED}::{_DUE}"),
        "cache_size": "unit/qmgr/test_verify.py::test_the_cache_forgets_who_was_not_asked_for_longest",
        "max_probes": "unit/qmgr/test_verify.py::test_probes_and_shares_are_bounded",
        "wait": "unit/qmgr/test_verify.py::test_nobody_waits_if_the_time_is_zero",
    },
    "qmgr conf_map": dict.fromkeys(("name", "file", "type"), _CONF_MAP),
    "qmgr map": _MAP,
    "smtps": {
        "soft_bounce": "dialogs/soft_bounce.dlg",
        "wait_for_server": "unit/smtps/test_process.py::test_nobody_is_accepted_before_qmgr_and_smar_have_been_there",
        "IO_timeout": _CLIENT,
        "flags 8bitmime": "dialogs/extensions_all_off.dlg",
        "flags pipelining": "dialogs/extensions_all_off.dlg",
        "flags smtputf8": "dialogs/smtputf8_switched_off.dlg",
        "flags chunking": "dialogs/bdat_switched_off.dlg",
        "flags binarymime": "dialogs/binarymime_switched_off.dlg",
        "flags deliverby": "dialogs/deliverby_switched_off.dlg",
        "flags mt_priority": "dialogs/priority_switched_off.dlg",
        "flags limits": "dialogs/limits_switched_off.dlg",
        "min_deliver_by": "dialogs/deliverby_least.dlg",
        "flags access": "unit/smtps/test_settings.py::test_the_resolver_is_told_that_the_access_map_does_not_count",
        "flags delay_checks": "unit/smtps/test_denial.py::test_delayed_checks_greet_it_all_the_same",
        "flags xverp": "dialogs/xverp.dlg",
        "flags auth": _CLIENT,
        "flags require_auth": "dialogs/auth_required.dlg",
        "flags starttls": f"{_TLS_IN}test_without_a_certificate_or_the_flag_it_is_not_offered",
        "flags strict_ehlo": "dialogs/ehlo_strict.dlg",
        "flags strict_lines": "dialogs/long_text_line.dlg",
        "flags accept_local_senders": "dialogs/lenient_addresses.dlg",
        "flags accept_bare_addresses": "dialogs/lenient_addresses.dlg",
        "flags accept_odd_dots": "dialogs/lenient_addresses.dlg",
        "flags submission": _CLIENT,
        "flags add_sender": _CLIENT,
        "protocol": "dialogs/lmtp.dlg",
        "proxy_from": "dialogs/proxy.dlg",
        "xclient_from": "dialogs/xclient.dlg",
        "xforward_from": "dialogs/xforward.dlg",
        "greet_pause": _CLIENT,
        "flags allow_routing": "system/test_clients.py::test_meta1g_answers_as_the_table_says",
        "CDB_gid": "system/test_accounts.py::test_smtpc_reads_content_and_cannot_change_it",
        "max_message_size": "dialogs/size_limit.dlg",
        **dict.fromkeys(("max_header_size", "max_header_lines", "max_body_size"), "dialogs/part_limits.dlg"),
        "verify_recipients": "unit/smtps/test_questions.py::test_recipients_of_the_listed_domains_are_verified",
        "verify_senders": "unit/smtps/test_questions.py::test_a_verdict_of_smar_counts_before_the_probe",
        "unverified": "unit/smtps/test_questions.py::test_what_is_not_known_may_be_taken",
        "max_recipients": "dialogs/max_recipients.dlg",
        "max_transactions": "dialogs/max_transactions.dlg",
        "max_bad_commands": "dialogs/max_bad_commands.dlg",
        "max_refusals": "dialogs/max_refusals.dlg",
        "max_overshoots": "dialogs/max_overshoots.dlg",
        "max_noops": "dialogs/max_noops.dlg",
        "max_hops": "dialogs/max_hops.dlg",
        "max_threads": "system/test_limits.py::test_smtps_has_a_greatest_number_of_sessions",
        "wait_for_link": "unit/smtps/test_process.py::test_each_outage_has_its_own_time",
        "milters": f"{_MILTER}::test_a_client_may_have_other_filters",
    },
    "smtps policy_milter": dict.fromkeys(("timeout", "flags abort", "flags accept_but_reconnect"), f"{_POLICY}::{_WITHOUT}"),
    "smtps policy_milter socket": dict.fromkeys(("type", "address", "port", "path"), f"{_POLICY}::test_a_filter_on_a_port"),
    "smtps milter": {
        **dict.fromkeys(
            ("connect_timeout", "send_timeout"), f"{_MILTER}::test_a_filter_has_a_time_to_greet_in_and_a_time_to_read_in"
        ),
        "reply_timeout": f"{_MILTER}::{_BREAKS}",
        "end_timeout": f"{_MILTER}::{_BREAKS}",
        "default_action": f"{_MILTER}::test_default_actions",
        "macros": f"{_MILTER}::test_macros_are_those_of_the_session_and_of_the_configuration",
    },
    "smtps milter socket": dict.fromkeys(
        ("type", "address", "port", "path"), f"{_MILTER}::test_macros_are_those_of_the_session_and_of_the_configuration"
    ),
    "smtps tls": {
        **dict.fromkeys(("cert_file", "key_file"), f"{_TLS_IN}test_a_message_comes_under_tls_and_its_header_says_so"),
        **dict.fromkeys(("CAcert_file",), f"{_TLS_IN}test_a_client_is_asked_for_a_certificate_and_any_is_taken"),
        **dict.fromkeys(
            ("DSA_cert_file", "DSA_key_file"),
            f"{_TLS_IN_OPTIONS}test_cert_file_and_dsa_cert_file_are_for_clients_of_their_kind_with_key_file_and_dsa_key_file",
        ),
        "CAcert_directory": f"{_TLS_IN_OPTIONS}test_cacert_directory_has_authorities_that_clients_are_verified_by",
        "CRL_file": f"{_TLS_IN_OPTIONS}test_crl_file_takes_a_certificate_back",
        "min_version": f"{_TLS_IN_OPTIONS}test_min_version_and_dont_request_cert",
        **dict.fromkeys(("ciphers", "DH_file"), f"{_TLS_IN_OPTIONS}test_ciphers_and_dh_file"),
        "ticket_secret_file": f"{_SNI}test_a_ticket_of_one_process_is_taken_by_another_one_with_the_same_secret",
        "flags request_cert": f"{_TLS_IN_OPTIONS}test_min_version_and_dont_request_cert",
    },
    "smtps tls server_names": dict.fromkeys(
        ("file", "type"), f"{_SNI}test_names_and_their_files_are_renewed_without_a_restart"
    ),
    "smtps tls_requirements": _NEEDS,
    "smtps_session_conf tls_requirements": _NEEDS,
    "smtpc_session_conf tls_requirements": dict.fromkeys(_DEMANDS, f"{_TLS_OUT}test_requirements_of_a_server"),
    "smtpc_rcpt_conf tls_requirements": dict.fromkeys(_DEMANDS, f"{_TLS_OUT}test_requirements_of_a_recipient_concern_no_other"),
    "smtps auth": {
        "mechanisms": f"{_AUTH_IN}test_nobody_has_what_a_mechanism_needs",
        "trusted_mechanisms": f"{_AUTH_IN}test_users_may_relay_and_overrule_what_was_denied_and_not_told",
        "realm": f"{_AUTH_IN}test_realm_is_put_behind_users_without_one",
        "password_file": "dialogs/auth_plain.dlg",
        "password_map": "system/test_auth.py::test_passwords_in_a_map",
        "saslauthd_socket": f"{_AUTH_IN}test_saslauthd_checks_passwords",
        "dovecot_socket": f"{_AUTH_IN}test_dovecot_checks_passwords_and_leads_what_only_it_knows",
        "timeout": f"{_AUTH_IN}test_a_dovecot_that_does_not_answer_right_has_not_said_no",
        "max_failures": f"{_AUTH_IN}test_a_session_with_too_many_failures_is_ended",
        "max_client_failures": f"{_AUTH_IN}test_a_client_beyond_its_limit_is_not_looked_at_unless_it_was_this_user_before",
        "max_user_failures": f"{_AUTH_IN}test_a_user_beyond_its_limit_is_not_looked_at",
        "failure_window": f"{_AUTH_IN}test_a_client_beyond_its_limit_is_not_looked_at_unless_it_was_this_user_before",
        "failure_delay": f"{_AUTH_IN}test_a_failure_is_told_after_a_while",
        "flags plaintext_without_tls": "dialogs/auth_plain.dlg",
    },
    "smtpc tls": {
        **dict.fromkeys(
            ("cert_file", "key_file"), f"{_TLS_OUT_OPTIONS}test_cert_file_and_key_file_are_shown_to_a_server_that_asks"
        ),
        **dict.fromkeys(
            ("DSA_cert_file", "DSA_key_file"),
            f"{_TLS_OUT_OPTIONS}test_dsa_cert_file_with_dsa_key_file_is_shown_too",
        ),
        **dict.fromkeys(
            ("CAcert_file", "CAcert_directory"),
            f"{_TLS_OUT_OPTIONS}test_cacert_directory_and_cacert_file_have_authorities_that_servers_are_verified_by",
        ),
        "CRL_file": f"{_TLS_OUT_OPTIONS}test_crl_file_takes_a_certificate_back",
        "min_version": f"{_TLS_OUT_OPTIONS}test_min_version",
        "ciphers": f"{_TLS_OUT_OPTIONS}test_ciphers",
    },
    "smtpc auth": {
        "file": "unit/smtpc/test_auth.py::test_a_message_goes_to_a_server_that_knows_us",
        "mechanisms": "unit/smtpc/test_auth.py::test_only_mechanisms_that_may_be_used_are",
        "flags without_tls": "unit/smtpc/test_auth.py::test_nothing_is_said_in_clear_unless_told",
        "flags unverified_tls": "unit/smtpc/test_auth.py::test_a_password_goes_to_a_server_that_is_known_and_to_no_other",
    },
    "smtpc": {
        "wait_for_server": "unit/smtpc/test_ready.py::test_it_is_ready_when_qmgr_is_there",
        "IO_timeout": _SERVER,
        "flags pipelining": "unit/smtpc/test_session.py::test_the_flag_switches_pipelining_off",
        "flags chunking": "unit/smtpc/test_bdat.py::test_the_flag_switches_it_off",
        "flags xforward": "unit/smtpc/test_forward.py::test_a_smtps_behind_hears_where_a_message_came_from",
        "flags starttls": "unit/smtpc/test_starttls.py::test_without_the_flag_the_session_stays_in_clear",
        "flags talk_to_myself": "unit/smar/test_settings.py::test_who_may_talk_to_itself_is_nobody",
        "LMTP_socket": "system/test_relay.py::test_a_local_socket_with_lmtp_gets_the_mail_of_its_domain",
        "remote_port": _REMOTE,
        "source_address": "unit/smtpc/test_session_conf.py::test_the_connection_comes_from_the_address_that_is_said",
        "source_address6": "unit/smtpc/test_connecting.py::test_each_family_has_its_source",
        "max_threads": "unit/smtpc/test_client.py::test_more_sessions_than_allowed_are_refused_for_now",
        **{f"{step}_timeout": f"{_SILENT}_is_silent_is{_WAITED}" for step in ("greeting", "command", "data", "dot")},
        "block_timeout": f"{_SILENT}_does_not_take_the_content_is{_WAITED}",
        "connect_timeout": f"unit/smtpc/test_session_conf.py::test_an_address_that_does_not_answer_is{_WAITED}",
    },
    "smar": {
        "nameserver": _DNS,
        **dict.fromkeys(
            ("DNS_timeout", "DNS_tries"),
            "unit/smar/test_process.py::test_a_question_is_asked_as_often_and_waits_as_long_as_the_configuration_says",
        ),
        "DNS_flags use_tcp": "unit/smar/test_resolver.py::test_all_questions_go_over_tcp_if_told_so",
        "DNS_flags client_names": "unit/smar/test_process.py::test_names_of_clients_are_found_without_access_map_if_wanted",
        "DNS_flags trust_ad": "system/test_dane.py::test_mail_goes_only_where_the_certificate_fits_the_records",
        "DNS_flags edns": "unit/smar/test_resolver.py::test_edns_can_be_switched_off",
        "address_delimiter": "unit/smar/test_settings.py::test_the_detail_begins_with_the_character_that_is_said",
        "local_domains": "unit/smar/test_relay.py::test_local_domains_come_from_the_option_and_from_lmtp_entries",
        "relay_to": "unit/smar/test_relay.py::test_domains_that_anybody_may_write_to",
        "proxy_addresses": _MYSELF,
        "relay_from": "system/test_relay.py::test_relaying_is_refused_for_a_client_that_is_not_listed",
    },
    "smar nameserver": dict.fromkeys(
        ("address", "port"), "system/test_dns.py::test_the_server_of_the_first_preference_gets_the_mail"
    ),
    "smar map": _MAP,
    "smar aliases": {
        **dict.fromkeys(
            ("name", "file", "type"), "unit/smar/test_trace.py::test_an_alias_is_expanded_through_the_maps_of_a_sequence"
        ),
        "flags localpart": "unit/smar/test_alias.py::test_flags_decide_on_keys",
        "flags local_domains": "unit/smar/test_alias.py::test_flags_decide_on_keys",
    },
    "smar local_user_map": {
        **dict.fromkeys(("name", "file", "type"), _MAPS),
        "flags localpart": "unit/smar/test_localuser.py::test_the_local_part_alone_is_a_key_only_with_its_flag",
        "flags local_domains": "unit/smar/test_checks.py::test_without_the_flag_users_of_relayed_domains_are_asked_for_too",
    },
    "smar mailertable": dict.fromkeys(("name", "file", "type"), _ASKED),
    "smar password_map": {
        "name": "unit/smar/test_process.py::test_passwords_come_from_the_map_that_is_named",
        **dict.fromkeys(("file", "type"), _FILES),
    },
    "smar auth_sender": dict.fromkeys(("name", "file", "type"), _ASKED),
    "smar access_map": dict.fromkeys(("name", "file", "type"), _ASKED),
    "smar mta_sts": dict.fromkeys(
        ("CAcert_file", "port"), "system/test_mta_sts.py::test_policies_are_obeyed_kept_and_reported"
    ),
    "smar tls_reports": {
        **dict.fromkeys(
            ("from", "delay", "organization"), "system/test_mta_sts.py::test_the_report_of_yesterday_goes_out_through_the_queue"
        ),
    },
    "smar tls_policy": dict.fromkeys(("name", "file", "type"), _ASKED),
    "smar dnsbl": {
        "zone": "system/test_metalog.py::test_metalog_alone_tells_who_what_and_why",
        "timeout": "unit/smar/test_dnsbl.py::test_a_list_that_fails_or_is_silent_does_not_list",
    },
}
SHOWN = {f"{place} {name}": where for place, names in _PLACES.items() for name, where in names.items()}

_RHS = "unit/smar/test_access.py::test_right_hand_sides"
_ORDER = "unit/smar/test_access.py::test_a_client_is_asked_by_address_then_name_then_resolution"
_ROUTE = "test_map_pages.py::test_a_right_hand_side_of_the_mailertable"
VALUES_SHOWN = {
    "cltaddr:": _ORDER,
    "cltname:": _ORDER,
    "cltresolve:": _ORDER,
    "dnsbl:": "unit/smar/test_dnsbl.py::test_results_are_looked_up_in_the_access_map",
    "ehlo:": "unit/smar/test_access.py::test_the_name_of_the_client_is_asked_before_the_sender",
    "from:": "unit/smar/test_access.py::test_senders_are_asked_from_most_to_least_specific",
    "to:": "unit/smar/test_access.py::test_recipients_have_their_own_tag",
    "protectedrcpt:": "unit/smar/test_access.py::test_protection_gives_the_list",
    "smtps_session_conf:": "system/test_session_conf.py",
    "smtpc_session_conf:": "system/test_session_conf.py",
    "smtpc_rcpt_conf:": "system/test_session_conf.py",
    "certissuer:": "unit/smar/test_access.py::test_the_issuer_of_a_certificate_is_asked_before_its_subject",
    "certsubject:": "system/test_tls.py::test_a_certificate_lets_a_client_relay_and_overrules_a_denial",
    **dict.fromkeys(("access_map ok", "access_map relay", "access_map discard", "access_map cont", "access_map reject"), _RHS),
    "access_map error:": _RHS,
    "access_map quick:": _RHS,
    "access_map list of writers": "unit/smar/test_localuser.py::test_protected_recipients",
    "access_map snippet": "unit/conf/test_snippet.py::test_a_session_snippet_is_a_section",
    "password_map stored": "unit/smar/test_passwordmap.py::test_what_is_stored_of_a_user",
    "auth_sender senders": "unit/smar/test_authsender.py::test_a_user_has_its_senders_and_no_others",
    "conf_map snippet": "unit/qmgr/test_destinations.py::test_an_option_of_a_destination",
    **dict.fromkeys(("mailertable lmtp:", "mailertable PORT^HOST", "mailertable [HOST]", "mailertable HOST"), _ROUTE),
    "aliases members": "unit/smar/test_alias.py::test_members_are_separated_by_blanks_or_commas",
    "aliases ${macro}": "unit/smar/test_alias.py::test_macros_carry_parts_of_the_address_over",
    **dict.fromkeys(("tls_policy LEVEL", "tls_policy ATTRIBUTE"), "unit/smar/test_tlsmap.py::test_right_hand_sides"),
    "local_user_map anything": "unit/smar/test_localuser.py::test_a_user_is_found_by_full_address_or_local_part",
}
