// The smallest Terraform provider in Go: one resource that keeps what it is given. A measure for ours, not a product.
package main

import (
	"context"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type floor struct{}

func (floor) Metadata(_ context.Context, _ provider.MetadataRequest, answer *provider.MetadataResponse) {
	answer.TypeName = "floor"
}
func (floor) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse)          {}
func (floor) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}
func (floor) DataSources(context.Context) []func() datasource.DataSource                        { return nil }
func (floor) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		func() resource.Resource { return database{} },
		func() resource.Resource { return wide{} },
	}
}

type database struct{}

type row struct {
	Id     types.String `tfsdk:"id"`
	Tenant types.String `tfsdk:"tenant"`
	Name   types.String `tfsdk:"name"`
}

func (database) Metadata(_ context.Context, _ resource.MetadataRequest, answer *resource.MetadataResponse) {
	answer.TypeName = "floor_database"
}

func (database) Schema(_ context.Context, _ resource.SchemaRequest, answer *resource.SchemaResponse) {
	answer.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"id": schema.StringAttribute{
			Computed:      true,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		},
		"tenant": schema.StringAttribute{Required: true},
		"name":   schema.StringAttribute{Required: true},
	}}
}

func (database) Create(ctx context.Context, request resource.CreateRequest, answer *resource.CreateResponse) {
	var given row
	answer.Diagnostics.Append(request.Plan.Get(ctx, &given)...)
	given.Id = types.StringValue(given.Tenant.ValueString() + "/" + given.Name.ValueString())
	answer.Diagnostics.Append(answer.State.Set(ctx, &given)...)
}

func (database) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

func (database) Update(ctx context.Context, request resource.UpdateRequest, answer *resource.UpdateResponse) {
	var given row
	answer.Diagnostics.Append(request.Plan.Get(ctx, &given)...)
	answer.Diagnostics.Append(answer.State.Set(ctx, &given)...)
}

func (database) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

func main() {
	options := providerserver.ServeOpts{Address: "registry.terraform.io/spg99/floor"}
	if err := providerserver.Serve(context.Background(), func() provider.Provider { return floor{} }, options); err != nil {
		log.Fatal(err)
	}
}
