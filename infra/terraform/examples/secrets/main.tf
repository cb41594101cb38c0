# The secrets of a deployment, made once; another root module reads them by path.
terraform {
  required_version = ">= 1.9"
}

variable "folder" {
  description = "Where secrets/, config/ and .env are made and stay."
  type        = string
}

variable "site" {
  description = "Host name under which people reach it."
  type        = string
}

variable "program" {
  description = "The program `portico`."
  type        = string
  default     = "portico"
}

module "secrets" {
  source = "../../modules/secrets"

  folder  = var.folder
  site    = var.site
  program = var.program
}

output "files" {
  description = "Name of each secret → its file."
  value       = module.secrets.files
}
