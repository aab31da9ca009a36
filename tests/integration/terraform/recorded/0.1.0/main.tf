
resource "spg99_tenant" "acme" {
  name = "acme"
}

resource "spg99_database" "app" {
  tenant               = spg99_tenant.acme.name
  name                 = "app"
  size                 = "L2"
  idle_timeout_seconds = 60
  allow_replacement    = true
  timeouts             = { create = "5m" }
}

resource "spg99_database" "plain" {
  tenant = spg99_tenant.acme.name
  name   = "plain"
}

resource "spg99_tenant_credentials" "acme" {
  tenant                 = spg99_tenant.acme.name
  rotation_trigger       = "first"
  pg_password_wo         = "correct horse battery"
  pg_password_wo_version = 1
}

resource "spg99_api_key" "ci" {
  name        = "ci"
  permissions = ["can_create_tenant"]
  expires_at  = "2031-01-01T01:00:00+01:00"
}
