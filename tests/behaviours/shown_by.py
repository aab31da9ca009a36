"""Which test shows which behaviour. Here: names of tests, as pytest names them without parameters. Not here: whether they passed (report.py).

A name is `test_file.py::test_function`. Where a behaviour does not apply or is not done, a sentence says so instead.
"""

from __future__ import annotations

TERRAFORM: dict[int, tuple[str, ...] | str] = {
    1: (
        "suite.py::test_the_second_plan_is_empty_with_and_without_refresh",
        "test_terraform_life.py::test_an_object_with_every_kind_of_field_is_settled_after_one_apply",
        "test_contract_traps.py::test_lives_that_core_finds_nothing_wrong_with",
        "test_opentofu.py::test_the_life_of_an_object",
    ),
    2: (
        "suite.py::test_the_second_plan_is_empty_with_and_without_refresh",
        "test_terraform_life.py::test_an_object_with_every_kind_of_field_is_settled_after_one_apply",
        "test_opentofu.py::test_the_life_of_an_object",
    ),
    3: (
        "suite.py::test_each_changeable_field_changes_in_place_and_alone",
        "test_terraform_life.py::test_each_field_changes_in_place_and_only_it_is_shown",
        "test_contract_traps.py::test_an_update_leaves_known_what_does_not_move",
        "test_planning.py::test_a_change_shows_only_what_changes_and_what_moves_with_it",
    ),
    4: (
        "suite.py::test_each_immutable_field_replaces_and_is_refused_where_data_would_be_lost",
        "test_terraform_life.py::test_replacing_is_refused_where_data_is_lost_and_planned_when_agreed",
        "test_terraform_life.py::test_a_value_that_is_known_late_and_would_replace_data_is_refused_in_the_apply",
    ),
    5: (
        "test_terraform_more.py::test_a_default_that_is_written_down_is_no_change",
        "test_terraform_life.py::test_a_time_in_another_form_is_no_change",
        "test_planning.py::test_a_value_that_only_looks_different_is_no_change",
    ),
    6: (
        "suite.py::test_inputs_that_are_not_yet_known_are_taken_everywhere",
        "test_terraform_life.py::test_unknown_inputs_are_accepted_everywhere",
        "test_planning.py::test_every_input_may_be_unknown",
    ),
    7: (
        "test_terraform_life.py::test_a_plan_writes_nothing_and_shows_defaults",
        "test_planning.py::test_a_new_object_shows_defaults_and_its_id_and_leaves_the_rest_unknown",
    ),
    8: ("test_planning.py::test_what_the_server_filled_in_stays_and_the_user_wins",),
    9: (
        "test_contract_traps.py::test_what_is_left_out_is_cleared_by_an_explicit_null",
        "test_terraform_life.py::test_each_field_changes_in_place_and_only_it_is_shown",
        "test_planning.py::test_leaving_out_an_optional_field_clears_it_and_a_default_returns",
    ),
    10: (
        "test_contract_traps.py::test_a_read_keeps_null_and_the_users_form",
        "test_contract_traps.py::test_an_answer_that_differs_from_the_plan_is_drift_and_no_error",
        "test_planning.py::test_null_and_empty_are_kept_apart",
    ),
    11: (
        "test_planning.py::test_the_order_of_a_list_counts",
        "test_contract_traps.py::test_there_is_no_set_in_any_schema",
    ),
    12: (
        "test_terraform_life.py::test_each_field_changes_in_place_and_only_it_is_shown",
        "suite.py::test_each_changeable_field_changes_in_place_and_alone",
    ),
    13: (
        "test_terraform_life.py::test_an_object_with_every_kind_of_field_is_settled_after_one_apply",
        "test_terraform_calls.py::test_whole_numbers_beyond_doubles_are_exact",
        "test_plugin_values.py::test_numbers_are_exact_in_every_form_terraform_sends",
    ),
    14: (
        "test_terraform_life.py::test_a_time_in_another_form_is_no_change",
        "test_planning.py::test_a_refresh_shows_drift_and_keeps_the_users_form",
        "test_values.py::test_when_two_values_mean_the_same",
    ),
    15: (
        "test_contract_traps.py::test_lives_that_core_finds_nothing_wrong_with",
        "test_planning.py::test_the_second_plan_of_an_apply_agrees_with_the_first",
    ),
    16: ("test_terraform_life.py::test_a_refresh_alone_shows_drift_and_changes_nothing",),
    17: (
        "test_terraform_life.py::test_create_and_delete_wait_until_it_is_done",
        "test_terraform_stops.py::test_a_wait_is_told_in_the_log",
    ),
    18: (
        "test_terraform_life.py::test_a_create_that_ends_half_way_is_kept_with_its_id",
        "suite.py::test_a_create_that_takes_too_long_is_kept_and_told_and_goes_on",
    ),
    19: (
        "test_terraform_life.py::test_a_lost_answer_makes_one_object",
        "suite.py::test_a_lost_answer_makes_no_second_object",
        "test_terraform_more.py::test_every_create_has_a_key_and_keeps_it_when_it_is_sent_again",
        "test_terraform_stops.py::test_a_killed_provider_makes_no_second_object",
    ),
    20: (
        "test_terraform_life.py::test_a_failed_update_keeps_what_was_before",
        "test_terraform_calls.py::test_a_failed_create_leaves_nothing_and_a_failed_update_or_delete_what_was",
    ),
    21: (
        "test_terraform_life.py::test_gone_outside_is_planned_again_and_a_destroy_of_it_succeeds",
        "suite.py::test_what_is_deleted_outside_is_made_again",
    ),
    22: ("test_terraform_life.py::test_create_and_delete_wait_until_it_is_done",),
    23: (
        "suite.py::test_what_is_deleted_outside_is_made_again",
        "test_terraform_life.py::test_gone_outside_is_planned_again_and_a_destroy_of_it_succeeds",
    ),
    24: (
        "suite.py::test_drift_of_each_field_is_seen_and_mended",
        "test_terraform_life.py::test_drift_of_each_field_is_seen_and_taken_back",
        "test_planning.py::test_drift_of_every_field_is_seen",
    ),
    25: (
        "test_terraform_life.py::test_a_create_that_ends_half_way_is_kept_with_its_id",
        "test_terraform_life.py::test_create_and_delete_wait_until_it_is_done",
        "suite.py::test_a_create_that_takes_too_long_is_kept_and_told_and_goes_on",
        "test_terraform_calls.py::test_time_limits_and_versions_are_checked",
    ),
    26: (
        "test_terraform_life.py::test_a_protected_object_is_refused_in_the_plan_of_its_end",
        "test_terraform_calls.py::test_a_destroy_is_planned_or_refused",
        "test_terraform_more.py::test_even_then_a_protected_object_is_not_deleted",
    ),
    27: ("test_terraform_life.py::test_the_new_one_may_be_made_first",),
    28: (
        "test_terraform_platform.py::test_children_of_one_parent_are_made_and_deleted_at_once",
        "test_terraform_more.py::test_children_that_were_refused_for_being_too_many_at_once_are_made_all_the_same",
        "test_terraform_more.py::test_a_refusal_because_of_the_parent_is_told_clearly",
    ),
    29: (
        "test_terraform_life.py::test_moved_blocks_target_and_ignore_changes_work",
        "test_terraform_more.py::test_an_object_is_replaced_when_the_user_says_so",
        "test_terraform_more.py::test_prevent_destroy_stops_a_replacement_and_a_destroy",
        "test_terraform_more.py::test_what_is_ignored_is_neither_sent_nor_taken_back",
        "test_terraform_more.py::test_replace_triggered_by_another_resource",
    ),
    30: (
        "test_terraform_more.py::test_objects_for_each_key",
        "test_terraform_more.py::test_objects_by_count",
        "test_terraform_more.py::test_each_resource_of_another",
        "test_terraform_life.py::test_moved_blocks_target_and_ignore_changes_work",
    ),
    31: (
        "test_terraform_settings.py::test_other_providers_resources_become_ours_by_name",
        "test_terraform_settings.py::test_what_cannot_be_moved_says_why_and_what_else",
    ),
    32: (
        "test_terraform_recorded.py::test_a_state_of_an_earlier_version_plans_nothing",
        "test_terraform_calls.py::test_a_state_of_another_version_is_taken_over_without_a_call",
        "test_terraform_more.py::test_a_state_with_what_nobody_knows_any_more_is_read",
    ),
    33: ("test_terraform_more.py::test_a_state_of_a_newer_provider_is_refused_and_left_alone",),
    34: ("test_terraform_calls.py::test_private_state_is_handed_on",),
    35: (
        "test_terraform_life.py::test_an_import_gives_an_empty_plan",
        "suite.py::test_an_import_by_human_id_gives_an_empty_plan",
    ),
    36: ("test_terraform_life.py::test_an_import_gives_an_empty_plan",),
    37: ("test_terraform_life.py::test_a_generated_configuration_gives_an_empty_plan",),
    38: (
        "test_terraform_life.py::test_wrong_import_ids_are_explained",
        "test_terraform_calls.py::test_an_import_explains_a_malformed_id",
    ),
    39: (
        "test_terraform_calls.py::test_an_import_takes_the_human_id_and_the_uid",
        "test_terraform_platform.py::test_a_database_from_plan_to_destroy",
    ),
    40: (
        "test_terraform_calls.py::test_a_resource_has_an_identity",
        "test_terraform_calls.py::test_an_import_takes_an_identity",
        "test_terraform_calls.py::test_a_list_tells_identities_and_whole_objects_where_asked",
    ),
    41: "In part: the provider has no profile file, it reads block, then environment. Shown of that: `test_terraform_life.py::test_no_configuration_is_one_clear_error_and_only_when_it_is_needed`, `test_terraform_settings.py::test_the_block_wins_over_the_environment_and_empty_counts_as_not_set`, `test_terraform_settings.py::test_what_is_missing_is_one_complaint_that_names_all_ways`.",
    42: (
        "test_terraform_life.py::test_a_configuration_that_is_known_only_later_hinders_no_plan",
        "test_terraform_calls.py::test_without_a_known_address_a_refresh_changes_nothing_and_a_read_says_why",
    ),
    43: ("test_terraform_package.py::test_two_accounts_by_alias",),
    44: (
        "test_terraform_life.py::test_what_is_wrong_is_told_at_once_on_its_line",
        "test_terraform_calls.py::test_unknown_values_are_left_for_later",
    ),
    45: (
        "test_terraform_life.py::test_what_the_server_refuses_stands_on_its_field",
        "test_terraform_life.py::test_a_name_that_is_taken_says_how_to_import",
        "test_terraform_more.py::test_a_refusal_because_of_the_parent_is_told_clearly",
        "test_contract_traps.py::test_a_diagnostic_names_one_step_and_says_the_rest",
    ),
    46: ("test_terraform_life.py::test_what_the_server_refuses_stands_on_its_field",),
    47: (
        "test_terraform_life.py::test_a_deprecated_field_warns_with_its_replacement",
        "test_terraform_calls.py::test_deprecated_fields_warn_with_what_to_use",
    ),
    48: (
        "test_terraform_calls.py::test_a_fault_of_ours_tells_no_value_and_no_traceback",
        "test_plugin_calls.py::test_an_update_that_raises_and_even_an_exit_ends_nothing",
        "test_terraform_package.py::test_a_start_that_fails_says_why",
    ),
    49: (
        "test_terraform_life.py::test_http_is_refused_beyond_this_machine",
        "test_terraform_settings.py::test_addresses_that_cannot_be_used",
        "test_terraform_settings.py::test_addresses_that_can",
    ),
    50: (
        "test_terraform_life.py::test_each_request_names_terraform_and_this_provider",
        "test_terraform_settings.py::test_the_user_agent_is_in_hashicorps_form",
    ),
    51: ("test_terraform_proxies.py::test_proxies_are_honoured_and_this_machine_is_reached_without",),
    52: (
        "test_terraform_life.py::test_a_key_that_the_server_refuses_is_told_without_the_key",
        "test_terraform_life.py::test_secrets_are_marked_and_stay_out_of_what_is_shown",
        "suite.py::test_secrets_that_a_user_brings_are_sent_once_and_written_nowhere",
        "suite.py::test_no_secret_stands_in_a_command_line",
        "test_bad_days.py::test_no_error_holds_the_key",
    ),
    53: (
        "test_terraform_life.py::test_busy_and_away_servers_are_asked_again",
        "test_terraform_more.py::test_children_that_were_refused_for_being_too_many_at_once_are_made_all_the_same",
        "test_retry.py::test_the_server_says_when_to_come_back",
        "test_bad_days.py::test_everybody_who_was_refused_at_once_comes_back_at_another_moment",
    ),
    54: (
        "test_terraform_more.py::test_every_create_has_a_key_and_keeps_it_when_it_is_sent_again",
        "test_terraform_life.py::test_a_lost_answer_makes_one_object",
        "test_terraform_life.py::test_a_server_that_is_away_is_told_with_its_address_and_nothing_is_made",
        "test_retry.py::test_what_may_be_sent_twice",
        "test_bad_days.py::test_a_500_is_not_tried_again",
        "test_client_network.py::test_a_lost_answer_under_if_match_is_not_asked_for_again",
    ),
    55: (
        "test_terraform_more.py::test_a_hundred_at_once_ask_no_more_than_the_client_has_room_for",
        "test_client_lanes.py::test_a_lane_is_filled_before_another_is_made_and_used_again",
    ),
    56: (
        "test_terraform_more.py::test_a_stop_ends_every_wait_within_a_second_and_keeps_what_was_made",
        "test_terraform_stops.py::test_ctrl_c_with_every_worker_busy_keeps_every_object",
        "test_plugin_calls.py::test_a_stop_comes_through_while_every_worker_is_busy",
    ),
    57: (
        "test_terraform_life.py::test_many_objects_at_once_and_one_after_the_other",
        "test_terraform_more.py::test_a_hundred_at_once_ask_no_more_than_the_client_has_room_for",
    ),
    58: "In part: Terraform 1.11 and OpenTofu 1.12 are here, older ones are not. Shown: `test_opentofu.py::test_the_life_of_an_object`, `test_opentofu.py::test_secrets_that_are_kept_nowhere`, `test_terraform_calls.py::test_a_write_only_secret_is_refused_where_it_would_be_stored` (what an older one asks), `test_plugin_process.py::test_an_old_terraform_is_told` (one without protocol 6).",
    59: (
        "test_plugin_terraform.py::test_a_value_of_six_megabytes",
        "test_plugin_process.py::test_large_messages_go_both_ways",
    ),
    60: (
        "test_terraform_stops.py::test_a_killed_provider_makes_no_second_object",
        "suite.py::test_a_kill_in_the_middle_makes_no_second_object",
        "test_terraform_settings.py::test_a_state_that_was_never_written_makes_no_second_object",
    ),
    61: (
        "test_terraform_life.py::test_secrets_are_marked_and_stay_out_of_what_is_shown",
        "test_terraform_schema.py::test_a_field_becomes_the_attribute_that_its_place_says",
        "test_terraform_recorded.py::test_nothing_that_was_released_is_gone_or_changed",
    ),
    62: (
        "test_terraform_life.py::test_another_version_sends_the_write_only_value_again",
        "suite.py::test_secrets_that_a_user_brings_are_sent_once_and_written_nowhere",
        "test_opentofu.py::test_secrets_that_are_kept_nowhere",
    ),
    63: (
        "test_terraform_reads.py::test_an_ephemeral_is_opened_used_closed_and_kept_nowhere",
        "test_terraform_reads.py::test_an_ephemeral_of_what_the_same_run_makes_is_opened_in_the_apply",
        "test_terraform_platform.py::test_a_dsn_of_what_the_same_run_makes_is_opened_when_it_is_there",
        "test_terraform_life.py::test_secrets_of_the_system_stay_out_of_the_state_where_that_is_wished",
        "test_opentofu.py::test_secrets_that_are_kept_nowhere",
        "test_ephemerals.py::test_a_key_of_a_run_works_until_it_is_closed",
    ),
    64: (
        "test_terraform_reads.py::test_functions_need_no_configuration_and_blame_the_argument",
        "test_terraform_calls.py::test_functions_answer_or_blame_an_argument",
    ),
    65: "Not done: actions came with Terraform 1.14, and the 1.11 here cannot run one. Rotation is an argument of `spg99_tenant_credentials`.",
    66: (
        "test_terraform_reads.py::test_one_object_and_what_there_is_only_once",
        "test_terraform_reads.py::test_all_objects_with_filters",
        "test_terraform_reads.py::test_what_is_not_there_or_not_allowed_is_an_error",
    ),
    67: (
        "test_terraform_documentation.py::test_tfplugindocs_finds_nothing_wrong",
        "test_terraform_documentation.py::test_every_example_is_accepted",
        "test_terraform_documentation.py::test_the_schema_is_what_the_cli_sees",
    ),
    68: "In part: releases are not signed, there is no key yet. Shown: `test_terraform_package.py::test_the_registry_finds_checksums_and_manifest`, `test_terraform_package.py::test_a_zip_works_from_a_mirror_and_its_hash_agrees` (both long), `test_terraform_calls.py::test_a_state_of_another_version_is_taken_over_without_a_call`; CHANGELOG.md.",
    69: (
        "test_terraform_recorded.py::test_nothing_that_was_released_is_gone_or_changed",
        "test_terraform_recorded.py::test_what_is_new_is_recorded",
        "test_terraform_recorded.py::test_the_comparison_finds_what_breaks_and_only_that",
    ),
    70: "In part: every `make test` runs the suite against the small server (`suite.py::test_the_second_plan_is_empty_with_and_without_refresh`) and against the real platform (`test_terraform_platform.py::test_a_database_from_plan_to_destroy`). There is no hosted API, so nothing runs nightly; each test starts a platform of its own, so nothing is left to sweep.",
}

PULUMI: dict[int, tuple[str, ...] | str] = {
    1: (
        "suite.py::test_a_plan_writes_nothing_and_shows_the_creation",
        "test_dynamic_provider.py::test_preview_writes_nothing",
        "test_native_calls.py::test_a_preview_writes_nothing_and_knows_what_can_be_known",
    ),
    2: (
        "suite.py::test_inputs_that_are_not_yet_known_are_taken_everywhere",
        "test_native_calls.py::test_unknown_values_pass_in_every_form_and_place",
        "test_native_checks.py::test_a_preview_knows_what_can_be_known_and_guesses_nothing",
        "test_sdk_python.py::test_a_look_up_of_what_the_same_program_makes_waits_for_it",
        "test_dynamic_life.py::test_unknown_values_are_taken_anywhere",
    ),
    3: (
        "test_native_calls.py::test_unknown_values_pass_in_every_form_and_place",
        "test_native_wire.py::test_secrets_and_unknowns_go_out_as_pulumi_writes_them",
        "test_wire.py::test_all_seven_unknowns_are_unknown_and_go_back_as_pulumis",
        "test_inputs.py::test_a_container_with_something_unknown_inside_is_kept_and_judged_in_its_known_parts",
    ),
    4: (
        "test_native_programs.py::test_an_explicit_provider_with_an_address_that_is_not_known_yet",
        "test_native_calls.py::test_a_configuration_is_checked_before_the_network_is_asked",
    ),
    5: (
        "test_native_calls.py::test_a_preview_writes_nothing_and_knows_what_can_be_known",
        "test_native_checks.py::test_a_preview_knows_what_can_be_known_and_guesses_nothing",
        "test_sdk_python.py::test_a_look_up_of_what_the_same_program_makes_waits_for_it",
    ),
    6: (
        "suite.py::test_a_plan_writes_nothing_and_shows_the_creation",
        "suite.py::test_each_changeable_field_changes_in_place_and_alone",
        "suite.py::test_each_immutable_field_replaces_and_is_refused_where_data_would_be_lost",
        "test_native_programs.py::test_the_walk_of_a_newcomer",
        "test_dynamic_programs.py::test_the_walk_of_a_newcomer",
    ),
    7: (
        "suite.py::test_the_second_plan_is_empty_with_and_without_refresh",
        "test_dynamic_provider.py::test_create_no_change_update_in_place_destroy",
        "test_examples.py::test_04_yaml",
    ),
    8: "The real CLI only: the embedded engine knows no update plans. The provider has no part in them.",
    9: (
        "test_native_calls.py::test_a_check_fills_in_defaults_and_keeps_what_the_user_wrote",
        "test_native_checks.py::test_a_name_is_made_of_the_declarations_and_fits_the_pattern",
        "test_inputs.py::test_defaults_are_filled_in_and_shapes_kept",
        "test_dynamic_life.py::test_a_field_left_out_goes_back_to_its_default",
    ),
    10: (
        "test_native_calls.py::test_all_that_is_wrong_comes_at_once_on_its_path",
        "test_native_programs.py::test_all_failures_come_at_once_and_nothing_is_done",
        "test_dynamic_provider.py::test_all_errors_of_a_check_at_once_on_their_property",
        "test_dynamic_life.py::test_all_failures_come_at_once_on_their_property",
        "test_inputs.py::test_everything_wrong_is_told_at_once",
    ),
    11: (
        "test_inputs.py::test_wrong_values_fail_on_their_path",
        "test_inputs.py::test_rules_across_fields_wait_for_what_they_need_and_no_longer",
        "test_native_calls.py::test_all_that_is_wrong_comes_at_once_on_its_path",
        "test_dynamic_provider.py::test_all_errors_of_a_check_at_once_on_their_property",
    ),
    12: (
        "test_inputs.py::test_unknown_fields_come_with_a_suggestion_in_the_users_spelling",
        "test_native_programs.py::test_all_failures_come_at_once_and_nothing_is_done",
        "test_native_calls.py::test_functions",
    ),
    13: (
        "test_native_checks.py::test_pulumis_autonaming_is_heeded",
        "test_native_checks.py::test_a_name_that_was_made_stays",
        "test_native_programs.py::test_names_are_made_where_the_program_gives_none",
        "test_engine_native.py::test_names_are_proposed_as_the_configuration_says",
        "test_engine_autonaming.py::test_modes",
    ),
    14: (
        "test_native_calls.py::test_null_empty_numbers_and_long_texts_stay_what_they_are",
        "test_inputs.py::test_null_is_left_out_and_empty_is_kept",
        "test_inputs.py::test_whole_numbers_are_whole",
        "test_operations.py::test_whole_numbers_stay_exact_both_ways",
        "test_dynamic_proof.py::test_every_kind_of_field_goes_there_and_back",
    ),
    15: (
        "suite.py::test_the_second_plan_is_empty_with_and_without_refresh",
        "test_native_programs.py::test_the_walk_of_a_newcomer",
        "test_dynamic_provider.py::test_create_no_change_update_in_place_destroy",
    ),
    16: (
        "suite.py::test_each_changeable_field_changes_in_place_and_alone",
        "test_native_calls.py::test_from_create_to_delete",
        "test_native_checks.py::test_each_place_that_differs_is_told",
        "test_dynamic_life.py::test_a_change_is_one_patch_with_that_field_only",
    ),
    17: (
        "suite.py::test_each_immutable_field_replaces_and_is_refused_where_data_would_be_lost",
        "test_schema_against_plugin.py::test_what_replaces_is_what_the_schema_says",
        "test_dynamic_provider.py::test_a_change_that_would_replace_a_database_is_refused_in_preview",
    ),
    18: (
        "test_native_programs.py::test_names_are_made_where_the_program_gives_none",
        "test_native_calls.py::test_replacing_data_is_refused_and_explained",
        "test_native_options.py::test_a_change_that_the_program_wants_a_replacement_for",
        "test_changes.py::test_the_old_one_goes_first_only_when_the_name_stays",
        "test_dynamic_life.py::test_the_same_name_in_another_project_goes_first",
    ),
    19: (
        "test_native_checks.py::test_what_the_server_normalised_is_no_change",
        "test_values.py::test_when_two_values_mean_the_same",
        "test_changes.py::test_values_that_mean_the_same_are_the_same",
        "test_dynamic_provider.py::test_defaults_are_the_apis_and_no_later_difference",
    ),
    20: (
        "test_native_calls.py::test_neither_a_new_key_nor_a_new_address_replaces_anything",
        "test_engine_options.py::test_explicit_providers_have_their_own_configuration",
    ),
    21: (
        # neither a replacement nor an error: a warning, because a platform may move to another address
        "test_native_calls.py::test_neither_a_new_key_nor_a_new_address_replaces_anything",
    ),
    22: (
        "test_native_calls.py::test_what_is_ignored_stays_as_it_is",
        "test_native_checks.py::test_what_is_ignored_differs_nowhere",
        "test_engine_options.py::test_ignore_changes_and_replace_on_changes_with_paths",
    ),
    23: (
        "test_native_options.py::test_a_change_that_the_program_wants_a_replacement_for",
        "test_dynamic_options.py::test_a_trigger_replaces_what_keeps_its_name",
        "test_engine_options.py::test_ignore_changes_and_replace_on_changes_with_paths",
        "test_engine_options.py::test_replacement_trigger",
    ),
    24: (
        "test_native_options.py::test_the_order_of_a_replacement_and_of_what_needs_it",
        "test_engine_decide.py::test_decide",
    ),
    25: "Only how the real CLI shows a difference; the embedded engine shows all (in YAML it refuses `hideDiffs` by name). No secret depends on it.",
    26: (
        "test_native_options.py::test_the_order_of_a_replacement_and_of_what_needs_it",
        "test_engine_lifecycle.py::test_delete_before_replace_takes_those_along_that_would_be_replaced",
    ),
    27: (
        "suite.py::test_secrets_that_a_user_brings_are_sent_once_and_written_nowhere",
        "suite.py::test_secrets_that_the_system_makes_are_plain_only_where_the_tool_forces_it",
        "test_native_programs.py::test_no_secret_is_plain_anywhere",
        "test_native_calls.py::test_an_unexpected_failure_tells_no_secret",
        "test_dynamic_provider.py::test_secrets_are_nowhere_in_plain",
        "test_dynamic_programs.py::test_no_secret_is_plain_in_the_state",
    ),
    28: (
        "test_native_programs.py::test_no_secret_is_plain_anywhere",
        "test_native_wire.py::test_secrecy_is_put_back_where_it_was",
        "test_engine_options.py::test_additional_secret_outputs_and_secrets_anywhere",
    ),
    29: (
        "test_native_options.py::test_secret_outputs_and_children_of_components",
        "test_engine_options.py::test_additional_secret_outputs_and_secrets_anywhere",
        "test_dynamic_options.py::test_options_of_one_life",
    ),
    30: (
        "test_dynamic_provider.py::test_the_state_holds_only_a_constant_reference",
        "test_wire.py::test_the_reference_in_every_state_never_changes",
        "test_dynamic_life.py::test_a_wrong_key_is_a_sentence_without_the_key",
        "test_native_programs.py::test_an_explicit_provider_with_an_address_that_is_not_known_yet",
        "test_native_calls.py::test_an_unexpected_failure_tells_no_secret",
    ),
    31: (
        "test_examples.py::test_02_native_python_rotates_by_one_text",
        "suite.py::test_secrets_that_a_user_brings_are_sent_once_and_written_nowhere",
        "test_dynamic_proof.py::test_another_write_only_secret_is_a_change_of_it_alone",
    ),
    32: (
        "suite.py::test_drift_of_each_field_is_seen_and_mended",
        "test_native_programs.py::test_drift_is_shown_and_taken_back",
        "test_dynamic_provider.py::test_drift_is_shown_by_refresh_and_mended_by_up",
        "test_dynamic_life.py::test_refresh_shows_drift_per_property_and_an_up_takes_it_back",
    ),
    33: (
        "suite.py::test_what_is_deleted_outside_is_made_again",
        "test_dynamic_provider.py::test_what_was_deleted_outside_is_made_again",
        "test_native_programs.py::test_drift_is_shown_and_taken_back",
    ),
    34: (
        "test_native_checks.py::test_drift_is_told_by_the_output_and_an_edit_by_the_inputs",
        "test_native_programs.py::test_what_has_become_another_outside_is_shown_and_not_replaced_by_itself",
        "test_dynamic_life.py::test_what_moves_by_itself_is_no_drift",
    ),
    35: (
        "test_native_programs.py::test_import_by_the_command",
        "test_dynamic_provider.py::test_import_by_an_import_file",
        "test_dynamic_programs.py::test_an_imported_stack_shows_no_changes",
    ),
    36: (
        "suite.py::test_an_import_by_human_id_gives_an_empty_plan",
        "test_native_programs.py::test_import_and_get_show_no_changes",
        "test_engine_options.py::test_import_option_takes_over_what_is_there",
    ),
    37: (
        "test_native_programs.py::test_import_and_get_show_no_changes",
        "test_native_calls.py::test_import_and_get",
        "test_dynamic_provider.py::test_get_reads_and_a_missing_one_is_an_error",
    ),
    38: (
        "test_native_programs.py::test_a_refresh_without_a_control_plane_leaves_the_state_as_it_is",
        "test_dynamic_provider.py::test_an_unreachable_platform_is_a_sentence_and_the_state_stays",
        "test_engine_lifecycle.py::test_refresh_that_cannot_read_everything_changes_nothing",
    ),
    39: "The real CLI only: the embedded engine's refresh runs no program, and needs none.",
    40: (
        "test_native_calls.py::test_refresh_shows_drift_and_keeps_what_is_not_told",
        "suite.py::test_secrets_that_a_user_brings_are_sent_once_and_written_nowhere",
        "test_dynamic_proof.py::test_a_program_with_write_only_secrets_and_nothing_of_them_in_its_state",
        "test_dynamic_life.py::test_a_token_told_once_survives_refresh_and_update",
    ),
    41: (
        "test_native_options.py::test_protect_retain_and_deleted_with",
        "test_engine_options.py::test_protect_refuses_deletion_replacement_and_destroy",
        "test_dynamic_options.py::test_options_of_one_life",
    ),
    42: (
        "test_native_options.py::test_protect_retain_and_deleted_with",
        "test_engine_options.py::test_retain_on_delete_and_deleted_with_make_no_calls",
        "test_dynamic_options.py::test_options_of_one_life",
    ),
    43: (
        "test_native_options.py::test_protect_retain_and_deleted_with",
        "test_engine_options.py::test_retain_on_delete_and_deleted_with_make_no_calls",
        "test_dynamic_options.py::test_options_of_one_life",
        "test_native_options.py::test_what_goes_with_a_replaced_one_is_made_again_under_its_name",
    ),
    44: (
        "test_native_programs.py::test_moving_from_the_dynamic_provider_changes_nothing",
        "test_sdk_python.py::test_moving_from_the_dynamic_provider_is_a_change_of_one_import",
        "test_native_languages.py::test_a_stack_moves_from_the_dynamic_to_the_native_provider",
        "test_engine_options.py::test_aliases_move_without_touching",
    ),
    45: (
        "test_native_options.py::test_secret_outputs_and_children_of_components",
        "test_native_calls.py::test_a_child_of_a_component_is_known_by_the_last_part_of_its_type",
        # `transforms`, which the engine would have to run, are refused by name by the embedded one
        "test_engine_options.py::test_what_it_does_not_do_it_refuses_by_name",
        "test_dynamic_options.py::test_options_of_one_life",
    ),
    46: (
        "test_native_options.py::test_time_limits_of_update_and_delete",
        "suite.py::test_a_create_that_takes_too_long_is_kept_and_told_and_goes_on",
        "test_native_calls.py::test_a_read_ends_with_its_time_limit",
        "test_engine_options.py::test_custom_timeouts_reach_the_provider_and_the_state",
        "test_dynamic_faults.py::test_a_create_that_takes_too_long_is_kept_and_the_next_up_goes_on",
        "test_dynamic_options.py::test_options_of_one_life",
    ),
    47: "The real CLI only, which runs them around any provider; the embedded engine refuses them by name (test_engine_options.py::test_what_it_does_not_do_it_refuses_by_name).",
    48: (
        # state migrations and env_var_mappings are the real CLI's: the embedded engine refuses them by name
        "test_native_options.py::test_several_providers_side_by_side",
        "test_sdk_python.py::test_an_explicit_provider_has_its_own_settings",
        "test_dynamic_programs.py::test_an_explicit_provider_has_its_own_control_plane",
        "test_engine_native.py::test_two_versions_have_two_default_providers",
    ),
    49: (
        "suite.py::test_a_create_that_takes_too_long_is_kept_and_told_and_goes_on",
        "suite.py::test_a_create_that_took_too_long_keeps_its_object",
        "test_native_programs.py::test_a_partial_create_is_kept_and_continued",
        "test_dynamic_programs.py::test_a_partial_create_is_kept_and_finished_by_the_next_up",
    ),
    50: (
        "test_native_programs.py::test_a_create_that_fails_leaves_nothing",
        "test_engine_failures.py::test_a_failed_create_leaves_nothing_and_spares_its_siblings",
    ),
    51: (
        "suite.py::test_a_lost_answer_makes_no_second_object",
        "test_native_calls.py::test_a_lost_answer_makes_nothing_twice",
        "test_dynamic_faults.py::test_a_lost_answer_makes_no_second_object",
    ),
    52: (
        "test_native_calls.py::test_cancel_ends_64_waits_at_once_and_loses_nothing",
        "test_native_calls.py::test_a_signal_ends_an_idle_plugin_at_once_and_a_busy_one_after_its_answers",
        "test_dynamic_faults.py::test_stopping_ends_all_waits_and_keeps_what_was_made",
        "test_engine_interrupted.py::test_ctrl_c_once_cancels_providers_and_keeps_the_state",
        "test_engine_interrupted.py::test_ctrl_c_twice_ends_at_once_and_the_next_run_says_what_was_open",
    ),
    53: (
        "suite.py::test_a_kill_in_the_middle_makes_no_second_object",
        "test_up_killed.py::test_up_goes_on",
        "test_up_killed.py::test_the_engine_dies_at_named_moments",
        "test_dynamic_faults.py::test_an_up_killed_after_the_create_finds_its_object_again",
        "test_engine_interrupted.py::test_kill_9_while_creating_then_up_again",
    ),
    54: (
        "suite.py::test_destroy_removes_it_and_a_second_destroy_is_well",
        "test_native_calls.py::test_from_create_to_delete",
        "test_dynamic_life.py::test_delete_waits_until_it_is_gone_and_a_second_one_is_fine",
        "test_engine_lifecycle.py::test_what_leaves_the_program_is_deleted_after_what_needs_it",
    ),
    55: (
        "test_native_options.py::test_what_is_refused_for_now_is_asked_again",
        "test_native_calls.py::test_a_refusal_of_the_control_plane_names_the_property",
        "test_dynamic_proof.py::test_what_the_control_plane_refuses_stands_on_the_property",
        "test_client_network.py::test_503_is_asked_again",
        "test_client_network.py::test_429_waits_as_long_as_it_is_told",
        "test_dynamic_options.py::test_options_of_one_life",
    ),
    56: (
        # what goes on beside a failure is the embedded engine's way without an option; `--exclude` it does not have
        "test_native_options.py::test_targets",
        "test_engine_options.py::test_targets",
        "test_engine_failures.py::test_a_failed_create_leaves_nothing_and_spares_its_siblings",
    ),
    57: (
        # Automation API, policy packs, `pulumi convert` and stack references are the real CLI's; GetMapping is answered
        "test_examples.py::test_06_many_tenants",
        "test_native_calls.py::test_many_creates_at_once",
        "test_native_calls.py::test_the_mapping_names_every_attribute_of_terraform",
        "test_dynamic_provider.py::test_forty_databases_are_waited_for_together",
        "test_dynamic_faults.py::test_64_creates_are_in_flight_at_once",
        "test_engine_terminal.py::test_never_more_at_a_time_than_allowed",
    ),
    58: (
        "test_native_recorded.py::test_a_stack_of_an_earlier_version_shows_no_changes",
        "test_native_recorded.py::test_the_schema_has_lost_nothing",
        "test_native_recorded.py::test_what_would_break_programs_is_noticed",
    ),
}

PEERS: dict[str, tuple[str, ...]] = {
    "resources / data sources": ("test_terraform_schema.py::test_the_product_has_what_it_promises",),
    "import documented": (
        "test_terraform_documentation.py::test_tfplugindocs_finds_nothing_wrong",
        "suite.py::test_an_import_by_human_id_gives_an_empty_plan",
    ),
    "ephemeral resources": (
        "test_terraform_reads.py::test_an_ephemeral_is_opened_used_closed_and_kept_nowhere",
        "test_terraform_platform.py::test_a_dsn_of_what_the_same_run_makes_is_opened_when_it_is_there",
    ),
    "write-only arguments": (
        "test_terraform_life.py::test_another_version_sends_the_write_only_value_again",
        "suite.py::test_secrets_that_a_user_brings_are_sent_once_and_written_nowhere",
    ),
    "provider functions": ("test_terraform_reads.py::test_functions_need_no_configuration_and_blame_the_argument",),
    "identity, list resources": (
        "test_terraform_calls.py::test_a_resource_has_an_identity",
        "test_terraform_calls.py::test_a_list_tells_identities_and_whole_objects_where_asked",
    ),
    "timeouts on every resource": (
        "suite.py::test_a_create_that_takes_too_long_is_kept_and_told_and_goes_on",
        "test_terraform_life.py::test_create_and_delete_wait_until_it_is_done",
    ),
    "deletion protection": (
        "test_terraform_life.py::test_a_protected_object_is_refused_in_the_plan_of_its_end",
        "test_terraform_platform.py::test_a_database_from_plan_to_destroy",
    ),
    "protection seen in the plan": (
        "test_terraform_life.py::test_a_protected_object_is_refused_in_the_plan_of_its_end",
    ),
    "replacement of data refused": (
        "suite.py::test_each_immutable_field_replaces_and_is_refused_where_data_would_be_lost",
    ),
    "deleted outside: planned again": ("suite.py::test_what_is_deleted_outside_is_made_again",),
    "a second apply changes nothing": (
        "suite.py::test_the_second_plan_is_empty_with_and_without_refresh",
        "test_contract_traps.py::test_lives_that_core_finds_nothing_wrong_with",
    ),
    "another form of a value is no error": (
        "test_contract_traps.py::test_an_answer_that_differs_from_the_plan_is_drift_and_no_error",
        "test_terraform_life.py::test_a_time_in_another_form_is_no_change",
    ),
    "password rotated in place": (
        "test_managed_credentials.py::test_another_trigger_makes_another_password_and_the_same_none",
        "test_managed_credentials.py::test_a_bridge_lives_a_whole_life_with_them",
    ),
    "state upgraders": ("test_terraform_calls.py::test_a_state_of_another_version_is_taken_over_without_a_call",),
    "native Pulumi provider": ("test_native_programs.py::test_the_walk_of_a_newcomer",),
}
"""What the table of peers claims for us -> the tests that show it."""
