variable "folder" {
  description = "Where the deployment's secrets/, config/ and .env lie on the machine that runs Terraform."
  type        = string

  validation {
    condition     = startswith(var.folder, "/") && !can(regex("[,:\\s]", var.folder))
    error_message = "The folder is an absolute path without spaces, commas and colons."
  }
}

variable "site" {
  description = "Host name under which people reach it, for .env."
  type        = string

  validation {
    condition     = length(var.site) <= 253 && can(regex("^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$", var.site))
    error_message = "The site is a host name alone, such as chat.example.com: no scheme, port or path."
  }
}

variable "https_port" {
  description = "Published port, for .env."
  type        = number
  default     = 443

  validation {
    condition     = var.https_port >= 1 && var.https_port <= 65535 && floor(var.https_port) == var.https_port
    error_message = "https_port is a whole number from 1 to 65535."
  }
}

variable "program" {
  description = "The program `portico` on the machine that runs Terraform."
  type        = string
  default     = "portico"

  validation {
    condition     = can(regex("^[A-Za-z0-9_./-]+$", var.program))
    error_message = "program is a command or a path, such as portico or /srv/portico/.venv/bin/portico."
  }
}
