variable "name" {
  description = "Prefix of everything that is made, as a compose project's name: the volumes are those of `docker compose -p NAME`."
  type        = string
  default     = "portico"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{0,30}$", var.name))
    error_message = "The name is 1 to 31 lower-case letters, digits and hyphens, such as portico."
  }
}

variable "docker_host" {
  description = "The Docker daemon, as the provider has it: unix:///var/run/docker.sock, or ssh://user@server."
  type        = string
  default     = "unix:///var/run/docker.sock"

  validation {
    condition     = can(regex("^(unix:///\\S+|ssh://\\S+)$", var.docker_host))
    error_message = "docker_host is unix:///path/to/docker.sock or ssh://user@server; a daemon on an open port is not used."
  }
}

variable "compose_file" {
  description = "The compose file that is put in force, on the machine that runs Terraform. Null takes the checkout's own."
  type        = string
  default     = null

  validation {
    condition     = var.compose_file == null || try(fileexists(var.compose_file), false)
    error_message = "compose_file names no file on this machine."
  }
}

variable "source_folder" {
  description = "Where the checkout lies on the Docker host: its infra/docker/ and infra/observability/ are mounted from there."
  type        = string

  validation {
    condition     = startswith(var.source_folder, "/") && !can(regex("[,:\\s]", var.source_folder))
    error_message = "source_folder is an absolute path on the Docker host, without spaces, commas and colons."
  }
}

variable "deployment_folder" {
  description = "Where `portico deploy init` made secrets/ and config/ on the Docker host. Their content never enters the state."
  type        = string

  validation {
    condition     = startswith(var.deployment_folder, "/") && !can(regex("[,:\\s]", var.deployment_folder))
    error_message = "deployment_folder is an absolute path on the Docker host, without spaces, commas and colons."
  }
}

variable "site" {
  description = "Host name under which people reach it."
  type        = string

  validation {
    condition     = length(var.site) <= 253 && can(regex("^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$", var.site))
    error_message = "The site is a host name alone, such as chat.example.com: no scheme, port or path."
  }
}

variable "listen" {
  description = "Where Caddy is published on the Docker host."
  type = object({
    address = optional(string, "0.0.0.0")
    port    = optional(number, 443)
  })
  default = {}

  validation {
    condition     = can(cidrnetmask("${var.listen.address}/32"))
    error_message = "listen.address is an IPv4 address, such as 0.0.0.0 or 127.0.0.1."
  }

  validation {
    condition     = var.listen.port >= 1 && var.listen.port <= 65535 && floor(var.listen.port) == var.listen.port
    error_message = "listen.port is a whole number from 1 to 65535."
  }
}

variable "portico_version" {
  description = "Tag of Portico's own images."
  type        = string
  default     = "dev"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.portico_version))
    error_message = "portico_version is an image tag: letters, digits, dots, hyphens and underscores."
  }
}

variable "workers" {
  description = "How many workers run."
  type        = number
  default     = 1

  validation {
    condition     = var.workers >= 1 && var.workers <= 32 && floor(var.workers) == var.workers
    error_message = "workers is a whole number from 1 to 32: without a worker nothing is answered."
  }
}

variable "profiles" {
  description = "Profiles of the compose file that are put in force beside what always runs."
  type        = set(string)
  default     = []
}

variable "variables" {
  description = "Other variables of the compose file, as in .env: PORTICO_TLS, PORTICO_LOCAL_ONLY, POSTGRES_VERSION. No secrets: they would lie in the state."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.variables), ["PORTICO_SITE", "PORTICO_BIND", "PORTICO_HTTPS_PORT", "PORTICO_VERSION", "PORTICO_CONFIG_FOLDER", "PORTICO_WORKERS"])) == 0
    error_message = "Site, address, port, version, folder and number of workers have variables of their own in this module."
  }

  validation {
    condition     = alltrue([for value in values(var.variables) : can(regex("^[^\\n\\r$]*$", value))])
    error_message = "A variable's value is one line without a dollar sign."
  }
}

variable "destroy_data" {
  description = "True lets `terraform destroy` delete the volumes: every message, file, key record and certificate. Apply it first, then destroy."
  type        = bool
  default     = false
}
