// The same floor with as many attributes of the same types as our database has: what Terraform does with them is not the provider's cost.
package main

import (
	"context"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const (
	texts = "id db_id state status state_reason timeline current_profile target_profile candidate_profile candidate_worker_id " +
		"scale_state autoscale_cooldown_until scale_phase_started_at scale_phase_deadline_at scale_failure_reason worker_id " +
		"backend_addr last_used_at created_at updated_at"
	numbers = "current_scale target_scale candidate_writer_term lease_control_epoch writer_term backend_port active_connections " +
		"compute_seconds storage_bytes egress_bytes"
)

type wide struct{}

func (wide) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "floor_wide_database"
}

func (wide) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	limit := schema.StringAttribute{Optional: true}
	attributes := map[string]schema.Attribute{
		"tenant":               schema.StringAttribute{Required: true},
		"name":                 schema.StringAttribute{Required: true},
		"size":                 schema.StringAttribute{Optional: true, Computed: true, Default: stringdefault.StaticString("L1")},
		"idle_timeout_seconds": schema.Int64Attribute{Optional: true, Computed: true, Default: int64default.StaticInt64(300)},
		"deletion_protection":  schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false)},
		"min_size":             schema.StringAttribute{Optional: true},
		"max_size":             schema.StringAttribute{Optional: true},
		"allow_replacement":    schema.BoolAttribute{Optional: true},
		"freeze_new_checkouts": schema.BoolAttribute{Computed: true},
		"connection_string":    schema.StringAttribute{Computed: true, Sensitive: true},
		"timeouts": schema.SingleNestedAttribute{Optional: true, Attributes: map[string]schema.Attribute{
			"create": limit, "read": limit, "update": limit, "delete": limit,
		}},
	}
	for _, name := range strings.Fields(texts) {
		attributes[name] = schema.StringAttribute{
			Computed:      true,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		}
	}
	for _, name := range strings.Fields(numbers) {
		attributes[name] = schema.Int64Attribute{
			Computed:      true,
			PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
		}
	}
	answer.Schema = schema.Schema{Attributes: attributes}
}

func (wide) Create(_ context.Context, request resource.CreateRequest, answer *resource.CreateResponse) {
	answer.State.Raw, _ = tftypes.Transform(request.Plan.Raw, func(_ *tftypes.AttributePath, value tftypes.Value) (tftypes.Value, error) {
		switch {
		case value.IsKnown():
			return value, nil
		case value.Type().Is(tftypes.String):
			return tftypes.NewValue(tftypes.String, "made by the floor"), nil
		case value.Type().Is(tftypes.Number):
			return tftypes.NewValue(tftypes.Number, 1), nil
		default:
			return tftypes.NewValue(tftypes.Bool, false), nil
		}
	})
}

func (wide) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

func (wide) Update(_ context.Context, request resource.UpdateRequest, answer *resource.UpdateResponse) {
	answer.State.Raw = request.Plan.Raw
}

func (wide) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
