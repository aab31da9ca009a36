terraform {
  required_version = ">= 1.0"
  required_providers {
    spg99 = {
      source  = "spg99/spg99"
      version = "~> 0.1"
    }
  }
}

# The address and the key come from SPG99_CP_URL and SPG99_API_KEY (`eval "$(spg99 env)"`).
provider "spg99" {}

variable "idle_timeout_seconds" {
  type        = number
  default     = 3
  description = "Seconds without connections after which the database falls asleep."
}

resource "spg99_tenant" "acme" {
  name = "acme_tf"
}

resource "spg99_database" "app" {
  tenant               = spg99_tenant.acme.name
  name                 = "app"
  size                 = "L1"
  idle_timeout_seconds = var.idle_timeout_seconds

  timeouts = {
    create = "2m"
  }
}

output "database" {
  value = spg99_database.app.id
}

output "connection_string" {
  value     = spg99_database.app.connection_string
  sensitive = true
}
