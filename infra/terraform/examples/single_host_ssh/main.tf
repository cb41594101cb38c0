# Portico on a server that is reached over SSH. The server has Docker, the images, infra/docker/ of the checkout below
# /srv/portico/source, and /srv/portico/deployment made there by `portico deploy init`: no secret leaves it.
terraform {
  required_version = ">= 1.9"

  required_providers {
    docker = {
      source  = "kreuzwerker/docker"
      version = "~> 4.6"
    }
  }
}

variable "server" {
  description = "User and name of the server, as ssh takes them."
  type        = string

  validation {
    condition     = can(regex("^[a-z_][a-z0-9_-]*@[A-Za-z0-9.-]+(:[0-9]+)?$", var.server))
    error_message = "server is user@host or user@host:port."
  }
}

variable "site" {
  description = "Host name under which people reach it."
  type        = string
}

variable "portico_version" {
  description = "Tag of Portico's own images."
  type        = string
}

provider "docker" {
  host = "ssh://${var.server}"
}

module "portico" {
  source = "../../modules/single_host"

  docker_host       = "ssh://${var.server}"
  source_folder     = "/srv/portico/source"
  deployment_folder = "/srv/portico/deployment"
  site              = var.site
  portico_version   = var.portico_version
}

output "url" {
  description = "Where people reach it."
  value       = module.portico.url
}
