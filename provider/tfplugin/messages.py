"""The messages of plugin protocol 6 (up to 6.11), as tables for protobuf.py, and its calls. Not here: bytes.

Numbers and names are those of the public tfplugin6.proto (hashicorp/terraform, hashicorp/terraform-plugin-go). State stores
(ReadStateBytes and its neighbours) are left out: a provider without them answers UNIMPLEMENTED.
"""

from __future__ import annotations

from tfplugin.protobuf import Codec

_DIAGNOSED = "1 diagnostics *Diagnostic"

TABLES = {
    "DynamicValue": "1 msgpack bytes, 2 json bytes",
    "Diagnostic": "1 severity int64, 2 summary string, 3 detail string, 4 attribute AttributePath",
    "AttributePath": "1 steps *AttributePath.Step",
    "AttributePath.Step": "1 attribute_name ?string, 2 element_key_string ?string, 3 element_key_int ?int64",
    "FunctionError": "1 text string, 2 function_argument ?int64",
    "RawState": "1 json bytes, 2 flatmap %string",
    "Timestamp": "1 seconds int64, 2 nanos int64",
    "ServerCapabilities": "1 plan_destroy bool, 2 get_provider_schema_optional bool, 3 move_resource_state bool,"
    "4 generate_resource_config bool",
    "ClientCapabilities": "1 deferral_allowed bool, 2 write_only_attributes_allowed bool",
    "Deferred": "1 reason int64",
    "ResourceIdentitySchema": "1 version int64, 2 identity_attributes *ResourceIdentitySchema.IdentityAttribute",
    "ResourceIdentitySchema.IdentityAttribute": "1 name string, 2 type bytes, 3 required_for_import bool,"
    "4 optional_for_import bool, 5 description string",
    "ResourceIdentityData": "1 identity_data DynamicValue",
    # Schemas
    "Schema": "1 version int64, 2 block Schema.Block",
    "Schema.Block": "1 version int64, 2 attributes *Schema.Attribute, 3 block_types *Schema.NestedBlock,"
    "4 description string, 5 description_kind int64, 6 deprecated bool, 7 deprecation_message string",
    "Schema.Attribute": "1 name string, 2 type bytes, 3 description string, 4 required bool, 5 optional bool,"
    "6 computed bool, 7 sensitive bool, 8 description_kind int64, 9 deprecated bool, 10 nested_type Schema.Object,"
    "11 write_only bool, 12 deprecation_message string",
    "Schema.NestedBlock": "1 type_name string, 2 block Schema.Block, 3 nesting int64, 4 min_items int64, 5 max_items int64",
    "Schema.Object": "1 attributes *Schema.Attribute, 3 nesting int64, 4 min_items int64, 5 max_items int64",
    "ActionSchema": "1 schema Schema",
    "Function": "1 parameters *Function.Parameter, 2 variadic_parameter Function.Parameter, 3 return Function.Return,"
    "4 summary string, 5 description string, 6 description_kind int64, 7 deprecation_message string",
    "Function.Parameter": "1 name string, 2 type bytes, 3 allow_null_value bool, 4 allow_unknown_values bool,"
    "5 description string, 6 description_kind int64",
    "Function.Return": "1 type bytes",
    # What there is
    "GetMetadata.Request": "",
    "GetMetadata.Response": "1 server_capabilities ServerCapabilities, 2 diagnostics *Diagnostic, 3 data_sources *TypeName,"
    "4 resources *TypeName, 5 functions *FunctionName, 6 ephemeral_resources *TypeName, 7 list_resources *TypeName,"
    "8 state_stores *TypeName, 9 actions *TypeName",
    "TypeName": "1 type_name string",
    "FunctionName": "1 name string",
    "GetProviderSchema.Request": "",
    "GetProviderSchema.Response": "1 provider Schema, 2 resource_schemas %Schema, 3 data_source_schemas %Schema,"
    "4 diagnostics *Diagnostic, 5 provider_meta Schema, 6 server_capabilities ServerCapabilities, 7 functions %Function,"
    "8 ephemeral_resource_schemas %Schema, 9 list_resource_schemas %Schema, 10 state_store_schemas %Schema,"
    "11 action_schemas %ActionSchema",
    "GetResourceIdentitySchemas.Request": "",
    "GetResourceIdentitySchemas.Response": "1 identity_schemas %ResourceIdentitySchema, 2 diagnostics *Diagnostic",
    "GetFunctions.Request": "",
    "GetFunctions.Response": "1 functions %Function, 2 diagnostics *Diagnostic",
    # The provider
    "ValidateProviderConfig.Request": "1 config DynamicValue",
    "ValidateProviderConfig.Response": "2 diagnostics *Diagnostic",
    "ConfigureProvider.Request": "1 terraform_version string, 2 config DynamicValue, 3 client_capabilities ClientCapabilities",
    "ConfigureProvider.Response": _DIAGNOSED,
    "StopProvider.Request": "",
    "StopProvider.Response": "1 Error string",
    # Resources
    "ValidateResourceConfig.Request": "1 type_name string, 2 config DynamicValue, 3 client_capabilities ClientCapabilities",
    "ValidateResourceConfig.Response": _DIAGNOSED,
    "UpgradeResourceState.Request": "1 type_name string, 2 version int64, 3 raw_state RawState",
    "UpgradeResourceState.Response": "1 upgraded_state DynamicValue, 2 diagnostics *Diagnostic",
    "UpgradeResourceIdentity.Request": "1 type_name string, 2 version int64, 3 raw_identity RawState",
    "UpgradeResourceIdentity.Response": "1 upgraded_identity ResourceIdentityData, 2 diagnostics *Diagnostic",
    "ReadResource.Request": "1 type_name string, 2 current_state DynamicValue, 3 private bytes, 4 provider_meta DynamicValue,"
    "5 client_capabilities ClientCapabilities, 6 current_identity ResourceIdentityData",
    "ReadResource.Response": "1 new_state DynamicValue, 2 diagnostics *Diagnostic, 3 private bytes, 4 deferred Deferred,"
    "5 new_identity ResourceIdentityData",
    "PlanResourceChange.Request": "1 type_name string, 2 prior_state DynamicValue, 3 proposed_new_state DynamicValue,"
    "4 config DynamicValue, 5 prior_private bytes, 6 provider_meta DynamicValue,"
    "7 client_capabilities ClientCapabilities, 8 prior_identity ResourceIdentityData",
    # Field 5 is legacy_type_system: only the oldest SDK may set it, so it has no name here.
    "PlanResourceChange.Response": "1 planned_state DynamicValue, 2 requires_replace *AttributePath, 3 planned_private bytes,"
    "4 diagnostics *Diagnostic, 6 deferred Deferred, 7 planned_identity ResourceIdentityData",
    "ApplyResourceChange.Request": "1 type_name string, 2 prior_state DynamicValue, 3 planned_state DynamicValue,"
    "4 config DynamicValue, 5 planned_private bytes, 6 provider_meta DynamicValue,"
    "7 planned_identity ResourceIdentityData",
    "ApplyResourceChange.Response": "1 new_state DynamicValue, 2 private bytes, 3 diagnostics *Diagnostic,"
    "5 new_identity ResourceIdentityData",
    "ImportResourceState.Request": "1 type_name string, 2 id string, 3 client_capabilities ClientCapabilities,"
    "4 identity ResourceIdentityData",
    "ImportResourceState.Response": "1 imported_resources *ImportResourceState.ImportedResource, 2 diagnostics *Diagnostic,"
    "3 deferred Deferred",
    "ImportResourceState.ImportedResource": "1 type_name string, 2 state DynamicValue, 3 private bytes,"
    "4 identity ResourceIdentityData",
    "MoveResourceState.Request": "1 source_provider_address string, 2 source_type_name string, 3 source_schema_version int64,"
    "4 source_state RawState, 5 target_type_name string, 6 source_private bytes, 7 source_identity RawState,"
    "8 source_identity_schema_version int64",
    "MoveResourceState.Response": "1 target_state DynamicValue, 2 diagnostics *Diagnostic, 3 target_private bytes,"
    "4 target_identity ResourceIdentityData",
    "GenerateResourceConfig.Request": "1 type_name string, 2 state DynamicValue",
    "GenerateResourceConfig.Response": "1 config DynamicValue, 2 diagnostics *Diagnostic",
    # Data sources and functions
    "ValidateDataResourceConfig.Request": "1 type_name string, 2 config DynamicValue",
    "ValidateDataResourceConfig.Response": _DIAGNOSED,
    "ReadDataSource.Request": "1 type_name string, 2 config DynamicValue, 3 provider_meta DynamicValue,"
    "4 client_capabilities ClientCapabilities",
    "ReadDataSource.Response": "1 state DynamicValue, 2 diagnostics *Diagnostic, 3 deferred Deferred",
    "CallFunction.Request": "1 name string, 2 arguments *DynamicValue",
    "CallFunction.Response": "1 result DynamicValue, 2 error FunctionError",
    # Ephemeral resources
    "ValidateEphemeralResourceConfig.Request": "1 type_name string, 2 config DynamicValue",
    "ValidateEphemeralResourceConfig.Response": _DIAGNOSED,
    "OpenEphemeralResource.Request": "1 type_name string, 2 config DynamicValue, 3 client_capabilities ClientCapabilities",
    "OpenEphemeralResource.Response": "1 diagnostics *Diagnostic, 2 renew_at Timestamp, 3 result DynamicValue,"
    "4 private ?bytes, 5 deferred Deferred",
    "RenewEphemeralResource.Request": "1 type_name string, 2 private ?bytes",
    "RenewEphemeralResource.Response": "1 diagnostics *Diagnostic, 2 renew_at Timestamp, 3 private ?bytes",
    "CloseEphemeralResource.Request": "1 type_name string, 2 private ?bytes",
    "CloseEphemeralResource.Response": _DIAGNOSED,
    # Lists and actions (Terraform 1.14)
    "ValidateListResourceConfig.Request": "1 type_name string, 2 config DynamicValue, 3 include_resource_object DynamicValue,"
    "4 limit DynamicValue",
    "ValidateListResourceConfig.Response": _DIAGNOSED,
    "ListResource.Request": "1 type_name string, 2 config DynamicValue, 3 include_resource_object bool, 4 limit int64",
    "ListResource.Event": "1 identity ResourceIdentityData, 2 display_name string, 3 resource_object DynamicValue,"
    "4 diagnostic *Diagnostic",
    "ValidateActionConfig.Request": "1 action_type string, 2 config DynamicValue",
    "ValidateActionConfig.Response": _DIAGNOSED,
    "PlanAction.Request": "1 action_type string, 2 config DynamicValue, 3 client_capabilities ClientCapabilities",
    "PlanAction.Response": "1 diagnostics *Diagnostic, 2 deferred Deferred",
    "InvokeAction.Request": "1 action_type string, 2 config DynamicValue, 3 client_capabilities ClientCapabilities",
    "InvokeAction.Event": "1 progress InvokeAction.Progress, 2 completed InvokeAction.Completed",
    "InvokeAction.Progress": "1 message string",
    "InvokeAction.Completed": _DIAGNOSED,
}

STREAMS = frozenset({"ListResource", "InvokeAction"})
"""Calls which are answered by many messages (`<name>.Event`), not by one (`<name>.Response`)."""

STATE_OF_BEFORE = {
    "PlanResourceChange": (("planned_state", "prior_state"), ("planned_private", "prior_private")),
    "ApplyResourceChange": (("new_state", "prior_state"), ("new_identity", "planned_identity")),
    "ReadResource": (("new_state", "current_state"), ("private", "private"), ("new_identity", "current_identity")),
}
"""What an answer takes over from the request when the provider failed: Terraform forgets an object without a state."""

CODEC = Codec(TABLES)
decode = CODEC.decode
encode = CODEC.encode
