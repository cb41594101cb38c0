# Portico on the machine that Terraform runs on: secrets as files, then the compose deployment as resources.
terraform {
  required_version = ">= 1.9"

  required_providers {
    docker = {
      source  = "kreuzwerker/docker"
      version = "~> 4.6"
    }
  }
}

variable "docker_host" {
  description = "The Docker daemon of this machine."
  type        = string
  default     = "unix:///var/run/docker.sock"
}

variable "name" {
  description = "Prefix of containers, networks and volumes."
  type        = string
  default     = "portico"
}

variable "folder" {
  description = "Where secrets/, config/ and .env are made and stay."
  type        = string
}

variable "program" {
  description = "The program `portico`."
  type        = string
  default     = "portico"
}

variable "site" {
  description = "Host name under which people reach it."
  type        = string
}

variable "listen" {
  description = "Where Caddy is published."
  type = object({
    address = optional(string)
    port    = optional(number)
  })
  default = {}
}

variable "portico_version" {
  description = "Tag of Portico's own images."
  type        = string
  default     = "dev"
}

variable "workers" {
  description = "How many workers run."
  type        = number
  default     = 1
}

variable "variables" {
  description = "Other variables of compose.yaml, such as PORTICO_TLS."
  type        = map(string)
  default     = {}
}

variable "destroy_data" {
  description = "Let `terraform destroy` delete the volumes."
  type        = bool
  default     = false
}

provider "docker" {
  host = var.docker_host
}

module "secrets" {
  source = "../../modules/secrets"

  folder     = var.folder
  site       = var.site
  https_port = coalesce(var.listen.port, 443)
  program    = var.program
}

module "portico" {
  source = "../../modules/single_host"

  name              = var.name
  docker_host       = var.docker_host
  source_folder     = abspath("${path.module}/../../../..")
  deployment_folder = module.secrets.folder
  site              = var.site
  listen            = var.listen
  portico_version   = var.portico_version
  workers           = var.workers
  variables         = var.variables
  destroy_data      = var.destroy_data
}

output "url" {
  description = "Where people reach it."
  value       = module.portico.url
}

output "volumes" {
  description = "What holds data."
  value       = module.portico.volumes
}
